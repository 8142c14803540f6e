"""Goals, exits and event waits: match events against them, and end or resume the open enrollments."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from campaigns.journeys.campaign_failures import park_campaign
from campaigns.journeys.correlation import correlation_value_at, event_properties
from campaigns.journeys.definition.steps import WaitForEventStep
from campaigns.journeys.definition.triggers import is_trusted
from campaigns.journeys.plans import CampaignPlan, Listener, ListenerKind
from campaigns.messaging.cancellation import CANCELLING, cancel_messages
from campaigns.models import Decision, Enrollment, EnrollmentState, NewDecision
from campaigns.models.enrollments import STATE_COLUMNS
from campaigns.reasons import Reason
from campaigns.wake_ups import enrollment_wake_ups
from config.db.arrays import array
from config.db.lookups import any_of
from config.db.sql import sql
from config.db.statements import execute, fetch_all
from events.names import CONTACT_UPDATED, MERGE_EVENTS
from events.processing.bisection import bisect_failures
from events.processing.passes import EffectBatch, EffectEvent
from events.rules.event_matching import EventRule, given_events, matches
from segments.evaluation import merged_ids


def end_or_resume_enrollments(batch: EffectBatch, plan: CampaignPlan) -> None:
    """End or resume enrollments by the batch's events, historical and late ones included."""
    events = [
        event
        for event in batch.events
        if event.name in plan.listeners and is_trusted(event.name, event.source)
    ]
    if events:
        _EventMatcher(batch, plan, events).run()
    if plan.date_waits:
        _wake_date_waits(batch, plan)


@dataclass(slots=True)
class _EventMatcher:
    batch: EffectBatch
    plan: CampaignPlan
    events: Sequence[EffectEvent]
    # Matching listeners by event.
    fulfilled: Mapping[UUID, Sequence[Listener]] = field(default_factory=dict)
    properties: Mapping[UUID, Any] = field(default_factory=dict)
    ended: dict[UUID, tuple[EnrollmentState, EffectEvent, Reason]] = field(default_factory=dict)
    resumed: dict[UUID, tuple[EnrollmentState, EffectEvent]] = field(default_factory=dict)

    def run(self) -> None:
        enrollments = self._enrollments()
        if not enrollments:
            return
        versions = {enrollment.version_id for of_contact in enrollments.values() for enrollment in of_contact}
        self._match(versions)
        for event in self.events:
            for enrollment in enrollments.get(event.contact_id, ()):
                self._apply_event(enrollment, event)
        self._end()
        self._resume()

    def _enrollments(self) -> dict[UUID, list[EnrollmentState]]:
        """Return enrollments that the events may concern, by canonical contact."""
        ids_by_contact = ids_by_canonical_contact(
            self.batch.workspace_id, {event.contact_id for event in self.events}
        )
        contact_of = {contact_id: survivor for survivor, ids in ids_by_contact.items() for contact_id in ids}
        names = {event.name for event in self.events}
        listeners = [listener for name in names for listener in self.plan.listeners[name]]
        enrollments: dict[UUID, list[EnrollmentState]] = defaultdict(list)
        for enrollment in self._candidates(listeners, list(contact_of)):
            enrollments[contact_of[enrollment.contact_id]].append(enrollment)
        return enrollments

    def _candidates(
        self, listeners: Sequence[Listener], contact_ids: Sequence[UUID]
    ) -> list[EnrollmentState]:
        versions = {listener.version_id for listener in listeners}
        goals = {
            listener.version_id: listener.definition.goal.within
            for listener in listeners
            if listener.kind is ListenerKind.GOAL and listener.definition.goal is not None
        }
        # A completed enrollment still converts if the goal comes in time.
        since = min(event.occurred_at for event in self.events) - max(goals.values(), default=timedelta())
        rows = fetch_all(
            _CANDIDATES,
            [self.batch.workspace_id, array(contact_ids), array(versions), array(goals), since],
        )
        return [EnrollmentState(*row) for row in rows]

    def _match(self, versions: Collection[UUID]) -> None:
        listeners = [
            listener
            for name in {event.name for event in self.events}
            for listener in self.plan.listeners[name]
            if listener.version_id in versions
        ]
        self.fulfilled = match_listeners(self.batch.workspace_id, listeners, self.events, self.batch.now)
        awaited = [
            event_id
            for event_id, matched_listeners in self.fulfilled.items()
            if any(listener.wait is not None and listener.wait.path for listener in matched_listeners)
        ]
        self.properties = event_properties(self.batch.workspace_id, awaited)

    def _apply_event(self, enrollment: EnrollmentState, event: EffectEvent) -> None:
        if enrollment.id in self.ended or not concerns(enrollment, event):
            return
        listeners = [
            listener
            for listener in self.fulfilled.get(event.id, ())
            if listener.version_id == enrollment.version_id
        ]
        if (reason := ending_reason(enrollment, event, listeners)) is not None:
            self.ended[enrollment.id] = (enrollment, event, reason)
        elif enrollment.id not in self.resumed and any(
            self._is_awaited(enrollment, listener, event) for listener in listeners
        ):
            self.resumed[enrollment.id] = (enrollment, event)

    def _is_awaited(self, enrollment: EnrollmentState, listener: Listener, event: EffectEvent) -> bool:
        wait = listener.wait
        if (
            wait is None
            or listener.node_id != enrollment.step
            or not enrollment.awaited_event
            or event.id == enrollment.resumed_by_event_id
        ):
            return False
        if event.occurred_at > wait_deadline(wait, enrollment):
            return False
        if not wait.path:
            return event.occurred_at >= enrollment.listens_since
        return correlation_value_at(self.properties.get(event.id), wait.path) == enrollment.awaited_value

    def _end(self) -> None:
        """End enrollments. Waits for a worker that is processing one: it ends after the step."""
        for status, reason in (
            (Enrollment.Status.CONVERTED, Reason.GOAL),
            (Enrollment.Status.EXITED, Reason.EXIT_RULE),
        ):
            wanted = {
                enrollment_id: event for enrollment_id, (_, event, why) in self.ended.items() if why is reason
            }
            statuses = (
                (Enrollment.Status.OPEN, Enrollment.Status.COMPLETED)
                if reason is Reason.GOAL
                else (Enrollment.Status.OPEN,)
            )
            end_enrollments(
                self.batch.workspace_id,
                {enrollment_id: event.id for enrollment_id, event in wanted.items()},
                status=status,
                reason=reason,
                now=self.batch.now,
                statuses=statuses,
            )

    def _resume(self) -> None:
        if not self.resumed:
            return
        execute(
            "UPDATE campaigns_enrollment r SET resumed_by_event_id = w.event_id,"
            " listens_since = GREATEST(r.listens_since, w.occurred_at), awaited_event = '', wake_at = %s"
            " FROM unnest(%s::uuid[], %s::uuid[], %s::timestamptz[], %s::int[])"
            " AS w (id, event_id, occurred_at, steps_taken)"
            " WHERE r.workspace_id = %s AND r.id = w.id AND r.status = 'open' AND r.awaited_event <> ''"
            # If a worker has processed it meanwhile, it has found the event by itself.
            " AND r.steps_taken = w.steps_taken",
            [
                self.batch.now,
                list(self.resumed),
                [event.id for _, event in self.resumed.values()],
                [event.occurred_at for _, event in self.resumed.values()],
                [enrollment.steps_taken for enrollment, _ in self.resumed.values()],
                self.batch.workspace_id,
            ],
        )
        enrollment_wake_ups.wake(self.batch.workspace_id)


_CANDIDATES: Final = f"""
SELECT {", ".join(STATE_COLUMNS)} FROM {Enrollment._meta.db_table}
WHERE workspace_id = %s AND contact_id = ANY (%s::uuid[]) AND (
    version_id = ANY (%s::uuid[]) AND status = '{Enrollment.Status.OPEN}'
    OR version_id = ANY (%s::uuid[]) AND status = '{Enrollment.Status.COMPLETED}' AND started_at >= %s
)
"""


def match_listeners(
    workspace_id: UUID, listeners: Sequence[Listener], events: Sequence[EffectEvent], now: datetime
) -> dict[UUID, list[Listener]]:
    """Return the listeners that each event matches: at most two statements per event name.

    Parks a campaign whose rule fails.
    """
    fulfilled: dict[UUID, list[Listener]] = defaultdict(list)
    for name in {event.name for event in events}:
        named = [event for event in events if event.name == name]
        for needs_contact in (False, True):
            group = [
                listener
                for listener in listeners
                if listener.match.event_name == name and listener.needs_contact is needs_contact
            ]
            for event_id, matched_listeners in _match_batch(workspace_id, group, named, now).items():
                fulfilled[event_id] += matched_listeners
    return fulfilled


def _match_batch(
    workspace_id: UUID, listeners: Sequence[Listener], events: Sequence[EffectEvent], now: datetime
) -> dict[UUID, list[Listener]]:
    fulfilled: dict[UUID, list[Listener]] = defaultdict(list)
    if not listeners:
        return fulfilled
    source = given_events(
        workspace_id, [event.id for event in events], [event.contact_id for event in events]
    )
    times = [event.occurred_at for event in events]

    def match(group: Sequence[Listener]) -> None:
        rules = [EventRule(listener.match.rule) for listener in group]
        matched = matches(workspace_id, rules, source, earliest=min(times), latest=max(times))
        for event_id, place in fetch_all(sql("SELECT event_id, place FROM ({}) m", matched)):
            fulfilled[event_id].append(group[place - 1])

    def park_failed(failed: Listener, error: Exception) -> None:
        park_campaign(workspace_id, failed.campaign_id, error, now)

    bisect_failures(listeners, match, park_failed)
    return fulfilled


def concerns(enrollment: EnrollmentState, event: EffectEvent) -> bool:
    """Return whether an event is another than the enrollment's trigger and did not happen before it."""
    return event.id != enrollment.event_id and event.occurred_at >= enrollment.triggered_at


def wait_deadline(step: WaitForEventStep, enrollment: EnrollmentState) -> datetime:
    """Return when an enrollment's wait for an event times out."""
    assert enrollment.arrived_at is not None  # noqa: S101  # it is waiting there
    return enrollment.arrived_at if enrollment.skips_waits else enrollment.arrived_at + step.timeout


def ending_reason(
    enrollment: EnrollmentState, event: EffectEvent, fulfilled: Sequence[Listener]
) -> Reason | None:
    """Return why an event that matches these listeners ends an enrollment; None: it does not.

    `fulfilled`: listeners of the enrollment's version. The event must concern the enrollment.
    """
    fulfilled_by_kind = {listener.kind: listener for listener in fulfilled}
    if (goal := fulfilled_by_kind.get(ListenerKind.GOAL)) is not None and _is_within_goal_window(
        enrollment, goal, event
    ):
        return Reason.GOAL
    if enrollment.status == Enrollment.Status.OPEN and ListenerKind.EXIT in fulfilled_by_kind:
        return Reason.EXIT_RULE
    return None


def _is_within_goal_window(enrollment: EnrollmentState, goal: Listener, event: EffectEvent) -> bool:
    wanted = goal.definition.goal
    return wanted is not None and event.occurred_at <= enrollment.started_at + wanted.within


def ids_by_canonical_contact(workspace_id: UUID, contact_ids: Collection[UUID]) -> dict[UUID, list[UUID]]:
    """Return the ids of canonical contacts, each with those merged into it."""
    merged = merged_ids(workspace_id, contact_ids)
    return {
        contact_id: [UUID(merged_id) for merged_id in merged[contact_id][1:-1].split(",")]
        if contact_id in merged
        else [contact_id]
        for contact_id in contact_ids
    }


def end_enrollments(
    workspace_id: UUID,
    events: Mapping[UUID, UUID | None],
    *,
    status: str,
    reason: str,
    now: datetime,
    statuses: Sequence[str] = (Enrollment.Status.OPEN,),
) -> list[UUID]:
    """End enrollments and record the decisions. Returns the ids of those that had not ended before.

    `events`: by enrollment id, the event that ends it, or None. Only enrollments in one of `statuses` end.
    """
    if not events:
        return []
    rows = fetch_all(
        "UPDATE campaigns_enrollment SET status = %s, end_reason = %s, ended_at = COALESCE(ended_at, %s),"
        " wake_at = NULL, awaited_event = ''"
        " WHERE workspace_id = %s AND id = ANY(%s) AND status = ANY(%s)"
        f" RETURNING {', '.join(STATE_COLUMNS)}",
        [status, reason, now, workspace_id, list(events), list(statuses)],
    )
    ended = [EnrollmentState(*row) for row in rows]
    if reason in CANCELLING:
        cancel_messages(workspace_id, {enrollment.id: reason for enrollment in ended}, now)
    Decision.objects.record(
        workspace_id,
        [
            NewDecision.about(enrollment, Decision.Kind.ENDED, reason, now, event_id=events[enrollment.id])
            for enrollment in ended
        ],
    )
    return [enrollment.id for enrollment in ended]


def _wake_date_waits(batch: EffectBatch, plan: CampaignPlan) -> None:
    """Make enrollments due that wait until a date of a contact that has changed."""
    changed = {
        event.contact_id for event in batch.system_events if event.name in (CONTACT_UPDATED, *MERGE_EVENTS)
    }
    if not changed:
        return
    ids_by_contact = ids_by_canonical_contact(batch.workspace_id, changed)
    waiting = (
        Enrollment.objects.in_workspace(batch.workspace_id)
        .open()
        .filter(
            any_of("contact_id", [contact_id for ids in ids_by_contact.values() for contact_id in ids]),
            any_of("version_id", plan.date_waits),
            any_of("step", {node_id for nodes in plan.date_waits.values() for node_id in nodes}),
        )
    )
    if waiting.update(wake_at=batch.now):
        enrollment_wake_ups.wake(batch.workspace_id)
