"""What has happened to contacts, though its effects are still to come: no run is taken past it.

A message after the purchase is what nobody forgives. So before runs are taken on, the stream is asked for the goals
and exits that their contacts have fulfilled already; what these mean is what the effects would say.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from django.db import connection

from campaigns.definition import is_believed
from campaigns.models import Run, RunState
from campaigns.reasons import Reason
from campaigns.services.noticing import concerns, end_by, match_notices
from campaigns.services.plans import Meaning, Notice
from campaigns.services.turns import Chunk, End, Later, Outcome
from events.bounds import end_id_of_events, first_id_of_events, known_until
from events.models import EffectsLevel
from events.services import EffectEvent, lane_of

PAUSE: Final = timedelta(seconds=1)
"""How soon a run is looked at again whose end only the effects can decide."""


def outcomes_of_lag(
    chunk: Chunk, runs: Sequence[RunState], notices: Mapping[UUID, Sequence[Notice]]
) -> dict[UUID, Outcome]:
    """Return what becomes of the runs that must not go on: because an event ends them, or may do so.

    `notices`: by version. Costs one statement, and two more where something is found.
    """
    ending = {
        version_id: [one for one in those if one.meaning is not Meaning.AWAITED]
        for version_id, those in notices.items()
    }
    runs = [run for run in runs if ending.get(run.version_id)]
    found = _find(chunk, runs, ending) if runs else []
    if not found:
        return {}
    # In an order of their own: the same versions make the same statement.
    versions = sorted({run.version_id for run in runs})
    fulfilled = match_notices(
        chunk.workspace_id,
        [one for version_id in versions for one in ending[version_id]],
        [one.event for one in found],
        chunk.now,
    )
    of_person: dict[UUID, list[_Found]] = defaultdict(list)
    for one in found:
        of_person[one.event.contact_id].append(one)
    outcomes: dict[UUID, Outcome] = {}
    for run in runs:
        for one in of_person[chunk.people[run.contact_id].id]:
            if (outcome := _outcome(chunk, run, one, ending[run.version_id], fulfilled)) is not None:
                outcomes[run.id] = outcome
                break
    return outcomes


@dataclass(frozen=True, slots=True)
class _Found:
    event: EffectEvent
    # Whether it waits for its effects.
    waits: bool


def _outcome(
    chunk: Chunk,
    run: RunState,
    found: _Found,
    ending: Sequence[Notice],
    fulfilled: Mapping[UUID, Sequence[Notice]],
) -> Outcome | None:
    event = found.event
    if not concerns(run, event):
        return None
    # Of a contact not all is known before the effects: its segments, say, and its score.
    if found.waits and any(one.match.event_name == event.name and one.needs_contact for one in ending):
        return Later(chunk.now + PAUSE)
    own = [one for one in fulfilled.get(event.id, ()) if one.version_id == run.version_id]
    match end_by(run, event, own):
        case Reason.GOAL:
            return End(Run.Status.CONVERTED, Reason.GOAL, event_id=event.id)
        case Reason.EXIT_RULE:
            return End(Run.Status.EXITED, Reason.EXIT_RULE, event_id=event.id)
    return None


def _find(chunk: Chunk, runs: Sequence[RunState], ending: Mapping[UUID, Sequence[Notice]]) -> list[_Found]:
    """Return events that may end the runs, in order of time.

    Those that wait for their effects; and of runs that begin, all since the trigger: the effects have looked at
    these before there was a run. A trial is not ended by what came before it.
    """
    beginning = [run for run in runs if not run.steps_taken and run.arrived_at is None and not run.is_test]
    names = list({one.match.event_name for run in runs for one in ending[run.version_id]})
    people = _people(chunk, runs)
    bounds = _bounds(chunk, runs)
    with connection.cursor() as cursor:
        cursor.execute(
            _FIND,
            [
                chunk.workspace_id,
                *bounds,
                *people,
                chunk.workspace_id,
                sorted({lane_of(one) for ids in people for one in ids}),
                *bounds,
                names,
                *_people(chunk, beginning),
                chunk.workspace_id,
                names,
                *_bounds(chunk, beginning),
            ],
        )
        rows = cursor.fetchall()
    waiting = {row[0] for row in rows if row[5]}
    events = {
        id_: EffectEvent(id_, contact_id, name, occurred_at, source, 0, EffectsLevel.ALL)
        for id_, contact_id, name, occurred_at, source, _ in rows
        if is_believed(name, source)
    }
    return [_Found(event, event.id in waiting) for event in events.values()]


def _people(chunk: Chunk, runs: Sequence[RunState]) -> tuple[list[UUID], list[UUID]]:
    """Return the contacts that events came with, and beside each the one that stands for it."""
    people = [chunk.people[run.contact_id] for run in runs]
    owners = {one: person.id for person in people for one in person.ids}
    return list(owners), list(owners.values())


def _bounds(chunk: Chunk, runs: Sequence[RunState]) -> tuple[UUID, UUID]:
    """Return between which ids the events of runs are that came with their triggers or after them."""
    since = min((run.triggered_at for run in runs), default=chunk.now)
    return first_id_of_events(since), end_id_of_events(known_until(chunk.now))


_FIND: Final = """
SELECT e.id, w.owner, e.name, e.occurred_at, e.source, true
FROM events_eventbatch b
CROSS JOIN LATERAL unnest(b.event_ids) AS one (id)
CROSS JOIN LATERAL (
    SELECT id, contact_id, name, occurred_at, source FROM events_event
    WHERE workspace_id = %s AND id = one.id AND id BETWEEN %s AND %s OFFSET 0
) e
JOIN unnest(%s::uuid[], %s::uuid[]) AS w (origin, owner) ON w.origin = e.contact_id
WHERE b.workspace_id = %s AND b.lane = ANY(%s) AND one.id BETWEEN %s AND %s AND e.name = ANY(%s)
UNION ALL
SELECT e.id, w.owner, e.name, e.occurred_at, e.source, false
FROM unnest(%s::uuid[], %s::uuid[]) AS w (origin, owner)
CROSS JOIN LATERAL (
    SELECT id, name, occurred_at, source FROM events_event
    WHERE workspace_id = %s AND contact_id = w.origin AND name || '' = ANY(%s) AND id BETWEEN %s AND %s OFFSET 0
) e
ORDER BY occurred_at, id
"""
