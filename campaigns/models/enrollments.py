"""Enrollments of contacts in campaigns, and the log of decisions about them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final
from uuid import UUID

import orjson
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from campaigns.metrics import count_messages
from campaigns.reasons import Reason
from config import clock, ids
from config.db.arrays import array
from config.db.fields import JSONField, UnconstrainedForeignKey
from config.db.statements import execute
from events.models import EffectsLevel
from workspaces.tenancy import BulkTenantModel, TenantModel, TenantQuerySet

if TYPE_CHECKING:
    from campaigns.models.messages import Message


class EnrollmentQuerySet(TenantQuerySet["Enrollment"]):
    def open(self) -> EnrollmentQuerySet:
        return self.filter(status=Enrollment.Status.OPEN)

    def due(self, at: datetime) -> EnrollmentQuerySet:
        return self.open().filter(wake_at__lte=at)

    def states(self) -> list[EnrollmentState]:
        return [EnrollmentState(*row) for row in self.values_list(*STATE_COLUMNS)]


class Enrollment(BulkTenantModel):
    """A contact's way through a version of a campaign. Unique by `key`.

    `step` is the next node, or the one that it waits in since `arrived_at`; at `wake_at` it is processed.
    While it waits for an event, `awaited_event` is the event's name and `awaited_value` its correlation value;
    `resumed_by_event_id` is the event once it came.

    A merge of contacts does not rewrite `contact`: the enrollment counts as the survivor's.
    """

    class Status(models.TextChoices):
        OPEN = "open"
        COMPLETED = "completed"
        CONVERTED = "converted"
        EXITED = "exited"
        FAILED = "failed"

    workspace = UnconstrainedForeignKey("workspaces.Workspace", models.CASCADE)
    campaign = UnconstrainedForeignKey("campaigns.Campaign", models.CASCADE, related_name="enrollments")
    version = UnconstrainedForeignKey("campaigns.CampaignVersion", models.CASCADE)
    contact = UnconstrainedForeignKey("contacts.Contact")
    # Allows or prevents a second enrollment: see `_reentry_key` in campaigns.journeys.enrollment.
    key = models.CharField(max_length=255)
    status = models.CharField(max_length=9, choices=Status, default=Status.OPEN)
    # The event that triggered it; null: started by hand, by the API or by a broadcast.
    event_id = models.UUIDField(null=True)
    # Depth of events that its steps record: the trigger's and one.
    depth = models.PositiveSmallIntegerField(default=0)
    # Effects level of events that its steps record: the trigger's.
    level = models.PositiveSmallIntegerField(
        choices=EffectsLevel, default=EffectsLevel.ALL, db_default=EffectsLevel.ALL.value
    )
    # When the trigger happened: only events from then on can be awaited, end it or be its goal.
    triggered_at = models.DateTimeField(default=clock.now)
    step = models.CharField(max_length=64, blank=True)
    arrived_at = models.DateTimeField(null=True)
    wake_at = models.DateTimeField(null=True)
    # End of its last wait: an awaited event without correlation must have happened since.
    listens_since = models.DateTimeField(default=clock.now)
    awaited_event = models.CharField(max_length=255, blank=True)
    awaited_value = models.CharField(max_length=255, blank=True)
    resumed_by_event_id = models.UUIDField(null=True)
    # Makes the key of each message unique.
    steps_taken = models.PositiveIntegerField(default=0)
    attempts = models.PositiveSmallIntegerField(default=0, help_text="failures of the step in a row")
    error = models.TextField(blank=True)
    started_at = models.DateTimeField(default=clock.now)
    ended_at = models.DateTimeField(null=True)
    end_reason = models.CharField(max_length=64, blank=True)
    is_test = models.BooleanField(default=False)
    # Trials only: waits end at once, those for an event by their timeout.
    skips_waits = models.BooleanField(default=False, db_default=False)

    objects: ClassVar = EnrollmentQuerySet.as_manager()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["workspace", "campaign", "contact", "key"], name="enrollment_once"
            ),
        ]
        indexes: ClassVar = [
            models.Index(
                # By campaign, so that due enrollments of paused campaigns are skipped.
                fields=["workspace", "campaign", "wake_at"],
                condition=Q(status="open", wake_at__isnull=False),
                name="enrollment_due",
            ),
            models.Index(
                fields=["workspace", "contact", "campaign"],
                condition=Q(status="open"),
                name="enrollment_open",
            ),
            models.Index(
                fields=["workspace", "version"], condition=Q(status="open"), name="enrollment_by_version"
            ),
            models.Index(fields=["workspace", "campaign", "id"], name="enrollment_by_campaign"),
            models.Index(fields=["workspace", "contact", "id"], name="enrollment_by_contact"),
            models.Index(
                # Partial: without statistics, the planner might otherwise scan it for contacts' enrollments.
                fields=["workspace", "event_id"],
                condition=Q(event_id__isnull=False),
                name="enrollment_by_event",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.contact_id} in {self.campaign_id}: {self.status}"


@dataclass(slots=True)
class EnrollmentState:
    """An enrollment's columns as a plain dataclass: batches of them cost less than model instances."""

    id: UUID
    campaign_id: UUID
    version_id: UUID
    contact_id: UUID
    key: str
    event_id: UUID | None
    depth: int
    level: int
    triggered_at: datetime
    listens_since: datetime
    started_at: datetime
    step: str
    wake_at: datetime | None
    is_test: bool = False
    skips_waits: bool = False
    status: str = Enrollment.Status.OPEN
    arrived_at: datetime | None = None
    awaited_event: str = ""
    awaited_value: str = ""
    resumed_by_event_id: UUID | None = None
    steps_taken: int = 0
    attempts: int = 0
    error: str = ""
    ended_at: datetime | None = None
    end_reason: str = ""


STATE_COLUMNS: Final = tuple(column.name for column in fields(EnrollmentState))
"""Column names in the order of EnrollmentState's fields."""


class CampaignSetQuerySet(TenantQuerySet["CampaignSet"]):
    def containing(self, campaign_id: UUID) -> CampaignSetQuerySet:
        return self.filter(campaign_ids__contains=[campaign_id])

    def ids(self) -> list[UUID]:
        return list(self.values_list("id", flat=True))


class CampaignSet(TenantModel):
    """A set of campaigns that share a decision, stored once and never changed.

    Most events are rejected by most campaigns that listen for them: this avoids a decision row for each pair.
    """

    # uuid5 of the workspace and the campaigns, so the same set always has the same id.
    id = models.UUIDField(primary_key=True, editable=False)
    workspace = models.ForeignKey(
        "workspaces.Workspace", on_delete=models.CASCADE, related_name="+", db_constraint=False
    )
    # Sorted.
    campaign_ids = ArrayField(models.UUIDField())

    objects: ClassVar = CampaignSetQuerySet.as_manager()

    def __str__(self) -> str:
        return f"{len(self.campaign_ids)} campaigns"


class DecisionQuerySet(TenantQuerySet["Decision"]):
    def about(self, workspace_id: UUID, campaign_id: UUID) -> DecisionQuerySet:
        """Filter by campaign, decisions shared by several campaigns included."""
        sets = CampaignSet.objects.in_workspace(workspace_id).containing(campaign_id)
        return self.filter(
            Q(campaign_id=campaign_id) | Q(campaign_set_id__in=list(sets.values_list("id", flat=True)))
        )

    def record(self, workspace_id: UUID, decisions: Iterable[NewDecision]) -> None:
        """Insert decisions in one statement, whatever their number."""
        rows = list(decisions)
        if rows:
            # The API publishes reasons as an enumeration.
            for reason in {row.reason for row in rows} - {""}:
                Reason(reason)
            columns = [array([getattr(row, name) for row in rows]) for name in _DECISION_COLUMNS]
            details = array([orjson.dumps(row.detail).decode() if row.detail else "{}" for row in rows])
            execute(_INSERT_DECISIONS, [workspace_id, *columns, details])
            ends = (Decision.Kind.SENT, Decision.Kind.NOT_SENT)
            count_messages(row.reason or "sent" for row in rows if row.message_id and row.kind in ends)


@dataclass(slots=True, kw_only=True)
class NewDecision:
    """A decision to be recorded: see Decision."""

    kind: str
    contact_id: UUID
    decided_at: datetime
    campaign_id: UUID | None = None
    campaign_set_id: UUID | None = None
    enrollment_id: UUID | None = None
    message_id: UUID | None = None
    event_id: UUID | None = None
    reason: str = ""
    step: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)
    # Ordered, so that decisions of one pass are listed in the order in which they were made.
    id: UUID = field(default_factory=ids.ordered_uuid7)

    @classmethod
    def about(
        cls,
        subject: EnrollmentState | Message,
        kind: str,
        reason: str | None,
        at: datetime,
        detail: Mapping[str, Any] | None = None,
        *,
        event_id: UUID | None = None,
        message_id: UUID | None = None,
    ) -> NewDecision:
        """Build a decision about a message, or about an enrollment at its step.

        `event_id` and `message_id`: what led to a decision about an enrollment; a message has its own.
        """
        if isinstance(subject, EnrollmentState):
            enrollment_id: UUID | None = subject.id
        else:
            enrollment_id, event_id, message_id = subject.enrollment_id, subject.event_id, subject.pk
        return cls(
            kind=kind,
            contact_id=subject.contact_id,
            decided_at=at,
            campaign_id=subject.campaign_id,
            enrollment_id=enrollment_id,
            message_id=message_id,
            event_id=event_id,
            reason=reason or "",
            step=subject.step,
            detail=detail or {},
        )


_DECISION_COLUMNS: Final = {
    **dict.fromkeys(["id", "campaign_id", "campaign_set_id", "contact_id"], "uuid"),
    **dict.fromkeys(["enrollment_id", "message_id", "event_id"], "uuid"),
    **dict.fromkeys(["kind", "reason", "step"], "text"),
    "decided_at": "timestamptz",
}
_INSERT_DECISIONS: Final = (
    f"INSERT INTO campaigns_decision (workspace_id, {', '.join(_DECISION_COLUMNS)}, detail)"
    f" SELECT %s::uuid, * FROM unnest({', '.join(f'%s::{kind}[]' for kind in _DECISION_COLUMNS.values())},"
    " %s::jsonb[])"
)


class Decision(BulkTenantModel):
    """Log entry: what was decided about a contact in a campaign, and why; also why nothing was done.

    When several campaigns reject an event for the same reason, one row has their `campaign_set` and no `campaign`.
    """

    class Kind(models.TextChoices):
        ENTERED = "entered"
        NOT_ENTERED = "not_entered"
        STEP = "step"
        WAITS = "waits"
        RESUMED = "resumed"
        SENT = "sent"
        NOT_SENT = "not_sent"
        DEFERRED = "deferred"
        ENDED = "ended"

    id = models.UUIDField(primary_key=True, default=ids.ordered_uuid7, editable=False)
    workspace = UnconstrainedForeignKey("workspaces.Workspace", models.CASCADE)
    campaign = UnconstrainedForeignKey(
        "campaigns.Campaign", models.CASCADE, null=True, related_name="decisions"
    )
    campaign_set = UnconstrainedForeignKey(CampaignSet, null=True)
    contact = UnconstrainedForeignKey("contacts.Contact")
    enrollment_id = models.UUIDField(null=True)
    message_id = models.UUIDField(null=True)
    # The event that was evaluated, or that led to it.
    event_id = models.UUIDField(null=True)
    kind = models.CharField(max_length=12, choices=Kind)
    # A campaigns.reasons.Reason; blank where the kind needs none.
    reason = models.CharField(max_length=40, blank=True)
    step = models.CharField(max_length=64, blank=True)
    detail = JSONField(default=dict)
    decided_at = models.DateTimeField(default=clock.now)

    objects: ClassVar = DecisionQuerySet.as_manager()

    class Meta:
        indexes: ClassVar = [
            models.Index(
                # Partial: most decisions have a campaign set instead.
                fields=["workspace", "campaign", "id"],
                condition=Q(campaign__isnull=False),
                name="decision_by_campaign",
            ),
            models.Index(fields=["workspace", "id"], name="decision_by_time"),
            models.Index(
                # Includes the columns that reports group by.
                fields=["workspace", "campaign_set", "id"],
                condition=Q(campaign_set__isnull=False),
                include=["kind", "reason"],
                name="decision_by_campaign_set",
            ),
            models.Index(fields=["workspace", "contact", "id"], name="decision_by_contact"),
            models.Index(
                fields=["workspace", "event_id"],
                condition=Q(event_id__isnull=False),
                name="decision_by_event",
            ),
            models.Index(
                fields=["workspace", "enrollment_id"],
                condition=Q(enrollment_id__isnull=False),
                name="decision_by_enrollment",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.reason}".strip()

    @property
    def campaign_ids(self) -> list[UUID]:
        """Ids of the campaigns that it is about; none for a message outside any campaign."""
        if self.campaign_set is not None:
            return self.campaign_set.campaign_ids
        return [self.campaign_id] if self.campaign_id else []
