"""`record_events`: the only way into the stream."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from config import clock, ids
from config.errors import DomainError
from config.texts import composed
from contacts.services import Resolution, resolve_contacts
from contacts.signals import ContactChange, Kind
from events.bounds import CLOCK_TOLERANCE, in_milliseconds
from events.errors import InvalidEventName, InvalidEventTime, InvalidMessageId
from events.models import EffectsLevel
from events.partitions import has_partition
from events.services.consequences import Consequence, record_consequences
from events.services.lateness import are_late, level_of
from events.services.outbox import insert_events
from events.services.schemas import Checked, check_schemas, is_listed
from events.services.stream import IncomingEvent, Outcome, RecordedEvent, SchemaPolicy
from workspaces.models import Workspace

FIRST_MOMENT = datetime(1970, 1, 1, tzinfo=UTC)
MAX_NAME = 255
MAX_MESSAGE_ID = 255


@transaction.atomic
def record_events(
    workspace: Workspace,
    incoming: Sequence[IncomingEvent],
    *,
    schema_policy: SchemaPolicy,
    source: str = "api",
    level: EffectsLevel = EffectsLevel.ALL,
) -> list[Outcome]:
    """Record events, each on its own merits; a fixed number of statements whatever their number.

    Every item has its outcome, in order. A refused item changes nothing.
    """
    return _record(workspace.id, incoming, _Terms(schema_policy, source, level, strict=False))


def record_event(
    workspace: Workspace,
    incoming: IncomingEvent,
    *,
    schema_policy: SchemaPolicy,
    source: str = "api",
    level: EffectsLevel = EffectsLevel.ALL,
    savepoint: bool = True,
) -> Outcome:
    """Record one event. Raises the DomainError that refuses it, the contact's before the schema's.

    A caller whose own transaction falls with a refusal needs no savepoint inside it.
    """
    terms = _Terms(schema_policy, source, level, strict=True)
    # The usual send reads its contact and writes one statement, which is a transaction by itself: a BEGIN and a
    # COMMIT around them would add two round trips and no guarantee.
    writes_one = _writes_one_statement(workspace.id, incoming, terms)
    with nullcontext() if writes_one else transaction.atomic(savepoint=savepoint):
        (outcome,) = _record(workspace.id, [incoming], terms)
    return outcome


@contextmanager
def caused_by(event_id: UUID | None, depth: int, level: EffectsLevel = EffectsLevel.ALL) -> Iterator[None]:
    """Let what is recorded of contacts meanwhile follow from an event: a loop of causes ends by its depth.

    It turns no more wheels than `level` says: what follows from history is history.
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
    if (call := _current_call.get()) is not None and call.workspace_id == workspace_id:
        call.changes.extend(changes)
        return
    received_at = clock.now()
    by_level: dict[EffectsLevel, list[RecordedEvent]] = defaultdict(list)
    for place, change in enumerate(changes):
        event = _system_event(workspace_id, change, received_at, place)
        by_level[_LEVELS.get(change.kind, EffectsLevel.ALL)].append(event)
    with transaction.atomic(savepoint=False):
        for level, events in by_level.items():
            insert_events(workspace_id, events, level=level, received_at=received_at)


def _record_consequent_changes(workspace_id: UUID, changes: Sequence[ContactChange], cause: _Cause) -> None:
    now = clock.now()
    consequences = [
        Consequence(
            name=f"contact.{change.kind}",
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
        record_consequences(workspace_id, consequences, now=now)


# A merge makes nothing happen to the person: its histories start no campaign.
_LEVELS: Mapping[Kind, EffectsLevel] = {
    "merged": EffectsLevel.SCORES_AND_SEGMENTS,
    "unmerged": EffectsLevel.SCORES_AND_SEGMENTS,
}


@dataclass(frozen=True, slots=True)
class _Terms:
    schema_policy: SchemaPolicy
    source: str
    level: EffectsLevel
    strict: bool
    """Raise the first refusal instead of reporting it: everything is rolled back."""


def _writes_one_statement(workspace_id: UUID, event: IncomingEvent, terms: _Terms) -> bool:
    """Tell whether nothing but the event itself can be written: no contact, no schema, no key, no partition."""
    contact = event.contact
    return (
        terms.schema_policy is SchemaPolicy.OPEN
        and not event.message_id
        and (contact is None or (contact.if_missing == "refuse" and not contact.update_matched))
        and is_listed(workspace_id, event)
        and has_partition(event.occurred_at or clock.now())
    )


@dataclass(slots=True)
class _Call:
    """What one call of `record_events` gathers: contact changes go into the stream with its own events."""

    workspace_id: UUID
    changes: list[ContactChange] = field(default_factory=list)


_current_call: ContextVar[_Call | None] = ContextVar("current_call", default=None)


@contextmanager
def _gathering_changes(workspace_id: UUID) -> Iterator[_Call]:
    call = _Call(workspace_id)
    token = _current_call.set(call)
    try:
        yield call
    finally:
        _current_call.reset(token)


def _record(workspace_id: UUID, incoming: Sequence[IncomingEvent], terms: _Terms) -> list[Outcome]:
    received_at = clock.now()
    outcomes: list[Outcome | None] = [None] * len(incoming)
    sound: list[tuple[int, IncomingEvent]] = []
    for place, event in enumerate(incoming):
        try:
            sound.append((place, _sound(event, received_at)))
        except DomainError as error:
            outcomes[place] = _refuse(error, terms)
    with _gathering_changes(workspace_id) as call:
        accepted = _admit(workspace_id, sound, outcomes, terms)
        if accepted:
            _insert(workspace_id, accepted, outcomes, call, received_at, terms)
    return [outcome for outcome in outcomes if outcome is not None]


@dataclass(frozen=True, slots=True)
class _Admitted:
    place: int
    event: IncomingEvent
    properties: Any
    resolution: Resolution | None


def _admit(
    workspace_id: UUID,
    sound: Sequence[tuple[int, IncomingEvent]],
    outcomes: list[Outcome | None],
    terms: _Terms,
) -> list[_Admitted]:
    """Settle contacts and schemas. A strict call asks for the contact first: its refusal is told first."""
    if terms.strict:
        resolutions = _resolve(workspace_id, sound)
        for resolution in resolutions:
            if isinstance(resolution, DomainError):
                raise resolution
    checked = check_schemas(workspace_id, [event for _, event in sound], terms.schema_policy)
    passing: list[tuple[tuple[int, IncomingEvent], Checked]] = []
    for item, properties in zip(sound, checked, strict=True):
        if isinstance(properties, DomainError):
            outcomes[item[0]] = _refuse(properties, terms)
        else:
            passing.append((item, properties))
    if not terms.strict:
        resolutions = _resolve(workspace_id, [item for item, _ in passing])
    admitted = []
    for ((place, event), properties), resolution in zip(passing, resolutions, strict=True):
        if isinstance(resolution, DomainError):
            outcomes[place] = _refuse(resolution, terms)
        else:
            admitted.append(_Admitted(place, event, properties, resolution))
    return admitted


def _resolve(
    workspace_id: UUID, items: Sequence[tuple[int, IncomingEvent]]
) -> list[Resolution | DomainError | None]:
    references = [event.contact for _, event in items if event.contact is not None]
    found = iter(resolve_contacts(workspace_id, references) if references else ())
    return [None if event.contact is None else next(found) for _, event in items]


def _insert(
    workspace_id: UUID,
    admitted: Sequence[_Admitted],
    outcomes: list[Outcome | None],
    call: _Call,
    received_at: datetime,
    terms: _Terms,
) -> None:
    system = [
        _system_event(workspace_id, change, received_at, place) for place, change in enumerate(call.changes)
    ]
    known = _ids_of_timeless_keys(workspace_id, [item.event for item in admitted], received_at)
    events = [
        _recorded_event(workspace_id, item, received_at, len(system) + index, known, terms.source)
        for index, item in enumerate(admitted)
    ]
    historic = _only_by_late_events(workspace_id, system, events)
    if historic:
        insert_events(
            workspace_id, historic, level=level_of(terms.level, is_late=True), received_at=received_at
        )
        told = {one.id for one in historic}
        system = [one for one in system if one.id not in told]
    new = insert_events(workspace_id, [*system, *events], level=terms.level, received_at=received_at)
    for item, event in zip(admitted, events, strict=True):
        is_new = event.id in new
        new.discard(event.id)
        outcomes[item.place] = Outcome(
            status="recorded" if is_new else "duplicate",
            event=event,
            contact_created=item.resolution is not None and item.resolution.created,
        )


def _only_by_late_events(
    workspace_id: UUID, system: Sequence[RecordedEvent], events: Sequence[RecordedEvent]
) -> list[RecordedEvent]:
    """Return what happened to contacts of which a call tells late events only: it is history as these are."""
    if not system:
        return []
    late = are_late(workspace_id, ((one.name, one.occurred_at, one.received_at) for one in events))
    in_time = {one.survivor_id for one, is_late in zip(events, late, strict=True) if not is_late}
    told_late = {one.survivor_id for one, is_late in zip(events, late, strict=True) if is_late}
    return [one for one in system if one.contact_id in told_late - in_time]


def _recorded_event(
    workspace_id: UUID,
    item: _Admitted,
    received_at: datetime,
    sequence: int,
    known: dict[str, UUID],
    source: str,
) -> RecordedEvent:
    event, resolution = item.event, item.resolution
    occurred_at = min(event.occurred_at or received_at, received_at)
    if not event.message_id:
        event_id = ids.uuid7(occurred_at, sequence)
    elif event.occurred_at is None:
        event_id = known[event.message_id]
    else:
        # The time as sent, not as clamped: a retry must come to the same id.
        event_id = ids.keyed_id(workspace_id, event.message_id, event.occurred_at)
    if is_ahead := ids.time_of(event_id) > occurred_at:
        # In whole milliseconds, as all others are in the order of their ids.
        occurred_at = in_milliseconds(occurred_at)
    return RecordedEvent(
        id=event_id,
        workspace_id=workspace_id,
        name=event.name,
        contact_id=None if resolution is None else resolution.came_with or resolution.contact_id,
        properties=item.properties,
        context=event.context,
        occurred_at=occurred_at,
        received_at=received_at,
        company_id=event.company_id,
        source=source,
        message_id=event.message_id,
        is_ahead=is_ahead,
        merged_into=None if resolution is None or resolution.came_with is None else resolution.contact_id,
    )


def _ids_of_timeless_keys(
    workspace_id: UUID, events: Sequence[IncomingEvent], received_at: datetime
) -> dict[str, UUID]:
    """Return the event id of each key that came without a time: the id cannot follow from the key alone."""
    keys = sorted({event.message_id for event in events if event.message_id and event.occurred_at is None})
    if not keys:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO events_messagekey (id, workspace_id, key, event_id)"
            " SELECT new.id, %s, new.key, new.id FROM unnest(%s::uuid[], %s::text[]) AS new (id, key)"
            " ORDER BY new.key ON CONFLICT (workspace_id, key) DO NOTHING",
            [workspace_id, [ids.uuid7(received_at, place) for place, _ in enumerate(keys)], keys],
        )
        cursor.execute(
            "SELECT key, event_id FROM events_messagekey WHERE workspace_id = %s AND key = ANY(%s)",
            [workspace_id, keys],
        )
        return dict(cursor.fetchall())


def _system_event(
    workspace_id: UUID, change: ContactChange, received_at: datetime, sequence: int
) -> RecordedEvent:
    return RecordedEvent(
        id=ids.uuid7(received_at, sequence),
        workspace_id=workspace_id,
        name=f"contact.{change.kind}",
        contact_id=change.contact_id,
        properties={"old": dict(change.old), "new": dict(change.new)},
        context={},
        occurred_at=received_at,
        received_at=received_at,
        source="system",
    )


def _sound(event: IncomingEvent, received_at: datetime) -> IncomingEvent:
    """Return the event with a trimmed name. Raises what is wrong with it whatever its schema."""
    name = composed(event.name.strip()) if isinstance(event.name, str) else ""
    if not 0 < len(name) <= MAX_NAME:
        raise InvalidEventName
    if len(event.message_id) > MAX_MESSAGE_ID:
        raise InvalidMessageId
    moment = event.occurred_at
    if moment is not None and moment < FIRST_MOMENT:
        raise InvalidEventTime("must not be before 1970")
    if moment is not None and moment > received_at + CLOCK_TOLERANCE:
        minutes = CLOCK_TOLERANCE // timedelta(minutes=1)
        raise InvalidEventTime(f"must be a moment in the past; it is more than {minutes} minutes ahead")
    key = composed(event.message_id)
    is_so_spelled = name == event.name and key == event.message_id
    return event if is_so_spelled else replace(event, name=name, message_id=key)


def _refuse(error: DomainError, terms: _Terms) -> Outcome:
    if terms.strict:
        raise error
    return Outcome(status="refused", error=error)
