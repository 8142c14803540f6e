"""A contact's way through a campaign, and every decision that was taken about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, ClassVar, Final
from uuid import UUID

import orjson
from django.contrib.postgres.fields import ArrayField
from django.db import connection, models
from django.db.models import Q

from campaigns.metrics import count_messages
from campaigns.reasons import Reason
from config import clock, ids
from config.arrays import array
from config.fields import JSONField
from events.models import EffectsLevel


class RunQuerySet(models.QuerySet["Run"]):
    def in_workspace(self, workspace_id: UUID) -> RunQuerySet:
        return self.filter(workspace_id=workspace_id)

    def open(self) -> RunQuerySet:
        return self.filter(status=Run.Status.OPEN)

    def due(self, at: datetime) -> RunQuerySet:
        return self.open().filter(wake_at__lte=at)

    def states(self) -> list[RunState]:
        return [RunState(*row) for row in self.values_list(*STATE)]


class Run(models.Model):
    """A contact in a campaign. Reserved by its key in the transaction of the effect that enrolled it.

    `step` is the node that comes next, or that it waits in since `arrived_at`; `wake_at` when it goes on by itself.
    While it waits for an event, `awaits` is the event's name, `awaited_value` what correlates it, `resumed_by` the
    event once it came.

    Nothing moves in a merge: the run stays with the contact that it came with, and is the survivor's.
    """

    class Status(models.TextChoices):
        OPEN = "open"
        COMPLETED = "completed"
        CONVERTED = "converted"
        EXITED = "exited"
        FAILED = "failed"

    id = models.UUIDField(primary_key=True, default=ids.uuid7, editable=False)
    workspace = models.ForeignKey(
        "workspaces.Workspace",
        on_delete=models.CASCADE,
        related_name="+",
        db_constraint=False,
        db_index=False,
    )
    campaign = models.ForeignKey(
        "campaigns.Campaign",
        on_delete=models.CASCADE,
        related_name="runs",
        db_constraint=False,
        db_index=False,
    )
    version = models.ForeignKey(
        "campaigns.CampaignVersion",
        on_delete=models.CASCADE,
        related_name="+",
        db_constraint=False,
        db_index=False,
    )
    contact = models.ForeignKey(
        "contacts.Contact", on_delete=models.DO_NOTHING, related_name="+", db_constraint=False, db_index=False
    )
    # What makes a second run of the contact another one: see Reentry in campaigns.definition.
    key = models.CharField(max_length=255)
    status = models.CharField(max_length=9, choices=Status, default=Status.OPEN)
    # The event that started it; None: by hand, by the API, or as one of a broadcast.
    event_id = models.UUIDField(null=True)
    # That event's depth and one: what the run does to the stream goes on counting from there.
    depth = models.PositiveSmallIntegerField(default=0)
    # That event's too: what the run does to the stream turns no more wheels.
    level = models.PositiveSmallIntegerField(
        choices=EffectsLevel, default=EffectsLevel.ALL, db_default=EffectsLevel.ALL.value
    )
    # When what started it happened: what follows from there on may be what the run waits for, or its goal.
    triggered_at = models.DateTimeField(default=clock.now)
    step = models.CharField(max_length=64, blank=True)
    arrived_at = models.DateTimeField(null=True)
    wake_at = models.DateTimeField(null=True)
    # When it came out of its last wait: an event that nothing correlates is waited for from there on.
    since = models.DateTimeField(default=clock.now)
    awaits = models.CharField(max_length=255, blank=True)
    awaited_value = models.CharField(max_length=255, blank=True)
    resumed_by = models.UUIDField(null=True)
    # Steps taken, so that nothing goes round for ever, and each message of a step has its own key.
    steps_taken = models.PositiveIntegerField(default=0)
    attempts = models.PositiveSmallIntegerField(default=0, help_text="failures of the step in a row")
    error = models.TextField(blank=True)
    started_at = models.DateTimeField(default=clock.now)
    ended_at = models.DateTimeField(null=True)
    end_reason = models.CharField(max_length=64, blank=True)
    is_test = models.BooleanField(default=False)
    # Of a trial: what it waits for is over, or has not come, at once.
    skips_waits = models.BooleanField(default=False, db_default=False)

    objects = RunQuerySet.as_manager()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["workspace", "campaign", "contact", "key"], name="run_once"),
        ]
        indexes: ClassVar = [
            models.Index(
                # By campaign: what is due in one that is paused is in nobody's way.
                fields=["workspace", "campaign", "wake_at"],
                condition=Q(status="open", wake_at__isnull=False),
                name="run_due",
            ),
            models.Index(
                fields=["workspace", "contact", "campaign"], condition=Q(status="open"), name="run_open"
            ),
            models.Index(fields=["workspace", "version"], condition=Q(status="open"), name="run_of_version"),
            models.Index(fields=["workspace", "campaign", "id"], name="run_by_campaign"),
            models.Index(fields=["workspace", "contact", "id"], name="run_by_contact"),
            models.Index(
                # Of some only: of all, a server that knows nothing of the rows yet might read everybody's by it.
                fields=["workspace", "event_id"],
                condition=Q(event_id__isnull=False),
                name="run_by_event",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.contact_id} in {self.campaign_id}: {self.status}"


@dataclass(slots=True)
class RunState:
    """A run as what decides about many of them has it: the fields of its row, without what a model costs."""

    id: UUID
    campaign_id: UUID
    version_id: UUID
    contact_id: UUID
    key: str
    event_id: UUID | None
    depth: int
    level: int
    triggered_at: datetime
    since: datetime
    started_at: datetime
    step: str
    wake_at: datetime | None
    is_test: bool = False
    skips_waits: bool = False
    status: str = Run.Status.OPEN
    arrived_at: datetime | None = None
    awaits: str = ""
    awaited_value: str = ""
    resumed_by: UUID | None = None
    steps_taken: int = 0
    attempts: int = 0
    error: str = ""
    ended_at: datetime | None = None
    end_reason: str = ""


STATE: Final = tuple(one.name for one in fields(RunState))
"""The columns of a run in the order in which a RunState takes them."""


class CampaignSetQuerySet(models.QuerySet["CampaignSet"]):
    def in_workspace(self, workspace_id: UUID) -> CampaignSetQuerySet:
        return self.filter(workspace_id=workspace_id)

    def holding(self, campaign_id: UUID) -> CampaignSetQuerySet:
        return self.filter(campaign_ids__contains=[campaign_id])

    def ids(self) -> list[UUID]:
        return list(self.values_list("id", flat=True))


class CampaignSet(models.Model):
    """Campaigns of which the same was decided at once. There is one row for each such set, and it never changes.

    Most events mean nothing to most campaigns that look at them: without it that would be a row for each pair.
    """

    # A hash of the workspace and the campaigns: whoever comes to the same set has the same id.
    id = models.UUIDField(primary_key=True, editable=False)
    workspace = models.ForeignKey(
        "workspaces.Workspace", on_delete=models.CASCADE, related_name="+", db_constraint=False
    )
    # In their order.
    campaign_ids = ArrayField(models.UUIDField())

    objects = CampaignSetQuerySet.as_manager()

    def __str__(self) -> str:
        return f"{len(self.campaign_ids)} campaigns"


class DecisionQuerySet(models.QuerySet["Decision"]):
    def in_workspace(self, workspace_id: UUID) -> DecisionQuerySet:
        return self.filter(workspace_id=workspace_id)

    def about(self, workspace_id: UUID, campaign_id: UUID) -> DecisionQuerySet:
        """Leave those about a campaign, alone or with others."""
        sets = CampaignSet.objects.in_workspace(workspace_id).holding(campaign_id)
        return self.filter(
            Q(campaign_id=campaign_id) | Q(campaign_set_id__in=list(sets.values_list("id", flat=True)))
        )

    def write(self, workspace_id: UUID, decisions: Iterable[Decided]) -> None:
        """Insert decisions by one statement, the same one for any number of them: they are the most written rows."""
        rows = list(decisions)
        if rows:
            # The API has them as an enumeration: nothing else is a reason.
            for reason in {row.reason for row in rows} - {""}:
                Reason(reason)
            columns = [array([getattr(row, name) for row in rows]) for name in _DECIDED]
            details = array([orjson.dumps(row.detail).decode() if row.detail else "{}" for row in rows])
            with connection.cursor() as cursor:
                cursor.execute(_WRITE, [workspace_id, *columns, details])
            ends = (Decision.Kind.SENT, Decision.Kind.NOT_SENT)
            count_messages(row.reason or "sent" for row in rows if row.message_id and row.kind in ends)


@dataclass(slots=True, kw_only=True)
class Decided:
    """A decision that is to be written: see Decision."""

    kind: str
    contact_id: UUID
    decided_at: datetime
    campaign_id: UUID | None = None
    campaign_set_id: UUID | None = None
    run_id: UUID | None = None
    message_id: UUID | None = None
    event_id: UUID | None = None
    reason: str = ""
    step: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)
    # What one pass decides of a run is told in its order.
    id: UUID = field(default_factory=ids.ordered_uuid7)


_DECIDED: Final = {
    **dict.fromkeys(["id", "campaign_id", "campaign_set_id", "contact_id"], "uuid"),
    **dict.fromkeys(["run_id", "message_id", "event_id"], "uuid"),
    **dict.fromkeys(["kind", "reason", "step"], "text"),
    "decided_at": "timestamptz",
}
_WRITE: Final = (
    f"INSERT INTO campaigns_decision (workspace_id, {', '.join(_DECIDED)}, detail)"
    f" SELECT %s::uuid, * FROM unnest({', '.join(f'%s::{kind}[]' for kind in _DECIDED.values())}, %s::jsonb[])"
)


class Decision(models.Model):
    """One thing that was decided about a contact and a campaign, also that nothing was to happen, and why.

    What is decided alike of one event by several campaigns is one row: it has a `campaign_set` and no `campaign`.
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
    workspace = models.ForeignKey(
        "workspaces.Workspace",
        on_delete=models.CASCADE,
        related_name="+",
        db_constraint=False,
        db_index=False,
    )
    campaign = models.ForeignKey(
        "campaigns.Campaign",
        on_delete=models.CASCADE,
        null=True,
        related_name="decisions",
        db_constraint=False,
        db_index=False,
    )
    campaign_set = models.ForeignKey(
        CampaignSet,
        on_delete=models.DO_NOTHING,
        null=True,
        related_name="+",
        db_constraint=False,
        db_index=False,
    )
    contact = models.ForeignKey(
        "contacts.Contact", on_delete=models.DO_NOTHING, related_name="+", db_constraint=False, db_index=False
    )
    run_id = models.UUIDField(null=True)
    message_id = models.UUIDField(null=True)
    # The event that it was decided about, or that made it possible.
    event_id = models.UUIDField(null=True)
    kind = models.CharField(max_length=12, choices=Kind)
    # One of campaigns.reasons; blank where the kind says all.
    reason = models.CharField(max_length=40, blank=True)
    step = models.CharField(max_length=64, blank=True)
    detail = JSONField(default=dict)
    decided_at = models.DateTimeField(default=clock.now)

    objects = DecisionQuerySet.as_manager()

    class Meta:
        indexes: ClassVar = [
            models.Index(
                # Most are about several campaigns, and have a set of them instead.
                fields=["workspace", "campaign", "id"],
                condition=Q(campaign__isnull=False),
                name="decision_by_campaign",
            ),
            models.Index(fields=["workspace", "id"], name="decision_by_time"),
            models.Index(
                # With what reports count by.
                fields=["workspace", "campaign_set", "id"],
                condition=Q(campaign_set__isnull=False),
                include=["kind", "reason"],
                name="decision_by_set",
            ),
            models.Index(fields=["workspace", "contact", "id"], name="decision_by_contact"),
            models.Index(
                fields=["workspace", "event_id"],
                condition=Q(event_id__isnull=False),
                name="decision_by_event",
            ),
            models.Index(
                fields=["workspace", "run_id"], condition=Q(run_id__isnull=False), name="decision_by_run"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.reason}".strip()

    @property
    def campaign_ids(self) -> list[UUID]:
        """The campaigns that it is about; of a message that is nobody's there is none."""
        if self.campaign_set is not None:
            return self.campaign_set.campaign_ids
        return [self.campaign_id] if self.campaign_id else []
