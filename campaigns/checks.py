"""What must hold of the way e-mail leaves."""

from importlib import import_module
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error


def check_email_backend(**_: Any) -> list[CheckMessage]:
    """Refuse a way by which no e-mail can leave, for want of what it stands on."""
    module = settings.EMAIL_BACKEND.rpartition(".")[0]
    try:
        import_module(module)
    # Whatever hinders it would hinder every e-mail: anymail has an error of its own for what is not installed.
    except Exception as error:
        told = str(error).strip().partition("\n")[0]
        return [
            Error(
                f"E-mail cannot leave by EMAIL_URL: {told}",
                hint=_HINTS.get(module, "See docs/operations.md for what EMAIL_URL may name."),
                id="headrace.E020",
            )
        ]
    return []


_HINTS = {
    "anymail.backends.amazon_ses": (
        "The API of Amazon SES needs boto3, which does not come along. Install it, or send by the SMTP of SES:"
        " EMAIL_URL=smtp+tls://<user>:<password>@email-smtp.<region>.amazonaws.com:587. Its news are taken anyway."
    ),
}
