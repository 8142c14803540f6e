"""`record_events`: the only way into the stream."""

from collections import defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from config import clock, ids
from config.errors import DomainError
from config.texts import composed
from contacts.services import CompanyResolution, ContactResolution, Resolution, link_companies
from contacts.services.companies import ResolvedCompany
from contacts.signals import ContactChange, Kind
from events.bounds import CLOCK_TOLERANCE, in_milliseconds
from events.errors import InvalidEventName, InvalidEventTime, InvalidMessageId
from events.models import EffectsLevel
from events.services.consequences import Consequence, record_consequences
from events.services.lateness import are_late, level_of
from events.services.outbox import insert_events
from events.services.schemas import check_schemas
from events.services.stream import IncomingEvent, Outcome, RecordedEvent, SchemaPolicy
from workspaces.models import Workspace

FIRST_MOMENT = datetime(1970, 1, 1, tzinfo=UTC)
MAX_NAME = 255
MAX_MESSAGE_ID = 255


@transaction.atomic(savepoint=False)
def record_events(
    workspace: Workspace,
    incoming: Sequence[IncomingEvent],
    *,
    schema_policy: SchemaPolicy,
    source: str = "api",
    level: EffectsLevel = EffectsLevel.ALL,
) -> list[Outcome]:
    """Record events, each on its own merits; a fixed number of statements whatever their number.

    Every item has its outcome, in order. A refused item changes nothing; of several reasons the event's own form is
    told first, then its company, its contact and its schema.
    """
    return _record(workspace.id, incoming, _Terms(schema_policy, source, level))


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
    admission = _Admission(workspace_id, incoming, received_at)
    with _gathering_changes(workspace_id) as call:
        admitted = admission.admit(terms.schema_policy)
        outcomes = admission.refused
        if admitted:
            outcomes |= _insert(workspace_id, admitted, call, received_at, terms)
    return [outcomes[place] for place in range(len(incoming))]


@dataclass(frozen=True, slots=True)
class _Admitted:
    place: int
    event: IncomingEvent
    properties: Any
    resolution: Resolution | None
    company: ResolvedCompany | None


class _Admission:
    """Decides which events may be recorded; only for those are contacts, companies and schemas written.

    Contacts and companies are looked up first, so that what is refused is known before anything is written.
    """

    def __init__(self, workspace_id: UUID, incoming: Sequence[IncomingEvent], received_at: datetime) -> None:
        self._workspace_id = workspace_id
        self.refused: dict[int, Outcome] = {}
        self._sound: dict[int, IncomingEvent] = {}
        for place, event in enumerate(incoming):
            try:
                self._sound[place] = _sound(event, received_at)
            except DomainError as error:
                self._refuse(place, error)

    def admit(self, policy: SchemaPolicy) -> list[_Admitted]:
        """Return what may be recorded, by place; the others are in `refused`."""
        companies = _Part(
            CompanyResolution,
            self._workspace_id,
            {place: event.company for place, event in self._sound.items() if event.company is not None},
        )
        contacts = _Part(
            ContactResolution,
            self._workspace_id,
            {place: event.contact for place, event in self._sound.items() if event.contact is not None},
        )
        for part in (companies, contacts):
            for place, error in part.refusals().items():
                self._refuse(place, error)
        properties = self._check_schemas(policy)
        resolutions = self._apply(contacts)
        linked = self._apply(companies)
        return [
            _Admitted(place, event, properties[place], resolutions.get(place), linked.get(place))
            for place, event in self._open().items()
        ]

    def _check_schemas(self, policy: SchemaPolicy) -> dict[int, Any]:
        events = self._open()
        checked = check_schemas(self._workspace_id, list(events.values()), policy)
        properties = dict(zip(events, checked, strict=True))
        for place, result in properties.items():
            if isinstance(result, DomainError):
                self._refuse(place, result)
        return properties

    def _apply(self, part: "_Part") -> dict[int, Any]:
        results = part.apply(self._open())
        for place, result in results.items():
            if isinstance(result, DomainError):
                self._refuse(place, result)
        return results

    def _open(self) -> dict[int, IncomingEvent]:
        return {place: event for place, event in self._sound.items() if place not in self.refused}

    def _refuse(self, place: int, error: DomainError) -> None:
        self.refused.setdefault(place, Outcome(status="refused", error=error))


class _Part:
    """The contacts, or the companies, of the events that name one, by place."""

    def __init__(self, resolver: Any, workspace_id: UUID, references: Mapping[int, Any]) -> None:
        self._places = list(references)
        self._resolution = resolver(workspace_id, list(references.values())) if references else None

    def refusals(self) -> dict[int, DomainError]:
        """Return what is refused already now, before anything is written."""
        if self._resolution is None:
            return {}
        found = zip(self._places, self._resolution.refusals, strict=True)
        return {place: error for place, error in found if error is not None}

    def apply(self, open_places: Container[int]) -> dict[int, Any]:
        """Write what the open ones take, and return what they resolve to, or their refusals."""
        if self._resolution is None:
            return {}
        chosen = [index for index, place in enumerate(self._places) if place in open_places]
        return {
            self._places[index]: result
            for index, result in zip(chosen, self._resolution.apply(chosen), strict=True)
        }


def _insert(
    workspace_id: UUID,
    admitted: Sequence[_Admitted],
    call: _Call,
    received_at: datetime,
    terms: _Terms,
) -> dict[int, Outcome]:
    if pairs := [
        (item.resolution.contact_id, item.company[0].id)
        for item in admitted
        if item.resolution is not None and item.company is not None
    ]:
        link_companies(workspace_id, pairs)
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
    outcomes = {}
    for item, event in zip(admitted, events, strict=True):
        is_new = event.id in new
        new.discard(event.id)
        company, company_created = item.company or (None, False)
        outcomes[item.place] = Outcome(
            status="recorded" if is_new else "duplicate",
            event=event,
            contact_created=item.resolution is not None and item.resolution.created,
            company=company,
            company_created=company_created,
        )
    return outcomes


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
        company_id=None if item.company is None else item.company[0].id,
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
