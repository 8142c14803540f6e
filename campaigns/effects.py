"""The third wheel: what happens to contacts starts runs of campaigns, ends them, or lets them go on.

Runs begin here as far as they come by waiting, sending and choosing; all other steps are taken later, in short
transactions of their own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from campaigns.definition import EventTrigger, is_believed
from campaigns.reasons import Reason
from campaigns.services.correlating import properties_of, value_at
from campaigns.services.dating import CHANGES, keep_dates
from campaigns.services.enrolling import Candidate, enrol
from campaigns.services.noticing import notice
from campaigns.services.parking import set_campaign_aside
from campaigns.services.plans import Plan, Starter, kept_plan, plan_of
from campaigns.services.regrouping import end_runs_of_gone, settle_regrouped
from events.conditions import Sql
from events.models import EffectsLevel
from events.rules.matching import EventRule, given_events, matches
from events.services import EffectBatch, EffectEvent, isolate, only_where, park
from segments.services.leaving import GONE_SUBJECT

EFFECT: Final = "campaigns.effects.enrol_contacts"
_MOST_PAIRS: Final = 50_000
"""Of events and campaigns that one statement decides."""

Listener = tuple[Starter, list[EventTrigger]]


def _may_mean_something(batch: EffectBatch) -> bool:
    plan = kept_plan(batch.workspace_id, batch.rules_version)
    return (
        plan is None
        or bool(plan.unreadable or batch.regrouped)
        or any(one.subject == GONE_SUBJECT or one.subject in plan.dates for one in batch.due)
        or not (plan.triggers.keys() | plan.notices.keys()).isdisjoint(batch.names)
        or (bool(plan.dates or plan.date_waits) and any(event.name in CHANGES for event in batch.told))
    )


@only_where(_may_mean_something)
def enrol_contacts(batch: EffectBatch) -> None:
    """Let what the batch tells of end runs and wake them, then start what it starts."""
    if gone := [one.contact_id for one in batch.due if one.subject == GONE_SUBJECT]:
        end_runs_of_gone(batch.workspace_id, gone, batch.now)
    if batch.regrouped:
        settle_regrouped(batch.workspace_id, batch.regrouped, batch.now)
    plan = plan_of(batch.workspace_id)
    for campaign_id, error in plan.unreadable:
        set_campaign_aside(batch.workspace_id, campaign_id, error, batch.now)
    if plan.is_idle:
        return
    notice(batch, plan)
    keep_dates(batch, plan)
    _start(batch, plan)


def _start(batch: EffectBatch, plan: Plan) -> None:
    events: dict[tuple[str, bool], list[EffectEvent]] = defaultdict(list)
    for event in batch.events:
        if event.name in plan.triggers:
            events[event.name, event.is_repeat].append(event)
    for (name, _), named in events.items():
        refusals = _refusals(named)
        for (_, path), listeners in _alike(plan.triggers[name]).items():
            _enrol_alike(batch, listeners, named, refusals, path)


def _alike(
    triggers: Sequence[tuple[Starter, EventTrigger]],
) -> dict[tuple[bool, tuple[str, ...]], list[Listener]]:
    """Return campaigns that share a statement, by whether they ask the contact, and where their key is."""
    listeners: dict[UUID, Listener] = {}
    for starter, trigger in triggers:
        listeners.setdefault(starter.campaign_id, (starter, []))[1].append(trigger)
    alike: dict[tuple[bool, tuple[str, ...]], list[Listener]] = defaultdict(list)
    for starter, own in listeners.values():
        needs_contact = any(EventRule(trigger.rule).needs_contact for trigger in own)
        alike[needs_contact, starter.definition.reentry.path].append((starter, own))
    return alike


def _enrol_alike(
    batch: EffectBatch,
    listeners: Sequence[Listener],
    events: Sequence[EffectEvent],
    refusals: dict[UUID, Reason],
    path: tuple[str, ...],
) -> None:
    """Hold events of one name against campaigns in one statement; a campaign that fails is parked with them."""
    properties = properties_of(batch.workspace_id, [event.id for event in events]) if path else {}
    candidates = [
        Candidate(
            contact_id=event.contact_id,
            source=f"event:{event.id}",
            occurred_at=event.occurred_at,
            event_id=event.id,
            depth=event.depth + 1,
            level=event.level,
            refusal=refusals.get(event.id),
            value=value_at(properties.get(event.id), path) if path else None,
        )
        for event in events
    ]

    def run(some: Sequence[Listener]) -> None:
        size = max(_MOST_PAIRS // len(some), 1)
        for start in range(0, len(events), size):
            chunk = slice(start, start + size)
            enrol(
                batch.workspace_id,
                [starter for starter, _ in some],
                candidates[chunk],
                batch.now,
                matched=_matched(batch.workspace_id, some, events[chunk]),
                about_own=frozenset(
                    place for place, (_, own) in enumerate(some, 1) if all(one.own is not None for one in own)
                ),
                is_repeat=events[0].is_repeat,
                holds_lanes=True,
            )

    def set_aside(listener: Listener, error: Exception) -> None:
        starter = listener[0]
        park(
            batch.workspace_id,
            effect=EFFECT,
            subject=f"campaign:{starter.campaign_id}",
            levels={event.id: event.level for event in events},
            error=error,
        )
        if not starter.is_parked:
            set_campaign_aside(batch.workspace_id, starter.campaign_id, error, batch.now)

    for listener in listeners:
        if listener[0].is_parked:
            set_aside(listener, RuntimeError("waits behind an earlier failure of this campaign"))
    isolate([one for one in listeners if not one[0].is_parked], run, set_aside)


def _matched(workspace_id: UUID, listeners: Sequence[Listener], events: Sequence[EffectEvent]) -> Sql:
    """Return the query of (event_id, place) of the campaigns of which an event is a trigger.

    The place is negative of those that an event is about, though it may not be a trigger.
    """
    triggers = [(place, one.rule) for place, (_, own) in enumerate(listeners, 1) for one in own]
    triggers += [
        (-place, one.own)
        for place, (_, own) in enumerate(listeners, 1)
        for one in own
        if one.own is not None and one.own is not one.rule
    ]
    source = given_events(
        workspace_id, [event.id for event in events], [event.contact_id for event in events]
    )
    times = [event.occurred_at for event in events]
    rules = [EventRule(rule) for _, rule in triggers]
    matched = matches(workspace_id, rules, source, earliest=min(times), latest=max(times))
    believed = [event.id for event in events if is_believed(event.name, event.source)]
    return Sql(
        f"SELECT event_id, (%s::int[])[place] AS place FROM ({matched.text}) found WHERE event_id = ANY (%s::uuid[])",
        ([place for place, _ in triggers], *matched.parameters, believed),
    )


def _refusals(events: Sequence[EffectEvent]) -> dict[UUID, Reason]:
    """Return the events that are history, and those that came too late to start anything."""
    return {
        event.id: Reason.TOO_LATE if event.is_late else Reason.HISTORY
        for event in events
        if event.level < EffectsLevel.ALL
    }
