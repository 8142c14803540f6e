"""The local inbox: where e-mail goes as long as nobody has named a server for it."""

from collections.abc import Sequence
from typing import Any

from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend

from campaigns.channels.mail import source_of
from campaigns.models import SentEmail
from config import clock

KEPT = 1000
"""E-mails that stay; older ones make room."""


class InboxBackend(BaseEmailBackend):
    """Keeps e-mails as rows, those of Django itself too."""

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        rows = [_row(mail) for mail in email_messages if mail.recipients()]
        SentEmail.objects.bulk_create(rows)
        kept = SentEmail.objects.order_by("-received_at").values("pk")
        SentEmail.objects.filter(pk__in=kept[KEPT : KEPT + 100]).delete()
        return len(rows)


def _row(mail: EmailMessage) -> SentEmail:
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
