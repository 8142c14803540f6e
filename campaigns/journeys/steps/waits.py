"""Wait steps: for a duration, until a time of day, until a date, or for an event."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from campaigns.journeys.correlation import correlation_value_at, event_properties
from campaigns.journeys.definition.steps import (
    EVENT,
    TIMEOUT,
    WaitForEventStep,
    WaitStep,
    WaitUntilDateStep,
    WaitUntilTimeOfDayStep,
)
from campaigns.journeys.goals_and_exits import wait_deadline
from campaigns.journeys.local_time import contact_date_moment, next_time_of_day
from campaigns.journeys.step_context import Advance, Finish, StepContext, StepOutcome, Wait
from campaigns.models import Enrollment, EnrollmentState
from campaigns.reasons import Reason
from config.db.sql import sql
from config.db.statements import fetch_all
from events.id_bounds import known_until
from events.models import Event
from events.names import SYSTEM_EVENTS
from events.rules.event_matching import EventRule, events_of_contacts, matches


def wait(context: StepContext, enrollments: Sequence[EnrollmentState]) -> dict[UUID, StepOutcome]:
    """Wait for a duration since arrival."""
    step = context.node.step
    assert isinstance(step, WaitStep)  # noqa: S101  # STEP_HANDLERS ensures it
    return {
        enrollment.id: _wait_until(
            context, enrollment, (enrollment.arrived_at or context.now) + step.duration
        )
        for enrollment in enrollments
    }


def wait_for_time(context: StepContext, enrollments: Sequence[EnrollmentState]) -> dict[UUID, StepOutcome]:
    """Wait until a time of day in the contact's time zone."""
    step = context.node.step
    assert isinstance(step, WaitUntilTimeOfDayStep)  # noqa: S101  # as above
    return {
        enrollment.id: _wait_until(
            context,
            enrollment,
            next_time_of_day(
                step.at,
                context.person(enrollment).time_zone(context.batch.default_zone),
                enrollment.arrived_at or context.now,
            ),
        )
        for enrollment in enrollments
    }


def wait_until_date(context: StepContext, enrollments: Sequence[EnrollmentState]) -> dict[UUID, StepOutcome]:
    """Wait until a date of the contact, as it is now: the date may change during the wait."""
    return {enrollment.id: _wait_until_contact_date(context, enrollment) for enrollment in enrollments}


def _wait_until_contact_date(context: StepContext, enrollment: EnrollmentState) -> StepOutcome:
    step = context.node.step
    assert isinstance(step, WaitUntilDateStep)  # noqa: S101  # as above
    person = context.person(enrollment)
    value = person.state.attributes.get(step.attribute)
    moment = contact_date_moment(value, step.offset, step.at, person.time_zone(context.batch.default_zone))
    if moment is None:
        return Finish(
            Enrollment.Status.EXITED, Reason.VALUE_MISSING, {"field": f"attributes.{step.attribute}"}
        )
    return _wait_until(context, enrollment, moment)


def _wait_until(context: StepContext, enrollment: EnrollmentState, moment: datetime) -> StepOutcome:
    if enrollment.skips_waits:
        return Advance(since=min(moment, context.now))
    return Wait(moment) if moment > context.now else Advance(since=moment)


def wait_for_event(context: StepContext, enrollments: Sequence[EnrollmentState]) -> dict[UUID, StepOutcome]:
    """Wait for an event, or advance if it is recorded already.

    The wait is committed before the stream is searched: an earlier event is found by the search, and the effect of a
    later one finds the waiting enrollment.
    """
    outcomes: dict[UUID, StepOutcome] = {}
    undecided: list[EnrollmentState] = []
    for enrollment in enrollments:
        if enrollment.arrived_at is None:
            outcomes[enrollment.id] = _begin_event_wait(context, enrollment)
        elif not enrollment.awaited_event:
            outcomes[enrollment.id] = Advance(EVENT, event_id=enrollment.resumed_by_event_id)
        else:
            undecided.append(enrollment)
    found = _find_awaited_events(context, undecided) if undecided else {}
    for enrollment in undecided:
        outcomes[enrollment.id] = found.get(enrollment.id) or _continue_event_wait(context, enrollment)
    return outcomes


def _begin_event_wait(context: StepContext, enrollment: EnrollmentState) -> StepOutcome:
    step = context.node.step
    assert isinstance(step, WaitForEventStep)  # noqa: S101  # as above
    if not step.path:
        return Wait(context.now, step.match.event_name)
    event = context.batch.event_of(enrollment)
    value = correlation_value_at(event.properties, step.trigger_path) if event is not None else None
    if value is None:
        return Finish(
            Enrollment.Status.EXITED, Reason.VALUE_MISSING, {"property": ".".join(step.trigger_path)}
        )
    return Wait(context.now, step.match.event_name, value)


def _continue_event_wait(context: StepContext, enrollment: EnrollmentState) -> StepOutcome:
    step = context.node.step
    assert isinstance(step, WaitForEventStep)  # noqa: S101  # as above
    deadline = wait_deadline(step, enrollment)
    if deadline > context.now:
        return Wait(deadline, enrollment.awaited_event, enrollment.awaited_value)
    return Advance(TIMEOUT, since=deadline, reason=Reason.TIMED_OUT)


def _find_awaited_events(
    context: StepContext, enrollments: Sequence[EnrollmentState]
) -> dict[UUID, StepOutcome]:
    """Search recorded events; return the outcome by the first match of each enrollment that has one."""
    step = context.node.step
    assert isinstance(step, WaitForEventStep)  # noqa: S101  # as above
    owners = {
        contact_id: context.person(enrollment).id
        for enrollment in enrollments
        for contact_id in context.person(enrollment).ids
    }
    # The time of an id is in milliseconds.
    since = min(_counts_since(step, enrollment) for enrollment in enrollments)
    source = events_of_contacts(
        context.workspace_id, list(owners.items()), step.match.event_name, since=since
    )
    matched = matches(
        context.workspace_id,
        [EventRule(step.match.rule)],
        source,
        earliest=since,
        latest=known_until(context.now),
    )
    rows = fetch_all(
        sql("SELECT event_id, contact_id, occurred_at FROM ({}) m ORDER BY occurred_at, event_id", matched)
    )
    if step.match.event_name in SYSTEM_EVENTS:
        rows = _trusted_rows(context.workspace_id, rows)
    properties = event_properties(context.workspace_id, [row[0] for row in rows]) if step.path else {}
    events: dict[UUID, list[tuple[UUID, datetime]]] = defaultdict(list)
    for event_id, contact_id, occurred_at in rows:
        events[contact_id].append((event_id, occurred_at))
    outcomes: dict[UUID, StepOutcome] = {}
    for enrollment in enrollments:
        for event_id, occurred_at in events[context.person(enrollment).id]:
            if _is_awaited_event(step, enrollment, event_id, occurred_at, properties.get(event_id)):
                outcomes[enrollment.id] = Advance(EVENT, since=occurred_at, event_id=event_id)
                break
    return outcomes


def _trusted_rows(
    workspace_id: UUID, rows: Sequence[tuple[UUID, UUID, datetime]]
) -> list[tuple[UUID, UUID, datetime]]:
    events = Event.objects.by_ids(workspace_id, [row[0] for row in rows])
    trusted = events.filter(source=Event.Source.SYSTEM)
    ids = set(trusted.values_list("id", flat=True))
    return [row for row in rows if row[0] in ids]


def _is_awaited_event(
    step: WaitForEventStep,
    enrollment: EnrollmentState,
    event_id: UUID,
    occurred_at: datetime,
    properties: Any,
) -> bool:
    if event_id in (enrollment.event_id, enrollment.resumed_by_event_id) or occurred_at > wait_deadline(
        step, enrollment
    ):
        return False
    if occurred_at < _counts_since(step, enrollment):
        return False
    return not step.path or correlation_value_at(properties, step.path) == enrollment.awaited_value


def _counts_since(step: WaitForEventStep, enrollment: EnrollmentState) -> datetime:
    """Return the earliest time of an awaited event: the trigger's if correlated, else the last wait's."""
    return enrollment.triggered_at if step.path else enrollment.listens_since
