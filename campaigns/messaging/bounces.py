"""Parse bounces (RFC 3464) and complaints of readers (RFC 5965) that arrive as e-mail."""

from __future__ import annotations

import email
from collections.abc import Iterator
from email import policy
from email.message import Message as Mail
from typing import Final
from uuid import UUID

from campaigns.messaging.channels import Bounce
from campaigns.messaging.channels.bounce_codes import diagnose
from campaigns.messaging.provider_reports import Report
from config import clock
from config.ids import parse_uuid

MAX_BYTES: Final = 10_000_000
# Those of RFC 6533 are of messages with addresses beyond ASCII.
_ORIGINAL: Final = (
    *("message/rfc822", "text/rfc822-headers", "message/rfc822-headers"),
    *("message/global", "message/global-headers"),
)
_KINDS: Final = {"delivered": "delivered", "relayed": "sent", "expanded": "sent"}


def parse_bounce(source: bytes) -> Report | None:
    """Return what a bounce or complaint reports of a message of ours, known by its Message-ID; None: nothing.

    Nothing vouches for it but that id, which nobody knows who has not got the message.
    """
    mail = email.message_from_bytes(source[:MAX_BYTES], policy=policy.compat32)
    parts = [part for part in mail.get_payload() if isinstance(part, Mail)] if mail.is_multipart() else []
    if mail.get_content_type() != "multipart/report":
        return None
    message_id = next((found for part in parts if (found := _message_id(part))), None)
    reports = (_report(part, message_id) for part in parts if message_id is not None)
    return next((found for found in reports if found is not None), None)


def _message_id(part: Mail) -> UUID | None:
    if part.get_content_type() not in _ORIGINAL:
        return None
    if part.is_multipart():
        original = next(_blocks(part), None)
    else:
        headers = part.get_payload(decode=True)
        original = email.message_from_bytes(headers if isinstance(headers, bytes) else b"")
    header = str(original["Message-ID"] or "") if original is not None else ""
    return parse_uuid(header.strip().removeprefix("<").partition("@")[0])


def _report(part: Mail, message_id: UUID | None) -> Report | None:
    match part.get_content_type():
        case "message/delivery-status" | "message/global-delivery-status":
            blocks = _status_blocks(part)
            return next((report for block in blocks if (report := _of_recipient(block, message_id))), None)
        case "message/feedback-report":
            return next(
                (report for block in _blocks(part) if (report := _of_reader(block, message_id))), None
            )
        case _:
            return None


def _of_recipient(block: Mail, message_id: UUID | None) -> Report | None:
    """Return the report of a recipient's block; None for the block of the whole and for mere delays."""
    action = str(block["Action"] or "").strip().lower()
    words = " ".join(str(block[name] or "") for name in ("Status", "Diagnostic-Code")).strip()
    if action == "failed":
        bounce = diagnose(words)
        kind = "bounced" if bounce in (Bounce.HARD, Bounce.SOFT) else "failed"
        return Report(kind, clock.now(), message_id, words=" ".join(words.split()), bounce=bounce)
    return Report(_KINDS[action], clock.now(), message_id) if action in _KINDS else None


def _of_reader(block: Mail, message_id: UUID | None) -> Report | None:
    if str(block["Feedback-Type"] or "").strip().lower() != "abuse":
        return None
    return Report("complained", clock.now(), message_id)


def _status_blocks(part: Mail) -> Iterator[Mail]:
    """Return the blocks of a delivery status; of one that Python takes for a whole e-mail, the rest is its text."""
    for block in _blocks(part):
        yield block
        rest = block.get_payload()
        if part.get_content_type() != "message/delivery-status" and isinstance(rest, str):
            yield from map(email.message_from_string, rest.split("\n\n"))


def _blocks(part: Mail) -> Iterator[Mail]:
    blocks = part.get_payload()
    return (block for block in blocks if isinstance(block, Mail)) if isinstance(blocks, list) else iter(())
