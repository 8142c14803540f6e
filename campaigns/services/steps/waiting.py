"""Steps that let time pass: until a moment, or until something happens."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection

from campaigns.definition import EVENT, SYSTEM_EVENTS, TIMEOUT, Wait, WaitForEvent, WaitForTime, WaitUntilDate
from campaigns.models import Run, RunState
from campaigns.reasons import Reason
from campaigns.services.correlating import properties_of, value_at
from campaigns.services.moments import moment_of, next_time_of_day
from campaigns.services.noticing import deadline_of
from campaigns.services.turns import End, GoOn, Outcome, Stay, Turn
from config.lookups import one_of
from events.bounds import known_until
from events.models import Event
from events.rules.matching import EventRule, events_of_contacts, matches


def wait(turn: Turn, runs: Sequence[RunState]) -> dict[UUID, Outcome]:
    """Wait for a time that begins when the run comes here."""
    step = turn.node.step
    assert isinstance(step, Wait)  # noqa: S101  # the table of steps sees to it
    return {run.id: _until(turn, run, (run.arrived_at or turn.now) + step.duration) for run in runs}


def wait_for_time(turn: Turn, runs: Sequence[RunState]) -> dict[UUID, Outcome]:
    """Wait until it is a time of day where the contact lives."""
    step = turn.node.step
    assert isinstance(step, WaitForTime)  # noqa: S101  # as above
    return {
        run.id: _until(
            turn,
            run,
            next_time_of_day(
                step.at,
                turn.person(run).time_zone(turn.chunk.default_zone),
                run.arrived_at or turn.now,
            ),
        )
        for run in runs
    }


def wait_until_date(turn: Turn, runs: Sequence[RunState]) -> dict[UUID, Outcome]:
    """Wait until a date of the contact as it is now: one that changes meanwhile counts as changed."""
    return {run.id: _until_date(turn, run) for run in runs}


def _until_date(turn: Turn, run: RunState) -> Outcome:
    step = turn.node.step
    assert isinstance(step, WaitUntilDate)  # noqa: S101  # as above
    person = turn.person(run)
    value = person.state.attributes.get(step.attribute)
    moment = moment_of(value, step.offset, step.at, person.time_zone(turn.chunk.default_zone))
    if moment is None:
        return End(Run.Status.EXITED, Reason.VALUE_MISSING, {"field": f"attributes.{step.attribute}"})
    return _until(turn, run, moment)


def _until(turn: Turn, run: RunState, moment: datetime) -> Outcome:
    if run.skips_waits:
        return GoOn(since=min(moment, turn.now))
    return Stay(moment) if moment > turn.now else GoOn(since=moment)


def wait_for_event(turn: Turn, runs: Sequence[RunState]) -> dict[UUID, Outcome]:
    """Wait until an event comes, or has come already.

    Whoever comes here is noted as waiting first, and only after that commit is the stream looked at: an event that
    was recorded before is found there, and the effects of a later one find the run.
    """
    outcomes: dict[UUID, Outcome] = {}
    looking: list[RunState] = []
    for run in runs:
        if run.arrived_at is None:
            outcomes[run.id] = _begin(turn, run)
        elif not run.awaits:
            outcomes[run.id] = GoOn(EVENT, event_id=run.resumed_by)
        else:
            looking.append(run)
    found = _look_back(turn, looking) if looking else {}
    for run in looking:
        outcomes[run.id] = found.get(run.id) or _still(turn, run)
    return outcomes


def _begin(turn: Turn, run: RunState) -> Outcome:
    step = turn.node.step
    assert isinstance(step, WaitForEvent)  # noqa: S101  # as above
    if not step.path:
        return Stay(turn.now, step.match.event_name)
    event = turn.chunk.event_of(run)
    value = value_at(event.properties, step.trigger_path) if event is not None else None
    if value is None:
        return End(Run.Status.EXITED, Reason.VALUE_MISSING, {"property": ".".join(step.trigger_path)})
    return Stay(turn.now, step.match.event_name, value)


def _still(turn: Turn, run: RunState) -> Outcome:
    step = turn.node.step
    assert isinstance(step, WaitForEvent)  # noqa: S101  # as above
    deadline = deadline_of(step, run)
    if deadline > turn.now:
        return Stay(deadline, run.awaits, run.awaited_value)
    return GoOn(TIMEOUT, since=deadline, reason=Reason.TIMED_OUT)


def _look_back(turn: Turn, runs: Sequence[RunState]) -> dict[UUID, Outcome]:
    """Return the runs whose event is in the stream already, each with the first one."""
    step = turn.node.step
    assert isinstance(step, WaitForEvent)  # noqa: S101  # as above
    owners = {one: turn.person(run).id for run in runs for one in turn.person(run).ids}
    # The time of an id is in milliseconds.
    since = min(_counts_from(step, run) for run in runs)
    source = events_of_contacts(turn.workspace_id, list(owners.items()), step.match.event_name, since=since)
    matched = matches(
        turn.workspace_id,
        [EventRule(step.match.rule)],
        source,
        earliest=since,
        latest=known_until(turn.now),
    )
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT event_id, contact_id, occurred_at FROM ({matched.text}) m ORDER BY occurred_at, event_id",
            matched.parameters,
        )
        rows = cursor.fetchall()
    if step.match.event_name in SYSTEM_EVENTS:
        rows = _believed(turn.workspace_id, rows)
    properties = properties_of(turn.workspace_id, [row[0] for row in rows]) if step.path else {}
    events: dict[UUID, list[tuple[UUID, datetime]]] = defaultdict(list)
    for event_id, contact_id, occurred_at in rows:
        events[contact_id].append((event_id, occurred_at))
    outcomes: dict[UUID, Outcome] = {}
    for run in runs:
        for event_id, occurred_at in events[turn.person(run).id]:
            if _is_it(step, run, event_id, occurred_at, properties.get(event_id)):
                outcomes[run.id] = GoOn(EVENT, since=occurred_at, event_id=event_id)
                break
    return outcomes


def _believed(
    workspace_id: UUID, rows: Sequence[tuple[UUID, UUID, datetime]]
) -> list[tuple[UUID, UUID, datetime]]:
    told = Event.objects.filter(
        one_of("id", [row[0] for row in rows]), workspace_id=workspace_id, source=Event.Source.SYSTEM
    )
    ids = set(told.values_list("id", flat=True))
    return [row for row in rows if row[0] in ids]


def _is_it(step: WaitForEvent, run: RunState, event_id: UUID, occurred_at: datetime, properties: Any) -> bool:
    if event_id in (run.event_id, run.resumed_by) or occurred_at > deadline_of(step, run):
        return False
    if occurred_at < _counts_from(step, run):
        return False
    return not step.path or value_at(properties, step.path) == run.awaited_value


def _counts_from(step: WaitForEvent, run: RunState) -> datetime:
    """Return from when on an event counts: one that belongs to the run's own, from that one on."""
    return run.triggered_at if step.path else run.since
