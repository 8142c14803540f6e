"""System checks of e-mail delivery: headrace.E020 to E023, W020 to W022."""

from importlib import import_module
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004  # Django's name

from config.checks import is_local
from config.values.emails import read_mailbox


def check_email_backend(**_: Any) -> list[CheckMessage]:
    """Check that the e-mail backend of EMAIL_URL can be imported."""
    module = settings.EMAIL_BACKEND.rpartition(".")[0]
    try:
        import_module(module)
    # Any failure here would stop every e-mail; anymail has its own error for a missing package.
    except Exception as error:
        first_line = str(error).strip().partition("\n")[0]
        return [
            Error(
                f"E-mail cannot leave by EMAIL_URL: {first_line}",
                hint=_HINTS.get(module, "See docs/operations.md for what EMAIL_URL may name."),
                id="headrace.E020",
            )
        ]
    return []


def check_deliveries(**_: Any) -> list[CheckMessage]:
    """Check for production that e-mail is sent, encrypted, and that providers can report on it."""
    found: list[CheckMessage] = []
    backend = settings.EMAIL_BACKEND
    if backend == "campaigns.messaging.channels.inbox.InboxBackend":
        found.append(
            Error(
                "No e-mail leaves: EMAIL_URL is not set, and the local inbox takes it all.",
                hint="Set EMAIL_URL=smtp+tls://user:password@host:587, or a provider's.",
                id="headrace.E021",
            )
        )
    if settings.DELIVERY_PAUSED:
        found.append(
            Warning(
                "No message leaves: DELIVERY_PAUSED is on.",
                hint="It is for the time after a restore: see docs/backup.md.",
                id="headrace.W022",
            )
        )
    if is_local(read_mailbox(settings.DEFAULT_FROM_EMAIL).domain):
        found.append(
            Error(
                "DEFAULT_FROM_EMAIL is of no domain that mail servers know.",
                hint="Set DEFAULT_FROM_EMAIL='Name <news@your.domain>'.",
                id="headrace.E023",
            )
        )
    return [*found, *_check_encryption(backend), *_check_webhook_secret(backend)]


def _check_encryption(backend: str) -> list[CheckMessage]:
    is_encrypted = settings.EMAIL_USE_TLS or settings.EMAIL_USE_SSL
    is_smtp = backend.startswith("campaigns.messaging.channels.email.")
    if not is_smtp or is_encrypted or is_local(settings.EMAIL_HOST):
        return []
    return [
        Warning(
            "E-mail, and the password of its server, go in clear to another machine.",
            hint="Use smtp+tls:// or smtp+ssl:// in EMAIL_URL.",
            id="headrace.W020",
        )
    ]


def _check_webhook_secret(backend: str) -> list[CheckMessage]:
    found: list[CheckMessage] = []
    secret = settings.ANYMAIL.get("WEBHOOK_SECRET", "")
    if backend.startswith("anymail.") and not secret:
        found.append(
            Warning(
                "The provider of e-mail may not tell of bounces and complaints: EMAIL_WEBHOOK_SECRET is not set.",
                hint="Set EMAIL_WEBHOOK_SECRET=name:password, and give both to the provider.",
                id="headrace.W021",
            )
        )
    name, colon, password = secret.partition(":")
    if secret and not (name and colon and len(password) >= _SHORTEST_PASSWORD):
        found.append(
            Error(
                "EMAIL_WEBHOOK_SECRET is not name:password, or its password can be guessed.",
                hint="python -c 'import secrets; print(secrets.token_urlsafe(24))' makes a good password.",
                id="headrace.E022",
            )
        )
    return found


_SHORTEST_PASSWORD = 16
_HINTS = {
    "anymail.backends.amazon_ses": (
        "The API of Amazon SES needs boto3, which does not come along. Install it, or send by the SMTP of SES:"
        " EMAIL_URL=smtp+tls://<user>:<password>@email-smtp.<region>.amazonaws.com:587. Its news are taken anyway."
    ),
}
