"""Tracking links: a pixel and signed redirects in e-mails, which nobody else can point elsewhere."""

from __future__ import annotations

import base64
import re
from typing import Final
from urllib.parse import urlsplit
from uuid import UUID

import idna
from django.utils.encoding import iri_to_uri

from campaigns.messaging.html_markup import Tag, address_in, tags_of, with_attributes
from campaigns.messaging.public_links import public_url, read_token, token_for
from campaigns.models import ChannelSettings, Message
from config.ids import parse_uuid

_OPEN: Final = "open"
_CLICK: Final = "click"
# To a browser, a backslash before the query is a slash.
_BEFORE_QUERY: Final = re.compile(r"^[^?#]*")
_LINKS: Final = ("a", "area")
_OUTLOOK: Final = "v:"
"""Shapes that Outlook draws in place of buttons have links of their own."""


def add_tracking(message: Message, settings: ChannelSettings) -> str:
    """Return a message's HTML with tracked links and a tracking pixel; tests get none.

    `trackOpens` and `trackClicks` of the channel's options turn either off.
    """
    text = message.body
    if message.is_test or not text:
        return text
    # To read the tags takes longer than all else that becomes of a message.
    folded = text.lower()
    if settings.options.get("trackClicks", True) and "href" in folded:
        text = with_attributes(text, "href", lambda tag, value: _tracked(message.pk, tag, value))
    if settings.options.get("trackOpens", True):
        image = f'<img src="{open_url(message.pk)}" width="1" height="1" alt="" style="border:0">'
        tags = tags_of(text) if "</body" in folded else ()
        ends = [tag.start for tag in tags if tag.is_end and tag.name == "body"]
        end = ends[-1] if ends else len(text)
        text = text[:end] + image + text[end:]
    return text


def open_url(message_id: UUID) -> str:
    """Return the URL of the tracking pixel."""
    return public_url(f"/o/{token_for(_OPEN, message_id.hex)}")


def click_url(message_id: UUID, target: str) -> str:
    """Return the URL that records a click and redirects to `target`."""
    spelled = base64.urlsafe_b64encode(target.encode()).decode().rstrip("=")
    return public_url(f"/c/{token_for(_CLICK, message_id.hex, spelled)}")


def read_open(token: str) -> UUID | None:
    """Return the message id of a pixel's token; None if it is forged."""
    parts = read_token(_OPEN, token)
    return parse_uuid(parts[0]) if parts else None


def read_click(token: str) -> tuple[UUID, str] | None:
    """Return message id and target of a click's token; None if it is forged."""
    parts = read_token(_CLICK, token)
    if parts is None or len(parts) != 2:
        return None
    message_id = parse_uuid(parts[0])
    target = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)).decode()
    return (message_id, target) if message_id else None


def location_of(target: str) -> str | None:
    """Return a target as a `Location` header in ASCII; None if no browser could go there."""
    target = _BEFORE_QUERY.sub(lambda found: found[0].replace("\\", "/"), target, count=1)
    try:
        parts = urlsplit(target)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not host or port == 0:
        return None
    if host.isascii():
        return iri_to_uri(target)
    user, at, place = parts.netloc.rpartition("@")
    named, colon, number = place.partition(":")
    try:
        ascii_host = idna.encode(named, uts46=True).decode()
    except idna.IDNAError:
        return None
    return iri_to_uri(target.replace(parts.netloc, f"{user}{at}{ascii_host}{colon}{number}", 1))


def _tracked(message_id: UUID, tag: Tag, value: str) -> str | None:
    """Return the tracked URL of a link; None if it stays, as links to our own pages do."""
    target = address_in(value)
    is_link = tag.name in _LINKS or tag.name.startswith(_OUTLOOK)
    if not is_link or target.startswith(public_url("/")) or location_of(target) is None:
        return None
    return click_url(message_id, target)
