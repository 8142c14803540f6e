"""Check unprocessed events for goals and exits before advancing enrollments.

An event is stored before its effects run. Without this check, a contact could get a message after the purchase that
should have ended the enrollment.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from campaigns.journeys.definition.triggers import is_trusted
from campaigns.journeys.goals_and_exits import concerns, ending_reason, match_listeners
from campaigns.journeys.plans import Listener, ListenerKind
from campaigns.journeys.step_context import EnrollmentBatch, Finish, Postpone, StepOutcome
from campaigns.models import Enrollment, EnrollmentState
from campaigns.reasons import Reason
from config.db.statements import fetch_all
from config.ids import first_id_at
from events.id_bounds import end_id_of_events, first_id_of_events, in_milliseconds, known_until
from events.models import EffectsLevel
from events.processing.passes import EffectEvent
from events.stream.outbox import BEHIND_ALL, lane_of

MOST_BATCHES: Final = 32
MOST_EVENTS: Final = 1_000
"""How much of what waits is read; where more waits, an import say, the people's own events are looked up in it."""
RECHECK_DELAY: Final = timedelta(seconds=1)
"""When an enrollment is checked again whose end only the effects can decide."""


def outcomes_of_pending_events(
    batch: EnrollmentBatch,
    enrollments: Sequence[EnrollmentState],
    listeners: Mapping[UUID, Sequence[Listener]],
) -> dict[UUID, StepOutcome]:
    """Return outcomes of the enrollments that an event ends, or may end: these must not advance.

    `listeners`: by version. One statement, and two more if events are found; one more where much waits.
    """
    ending = {
        version_id: [item for item in version_listeners if item.kind is not ListenerKind.AWAITED]
        for version_id, version_listeners in listeners.items()
    }
    enrollments = [enrollment for enrollment in enrollments if ending.get(enrollment.version_id)]
    pending = _find_events(batch, enrollments, ending) if enrollments else []
    if not pending:
        return {}
    # Sorted, so that the same versions make the same statement.
    versions = sorted({enrollment.version_id for enrollment in enrollments})
    fulfilled = match_listeners(
        batch.workspace_id,
        [item for version_id in versions for item in ending[version_id]],
        [item.event for item in pending],
        batch.now,
    )
    by_contact: dict[UUID, list[_PendingEvent]] = defaultdict(list)
    for item in pending:
        by_contact[item.event.contact_id].append(item)
    outcomes: dict[UUID, StepOutcome] = {}
    for enrollment in enrollments:
        for item in by_contact[batch.people[enrollment.contact_id].id]:
            if (
                outcome := _outcome_of_event(
                    batch, enrollment, item, ending[enrollment.version_id], fulfilled
                )
            ) is not None:
                outcomes[enrollment.id] = outcome
                break
    return outcomes


@dataclass(frozen=True, slots=True)
class _PendingEvent:
    event: EffectEvent
    # Whether its effects have not run yet.
    is_unprocessed: bool


def _outcome_of_event(
    batch: EnrollmentBatch,
    enrollment: EnrollmentState,
    pending: _PendingEvent,
    ending: Sequence[Listener],
    fulfilled: Mapping[UUID, Sequence[Listener]],
) -> StepOutcome | None:
    event = pending.event
    if not concerns(enrollment, event):
        return None
    # Before the effects, the contact's segments and score are not up to date.
    if pending.is_unprocessed and any(
        item.match.event_name == event.name and item.needs_contact for item in ending
    ):
        return Postpone(batch.now + RECHECK_DELAY)
    own = [item for item in fulfilled.get(event.id, ()) if item.version_id == enrollment.version_id]
    match ending_reason(enrollment, event, own):
        case Reason.GOAL:
            return Finish(Enrollment.Status.CONVERTED, Reason.GOAL, event_id=event.id)
        case Reason.EXIT_RULE:
            return Finish(Enrollment.Status.EXITED, Reason.EXIT_RULE, event_id=event.id)
    return None


def _find_events(
    batch: EnrollmentBatch, enrollments: Sequence[EnrollmentState], ending: Mapping[UUID, Sequence[Listener]]
) -> list[_PendingEvent]:
    """Return events that may end the enrollments, by time.

    Unprocessed events; for new enrollments also all since the trigger, whose effects ran before the enrollment
    existed. Earlier events do not end a trial.
    """
    beginning = [
        enrollment
        for enrollment in enrollments
        if not enrollment.steps_taken and enrollment.arrived_at is None and not enrollment.is_test
    ]
    names = list(
        {item.match.event_name for enrollment in enrollments for item in ending[enrollment.version_id]}
    )
    people = _people(batch, enrollments)
    bounds = _bounds(batch, enrollments)
    lanes = sorted({lane_of(contact_id) for ids in people for contact_id in ids})
    rows = fetch_all(
        _FIND_EVENTS,
        [
            *(batch.workspace_id, lanes, MOST_BATCHES + 1, MOST_BATCHES, MOST_EVENTS),
            *(batch.workspace_id, *bounds, *people, *bounds, names),
            *(*_people(batch, beginning), batch.workspace_id, names, *_bounds(batch, beginning)),
        ],
    )
    if rows and rows[-1][0] is None:
        own = fetch_all(_OWN_EVENTS, [*people, batch.workspace_id, names, *bounds])
        found = [(*row[:5], True) for row in _waiting_among(batch, own, enrollments)]
        rows = sorted([*rows[:-1], *found], key=lambda row: (row[3], row[0]))
    waiting = {row[0] for row in rows if row[5]}
    events = {
        id_: EffectEvent(id_, contact_id, name, occurred_at, source, 0, EffectsLevel.ALL)
        for id_, contact_id, name, occurred_at, source, _ in rows
        if is_trusted(name, source)
    }
    return [_PendingEvent(event, event.id in waiting) for event in events.values()]


def _waiting_among(
    batch: EnrollmentBatch, events: Sequence[Any], enrollments: Sequence[EnrollmentState]
) -> list[Any]:
    """Return which events of the people wait for their effects, without reading all that waits.

    A batch that was recorded with its events has the time of their receipt in its id, any other tells the first and
    the last of its contacts.
    """
    people = {
        batch.people[enrollment.contact_id].id: batch.people[enrollment.contact_id]
        for enrollment in enrollments
    }
    places = [
        (event_id, contact_id, lane, *_ids_of_batch(received_at), *_ids_of_batch(received_at + BEHIND_ALL))
        for event_id, owner, _, _, _, received_at in events
        for contact_id in people[owner].ids
        for lane in {lane_of(each) for each in people[owner].ids}
    ]
    if not places:
        return []
    workspace = [batch.workspace_id] * 3
    found = {
        event_id
        for (event_id,) in fetch_all(_ARE_WAITING, [*map(list, zip(*places, strict=True)), *workspace])
    }
    return [event for event in events if event[0] in found]


def _ids_of_batch(queued_at: datetime) -> tuple[UUID, UUID]:
    """Return the first id that a batch of a time can have, and the first that it cannot."""
    queued_at = in_milliseconds(queued_at)
    return first_id_at(queued_at), first_id_at(queued_at + timedelta(milliseconds=1))


def _people(batch: EnrollmentBatch, enrollments: Sequence[EnrollmentState]) -> tuple[list[UUID], list[UUID]]:
    """Return contact ids that events may have, merged ones included, and the canonical contact of each."""
    people = [batch.people[enrollment.contact_id] for enrollment in enrollments]
    owners = {item: person.id for person in people for item in person.ids}
    return list(owners), list(owners.values())


def _bounds(batch: EnrollmentBatch, enrollments: Sequence[EnrollmentState]) -> tuple[UUID, UUID]:
    """Return the range of event ids from the earliest trigger to now."""
    since = min((enrollment.triggered_at for enrollment in enrollments), default=batch.now)
    return first_id_of_events(since), end_id_of_events(known_until(batch.now))


_FIND_EVENTS: Final = """
WITH waiting AS MATERIALIZED (
    SELECT event_ids FROM events_eventbatch WHERE workspace_id = %s AND lane = ANY(%s) LIMIT %s
), amount AS MATERIALIZED (
    SELECT count(*) > %s OR sum(cardinality(event_ids)) > %s AS is_much FROM waiting
)
SELECT e.id, w.owner, e.name, e.occurred_at, e.source, true
FROM waiting b
CROSS JOIN LATERAL unnest(b.event_ids) AS entry (id)
CROSS JOIN LATERAL (
    SELECT id, contact_id, name, occurred_at, source FROM events_event
    WHERE workspace_id = %s AND id = entry.id AND id BETWEEN %s AND %s OFFSET 0
) e
JOIN unnest(%s::uuid[], %s::uuid[]) AS w (origin, owner) ON w.origin = e.contact_id
WHERE (SELECT is_much FROM amount) IS NOT TRUE AND entry.id BETWEEN %s AND %s AND e.name = ANY(%s)
UNION ALL
SELECT e.id, w.owner, e.name, e.occurred_at, e.source, false
FROM unnest(%s::uuid[], %s::uuid[]) AS w (origin, owner)
CROSS JOIN LATERAL (
    SELECT id, name, occurred_at, source FROM events_event
    WHERE workspace_id = %s AND contact_id = w.origin AND name || '' = ANY(%s)
        AND id BETWEEN %s AND %s OFFSET 0
) e
UNION ALL
SELECT NULL, NULL, NULL, NULL, NULL, NULL FROM amount WHERE is_much
ORDER BY occurred_at, id
"""
"""The last row has no id where too much waits to be read."""

_OWN_EVENTS: Final = """
SELECT e.id, w.owner, e.name, e.occurred_at, e.source, e.received_at
FROM unnest(%s::uuid[], %s::uuid[]) AS w (origin, owner)
CROSS JOIN LATERAL (
    SELECT id, name, occurred_at, source, received_at FROM events_event
    WHERE workspace_id = %s AND contact_id = w.origin AND name || '' = ANY(%s)
        AND id BETWEEN %s AND %s OFFSET 0
) e
"""

_ARE_WAITING: Final = """
SELECT DISTINCT one.id
FROM unnest(%s::uuid[], %s::uuid[], %s::smallint[], %s::uuid[], %s::uuid[], %s::uuid[], %s::uuid[])
    AS one (id, contact_id, lane, first_id, end_id, first_behind, end_behind)
WHERE EXISTS (
    SELECT FROM events_eventbatch b WHERE b.workspace_id = %s AND b.lane = one.lane
        AND b.id >= one.first_id AND b.id < one.end_id AND b.event_ids @> ARRAY[one.id] OFFSET 0
) OR EXISTS (
    SELECT FROM events_eventbatch b WHERE b.workspace_id = %s AND b.lane = one.lane
        AND b.id >= one.first_behind AND b.id < one.end_behind AND b.event_ids @> ARRAY[one.id] OFFSET 0
) OR EXISTS (
    SELECT FROM events_eventbatch b WHERE b.workspace_id = %s AND b.lane = one.lane
        AND b.first_contact_id <= one.contact_id AND b.last_contact_id >= one.contact_id
        AND b.event_ids @> ARRAY[one.id] OFFSET 0
)
"""
