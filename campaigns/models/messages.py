"""Templates and messages."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from django.db import models
from django.db.models import Q

from campaigns.reasons import Reason
from config import clock, ids
from config.db.fields import JSONField, UnconstrainedForeignKey
from workspaces.tenancy import BulkTenantModel, TenantModel, TenantQuerySet


class Channel(models.TextChoices):
    """The ways by which a message leaves."""

    EMAIL = "email", "e-mail"
    WEBHOOK = "webhook"
    TELEGRAM = "telegram", "Telegram"


class Template(TenantModel):
    """A text in Liquid, of which each contact gets its own."""

    name = models.CharField(max_length=255)
    channel = models.CharField(max_length=10, choices=Channel, default=Channel.EMAIL)
    subject = models.TextField(blank=True, help_text="e-mail only")
    # E-mail: HTML, from which the text part is made where there is none. Telegram: HTML as Telegram takes it.
    # Webhook: JSON.
    body = models.TextField()
    text = models.TextField(blank=True, help_text="the text part of an e-mail; blank: made from the body")
    sender = models.CharField(
        max_length=320, blank=True, help_text="e-mail only: name and address; blank: the channel's"
    )
    reply_to = models.CharField(
        max_length=320,
        blank=True,
        help_text="e-mail only: who gets answers; blank: the channel's, or the sender",
    )
    created_at = models.DateTimeField(default=clock.now, editable=False)
    updated_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["workspace", "name"], name="template_name_unique"),
        ]

    def __str__(self) -> str:
        return self.name


class MessageQuerySet(TenantQuerySet["Message"]):
    def ready(self, at: datetime) -> MessageQuerySet:
        return self.filter(status=Message.Status.QUEUED, send_at__lte=at)


class Message(BulkTenantModel):
    """One message to one contact, rendered when it was reserved; its key makes sure that there is one only."""

    class Status(models.TextChoices):
        QUEUED = "QUEUED", "queued"
        SENDING = "SENDING", "sending"
        SENT = "SENT", "sent"
        DELIVERED = "DELIVERED", "delivered"
        OPENED = "OPENED", "opened"
        CLICKED = "CLICKED", "clicked"
        BOUNCED = "BOUNCED", "bounced"
        FAILED = "FAILED", "failed"
        UNSUBSCRIBED = "UNSUBSCRIBED", "unsubscribed"
        CANCELLED = "CANCELLED", "cancelled"
        # A worker died between sending and noting it: it may have left or not.
        UNKNOWN = "UNKNOWN", "unknown"

    workspace = UnconstrainedForeignKey("workspaces.Workspace", models.CASCADE)
    campaign = UnconstrainedForeignKey(
        "campaigns.Campaign", models.CASCADE, null=True, related_name="messages"
    )
    contact = UnconstrainedForeignKey("contacts.Contact")
    enrollment_id = models.UUIDField(null=True)
    event_id = models.UUIDField(null=True)
    step = models.CharField(max_length=64, blank=True)
    template_id = models.UUIDField(null=True)
    # Of an enrollment: "<enrollment>:<step>:<how many steps before>"; of the API: the caller's key, or the
    # message's own id.
    key = models.CharField(max_length=255)
    channel = models.CharField(max_length=10, choices=Channel)
    # An e-mail address, a URL or a chat's id: where it goes, as of when it was made.
    address = models.CharField(max_length=2048)
    subject = models.TextField(blank=True)
    body = models.TextField(blank=True)
    text = models.TextField(blank=True)
    headers = JSONField(default=dict)
    # A transactional one (a receipt) asks for no consent, no cap and no quiet hours; suppressions it does ask for.
    is_transactional = models.BooleanField(default=False)
    is_test = models.BooleanField(default=False)
    priority = models.SmallIntegerField(default=0)
    status = models.CharField(max_length=12, choices=Status, default=Status.QUEUED)
    # When it may leave: now, or when quiet hours or a cap let it, or after a failure's backoff.
    send_at = models.DateTimeField(default=clock.now)
    claimed_at = models.DateTimeField(null=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    # The receiver's host, of which a worker serves only a few at a time.
    host = models.CharField(max_length=255, blank=True)
    provider_id = models.CharField(max_length=255, blank=True)
    error = models.TextField(blank=True)
    # When it came back from a mailbox that took nothing just then; None: it did not, or that has been counted.
    soft_bounced_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(default=clock.now)
    sent_at = models.DateTimeField(null=True)
    opened_at = models.DateTimeField(null=True)
    clicked_at = models.DateTimeField(null=True)

    objects: ClassVar = MessageQuerySet.as_manager()

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["workspace", "key"], name="message_once")]
        indexes: ClassVar = [
            models.Index(
                fields=["workspace", "channel", "-priority", "send_at"],
                condition=Q(status="QUEUED"),
                name="message_ready",
            ),
            models.Index(
                fields=["workspace", "claimed_at"], condition=Q(status="SENDING"), name="message_claimed"
            ),
            models.Index(fields=["workspace", "contact", "channel", "sent_at"], name="message_by_contact"),
            models.Index(fields=["workspace", "id"], name="message_by_time"),
            models.Index(fields=["workspace", "campaign", "id"], name="message_by_campaign"),
            models.Index(
                fields=["workspace", "event_id"], condition=Q(event_id__isnull=False), name="message_by_event"
            ),
            models.Index(
                fields=["workspace", "enrollment_id"],
                condition=Q(enrollment_id__isnull=False),
                name="message_by_enrollment",
            ),
            models.Index(
                # Until it has left it has none.
                fields=["workspace", "provider_id"],
                condition=~Q(provider_id=""),
                name="message_by_provider",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.channel} to {self.address}: {self.status}"

    @property
    def reason(self) -> Reason | None:
        """Why it has not left, as its decision has it; None: it has, or still may."""
        if self.status == self.Status.CANCELLED:
            return Reason(self.error) if self.error in set(Reason) else None
        return _REASON_OF_STATUS.get(self.status)


_REASON_OF_STATUS: dict[str, Reason] = {
    Message.Status.FAILED: Reason.SEND_FAILED,
    Message.Status.BOUNCED: Reason.BOUNCED,
    Message.Status.UNKNOWN: Reason.UNKNOWN,
}


class SentEmail(models.Model):
    """An e-mail that the embedded default keeps in place of sending it: the local inbox."""

    id = models.UUIDField(primary_key=True, default=ids.uuid7, editable=False)
    # Whose message it is; None: not one of ours, such as a password's reset.
    message_id = models.UUIDField(null=True)
    workspace_id = models.UUIDField(null=True)
    sender = models.CharField(max_length=320)
    recipients = JSONField(default=list)
    subject = models.TextField(blank=True)
    # The whole of it, as an SMTP server would have got it.
    source = models.BinaryField()
    received_at = models.DateTimeField(default=clock.now)

    class Meta:
        verbose_name = "e-mail in the local inbox"
        verbose_name_plural = "e-mails in the local inbox"
        indexes: ClassVar = [models.Index(fields=["-received_at"], name="sent_email_by_time")]

    def __str__(self) -> str:
        return self.subject
