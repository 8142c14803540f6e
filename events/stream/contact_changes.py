"""Record what happens to contacts as system events, with the event that caused it."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from django.db import transaction

from config import clock, ids
from contacts.signals import ContactChange, Kind, effects_of_changes
from events.models import EffectsLevel
from events.names import contact_event
from events.stream.derived_events import DerivedEvent, record_derived_events
from events.stream.outbox import insert_events
from events.stream.types import RecordedEvent


@contextmanager
def caused_by(event_id: UUID | None, depth: int, level: EffectsLevel = EffectsLevel.ALL) -> Iterator[None]:
    """Make changes of contacts that are recorded in this context caused by an event; the depth of causes ends loops.

    It triggers no more effects than `level` says: what follows from history is history.
    """
    token = _current_cause.set(_Cause(event_id, depth, level))
    try:
        yield
    finally:
        _current_cause.reset(token)


@dataclass(frozen=True, slots=True)
class _Cause:
    event_id: UUID | None
    depth: int
    level: EffectsLevel


_current_cause: ContextVar[_Cause | None] = ContextVar("current_cause", default=None)


def record_contact_changes(workspace_id: UUID, changes: Sequence[ContactChange]) -> None:
    """Record what happened to contacts as system events, beside the events that caused it where some did."""
    if (cause := _current_cause.get()) is not None:
        _record_consequent_changes(workspace_id, changes, cause)
        return
    if (gathered := _gathered.get()) is not None and gathered.workspace_id == workspace_id:
        gathered.changes.extend(changes)
        return
    received_at = clock.now()
    by_level: dict[EffectsLevel, list[RecordedEvent]] = defaultdict(list)
    limit = EffectsLevel.named(effects_of_changes())
    for place, change in enumerate(changes):
        event = event_of_change(workspace_id, change, received_at, place)
        by_level[min(_LEVELS.get(change.kind, EffectsLevel.ALL), limit)].append(event)
    with transaction.atomic(savepoint=False):
        for level, events in by_level.items():
            insert_events(workspace_id, events, level=level, received_at=received_at)


def _record_consequent_changes(workspace_id: UUID, changes: Sequence[ContactChange], cause: _Cause) -> None:
    now = clock.now()
    derived_events = [
        DerivedEvent(
            name=contact_event(change.kind),
            contact_id=change.contact_id,
            occurred_at=now,
            properties={"old": dict(change.old), "new": dict(change.new)},
            level=min(_LEVELS.get(change.kind, EffectsLevel.ALL), cause.level),
            cause_id=cause.event_id,
            depth=cause.depth,
        )
        for change in changes
    ]
    with transaction.atomic(savepoint=False):
        record_derived_events(workspace_id, derived_events, now=now)


# A merge makes nothing happen to the person: its histories start no campaign.
_LEVELS: Mapping[Kind, EffectsLevel] = {
    "merged": EffectsLevel.SCORES_AND_SEGMENTS,
    "unmerged": EffectsLevel.SCORES_AND_SEGMENTS,
}


@dataclass(slots=True)
class _GatheredChanges:
    workspace_id: UUID
    changes: list[ContactChange] = field(default_factory=list)


_gathered: ContextVar[_GatheredChanges | None] = ContextVar("gathered_changes", default=None)


@contextmanager
def gathering_changes(workspace_id: UUID) -> Iterator[list[ContactChange]]:
    """Gather the contact changes of this context instead of recording them: the caller inserts their events."""
    gathered = _GatheredChanges(workspace_id)
    token = _gathered.set(gathered)
    try:
        yield gathered.changes
    finally:
        _gathered.reset(token)


def event_of_change(
    workspace_id: UUID, change: ContactChange, received_at: datetime, sequence: int
) -> RecordedEvent:
    """Return the system event of a contact change; events of one moment are ordered by `sequence`."""
    return RecordedEvent(
        id=ids.uuid7(received_at, sequence),
        workspace_id=workspace_id,
        name=contact_event(change.kind),
        contact_id=change.contact_id,
        properties={"old": dict(change.old), "new": dict(change.new)},
        context={},
        occurred_at=received_at,
        received_at=received_at,
        source="system",
    )
