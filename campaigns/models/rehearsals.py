"""Rehearsals of campaigns over past events, and what they came to."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q

from campaigns.models.campaigns import Campaign
from config import clock
from config.db.fields import JSONField, UnconstrainedForeignKey
from workspaces.tenancy import BulkTenantModel, TenantModel


class Rehearsal(TenantModel):
    """A run of one or two versions of a campaign over the events from `since` until `until`.

    `versions`: [{"label": "draft" or "version 3", "definition": …}], as they were when it was ordered.
    `report`: {"versions": the counts of each, in the same order, "differences": of two, see `rehearsal.report`}.
    """

    class Status(models.TextChoices):
        QUEUED = "QUEUED", "queued"
        RUNNING = "RUNNING", "running"
        DONE = "DONE", "done"
        FAILED = "FAILED", "failed"

    campaign = models.ForeignKey(Campaign, on_delete=models.CASCADE, related_name="rehearsals")
    since = models.DateTimeField(help_text="events from then on")
    until = models.DateTimeField(help_text="events before")
    versions = JSONField(default=list)
    status = models.CharField(max_length=7, choices=Status, default=Status.QUEUED)
    progress = models.FloatField(default=0.0, help_text="the share that is done, 0 to 1")
    report = JSONField(default=dict)
    error = models.TextField(blank=True)
    actor = models.CharField(max_length=255, blank=True, help_text="who ordered it")
    created_at = models.DateTimeField(default=clock.now)
    # Of a running one: when its process was last heard of.
    active_at = models.DateTimeField(null=True)
    attempts = models.PositiveSmallIntegerField(
        default=0, db_default=0, help_text="how often a worker began it; each but the last one died"
    )
    finished_at = models.DateTimeField(null=True)

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["workspace", "campaign", "id"], name="rehearsal_by_campaign"),
            models.Index(
                fields=["workspace", "id"],
                condition=Q(status="QUEUED") | Q(status="RUNNING"),
                name="rehearsal_unfinished",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.campaign} from {self.since:%Y-%m-%d} to {self.until:%Y-%m-%d}"


class RehearsedEnrollment(BulkTenantModel):
    """An enrollment that a version would have made. `version`: its place in `Rehearsal.versions`.

    `path`: [{"at", "kind", "step", "reason", "handle"}] of its decisions, in order. `messages`: [{"step", "channel",
    "templateId", "status", "at", "reason"}]; `at`: when it left, or would leave next.
    """

    rehearsal = models.ForeignKey(Rehearsal, on_delete=models.CASCADE, related_name="enrollments")
    version = models.PositiveSmallIntegerField()
    contact = UnconstrainedForeignKey("contacts.Contact")
    event_id = models.UUIDField(null=True)
    status = models.CharField(max_length=9)
    end_reason = models.CharField(max_length=64, blank=True)
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    path = JSONField(default=list)
    messages = JSONField(default=list)

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["workspace", "rehearsal", "id"], name="rehearsed_by_rehearsal"),
            models.Index(fields=["workspace", "contact"], name="rehearsed_by_contact"),
        ]

    def __str__(self) -> str:
        return f"{self.contact_id}: {self.status}"
