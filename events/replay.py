"""Replay refused events once what refused them is mended: each exactly once, with its own time and id."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final
from uuid import UUID

from django.db import transaction
from django.db.models import Count, Max, Min, QuerySet

from config import clock
from config.db.errors import storable_text
from events.errors import ItemRefused
from events.models import EffectsLevel, RefusedEvent
from events.stream.lateness import LATE_AFTER
from events.stream.quarantine import incoming_of
from events.stream.recording import record_events
from events.stream.same_persons import merge_or_leave, same_persons
from events.stream.types import IncomingEvent, Outcome, SchemaPolicy

BATCH_ROWS: Final = 500
_MAX_ERROR: Final = 500


@dataclass(frozen=True, slots=True)
class Cause:
    """Refused events of one name and one cause."""

    name: str
    code: str
    error: str
    count: int
    first_at: datetime
    last_at: datetime


def causes(rows: QuerySet[RefusedEvent]) -> list[Cause]:
    """Return why events were refused, the most frequent first."""
    groups = rows.order_by().values("name", "code", "error")
    counted = groups.annotate(count=Count("id"), first_at=Min("received_at"), last_at=Max("received_at"))
    return [Cause(**group) for group in counted.order_by("-count", "name", "code", "error")]


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of a batch: recorded, known already, refused again; `last_id`: where the next one goes on."""

    recorded: int = 0
    duplicates: int = 0
    refused: int = 0
    last_id: UUID | None = None

    @property
    def total(self) -> int:
        """How many were looked at."""
        return self.recorded + self.duplicates + self.refused


def replay_batch(
    workspace_id: UUID,
    rows: QuerySet[RefusedEvent],
    *,
    after: UUID | None = None,
    limit: int = BATCH_ROWS,
    level: EffectsLevel | None = None,
) -> Replayed:
    """Record the next of the refused events, oldest first, and delete those that are recorded, in one transaction.

    Those refused again stay, with the new cause. Each counts as received when it came first. Whom they say to be one
    person is merged after the commit. `level`: which effects
    they have; None: all, but of those that came more than 72 hours ago scores and segments only.
    """
    if after is not None:
        rows = rows.filter(id__gt=after)
    with transaction.atomic():
        locked = list(rows.order_by("id").select_for_update(skip_locked=True, of=("self",))[:limit])
        incoming, outcomes = _understood(locked)
        groups = _groups(row for row in locked if row.id in incoming)
        for (policy, source, received_at), group in groups.items():
            recorded = record_events(
                workspace_id,
                [incoming[row.id] for row in group],
                schema_policy=policy,
                source=source,
                level=_level(received_at) if level is None else level,
                received_at=received_at,
            )
            outcomes |= zip((row.id for row in group), recorded, strict=True)
        _settle(workspace_id, locked, outcomes)
        same = list(same_persons((incoming[row_id], outcomes[row_id]) for row_id in incoming))
        if same:
            transaction.on_commit(partial(merge_or_leave, workspace_id, same), robust=True)
    statuses = [outcome.status for outcome in outcomes.values()]
    return Replayed(
        statuses.count("recorded"),
        statuses.count("duplicate"),
        statuses.count("refused"),
        locked[-1].id if locked else None,
    )


def _groups(
    rows: Iterable[RefusedEvent],
) -> Mapping[tuple[SchemaPolicy, str, datetime], Sequence[RefusedEvent]]:
    """Group rows that one call can record: of one request, mostly."""
    groups: dict[tuple[SchemaPolicy, str, datetime], list[RefusedEvent]] = defaultdict(list)
    for row in rows:
        groups[SchemaPolicy(row.schema_policy), row.source, row.received_at].append(row)
    return groups


def _understood(
    rows: Sequence[RefusedEvent],
) -> tuple[dict[UUID, IncomingEvent], dict[UUID, Outcome]]:
    """Return the events of rows, and the outcome of those that still cannot be understood."""
    incoming, refused = {}, {}
    for row in rows:
        try:
            incoming[row.id] = incoming_of(row)
        except ItemRefused as error:
            refused[row.id] = Outcome(status="refused", error=error)
    return incoming, refused


def _level(received_at: datetime) -> EffectsLevel:
    is_old = clock.now() - received_at > LATE_AFTER
    return EffectsLevel.SCORES_AND_SEGMENTS if is_old else EffectsLevel.ALL


def _settle(workspace_id: UUID, rows: Sequence[RefusedEvent], outcomes: Mapping[UUID, Outcome]) -> None:
    refused = []
    for row in rows:
        if (error := outcomes[row.id].error) is not None:
            row.code, row.error = error.code, storable_text(error.message, _MAX_ERROR)
            row.attempts += 1
            refused.append(row)
    RefusedEvent.objects.bulk_update(refused, ["code", "error", "attempts"])
    done = {row.id for row in rows} - {row.id for row in refused}
    RefusedEvent.objects.in_workspace(workspace_id).filter(id__in=list(done)).delete()


def replayable(
    workspace_id: UUID, *, name: str | None = None, code: str | None = None
) -> QuerySet[RefusedEvent]:
    """Return the refused events of a workspace, of one name and one cause if these are given."""
    rows = RefusedEvent.objects.in_workspace(workspace_id)
    if name is not None:
        rows = rows.filter(name=name)
    return rows if code is None else rows.filter(code=code)
