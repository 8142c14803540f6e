"""Suppressions, channel settings and sending limits."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from campaigns.models.messages import Channel
from config import clock
from config.db.fields import JSONField
from workspaces.tenancy import TenantModel


class ChannelSettings(TenantModel):
    """How a workspace uses a channel. No row: the defaults."""

    class OnUnknown(models.TextChoices):
        HOLD = "hold", "leave it as it is"
        RETRY = "retry", "send it again"

    channel = models.CharField(max_length=10, choices=Channel)
    sender = models.CharField(max_length=320, blank=True, help_text="e-mail: name and address")
    # What the channel needs beside it; secrets are written, never shown. See campaigns.messaging.channels.
    options = JSONField(default=dict, blank=True)
    secret = models.CharField(max_length=255, blank=True, editable=False)
    requires_opt_in = models.BooleanField(
        default=False, help_text="else whoever has not opted out is written to"
    )
    cap_count = models.PositiveSmallIntegerField(null=True, blank=True, help_text="messages to a contact")
    cap_hours = models.PositiveSmallIntegerField(default=24, help_text="in so many hours")
    quiet_from = models.TimeField(null=True, blank=True, help_text="in the contact's own time zone")
    quiet_until = models.TimeField(null=True, blank=True)
    time_zone = models.CharField(
        max_length=64, default="UTC", help_text="of contacts that have none of their own"
    )
    on_unknown = models.CharField(max_length=5, choices=OnUnknown, default=OnUnknown.HOLD)
    max_attempts = models.PositiveSmallIntegerField(default=8)

    class Meta:
        verbose_name_plural = "channel settings"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["workspace", "channel"], name="channel_settings_once"),
        ]

    def __str__(self) -> str:
        return f"{self.channel} of {self.workspace_id}"

    @property
    def has_secret(self) -> bool:
        """Whether the channel's secret is set; it is never shown."""
        return bool(self.secret)


class Suppression(TenantModel):
    """An address to which nothing is sent any more, whoever has it."""

    class Reason(models.TextChoices):
        BOUNCE = "bounce"
        COMPLAINT = "complaint"
        MANUAL = "manual"

    channel = models.CharField(max_length=10, choices=Channel, default=Channel.EMAIL)
    # Normalised, as identifiers are.
    address = models.CharField(max_length=2048)
    reason = models.CharField(max_length=9, choices=Reason, default=Reason.MANUAL)
    note = models.TextField(blank=True)
    message_id = models.UUIDField(null=True, editable=False)
    created_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["workspace", "channel", "address"], name="suppression_once"),
        ]
        indexes: ClassVar = [models.Index(fields=["workspace", "id"], name="suppression_by_time")]

    def __str__(self) -> str:
        return f"{self.address}: {self.reason}"
