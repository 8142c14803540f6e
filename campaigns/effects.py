"""Campaigns' effect, called by `events.processing.passes`: start, resume and end enrollments.

What does so is new events and due timers. New enrollments are taken through their first waits, sends and branches
here; `journeys.processor` takes all other steps later, in short transactions of its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

from campaigns.journeys.campaign_failures import park_campaign
from campaigns.journeys.correlation import correlation_value_at, event_properties
from campaigns.journeys.date_triggers import CONTACT_CHANGE_EVENTS, process_date_triggers
from campaigns.journeys.definition.triggers import EventTrigger, is_trusted
from campaigns.journeys.eligibility import Candidate
from campaigns.journeys.enrollment import enroll
from campaigns.journeys.goals_and_exits import end_or_resume_enrollments
from campaigns.journeys.merges import end_duplicate_enrollments, end_enrollments_of_removed_contacts
from campaigns.journeys.plans import ActiveCampaign, CampaignPlan, cached_plan, load_plan
from campaigns.reasons import Reason
from config.db.arrays import array
from config.db.sql import Sql, sql
from events.models import EffectsLevel
from events.processing.bisection import bisect_failures
from events.processing.parked_effects import park
from events.processing.passes import EffectBatch, EffectEvent, runs_only_when
from events.rules.event_matching import EventRule, given_events, matches
from segments.removal import REMOVED_CONTACT_TIMER_KEY

EFFECT: Final = "campaigns.effects.apply_campaigns"
_MAX_PAIRS_PER_STATEMENT: Final = 50_000
"""Pairs of event and campaign that one statement matches."""

CampaignTriggers = tuple[ActiveCampaign, list[EventTrigger]]


def _is_relevant(batch: EffectBatch) -> bool:
    plan = cached_plan(batch.workspace_id, batch.rules_version)
    return (
        plan is None
        or bool(plan.unreadable or batch.identities_changed)
        or any(
            trigger.timer_key == REMOVED_CONTACT_TIMER_KEY or trigger.timer_key in plan.dates
            for trigger in batch.due
        )
        or not (plan.triggers.keys() | plan.listeners.keys()).isdisjoint(batch.names)
        or (
            bool(plan.dates or plan.date_waits)
            and any(event.name in CONTACT_CHANGE_EVENTS for event in batch.system_events)
        )
    )


@runs_only_when(_is_relevant)
def apply_campaigns(batch: EffectBatch) -> None:
    """End and resume enrollments by the batch's events, then start new ones."""
    if gone := [timer.contact_id for timer in batch.due if timer.timer_key == REMOVED_CONTACT_TIMER_KEY]:
        end_enrollments_of_removed_contacts(batch.workspace_id, gone, batch.now)
    if batch.identities_changed:
        end_duplicate_enrollments(batch.workspace_id, batch.identities_changed, batch.now)
    plan = load_plan(batch.workspace_id)
    for campaign_id, error in plan.unreadable:
        park_campaign(batch.workspace_id, campaign_id, error, batch.now)
    apply_plan(batch, plan)


def apply_plan(batch: EffectBatch, plan: CampaignPlan) -> None:
    """End and resume enrollments of a plan's campaigns by the batch's events, then start new ones."""
    if plan.is_idle:
        return
    end_or_resume_enrollments(batch, plan)
    process_date_triggers(batch, plan)
    _enroll_triggered(batch, plan)


def _enroll_triggered(batch: EffectBatch, plan: CampaignPlan) -> None:
    events: dict[tuple[str, bool], list[EffectEvent]] = defaultdict(list)
    for event in batch.events:
        if event.name in plan.triggers:
            events[event.name, event.is_repeat].append(event)
    for (name, _), named in events.items():
        refusals = _refused_events(named)
        for (_, path), campaigns_with_triggers in _group_for_enrollment(plan.triggers[name]).items():
            _enroll_group(batch, campaigns_with_triggers, named, refusals, path)


def _group_for_enrollment(
    triggers: Sequence[tuple[ActiveCampaign, EventTrigger]],
) -> dict[tuple[bool, tuple[str, ...]], list[CampaignTriggers]]:
    """Group campaigns that one statement can match: by whether rules read the contact, and the key's path."""
    campaigns_with_triggers: dict[UUID, CampaignTriggers] = {}
    for active_campaign, trigger in triggers:
        campaigns_with_triggers.setdefault(active_campaign.campaign_id, (active_campaign, []))[1].append(
            trigger
        )
    groups: dict[tuple[bool, tuple[str, ...]], list[CampaignTriggers]] = defaultdict(list)
    for active_campaign, own in campaigns_with_triggers.values():
        needs_contact = any(EventRule(trigger.rule).needs_contact for trigger in own)
        groups[needs_contact, active_campaign.definition.reentry.path].append((active_campaign, own))
    return groups


def _enroll_group(
    batch: EffectBatch,
    campaigns_with_triggers: Sequence[CampaignTriggers],
    events: Sequence[EffectEvent],
    refusals: dict[UUID, Reason],
    path: tuple[str, ...],
) -> None:
    """Match events of one name against campaigns in one statement, and enroll; park those that fail."""
    candidates = _candidates(batch.workspace_id, events, refusals, path)

    def enroll_batch(group: Sequence[CampaignTriggers]) -> None:
        size = max(_MAX_PAIRS_PER_STATEMENT // len(group), 1)
        for start in range(0, len(events), size):
            chunk = slice(start, start + size)
            enroll(
                batch.workspace_id,
                [active_campaign for active_campaign, _ in group],
                candidates[chunk],
                batch.now,
                matched=_matched_campaigns(batch.workspace_id, group, events[chunk]),
                with_relevance_rule=frozenset(
                    place
                    for place, (_, own) in enumerate(group, 1)
                    if all(trigger.relevance_rule is not None for trigger in own)
                ),
                is_repeat=events[0].is_repeat,
                holds_lanes=True,
            )

    def park_failed(campaign_triggers: CampaignTriggers, error: Exception) -> None:
        active_campaign = campaign_triggers[0]
        park(
            batch.workspace_id,
            effect=EFFECT,
            subject=f"campaign:{active_campaign.campaign_id}",
            levels={event.id: event.level for event in events},
            error=error,
        )
        if not active_campaign.is_parked:
            park_campaign(batch.workspace_id, active_campaign.campaign_id, error, batch.now)

    for campaign_triggers in campaigns_with_triggers:
        if campaign_triggers[0].is_parked:
            park_failed(campaign_triggers, RuntimeError("waits behind an earlier failure of this campaign"))
    bisect_failures(
        [group for group in campaigns_with_triggers if not group[0].is_parked], enroll_batch, park_failed
    )


def _candidates(
    workspace_id: UUID, events: Sequence[EffectEvent], refusals: Mapping[UUID, Reason], path: tuple[str, ...]
) -> list[Candidate]:
    """Return the contacts of events, each with the value at `path` of its event where campaigns have one a key."""
    properties = event_properties(workspace_id, [event.id for event in events]) if path else {}
    return [
        Candidate(
            contact_id=event.contact_id,
            source=f"event:{event.id}",
            occurred_at=event.occurred_at,
            event_id=event.id,
            depth=event.depth + 1,
            level=event.level,
            refusal=refusals.get(event.id),
            value=correlation_value_at(properties.get(event.id), path) if path else None,
        )
        for event in events
    ]


def _matched_campaigns(
    workspace_id: UUID, campaigns_with_triggers: Sequence[CampaignTriggers], events: Sequence[EffectEvent]
) -> Sql:
    """Return the query of (event_id, place) that matches events with campaigns, counted from 1.

    A negative place: the event passes the relevance rule of the campaign's trigger, whether or not the trigger.
    """
    triggers = [
        (place, trigger.rule) for place, (_, own) in enumerate(campaigns_with_triggers, 1) for trigger in own
    ]
    triggers += [
        (-place, trigger.relevance_rule)
        for place, (_, own) in enumerate(campaigns_with_triggers, 1)
        for trigger in own
        if trigger.relevance_rule is not None and trigger.relevance_rule is not trigger.rule
    ]
    source = given_events(
        workspace_id, [event.id for event in events], [event.contact_id for event in events]
    )
    times = [event.occurred_at for event in events]
    rules = [EventRule(rule) for _, rule in triggers]
    matched = matches(workspace_id, rules, source, earliest=min(times), latest=max(times))
    trusted_ids = [event.id for event in events if is_trusted(event.name, event.source)]
    return sql(
        "SELECT event_id, ({:int[]})[place] AS place FROM ({}) found WHERE event_id = ANY ({:uuid[]})",
        array(place for place, _ in triggers),
        matched,
        array(trusted_ids),
    )


def _refused_events(events: Sequence[EffectEvent]) -> dict[UUID, Reason]:
    """Return why events may start no enrollment, by id: they are history, or came too late."""
    return {
        event.id: Reason.TOO_LATE if event.is_late else Reason.HISTORY
        for event in events
        if event.level < EffectsLevel.ALL
    }
