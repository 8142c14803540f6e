"""E-mails that tell when they are opened and clicked, by signed links: nobody can make one of ours lead elsewhere."""

from __future__ import annotations

import base64
import html
import re
from typing import Final
from uuid import UUID

from campaigns.models import ChannelSettings, Message
from campaigns.services.links import public_url, read_token, token_for
from config.ids import parse_uuid

_OPEN: Final = "open"
_CLICK: Final = "click"
# Up to the next bracket: a search for the end of each tag that has none would take quadratic time.
_LINK: Final = re.compile(
    r"""(<a\b[^<>]*?\shref\s*=\s*)(?:"(https?://[^"]*)"|'(https?://[^']*)')""", re.IGNORECASE
)
_END: Final = re.compile(r"</body\s*>", re.IGNORECASE)


def tracked_html(message: Message, settings: ChannelSettings) -> str:
    """Return a message's HTML with the links and the image that tell; of a test, and if so chosen, without.

    `trackOpens` and `trackClicks` of the channel's options turn either off.
    """
    text = message.body
    if message.is_test or not text:
        return text
    if settings.options.get("trackClicks", True):
        text = _LINK.sub(lambda link: f'{link[1]}"{_click_url(message.pk, link[2] or link[3])}"', text)
    if settings.options.get("trackOpens", True):
        image = f'<img src="{open_url(message.pk)}" width="1" height="1" alt="" style="border:0">'
        end = next(iter(_END.finditer(text)), None)
        text = f"{text[: end.start()]}{image}{text[end.start() :]}" if end else text + image
    return text


def open_url(message_id: UUID) -> str:
    """Return the address of the image that tells that a message was opened."""
    return public_url(f"/o/{token_for(_OPEN, message_id.hex)}")


def click_url(message_id: UUID, target: str) -> str:
    """Return the address that tells of a click and leads on."""
    spelled = base64.urlsafe_b64encode(target.encode()).decode().rstrip("=")
    return public_url(f"/c/{token_for(_CLICK, message_id.hex, spelled)}")


def read_open(token: str) -> UUID | None:
    """Return whose image it is; None: none of ours."""
    parts = read_token(_OPEN, token)
    return parse_uuid(parts[0]) if parts else None


def read_click(token: str) -> tuple[UUID, str] | None:
    """Return whose link it is and where it leads; None: none of ours."""
    parts = read_token(_CLICK, token)
    if parts is None or len(parts) != 2:
        return None
    message_id = parse_uuid(parts[0])
    target = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)).decode()
    return (message_id, target) if message_id else None


def _click_url(message_id: UUID, written: str) -> str:
    """Return the tracked address of one as HTML has it; our own pages need no telling."""
    target = html.unescape(written)
    return written if target.startswith(public_url("/")) else html.escape(click_url(message_id, target))
