"""Enroll contacts in campaigns: triggers, periods and re-entry decide, and each decision is recorded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache, partial
from typing import Final
from uuid import UUID, uuid5

from django.db import transaction

from campaigns.journeys.definition.triggers import Reentry
from campaigns.journeys.first_steps import process_first_steps
from campaigns.journeys.plans import ActiveCampaign
from campaigns.models import CampaignSet, Decision, Enrollment, EnrollmentState, NewDecision
from campaigns.models.enrollments import STATE_COLUMNS
from campaigns.reasons import Reason
from campaigns.wake_ups import enrollment_wake_ups
from config import clock, ids
from config.beat_schedule import PROCESS_DUE_ENROLLMENTS
from config.db.arrays import array
from config.db.sql import Sql, sql
from config.db.statements import execute, fetch_all
from config.runtime.beat_notifications import notify_beat
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


@dataclass(frozen=True, slots=True)
class EnrollmentResult:
    """Outcome for one candidate and campaign; `enrollment_id` None: rejected because of `reason`."""

    contact_id: UUID
    campaign_id: UUID
    enrollment_id: UUID | None
    reason: str


def enroll(
    workspace_id: UUID,
    active_campaigns: Sequence[ActiveCampaign],
    candidates: Sequence[Candidate],
    now: datetime,
    *,
    matched: Sql | None = None,
    with_relevance_rule: frozenset[int] = frozenset(),
    is_repeat: bool = False,
    is_test: bool = False,
    holds_lanes: bool = False,
) -> list[EnrollmentResult]:
    """Decide on each candidate and campaign, in their order, and write enrollments and decisions.

    `matched`: a query of (event_id, place) of the campaigns, counted from 1, that an event triggers; None: all.
    `with_relevance_rule`: places of campaigns that record no decision about an irrelevant event, which has neither
    their place nor its negative. `is_repeat`: skip what was decided before.
    `holds_lanes`: the caller holds the lanes of the candidates, so no effect can miss an enrollment before
    the commit;
    their first steps are taken here. Otherwise a worker takes them.
    Returns the results of a single candidate; of several, an empty list.
    """
    if not active_campaigns or not candidates:
        return []
    eligibility = _check_eligibility(
        workspace_id,
        active_campaigns,
        candidates,
        now,
        matched,
        with_relevance_rule,
        is_repeat=is_repeat,
        is_test=is_test,
    )
    results = _enroll_eligible(
        workspace_id, eligibility.eligible, now, is_test=is_test, holds_lanes=holds_lanes
    )
    rejected = [*eligibility.rejected, *_rejected_by_reentry(workspace_id, eligibility.eligible, results)]
    _save_campaign_sets(workspace_id, {of for _, _, of in rejected})
    Decision.objects.record(
        workspace_id, (_rejected_decision(candidate, reason, of, now) for candidate, reason, of in rejected)
    )
    if len(candidates) > 1:
        return []
    entered = [
        EnrollmentResult(enrollment.contact_id, enrollment.campaign_id, enrollment.id, "")
        for enrollment in results
        if isinstance(enrollment, EnrollmentState)
    ]
    return entered + [
        EnrollmentResult(candidate.contact_id, id_, None, reason)
        for candidate, reason, of in rejected
        for id_ in of.ids
    ]


@dataclass(frozen=True, slots=True, eq=False)
class _CampaignGroup:
    """Campaigns that share a decision. `set_id`: of their CampaignSet, None for a single one.

    Compared by identity: made once and shared by many rejections.
    """

    ids: list[UUID]
    set_id: UUID | None


Eligible = list[tuple[Candidate, ActiveCampaign]]
Rejections = list[tuple[Candidate, str, _CampaignGroup]]
"""Rejected candidates, each with the reason and the campaigns that rejected it."""


@dataclass(frozen=True, slots=True)
class _Eligibility:
    eligible: Eligible
    rejected: Rejections


def _check_eligibility(
    workspace_id: UUID,
    active_campaigns: Sequence[ActiveCampaign],
    candidates: Sequence[Candidate],
    now: datetime,
    matched: Sql | None,
    with_relevance_rule: frozenset[int],
    *,
    is_repeat: bool,
    is_test: bool,
) -> _Eligibility:
    """Check everything but re-entry: status, period, trigger rules, history and the key."""
    refusals = [active_campaign.refusal(now) for active_campaign in active_campaigns]
    matches = None if matched is None else _positions_by_event(matched)
    already_decided = (
        _positions_by_event(_already_decided(workspace_id, active_campaigns, candidates)) if is_repeat else {}
    )

    @cache
    def partition(
        refusal: Reason | None, own_matches: frozenset[int] | None, own_decided: frozenset[int]
    ) -> tuple[list[ActiveCampaign], list[tuple[str, _CampaignGroup]]]:
        eligible = []
        rejected: dict[str, list[UUID]] = defaultdict(list)
        for place, active_campaign in enumerate(active_campaigns, 1):
            if place in own_decided:
                continue
            is_match = own_matches is None or place in own_matches
            if not is_match and place in with_relevance_rule and -place not in (own_matches or ()):
                continue
            if reason := refusals[place - 1] or _rejection_reason(
                active_campaign, refusal, is_match=is_match
            ):
                rejected[reason].append(active_campaign.campaign_id)
            else:
                eligible.append(active_campaign)
        return eligible, [(reason, _campaign_group(workspace_id, of)) for reason, of in rejected.items()]

    eligibility = _Eligibility([], [])
    for candidate in candidates:
        own_matches = None if matches is None else matches.get(candidate.event_id, _NO_POSITIONS)
        eligible, rejected = partition(
            candidate.refusal, own_matches, already_decided.get(candidate.event_id, _NO_POSITIONS)
        )
        eligibility.rejected.extend((candidate, reason, of) for reason, of in rejected)
        # A trial does not count as an enrollment, so it needs no key.
        if candidate.value is None and not is_test:
            if without_key := [
                active_campaign.campaign_id for active_campaign in eligible if _requires_key(active_campaign)
            ]:
                eligibility.rejected.append(
                    (candidate, Reason.VALUE_MISSING, _campaign_group(workspace_id, without_key))
                )
            eligible = [active_campaign for active_campaign in eligible if not _requires_key(active_campaign)]
        eligibility.eligible.extend((candidate, active_campaign) for active_campaign in eligible)
    return eligibility


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


class _ConcurrentEnrollment(Exception):
    """Another transaction enrolled one of the candidates: check re-entry again."""


def _enroll_eligible(
    workspace_id: UUID, eligible: Eligible, now: datetime, *, is_test: bool, holds_lanes: bool
) -> list[EnrollmentState | Reason]:
    """Enroll each candidate unless the campaign's re-entry forbids it.

    Returns the enrollment, or the reason why there is none, for each. Tries again after a concurrent enrollment: the
    conflicting insert waited for the other transaction's commit, so the next check sees it.
    """
    while eligible:
        try:
            with transaction.atomic():
                return _try_enroll(workspace_id, eligible, now, is_test=is_test, holds_lanes=holds_lanes)
        except _ConcurrentEnrollment:
            continue
    return []


def _try_enroll(
    workspace_id: UUID, eligible: Eligible, now: datetime, *, is_test: bool, holds_lanes: bool
) -> list[EnrollmentState | Reason]:
    results = _check_reentry(workspace_id, eligible, now, is_test)
    outcomes = [
        _new_enrollment(candidate, active_campaign, reentry_check, now, is_test)
        if reentry_check.reason is None
        else Reason(reentry_check.reason)
        for (candidate, active_campaign), reentry_check in zip(eligible, results, strict=True)
    ]
    enrollments = [outcome for outcome in outcomes if isinstance(outcome, EnrollmentState)]
    if not enrollments:
        return outcomes
    decisions = [
        _entered_decision(candidate, outcome, now)
        for (candidate, _), outcome in zip(eligible, outcomes, strict=True)
        if isinstance(outcome, EnrollmentState)
    ]
    if holds_lanes:
        # A merged contact may have another open enrollment: the processor ends duplicates first.
        unmerged = [
            enrollment
            for enrollment, reentry_check in zip(outcomes, results, strict=True)
            if isinstance(enrollment, EnrollmentState) and not reentry_check.is_merged
        ]
        decisions += process_first_steps(
            workspace_id,
            unmerged,
            {active_campaign.version_id: active_campaign.definition for _, active_campaign in eligible},
            now,
        )
    _insert(workspace_id, enrollments)
    Decision.objects.record(workspace_id, decisions)
    moments = {enrollment.wake_at for enrollment in enrollments if enrollment.wake_at is not None}
    if any(moment <= now for moment in moments):
        enrollment_wake_ups.wake(workspace_id)
    if later := [moment for moment in moments if moment > now]:
        notify_beat(PROCESS_DUE_ENROLLMENTS, min(later))
    return outcomes


def _new_enrollment(
    candidate: Candidate,
    active_campaign: ActiveCampaign,
    reentry_check: _ReentryCheck,
    now: datetime,
    is_test: bool,
) -> EnrollmentState:
    return EnrollmentState(
        id=_id_after(reentry_check.last_id),
        campaign_id=active_campaign.campaign_id,
        version_id=active_campaign.version_id,
        contact_id=candidate.contact_id,
        key=_reentry_key(candidate, active_campaign, reentry_check, is_test),
        event_id=candidate.event_id,
        depth=candidate.depth,
        level=int(candidate.level),
        triggered_at=candidate.occurred_at,
        listens_since=candidate.occurred_at,
        started_at=now,
        step=active_campaign.definition.start or "",
        wake_at=now,
        is_test=is_test,
    )


def _id_after(last_id: UUID | None) -> UUID:
    """Return a new id that sorts after the previous enrollment's, even if a clock ahead made that."""
    now = clock.now()
    return ids.uuid7(now if last_id is None else max(now, ids.time_of(last_id) + _TICK))


_TICK: Final = timedelta(milliseconds=1)


def _reentry_key(
    candidate: Candidate, active_campaign: ActiveCampaign, reentry_check: _ReentryCheck, is_test: bool
) -> str:
    """Return the key that is unique among the contact's enrollments in the campaign, by the re-entry mode.

    One that follows another has the previous one's id in it: of two concurrent successors, only one is inserted.
    """
    match "every" if is_test else active_campaign.definition.reentry.mode:
        case "once":
            return "once"
        case "key":
            return f"key:{candidate.value}"
        case "every":
            return candidate.source
        case _:
            return f"after:{reentry_check.last_id or ''}"


def _insert(workspace_id: UUID, enrollments: Sequence[EnrollmentState]) -> None:
    """Insert enrollments. Raises _ConcurrentEnrollment."""
    columns = [array([getattr(enrollment, name) for enrollment in enrollments]) for name in STATE_COLUMNS]
    if execute(_INSERT, [workspace_id, *columns]) < len(enrollments):
        raise _ConcurrentEnrollment


_COLUMN_TYPES: Final = {
    **dict.fromkeys(
        ["id", "campaign_id", "version_id", "contact_id", "event_id", "resumed_by_event_id"], "uuid"
    ),
    **dict.fromkeys(
        ["triggered_at", "listens_since", "started_at", "wake_at", "arrived_at", "ended_at"], "timestamptz"
    ),
    **dict.fromkeys(["depth", "level", "steps_taken", "attempts"], "int"),
    **dict.fromkeys(["is_test", "skips_waits"], "bool"),
}
_INSERT: Final = f"""
INSERT INTO campaigns_enrollment (workspace_id, {", ".join(STATE_COLUMNS)})
SELECT %s::uuid, * FROM unnest({", ".join(f"%s::{_COLUMN_TYPES.get(name, 'text')}[]" for name in STATE_COLUMNS)})
    AS w ({", ".join(STATE_COLUMNS)})
ORDER BY campaign_id, contact_id
ON CONFLICT (workspace_id, campaign_id, contact_id, key) DO NOTHING
"""


@dataclass(frozen=True, slots=True)
class _ReentryCheck:
    """Whether a contact's earlier enrollments allow another one; `reason`: why not."""

    reason: str | None
    last_id: UUID | None
    # Whether contacts were merged into this one.
    is_merged: bool


def _check_reentry(
    workspace_id: UUID, eligible: Eligible, now: datetime, is_test: bool
) -> list[_ReentryCheck]:
    reentries = [
        Reentry("every") if is_test else active_campaign.definition.reentry for _, active_campaign in eligible
    ]
    rows = fetch_all(
        _REENTRY_QUERY,
        [
            array(range(len(eligible))),
            array([candidate.contact_id for candidate, _ in eligible]),
            array([candidate.source for candidate, _ in eligible]),
            array([candidate.occurred_at for candidate, _ in eligible]),
            array([candidate.event_id for candidate, _ in eligible]),
            array([candidate.value for candidate, _ in eligible]),
            array([active_campaign.campaign_id for _, active_campaign in eligible]),
            array([reentry.mode for reentry in reentries]),
            array([reentry.days for reentry in reentries]),
            *(workspace_id, now, workspace_id),
        ],
    )
    return [_ReentryCheck(*row) for row in rows]


# Of several candidates of one contact in a batch, only the first can start an enrollment.
_REENTRY_QUERY: Final = f"""
WITH ranked AS (
    SELECT *, row_number() OVER (
        PARTITION BY campaign_id, contact_id,
            CASE mode WHEN 'key' THEN value WHEN 'every' THEN source ELSE '' END
        ORDER BY occurred_at, event_id
    ) AS rank
    FROM unnest(
        %s::int[], %s::uuid[], %s::text[], %s::timestamptz[], %s::uuid[], %s::text[], %s::uuid[], %s::text[],
        %s::int[]
    ) AS g (place, contact_id, source, occurred_at, event_id, value, campaign_id, mode, days)
)
SELECT
    CASE WHEN r.rank = 1 AND last.id IS NULL THEN NULL
        WHEN r.mode IN ('once', 'key', 'every') THEN '{Reason.ALREADY_ENTERED}'
        WHEN r.mode = 'interval' THEN CASE WHEN r.rank > 1 OR last.is_recent THEN '{Reason.TOO_SOON}' END
        WHEN r.rank > 1 OR last.status = '{Enrollment.Status.OPEN}' THEN '{Reason.ALREADY_RUNNING}' END,
    last.id, person.merged <> '{{}}'
FROM ranked r
CROSS JOIN LATERAL (
    SELECT ARRAY(
        SELECT id FROM contacts_contact WHERE workspace_id = %s AND merged_into_id = r.contact_id
    ) AS merged OFFSET 0
) person
LEFT JOIN LATERAL (
    SELECT enrollment.id, enrollment.status,
        enrollment.started_at > %s::timestamptz - r.days * interval '1 day' AS is_recent
    FROM unnest(r.contact_id || person.merged) AS member (id) CROSS JOIN LATERAL (
        SELECT id, status, started_at FROM campaigns_enrollment
        WHERE workspace_id = %s AND campaign_id = r.campaign_id AND contact_id = member.id
        AND r.rank = 1 AND NOT is_test AND CASE r.mode WHEN 'key' THEN key = 'key:' || r.value
            WHEN 'every' THEN key = r.source ELSE true END
        OFFSET 0  -- else the whole campaign's enrollments may be scanned for one contact's
    ) enrollment ORDER BY enrollment.id DESC LIMIT 1
) last ON true
ORDER BY r.place
"""


def _rejected_by_reentry(
    workspace_id: UUID, eligible: Eligible, results: Sequence[EnrollmentState | Reason]
) -> Rejections:
    """Group the candidates that re-entry rejected by candidate and reason."""
    rejected: dict[tuple[UUID, str, str], tuple[Candidate, list[UUID]]] = {}
    for (candidate, active_campaign), found in zip(eligible, results, strict=True):
        if isinstance(found, Reason):
            key = candidate.contact_id, candidate.source, found
            rejected.setdefault(key, (candidate, []))[1].append(active_campaign.campaign_id)
    return [
        (candidate, reason, _campaign_group(workspace_id, of))
        for (*_, reason), (candidate, of) in rejected.items()
    ]


def _entered_decision(candidate: Candidate, enrollment: EnrollmentState, now: datetime) -> NewDecision:
    return NewDecision(
        kind=Decision.Kind.ENTERED,
        campaign_id=enrollment.campaign_id,
        contact_id=enrollment.contact_id,
        event_id=enrollment.event_id,
        enrollment_id=enrollment.id,
        decided_at=now,
        detail=candidate.detail,
    )


def _rejected_decision(candidate: Candidate, reason: str, of: _CampaignGroup, now: datetime) -> NewDecision:
    """Build the decision that one or more campaigns rejected a candidate."""
    return NewDecision(
        kind=Decision.Kind.NOT_ENTERED,
        reason=reason,
        campaign_id=None if of.set_id else of.ids[0],
        campaign_set_id=of.set_id,
        contact_id=candidate.contact_id,
        event_id=candidate.event_id,
        decided_at=now,
        detail=candidate.detail,
    )


def _campaign_group(workspace_id: UUID, campaign_ids: Sequence[UUID]) -> _CampaignGroup:
    """Return a group of campaigns; its set id depends on the campaigns alone."""
    if len(campaign_ids) == 1:
        return _CampaignGroup(list(campaign_ids), None)
    in_order = sorted(campaign_ids)
    return _CampaignGroup(in_order, uuid5(workspace_id, ",".join(map(str, in_order))))


_MAX_SAVED_SET_IDS: Final = 100_000
_saved_set_ids: set[UUID] = set()
"""Ids of campaign sets known to be stored, cached per process."""


def _save_campaign_sets(workspace_id: UUID, found: Collection[_CampaignGroup]) -> None:
    """Insert campaign sets that may not be stored yet."""
    new_sets = {
        group.set_id: group.ids for group in found if group.set_id and group.set_id not in _saved_set_ids
    }
    if new_sets:
        in_order = sorted(new_sets)
        campaign_ids = [array(new_sets[id_]) for id_ in in_order]
        execute(_INSERT_CAMPAIGN_SETS, [workspace_id, array(in_order), array(campaign_ids)])
        transaction.on_commit(partial(_mark_saved, list(new_sets)))


_INSERT_CAMPAIGN_SETS: Final = """
INSERT INTO campaigns_campaignset (id, workspace_id, campaign_ids)
SELECT id, %s::uuid, campaign_ids::uuid[] FROM unnest(%s::uuid[], %s::text[]) AS w (id, campaign_ids)
ON CONFLICT DO NOTHING
"""


def _mark_saved(set_ids: Sequence[UUID]) -> None:
    if len(_saved_set_ids) > _MAX_SAVED_SET_IDS:
        _saved_set_ids.clear()
    _saved_set_ids.update(set_ids)
