"""Enroll contacts in campaigns: `eligibility` and `reentry` decide, and each decision is recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.db import transaction

from campaigns.journeys.campaign_sets import CampaignGroup, campaign_group, save_campaign_sets
from campaigns.journeys.eligibility import Candidate, Eligible, Rejections, check_eligibility
from campaigns.journeys.first_steps import process_first_steps
from campaigns.journeys.plans import ActiveCampaign
from campaigns.journeys.reentry import ReentryCheck, check_reentry, reentry_key
from campaigns.models import Decision, EnrollmentState, NewDecision
from campaigns.models.enrollments import STATE_COLUMNS
from campaigns.reasons import Reason
from campaigns.wake_ups import enrollment_wake_ups
from config import clock, ids
from config.beat_schedule import PROCESS_DUE_ENROLLMENTS
from config.db.arrays import array
from config.db.sql import Sql
from config.db.statements import execute
from config.runtime.beat_notifications import notify_beat


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
    `holds_lanes`: the caller holds the lanes of the candidates, so no effect can miss an enrollment before the
    commit; their first steps are taken here. Otherwise a worker takes them.

    Returns the results of a single candidate; of several, an empty list.
    """
    if not active_campaigns or not candidates:
        return []
    eligibility = check_eligibility(
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
    save_campaign_sets(workspace_id, {of for _, _, of in rejected})
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
    results = check_reentry(workspace_id, eligible, now, is_test)
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
    reentry_check: ReentryCheck,
    now: datetime,
    is_test: bool,
) -> EnrollmentState:
    return EnrollmentState(
        id=_id_after(reentry_check.last_id),
        campaign_id=active_campaign.campaign_id,
        version_id=active_campaign.version_id,
        contact_id=candidate.contact_id,
        key=reentry_key(candidate, active_campaign, reentry_check, is_test),
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
        (candidate, reason, campaign_group(workspace_id, of))
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


def _rejected_decision(candidate: Candidate, reason: str, of: CampaignGroup, now: datetime) -> NewDecision:
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
