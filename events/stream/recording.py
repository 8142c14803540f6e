"""Record events: what clients, imports and staff send enters by `record_events`, with the changes of contacts.

What Headrace itself derives from events is written by `derived_events`, what happens to contacts otherwise by
`contact_changes`; all insert by `outbox.insert_events`.
"""

from collections import Counter
from collections.abc import Callable, Container, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Generic, Protocol, TypeVar
from uuid import UUID

from django.conf import settings
from django.db import transaction

from config import clock, ids
from config.db.statements import execute, fetch_all
from config.errors import DomainError
from config.values.json_size import has_too_many_keys
from config.values.names import composed
from contacts.companies import CompanyResolution, ResolvedCompany, link_companies
from contacts.identity.resolution import ContactResolution
from contacts.references import Resolution
from contacts.signals import ContactChange
from events.errors import InvalidEventName, InvalidEventTime, InvalidMessageId, TooManyProperties
from events.id_bounds import CLOCK_TOLERANCE, in_milliseconds
from events.metrics import EVENTS
from events.models import EffectsLevel
from events.stream.contact_changes import event_of_change, gathering_changes
from events.stream.lateness import are_late, level_of
from events.stream.outbox import insert_events
from events.stream.schemas import check_schemas
from events.stream.types import IncomingEvent, Outcome, RecordedEvent, SchemaPolicy

FIRST_MOMENT = datetime(1970, 1, 1, tzinfo=UTC)
MAX_NAME = 255
MAX_MESSAGE_ID = 255


@transaction.atomic(savepoint=False)
def record_events(
    workspace_id: UUID,
    incoming: Sequence[IncomingEvent],
    *,
    schema_policy: SchemaPolicy,
    source: str = "api",
    level: EffectsLevel = EffectsLevel.ALL,
    received_at: datetime | None = None,
) -> list[Outcome]:
    """Record events, each on its own merits; a fixed number of statements whatever their number.

    `received_at`: when they came, of those that were refused at first; by default now.

    Every item has its outcome, in order. A refused item changes nothing; of several reasons the event's own form is
    told first, then its company, its contact and its schema.
    """
    received_at = received_at or clock.now()
    admission = _Admission(workspace_id, incoming, received_at, source)
    with gathering_changes(workspace_id) as changes:
        admission.admit(schema_policy)
        outcomes = {
            place: Outcome(status="refused", error=error) for place, error in admission.refused.items()
        }
        if admission.events:
            outcomes |= _insert(workspace_id, admission, changes, received_at, level)
    outcomes_in_order = [outcomes[place] for place in range(len(incoming))]
    transaction.on_commit(
        partial(_count, Counter([outcome.status for outcome in outcomes_in_order])), robust=True
    )
    return outcomes_in_order


def _count(statuses: Mapping[str, int]) -> None:
    for status, count in statuses.items():
        EVENTS.labels(status).inc(count)


class _Admission:
    """Decides which events may be recorded; only for those are contacts, companies and schemas written.

    Contacts and companies are looked up first, so that what is refused is known before anything is written.
    """

    def __init__(
        self, workspace_id: UUID, incoming: Sequence[IncomingEvent], received_at: datetime, source: str
    ) -> None:
        self._workspace_id = workspace_id
        self.incoming = incoming
        # By place in `incoming`, as all that follows; each event is in one of the two.
        self.events: dict[int, RecordedEvent] = {}
        self.refused: dict[int, DomainError] = {}
        self.contacts: Mapping[int, Resolution] = {}
        self.companies: Mapping[int, ResolvedCompany] = {}
        for place, event in enumerate(incoming):
            try:
                self.events[place] = _new_recorded_event(workspace_id, event, received_at, source)
            except DomainError as error:
                self.refused[place] = error

    def admit(self, policy: SchemaPolicy) -> None:
        """Keep in `events` those that may be recorded, with properties as they are stored; the others are refused."""
        incoming = self.incoming
        companies = _Part(
            CompanyResolution,
            self._workspace_id,
            {place: company for place in self.events if (company := incoming[place].company) is not None},
        )
        contacts = _Part(
            ContactResolution,
            self._workspace_id,
            {place: contact for place in self.events if (contact := incoming[place].contact) is not None},
        )
        self._refuse(companies.refusals())
        self._refuse(contacts.refusals())
        self._check_schemas(policy)
        self.contacts, refused = contacts.apply(self.events)
        self._refuse(refused)
        self.companies, refused = companies.apply(self.events)
        self._refuse(refused)

    def _check_schemas(self, policy: SchemaPolicy) -> None:
        refused = {}
        checked = check_schemas(self._workspace_id, list(self.events.values()), policy)
        for (place, event), properties in zip(self.events.items(), checked, strict=True):
            if isinstance(properties, DomainError):
                refused[place] = properties
            else:
                event.properties = properties
        self._refuse(refused)

    def _refuse(self, errors: Mapping[int, DomainError]) -> None:
        for place, error in errors.items():
            if self.events.pop(place, None) is not None:
                self.refused[place] = error


_Reference = TypeVar("_Reference", contravariant=True)
_Result = TypeVar("_Result", covariant=True)


class _Pending(Protocol[_Result]):
    """A resolution of references: looked up already, written by `apply`."""

    @property
    def refusals(self) -> Sequence[DomainError | None]: ...

    def apply(self, places: Sequence[int]) -> Sequence[_Result | DomainError]: ...


class _Part(Generic[_Result]):
    """The resolution of contacts or companies, for the events that name one."""

    def __init__(
        self,
        resolve: Callable[[UUID, Sequence[_Reference]], _Pending[_Result]],
        workspace_id: UUID,
        references: Mapping[int, _Reference],
    ) -> None:
        self._places = list(references)
        self._pending = resolve(workspace_id, list(references.values())) if references else None

    def refusals(self) -> dict[int, DomainError]:
        """Return the refusals that are known before anything is written."""
        if self._pending is None:
            return {}
        found = zip(self._places, self._pending.refusals, strict=True)
        return {place: error for place, error in found if error is not None}

    def apply(self, open_places: Container[int]) -> tuple[dict[int, _Result], dict[int, DomainError]]:
        """Write what is left to write; returns the resolved rows and the refusals."""
        results: dict[int, _Result] = {}
        refused: dict[int, DomainError] = {}
        if self._pending is not None:
            chosen = [index for index, place in enumerate(self._places) if place in open_places]
            for index, result in zip(chosen, self._pending.apply(chosen), strict=True):
                if isinstance(result, DomainError):
                    refused[self._places[index]] = result
                else:
                    results[self._places[index]] = result
        return results, refused


def _insert(
    workspace_id: UUID,
    admission: _Admission,
    changes: Sequence[ContactChange],
    received_at: datetime,
    level: EffectsLevel,
) -> dict[int, Outcome]:
    contacts, companies = admission.contacts, admission.companies
    if pairs := [
        (contacts[place].contact_id, company[0].id)
        for place, company in companies.items()
        if place in contacts
    ]:
        link_companies(workspace_id, pairs)
    system = [
        event_of_change(workspace_id, change, received_at, place) for place, change in enumerate(changes)
    ]
    _complete(workspace_id, admission, first=len(system))
    events = list(admission.events.values())
    if historic := _only_by_late_events(workspace_id, system, events, are_all_recorded=not admission.refused):
        insert_events(workspace_id, historic, level=level_of(level, is_late=True), received_at=received_at)
        historic_ids = {event.id for event in historic}
        system = [event for event in system if event.id not in historic_ids]
    are_new = insert_events(workspace_id, [*system, *events], level=level, received_at=received_at)
    outcomes = {}
    for (place, event), is_new in zip(admission.events.items(), are_new[len(system) :], strict=True):
        company, company_created = companies.get(place, (None, False))
        outcomes[place] = Outcome(
            "recorded" if is_new else "duplicate",
            event,
            place in contacts and contacts[place].created,
            company,
            company_created,
            apart=contacts[place].apart if place in contacts else (),
        )
    return outcomes


def _complete(workspace_id: UUID, admission: _Admission, first: int) -> None:
    """Set ids, contacts and companies of the events; ids of one instant are in order, from `first` on."""
    known = _ids_of_timeless_keys(workspace_id, admission)
    for sequence, (place, event) in enumerate(admission.events.items(), first):
        if not event.message_id:
            event.id = ids.uuid7(event.occurred_at, sequence)
        else:
            incoming = admission.incoming[place]
            sent_at = None if incoming.is_time_estimated else incoming.occurred_at
            # The time as sent, not as clamped: a retry must come to the same id.
            event.id = (
                known[event.message_id]
                if sent_at is None
                else ids.keyed_id(workspace_id, event.message_id, sent_at)
            )
            may_be_ahead = sent_at is None or sent_at > event.occurred_at
            if may_be_ahead and ids.time_of(event.id) > event.occurred_at:
                event.is_ahead = True
                # In whole milliseconds, as all others are in the order of their ids.
                event.occurred_at = in_milliseconds(event.occurred_at)
        if (contact := admission.contacts.get(place)) is not None:
            event.contact_id = contact.came_with or contact.contact_id
            event.merged_into = contact.came_with and contact.contact_id
        if (company := admission.companies.get(place)) is not None:
            event.company_id = company[0].id


def _only_by_late_events(
    workspace_id: UUID,
    system: Sequence[RecordedEvent],
    events: Sequence[RecordedEvent],
    *,
    are_all_recorded: bool,
) -> list[RecordedEvent]:
    """Return the contact changes of contacts with late events only: these are history, too."""
    if not system:
        return []
    late = are_late(workspace_id, ((event.name, event.occurred_at, event.received_at) for event in events))
    if are_all_recorded and all(late):
        return list(system)
    in_time = {event.survivor_id for event, is_late in zip(events, late, strict=True) if not is_late}
    late_survivors = {event.survivor_id for event, is_late in zip(events, late, strict=True) if is_late}
    return [event for event in system if event.contact_id in late_survivors - in_time]


def _ids_of_timeless_keys(workspace_id: UUID, admission: _Admission) -> dict[str, UUID]:
    """Return the event id of each key that came without a time: the id cannot follow from the key alone."""
    moments = {
        event.message_id: event.occurred_at
        for place, event in admission.events.items()
        if (sent := admission.incoming[place]).occurred_at is None or sent.is_time_estimated
        if event.message_id
    }
    keys = sorted(moments)
    if not keys:
        return {}
    execute(
        "INSERT INTO events_messagekey (id, workspace_id, key, event_id)"
        " SELECT new.id, %s, new.key, new.id FROM unnest(%s::uuid[], %s::text[]) AS new (id, key)"
        " ORDER BY new.key ON CONFLICT (workspace_id, key) DO NOTHING",
        [workspace_id, [ids.uuid7(moments[key], place) for place, key in enumerate(keys)], keys],
    )
    return dict(
        fetch_all(
            "SELECT key, event_id FROM events_messagekey WHERE workspace_id = %s AND key = ANY(%s)",
            [workspace_id, keys],
        )
    )


def _new_recorded_event(
    workspace_id: UUID, event: IncomingEvent, received_at: datetime, source: str
) -> RecordedEvent:
    """Make a RecordedEvent of an incoming one. Raises the DomainError of what is wrong with its form."""
    name = composed(event.name.strip()) if isinstance(event.name, str) else ""
    if not 0 < len(name) <= MAX_NAME:
        raise InvalidEventName
    if len(event.message_id) > MAX_MESSAGE_ID:
        raise InvalidMessageId
    if has_too_many_keys(event.properties):
        raise TooManyProperties(settings.MAX_KEYS)
    moment = event.occurred_at
    if moment is None:
        moment = received_at
    elif moment < FIRST_MOMENT:
        raise InvalidEventTime("must not be before 1970")
    elif moment > received_at:
        if moment > received_at + CLOCK_TOLERANCE:
            minutes = CLOCK_TOLERANCE // timedelta(minutes=1)
            raise InvalidEventTime(f"must be a moment in the past; it is more than {minutes} minutes ahead")
        moment = received_at
    return RecordedEvent(
        ids.NO_ID,
        workspace_id,
        name,
        event.properties,
        event.context,
        moment,
        received_at,
        source,
        message_id=composed(event.message_id),
    )
