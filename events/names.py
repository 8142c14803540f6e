"""Names of the events that only the system records, and how these names begin."""

from typing import Final

CONTACT_PREFIX: Final = "contact."
SEGMENT_PREFIX: Final = "segment."
MESSAGE_PREFIX: Final = "message."
FORM_PREFIX: Final = "form."
TELEGRAM_PREFIX: Final = "telegram."
SYSTEM_PREFIXES: Final = (CONTACT_PREFIX, SEGMENT_PREFIX, MESSAGE_PREFIX, FORM_PREFIX, TELEGRAM_PREFIX)

CONTACT_CREATED: Final = "contact.created"
CONTACT_UPDATED: Final = "contact.updated"
CONTACT_DELETED: Final = "contact.deleted"
CONTACT_TAGGED: Final = "contact.tagged"
CONTACT_SUBSCRIBED: Final = "contact.subscribed"
CONTACT_UNSUBSCRIBED: Final = "contact.unsubscribed"
CONTACT_MERGED: Final = "contact.merged"
CONTACT_UNMERGED: Final = "contact.unmerged"
SEGMENT_ENTERED: Final = "segment.entered"
SEGMENT_EXITED: Final = "segment.exited"
MESSAGE_SENT: Final = "message.sent"
MESSAGE_BOUNCED: Final = "message.bounced"
MESSAGE_COMPLAINED: Final = "message.complained"
MESSAGE_OPEN: Final = "message.open"
MESSAGE_CLICK: Final = "message.click"
FORM_SUBMITTED: Final = "form.submitted"
TELEGRAM_MESSAGE_RECEIVED: Final = "telegram.message_received"
TELEGRAM_CHAT_CHANGED: Final = "telegram.chat_changed"

MERGE_EVENTS: Final = (CONTACT_MERGED, CONTACT_UNMERGED)
SEGMENT_EVENTS: Final = (SEGMENT_ENTERED, SEGMENT_EXITED)
SYSTEM_EVENTS: Final = frozenset(
    {
        CONTACT_CREATED,
        CONTACT_UPDATED,
        CONTACT_DELETED,
        CONTACT_TAGGED,
        CONTACT_SUBSCRIBED,
        CONTACT_UNSUBSCRIBED,
        *MERGE_EVENTS,
        *SEGMENT_EVENTS,
        MESSAGE_SENT,
        MESSAGE_BOUNCED,
        MESSAGE_COMPLAINED,
        MESSAGE_OPEN,
        MESSAGE_CLICK,
        FORM_SUBMITTED,
        TELEGRAM_MESSAGE_RECEIVED,
        TELEGRAM_CHAT_CHANGED,
    }
)
"""Campaigns ignore events of these names from clients and imports."""


def contact_event(kind: str) -> str:
    """Return the name of the event that records a kind of change to a contact."""
    return f"{CONTACT_PREFIX}{kind}"
