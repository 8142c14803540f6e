"""Campaigns and the versions of what they do."""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from config import clock, ids
from config.db.fields import JSONField
from workspaces.tenancy import TenantModel


class CampaignQuerySet(models.QuerySet["Campaign"]):
    def in_workspace(self, workspace_id: UUID) -> CampaignQuerySet:
        return self.filter(workspace_id=workspace_id)

    def active(self) -> CampaignQuerySet:
        return self.filter(status=Campaign.Status.ACTIVE)


class Campaign(TenantModel):
    """What happens to contacts because of something; `draft` is being written, `version` is what starts enrollments."""

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
    # A definition as campaigns.journeys.definition reads it.
    draft = JSONField(default=dict)
    version = models.ForeignKey(
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
    # How many enrollments and messages began before a moment, trials left out, so that nobody counts them again.
    counted_until = models.DateTimeField(null=True, editable=False)
    counted_enrollments = models.PositiveBigIntegerField(default=0, db_default=0, editable=False)
    counted_messages = models.PositiveBigIntegerField(default=0, db_default=0, editable=False)
    parked_at = models.DateTimeField(null=True, editable=False)
    error = models.TextField(blank=True, editable=False)
    created_at = models.DateTimeField(default=clock.now, editable=False)
    updated_at = models.DateTimeField(default=clock.now, editable=False)

    objects = CampaignQuerySet.as_manager()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["workspace", "name"], name="campaign_name_unique"),
        ]

    def __str__(self) -> str:
        return self.name


class CampaignVersion(TenantModel):
    """What a campaign did from one activation to the next; an enrollment keeps the version that it began with.

    One without a number never served: enrollments that try a draft out keep to it.
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
    # No enrollment of it is open any more, nor will one start: no event is held against it.
    retired_at = models.DateTimeField(null=True, editable=False)
    # The dates that start it are put on the timetable for all contacts, in the order of their ids, up to this one;
    # empty `date_backfill_since`: there is nothing to put on it, or all is.
    date_backfill_cursor = models.UUIDField(null=True, editable=False)
    date_backfill_since = models.DateTimeField(null=True, editable=False)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["workspace", "campaign", "number"], name="campaign_version_unique"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.campaign_id} version {self.number or 'on trial'}"

    @property
    def seed(self) -> str:
        """What draws of a random split begin with: the campaign's, so that a contact's arm survives an edit."""
        return str(self.campaign_id or ids.NO_ID)


class Broadcast(TenantModel):
    """A campaign that is to start at a moment for the contacts of a segment, or of a list.

    The contacts are taken in the order of their ids, some at a time; `last_contact_id` is the last one that was taken.
    One that is cancelled is finished.
    """

    campaign = models.ForeignKey(Campaign, on_delete=models.CASCADE, related_name="broadcasts")
    segment_id = models.UUIDField(null=True)
    contact_ids = ArrayField(models.UUIDField(), null=True)
    due_at = models.DateTimeField()
    # The moment of the schedule that planned it, which stays when it is moved; None: somebody did, or it has none.
    scheduled_at = models.DateTimeField(null=True)
    last_contact_id = models.UUIDField(null=True)
    processed_count = models.PositiveBigIntegerField(default=0)
    finished_at = models.DateTimeField(null=True)
    cancelled_at = models.DateTimeField(null=True)
    # [{"kind": "planned" | "moved" | "cancelled", "at": when that was done, "by": who, "dueAt": …}]
    changes = JSONField(default=list)
    created_at = models.DateTimeField(default=clock.now)

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["workspace", "due_at"], condition=Q(finished_at=None), name="broadcast_due"),
            models.Index(fields=["workspace", "campaign"], name="broadcast_by_campaign"),
        ]

    def __str__(self) -> str:
        return f"{self.campaign_id} at {self.due_at:%Y-%m-%d %H:%M:%S}"
