"""Eligibility: whether a contact may enter a campaign by its status, period, triggers, history and key.

What earlier enrollments of the contact allow is `reentry`'s.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, partial
from typing import Final
from uuid import UUID

from campaigns.journeys.campaign_sets import CampaignGroup, campaign_group
from campaigns.journeys.plans import ActiveCampaign
from campaigns.models import CampaignSet, Decision
from campaigns.reasons import Reason
from config.db.arrays import array
from config.db.sql import Sql, sql
from config.db.statements import fetch_all
from events.models import EffectsLevel


@dataclass(frozen=True, slots=True)
class Candidate:
    """A contact that may enter campaigns because of an event, a due date, a broadcast or a request.

    `source` identifies the cause, so that it starts one enrollment at most. `refusal`: why it may start none, unless
    the campaign includes history. `value`: the key, for campaigns with one enrollment a key. `detail` goes
    with the decision.
    """

    contact_id: UUID
    source: str
    occurred_at: datetime
    event_id: UUID | None = None
    depth: int = 0
    level: EffectsLevel = EffectsLevel.ALL
    refusal: Reason | None = None
    value: str | None = None
    detail: Mapping[str, str] = field(default_factory=dict)


Eligible = list[tuple[Candidate, ActiveCampaign]]
Rejections = list[tuple[Candidate, str, CampaignGroup]]
"""Rejected candidates, each with the reason and the campaigns that rejected it."""


@dataclass(frozen=True, slots=True)
class Eligibility:
    eligible: Eligible
    rejected: Rejections


def check_eligibility(
    workspace_id: UUID,
    active_campaigns: Sequence[ActiveCampaign],
    candidates: Sequence[Candidate],
    now: datetime,
    matched: Sql | None,
    with_relevance_rule: frozenset[int],
    *,
    is_repeat: bool,
    is_test: bool,
) -> Eligibility:
    """Check everything but re-entry: status, period, trigger rules, history and the key."""
    refusals = [active_campaign.refusal(now) for active_campaign in active_campaigns]
    matches = None if matched is None else _positions_by_event(matched)
    already_decided = (
        _positions_by_event(_already_decided(workspace_id, active_campaigns, candidates)) if is_repeat else {}
    )
    # Most candidates of a batch fare alike.
    partition = cache(partial(_partition, workspace_id, active_campaigns, refusals, with_relevance_rule))
    eligibility = Eligibility([], [])
    for candidate in candidates:
        own_matches = None if matches is None else matches.get(candidate.event_id, _NO_POSITIONS)
        own_decided = already_decided.get(candidate.event_id, _NO_POSITIONS)
        eligible, rejected = partition(candidate.refusal, own_matches, own_decided)
        eligibility.rejected.extend((candidate, reason, of) for reason, of in rejected)
        # A trial does not count as an enrollment, so it needs no key.
        if candidate.value is None and not is_test:
            without_key = [each.campaign_id for each in eligible if _requires_key(each)]
            if without_key:
                group = campaign_group(workspace_id, without_key)
                eligibility.rejected.append((candidate, Reason.VALUE_MISSING, group))
                eligible = [each for each in eligible if not _requires_key(each)]
        eligibility.eligible.extend((candidate, active_campaign) for active_campaign in eligible)
    return eligibility


def _partition(
    workspace_id: UUID,
    active_campaigns: Sequence[ActiveCampaign],
    campaign_refusals: Sequence[Reason | None],
    with_relevance_rule: frozenset[int],
    refusal: Reason | None,
    matches: frozenset[int] | None,
    decided: frozenset[int],
) -> tuple[list[ActiveCampaign], list[tuple[str, CampaignGroup]]]:
    """Part the campaigns for a candidate: those that it may enter, and those that reject it, by reason.

    Of one event: `matches` and `decided` are the places of campaigns that it triggers and that decided on it before.
    """
    eligible = []
    rejected: dict[str, list[UUID]] = defaultdict(list)
    for place, active_campaign in enumerate(active_campaigns, 1):
        if place in decided:
            continue
        is_match = matches is None or place in matches
        if not is_match and place in with_relevance_rule and -place not in (matches or ()):
            continue
        reason = campaign_refusals[place - 1] or _rejection_reason(
            active_campaign, refusal, is_match=is_match
        )
        if reason:
            rejected[reason].append(active_campaign.campaign_id)
        else:
            eligible.append(active_campaign)
    return eligible, [(reason, campaign_group(workspace_id, of)) for reason, of in rejected.items()]


_NO_POSITIONS: Final = frozenset[int]()


def _rejection_reason(
    active_campaign: ActiveCampaign, refusal: Reason | None, *, is_match: bool
) -> Reason | None:
    if refusal is not None and not active_campaign.definition.includes_history:
        return refusal
    return None if is_match else Reason.NOT_MATCHED


def _requires_key(active_campaign: ActiveCampaign) -> bool:
    return active_campaign.definition.reentry.mode == "key"


def _positions_by_event(query: Sql) -> Mapping[UUID | None, frozenset[int]]:
    """Run a query of (event_id, place); return the places by event."""
    places: dict[UUID | None, set[int]] = defaultdict(set)
    for event_id, place in fetch_all(query):
        places[event_id].add(place)
    return {event_id: frozenset(found) for event_id, found in places.items()}


def _already_decided(
    workspace_id: UUID, active_campaigns: Sequence[ActiveCampaign], candidates: Sequence[Candidate]
) -> Sql:
    """Return the query of (event_id, place) of campaigns that have decided on an event already.

    Campaigns activated after the event was received are included: a repeat must not trigger them.
    """
    event_ids = [candidate.event_id for candidate in candidates if candidate.event_id is not None]
    campaign_ids = [active_campaign.campaign_id for active_campaign in active_campaigns]
    return sql(
        _ALREADY_DECIDED,
        workspace_id=workspace_id,
        event_ids=array(event_ids),
        first=min(event_ids),
        last=max(event_ids),
        campaign_ids=array(campaign_ids),
        activated_at=[active_campaign.activated_at for active_campaign in active_campaigns],
    )


_ALREADY_DECIDED: Final = f"""
SELECT d.event_id, c.place FROM unnest({{event_ids:uuid[]}}) AS g (event_id)
CROSS JOIN LATERAL (
    SELECT event_id, campaign_id, campaign_set_id FROM campaigns_decision
    WHERE workspace_id = {{workspace_id:uuid}} AND event_id = g.event_id
    AND kind IN ('{Decision.Kind.ENTERED}', '{Decision.Kind.NOT_ENTERED}')
) d
LEFT JOIN {CampaignSet._meta.db_table} s
    ON s.workspace_id = {{workspace_id:uuid}} AND s.id = d.campaign_set_id
JOIN unnest({{campaign_ids:uuid[]}}) WITH ORDINALITY AS c (campaign_id, place)
    ON c.campaign_id = d.campaign_id OR c.campaign_id = ANY (s.campaign_ids)
UNION ALL
SELECT e.id, c.place FROM unnest({{event_ids:uuid[]}}) AS g (event_id)
CROSS JOIN LATERAL (
    SELECT id, received_at FROM events_event
    WHERE workspace_id = {{workspace_id:uuid}} AND id = g.event_id AND id BETWEEN {{first:uuid}} AND {{last:uuid}}
    OFFSET 0
) e
JOIN unnest({{activated_at:timestamptz[]}}) WITH ORDINALITY AS c (activated_at, place)
    ON e.received_at < c.activated_at
"""
