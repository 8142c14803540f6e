"""The local inbox: a table that takes e-mails as long as no mail server is configured."""

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend

from campaigns.messaging.channels.mail import source_of
from campaigns.models import SentEmail
from config import clock
from config.db.statements import execute

KEPT = 1000
"""E-mails that are kept; older ones are deleted."""
_PATH = f"{__name__}.InboxBackend"


class InboxBackend(BaseEmailBackend):
    """Django backend that stores Django's own e-mails; those of messages are stored as they are recorded as sent."""

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        rows = [row_of(mail) for mail in email_messages if mail.recipients()]
        SentEmail.objects.bulk_create(rows)
        make_room()
        return len(rows)


def is_used() -> bool:
    """Whether e-mail goes to the local inbox only."""
    return bool(settings.EMAIL_BACKEND == _PATH)


def make_room() -> None:
    """Delete the oldest e-mails, skipping rows that another transaction deletes."""
    execute(_MAKE_ROOM, [KEPT])


_MAKE_ROOM = f"""
DELETE FROM {SentEmail._meta.db_table} WHERE id IN (
    SELECT id FROM {SentEmail._meta.db_table} WHERE id IN (
        SELECT id FROM {SentEmail._meta.db_table} ORDER BY received_at DESC OFFSET %s LIMIT 1000
    ) FOR UPDATE SKIP LOCKED
)
"""


def row_of(mail: EmailMessage) -> SentEmail:
    """Return the unsaved inbox row of an e-mail. Raises ValueError for an invalid one."""
    message: Any = getattr(mail, "headrace_message", None)
    return SentEmail(
        message_id=message.pk if message else None,
        workspace_id=message.workspace_id if message else None,
        sender=str(mail.extra_headers.get("From", mail.from_email))[:320],
        recipients=mail.recipients(),
        subject=str(mail.subject),
        source=source_of(mail),
        received_at=clock.now(),
    )
