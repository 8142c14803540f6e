"""Send Telegram messages by the Bot API. The channel's secret is the bot's token."""

from __future__ import annotations

from typing import Any, Final

import requests
from django.conf import settings as django_settings

from campaigns.messaging.channels import Bounce, Bounced, MaybeSent, NotSent
from campaigns.models import ChannelSettings, Message

TIMEOUT_SECONDS: Final = (5.0, 15.0)
# As it says of somebody who blocked the bot or left, and of a chat that is none.
_DEAD: Final = ("bot was blocked", "user is deactivated", "chat not found", "was kicked")


def send(message: Message, settings: ChannelSettings) -> str:
    """Send a text to a chat. Returns Telegram's id of the message."""
    if not settings.secret:
        raise NotSent("no token of a bot", is_permanent=False)
    try:
        answer = requests.post(
            f"{django_settings.TELEGRAM_API_URL}/bot{settings.secret}/sendMessage",
            json={"chat_id": message.address, "text": message.body, "parse_mode": "HTML"},
            timeout=TIMEOUT_SECONDS,
        )
        reply: Any = answer.json()
    except requests.ConnectTimeout as error:
        raise NotSent(_without(settings.secret, error), is_permanent=False) from None
    except requests.JSONDecodeError as error:
        raise _broken(answer) from error
    except requests.RequestException as error:
        raise _silent(error, settings.secret) from None
    if not isinstance(reply, dict) or not reply.get("ok"):
        raise _refused(answer.status_code, reply)
    return f"{message.address}:{reply.get('result', {}).get('message_id', '')}"


def _silent(error: requests.RequestException, secret: str) -> Exception:
    """Tell a connection that was never made (NotSent) from one that broke (MaybeSent)."""
    text = _without(secret, error)
    if "NewConnectionError" in text or "NameResolutionError" in text or "SSLError" in text:
        return NotSent(text, is_permanent=False)
    return MaybeSent(text)


def _without(secret: str, error: Exception) -> str:
    """Return an error's text without the token, which the URL contains."""
    return str(error).replace(secret, "…")


def _broken(answer: requests.Response) -> Exception:
    text = f"{answer.status_code} {answer.text[:200]}"
    return MaybeSent(text) if answer.ok else NotSent(text, is_permanent=False)


def _refused(status: int, reply: Any) -> NotSent:
    reply = reply if isinstance(reply, dict) else {}
    description = str(reply.get("description", status))
    if status == 429:
        wait = reply.get("parameters", {}).get("retry_after")
        return NotSent(description, is_permanent=False, retry_after=float(wait) if wait else None)
    if any(words in description for words in _DEAD):
        return Bounced(description, Bounce.HARD)
    # 401 and 404 are of a wrong token: somebody may mend it.
    return NotSent(description, is_permanent=400 <= status < 500 and status not in (401, 404))
