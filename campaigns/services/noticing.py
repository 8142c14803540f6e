"""What happens to a contact while runs of it are under way: goals, exits, and events that are waited for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Q

from campaigns.definition import WaitForEvent, is_believed
from campaigns.models import Decided, Decision, Run, RunState
from campaigns.reasons import Reason
from campaigns.services.cancelling import CANCELLING, cancel_messages
from campaigns.services.correlating import properties_of, value_at
from campaigns.services.parking import set_campaign_aside
from campaigns.services.plans import Meaning, Notice, Plan
from campaigns.signals import runs_wait
from config.lookups import one_of
from events.rules.matching import EventRule, given_events, matches
from events.services import EffectBatch, EffectEvent, isolate
from segments.services.judging import others_of


def notice(batch: EffectBatch, plan: Plan) -> None:
    """Let the batch's events end runs, or wake them. History starts no run, but one under way takes note of it."""
    events = [
        event
        for event in batch.events
        if event.name in plan.notices and is_believed(event.name, event.source)
    ]
    if events:
        _Noticing(batch, plan, events).run()
    if plan.date_waits:
        _look_again_at_dates(batch, plan)


@dataclass(slots=True)
class _Noticing:
    batch: EffectBatch
    plan: Plan
    events: Sequence[EffectEvent]
    # By event, the notices that it fulfils.
    fulfilled: Mapping[UUID, Sequence[Notice]] = field(default_factory=dict)
    properties: Mapping[UUID, Any] = field(default_factory=dict)
    ended: dict[UUID, tuple[RunState, EffectEvent, Reason]] = field(default_factory=dict)
    resumed: dict[UUID, tuple[RunState, EffectEvent]] = field(default_factory=dict)

    def run(self) -> None:
        runs = self._runs()
        if not runs:
            return
        versions = {run.version_id for of_person in runs.values() for run in of_person}
        self._match(versions)
        for event in self.events:
            for run in runs.get(event.contact_id, ()):
                self._hold_against(run, event)
        self._end()
        self._resume()

    def _runs(self) -> dict[UUID, list[RunState]]:
        """Return the runs that may take note of an event, by the contact that stands."""
        persons = person_ids(self.batch.workspace_id, {event.contact_id for event in self.events})
        of_person = {one: survivor for survivor, ids in persons.items() for one in ids}
        names = {event.name for event in self.events}
        notices = [one for name in names for one in self.plan.notices[name]]
        runs: dict[UUID, list[RunState]] = defaultdict(list)
        for run in self._candidates(notices, list(of_person)):
            runs[of_person[run.contact_id]].append(run)
        return runs

    def _candidates(self, notices: Sequence[Notice], contact_ids: Sequence[UUID]) -> list[RunState]:
        versions = {one.version_id for one in notices}
        wanted = Q(one_of("version_id", versions), status=Run.Status.OPEN)
        goals = {
            one.version_id: one.definition.goal.within
            for one in notices
            if one.meaning is Meaning.GOAL and one.definition.goal is not None
        }
        if goals:
            # A run that came to its end is converted too, if the goal comes in time.
            since = min(event.occurred_at for event in self.events) - max(goals.values())
            wanted |= Q(one_of("version_id", goals), status=Run.Status.COMPLETED, started_at__gte=since)
        runs = Run.objects.in_workspace(self.batch.workspace_id).filter(
            wanted, one_of("contact_id", contact_ids)
        )
        return runs.states()

    def _match(self, versions: Collection[UUID]) -> None:
        notices = [
            one
            for name in {event.name for event in self.events}
            for one in self.plan.notices[name]
            if one.version_id in versions
        ]
        self.fulfilled = match_notices(self.batch.workspace_id, notices, self.events, self.batch.now)
        awaited = [
            event_id
            for event_id, those in self.fulfilled.items()
            if any(one.wait is not None and one.wait.path for one in those)
        ]
        self.properties = properties_of(self.batch.workspace_id, awaited)

    def _hold_against(self, run: RunState, event: EffectEvent) -> None:
        if run.id in self.ended or not concerns(run, event):
            return
        notices = [one for one in self.fulfilled.get(event.id, ()) if one.version_id == run.version_id]
        if (reason := end_by(run, event, notices)) is not None:
            self.ended[run.id] = (run, event, reason)
        elif run.id not in self.resumed and any(self._is_awaited(run, one, event) for one in notices):
            self.resumed[run.id] = (run, event)

    def _is_awaited(self, run: RunState, notice: Notice, event: EffectEvent) -> bool:
        wait = notice.wait
        if wait is None or notice.node_id != run.step or not run.awaits or event.id == run.resumed_by:
            return False
        if event.occurred_at > deadline_of(wait, run):
            return False
        if not wait.path:
            return event.occurred_at >= run.since
        return value_at(self.properties.get(event.id), wait.path) == run.awaited_value

    def _end(self) -> None:
        """End runs. One that a worker is about to take on is waited for: it ends after the step."""
        for status, reason in ((Run.Status.CONVERTED, Reason.GOAL), (Run.Status.EXITED, Reason.EXIT_RULE)):
            wanted = {run_id: event for run_id, (_, event, why) in self.ended.items() if why is reason}
            standing = (
                (Run.Status.OPEN, Run.Status.COMPLETED) if reason is Reason.GOAL else (Run.Status.OPEN,)
            )
            end_runs(
                self.batch.workspace_id,
                {run_id: event.id for run_id, event in wanted.items()},
                status=status,
                reason=reason,
                now=self.batch.now,
                standing=standing,
            )

    def _resume(self) -> None:
        if not self.resumed:
            return
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE campaigns_run r SET resumed_by = w.event_id, since = GREATEST(r.since, w.occurred_at),"
                " awaits = '', wake_at = %s"
                " FROM unnest(%s::uuid[], %s::uuid[], %s::timestamptz[], %s::int[])"
                " AS w (id, event_id, occurred_at, steps_taken)"
                " WHERE r.workspace_id = %s AND r.id = w.id AND r.status = 'open' AND r.awaits <> ''"
                # One that a worker has taken on meanwhile has found the event by itself, or waits for another.
                " AND r.steps_taken = w.steps_taken",
                [
                    self.batch.now,
                    list(self.resumed),
                    [event.id for _, event in self.resumed.values()],
                    [event.occurred_at for _, event in self.resumed.values()],
                    [run.steps_taken for run, _ in self.resumed.values()],
                    self.batch.workspace_id,
                ],
            )
        runs_wait.send(sender=Run, workspace_id=self.batch.workspace_id)


def match_notices(
    workspace_id: UUID, notices: Sequence[Notice], events: Sequence[EffectEvent], now: datetime
) -> dict[UUID, list[Notice]]:
    """Return by event the notices that it fulfils, all rules of a name in one statement or two.

    A campaign whose rule fails is parked.
    """
    fulfilled: dict[UUID, list[Notice]] = defaultdict(list)
    for name in {event.name for event in events}:
        named = [event for event in events if event.name == name]
        for needs_contact in (False, True):
            alike = [
                one for one in notices if one.match.event_name == name and one.needs_contact is needs_contact
            ]
            for event_id, those in _match_alike(workspace_id, alike, named, now).items():
                fulfilled[event_id] += those
    return fulfilled


def _match_alike(
    workspace_id: UUID, notices: Sequence[Notice], events: Sequence[EffectEvent], now: datetime
) -> dict[UUID, list[Notice]]:
    fulfilled: dict[UUID, list[Notice]] = defaultdict(list)
    if not notices:
        return fulfilled
    source = given_events(
        workspace_id, [event.id for event in events], [event.contact_id for event in events]
    )
    times = [event.occurred_at for event in events]

    def match(some: Sequence[Notice]) -> None:
        rules = [EventRule(one.match.rule) for one in some]
        matched = matches(workspace_id, rules, source, earliest=min(times), latest=max(times))
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT event_id, place FROM ({matched.text}) m", matched.parameters)
            for event_id, place in cursor.fetchall():
                fulfilled[event_id].append(some[place - 1])

    def set_aside(failed: Notice, error: Exception) -> None:
        set_campaign_aside(workspace_id, failed.campaign_id, error, now)

    isolate(notices, match, set_aside)
    return fulfilled


def concerns(run: RunState, event: EffectEvent) -> bool:
    """Tell whether an event may mean anything to a run of its contact: one that came with the trigger or after it."""
    return event.id != run.event_id and event.occurred_at >= run.triggered_at


def deadline_of(step: WaitForEvent, run: RunState) -> datetime:
    """Return when a run that has come to a wait for an event waits no longer."""
    assert run.arrived_at is not None  # noqa: S101  # only who has come there is asked
    return run.arrived_at if run.skips_waits else run.arrived_at + step.timeout


def end_by(run: RunState, event: EffectEvent, fulfilled: Sequence[Notice]) -> Reason | None:
    """Return why an event that concerns a run and fulfils these notices of its version ends it; None: it does not."""
    meanings = {one.meaning: one for one in fulfilled}
    if (goal := meanings.get(Meaning.GOAL)) is not None and _is_in_time(run, goal, event):
        return Reason.GOAL
    if run.status == Run.Status.OPEN and Meaning.EXIT in meanings:
        return Reason.EXIT_RULE
    return None


def _is_in_time(run: RunState, goal: Notice, event: EffectEvent) -> bool:
    wanted = goal.definition.goal
    return wanted is not None and event.occurred_at <= run.started_at + wanted.within


def person_ids(workspace_id: UUID, contact_ids: Collection[UUID]) -> dict[UUID, list[UUID]]:
    """Return the ids of persons by the contact that stands: its own, and those of who was merged into it."""
    others = others_of(workspace_id, contact_ids)
    return {
        contact_id: [UUID(one) for one in others[contact_id][1:-1].split(",")]
        if contact_id in others
        else [contact_id]
        for contact_id in contact_ids
    }


def end_runs(
    workspace_id: UUID,
    events: Mapping[UUID, UUID | None],
    *,
    status: str,
    reason: str,
    now: datetime,
    standing: Sequence[str] = (Run.Status.OPEN,),
) -> list[UUID]:
    """End runs, each because of an event if there was one, and note why. Returns those that had not ended yet."""
    if not events:
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE campaigns_run SET status = %s, end_reason = %s, ended_at = COALESCE(ended_at, %s),"
            " wake_at = NULL, awaits = '' WHERE workspace_id = %s AND id = ANY(%s) AND status = ANY(%s)"
            " RETURNING id, campaign_id, contact_id, step",
            [status, reason, now, workspace_id, list(events), list(standing)],
        )
        rows = cursor.fetchall()
    if reason in CANCELLING:
        cancel_messages(workspace_id, {row[0]: reason for row in rows}, now)
    Decision.objects.write(
        workspace_id,
        [
            Decided(
                campaign_id=campaign_id,
                contact_id=contact_id,
                run_id=run_id,
                event_id=events[run_id],
                kind=Decision.Kind.ENDED,
                reason=reason,
                step=step,
                decided_at=now,
            )
            for run_id, campaign_id, contact_id, step in rows
        ],
    )
    return [row[0] for row in rows]


def _look_again_at_dates(batch: EffectBatch, plan: Plan) -> None:
    """Wake the runs that wait until a date of their contact, where the contact has changed."""
    changed = {
        event.contact_id
        for event in batch.told
        if event.name in ("contact.updated", "contact.merged", "contact.unmerged")
    }
    if not changed:
        return
    persons = person_ids(batch.workspace_id, changed)
    woken = (
        Run.objects.in_workspace(batch.workspace_id)
        .open()
        .filter(
            one_of("contact_id", [one for ids in persons.values() for one in ids]),
            one_of("version_id", plan.date_waits),
            one_of("step", {node_id for nodes in plan.date_waits.values() for node_id in nodes}),
        )
    )
    if woken.update(wake_at=batch.now):
        runs_wait.send(sender=Run, workspace_id=batch.workspace_id)
