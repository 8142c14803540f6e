"""Campaigns, their versions and their broadcasts."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from config import clock
from config.db.backfill import BackfillRow
from config.db.fields import JSONField
from config.ids import NO_ID
from workspaces.tenancy import TenantModel, TenantQuerySet


class CampaignQuerySet(TenantQuerySet["Campaign"]):
    def active(self) -> CampaignQuerySet:
        return self.filter(status=Campaign.Status.ACTIVE)


class Campaign(TenantModel):
    """A workflow that contacts enter by a trigger, a broadcast or the API.

    `draft`: the definition being edited. `active_version`: the one that new enrollments start on.
    """

    class Type(models.TextChoices):
        AUTOMATED = "AUTOMATED", "automated"
        BROADCAST = "BROADCAST", "broadcast"

    class Status(models.TextChoices):
        DRAFT = "DRAFT", "draft"
        ACTIVE = "ACTIVE", "active"
        PAUSED = "PAUSED", "paused"
        COMPLETED = "COMPLETED", "completed"
        ARCHIVED = "ARCHIVED", "archived"

    name = models.CharField(max_length=255)
    description = models.TextField(blank=True)
    type = models.CharField(max_length=10, choices=Type, default=Type.AUTOMATED)
    status = models.CharField(max_length=10, choices=Status, default=Status.DRAFT, editable=False)
    # JSON as campaigns.journeys.definition parses it.
    draft = JSONField(default=dict)
    active_version = models.ForeignKey(
        "campaigns.CampaignVersion", on_delete=models.PROTECT, null=True, editable=False, related_name="+"
    )
    starts_at = models.DateTimeField(null=True, blank=True, help_text="no enrollment starts before it")
    ends_at = models.DateTimeField(null=True, blank=True, help_text="no enrollment starts after it")
    priority = models.SmallIntegerField(
        default=0, help_text="of its messages, where a cap leaves room for some: the higher first"
    )
    sender = models.CharField(
        max_length=320, blank=True, help_text="of its e-mails: name and address; blank: the template's"
    )
    reply_to = models.CharField(
        max_length=320, blank=True, help_text="who gets answers to its e-mails; blank: the template's"
    )
    activated_at = models.DateTimeField(null=True, editable=False)
    # Enrollments and messages that began before `counted_until`, trials excluded: see reporting.counters.
    counted_until = models.DateTimeField(null=True, editable=False)
    counted_enrollments = models.PositiveBigIntegerField(default=0, db_default=0, editable=False)
    counted_messages = models.PositiveBigIntegerField(default=0, db_default=0, editable=False)
    parked_at = models.DateTimeField(null=True, editable=False)
    error = models.TextField(blank=True, editable=False)
    created_at = models.DateTimeField(default=clock.now, editable=False)
    updated_at = models.DateTimeField(default=clock.now, editable=False)

    objects: ClassVar = CampaignQuerySet.as_manager()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["workspace", "name"], name="campaign_name_unique"),
        ]

    def __str__(self) -> str:
        return self.name


class CampaignVersion(TenantModel):
    """An immutable definition of a campaign. An enrollment keeps the version that it started on.

    A version without a number was never active: trials of a draft run on it.
    """

    campaign = models.ForeignKey(Campaign, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField(null=True)
    definition = JSONField()
    created_at = models.DateTimeField(default=clock.now, editable=False)
    actor = models.CharField(
        max_length=255,
        blank=True,
        db_default="",
        editable=False,
        help_text="who let it serve, or tried it out",
    )
    # Set once no enrollment of it is open or can start: events are no longer matched against it.
    retired_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["workspace", "campaign", "number"], name="campaign_version_unique"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.campaign_id} version {self.number or 'on trial'}"


class Broadcast(TenantModel, BackfillRow):
    """Enrolls the contacts of a segment, or of a list, in a campaign at `due_at`.

    Contacts are processed in batches by id: `cursor` is the last one, and `done` counts them, entered or not. A
    cancelled broadcast is finished, too.
    """

    START = str(NO_ID)
    """The cursor of a broadcast that has not begun."""

    campaign = models.ForeignKey(Campaign, on_delete=models.CASCADE, related_name="broadcasts")
    segment_id = models.UUIDField(null=True)
    contact_ids = ArrayField(models.UUIDField(), null=True)
    due_at = models.DateTimeField()
    # The time in the schedule trigger that planned it, kept when it is rescheduled; null: planned by hand.
    scheduled_at = models.DateTimeField(null=True)
    cancelled_at = models.DateTimeField(null=True)
    # [{"kind": "planned" | "moved" | "cancelled", "at": time of the change, "by": actor, "dueAt": …}]
    changes = JSONField(default=list)
    created_at = models.DateTimeField(default=clock.now)

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["workspace", "due_at"], condition=Q(finished_at=None), name="broadcast_due"),
            models.Index(fields=["workspace", "campaign"], name="broadcast_by_campaign"),
        ]

    def __str__(self) -> str:
        return f"{self.campaign_id} at {self.due_at:%Y-%m-%d %H:%M:%S}"

    @property
    def has_begun(self) -> bool:
        """Whether contacts were processed: its time is fixed."""
        return bool(self.cursor != self.START)
