"""Send webhooks, signed after Standard Webhooks; receivers recognise repeats by `webhook-id`."""

from __future__ import annotations

import base64
import secrets
from email.utils import parsedate_to_datetime
from typing import Final

import requests
from standardwebhooks.webhooks import Webhook

from campaigns.messaging.channels import NotSent
from campaigns.messaging.channels.http import Answer, ForbiddenAddress, call
from campaigns.models import ChannelSettings, Message
from config import clock

METHOD: Final = ":method"
"""Key of the HTTP method in a message's headers; no header has this name."""
_GONE: Final = 410


def new_secret() -> str:
    """Return a new signing secret."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def send(message: Message, settings: ChannelSettings) -> str:
    """Make the call. 2xx is success; 410 means that the receiver wants no more calls."""
    body = message.body.encode()
    headers = {name: value for name, value in message.headers.items() if name != METHOD}
    try:
        answer = call(
            message.headers.get(METHOD, "POST"),
            message.address,
            body,
            {**headers, **signature_of(message, settings), "Content-Type": "application/json"},
        )
    except ForbiddenAddress as error:
        raise NotSent(str(error), is_permanent=True) from error
    except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema) as error:
        raise NotSent(str(error), is_permanent=True) from error
    except (requests.RequestException, OSError) as error:
        # It may have arrived: the receiver tells the repeat by its id.
        raise NotSent(str(error) or type(error).__name__, is_permanent=False) from error
    if not 200 <= answer.status < 300:
        raise _refused(answer)
    return ""


def signature_of(message: Message, settings: ChannelSettings) -> dict[str, str]:
    """Return the signature headers of a message as of now, under each secret while one replaces another."""
    now = clock.now()
    marks = [Webhook(secret).sign(str(message.pk), now, message.body) for secret in settings.secret.split()]
    return {
        "webhook-id": str(message.pk),
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(marks),
    }


def _refused(answer: Answer) -> NotSent:
    reply = f"{answer.status} {answer.text[:500]}".strip()
    return NotSent(reply, is_permanent=answer.status == _GONE, retry_after=_retry_after(answer))


def _retry_after(answer: Answer) -> float | None:
    asked = answer.headers.get("Retry-After", "")
    if asked.isdecimal():
        return float(asked[:6])
    try:
        return max((parsedate_to_datetime(asked) - clock.now()).total_seconds(), 0.0)
    except (ValueError, TypeError):  # none, none that can be read, or one without a zone
        return None
