"""Re-entry: whether a contact's earlier enrollments allow another one, and which key makes it unique."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from campaigns.journeys.definition.triggers import Reentry
from campaigns.journeys.eligibility import Candidate, Eligible
from campaigns.journeys.plans import ActiveCampaign
from campaigns.models import Enrollment
from campaigns.reasons import Reason
from config.db.arrays import array
from config.db.statements import fetch_all


@dataclass(frozen=True, slots=True)
class ReentryCheck:
    """Whether a contact's earlier enrollments allow another one; `reason`: why not."""

    reason: str | None
    last_id: UUID | None
    # Whether contacts were merged into this one.
    is_merged: bool


def check_reentry(workspace_id: UUID, eligible: Eligible, now: datetime, is_test: bool) -> list[ReentryCheck]:
    """Check each candidate against the campaign's re-entry; of a contact's in one batch only the first may pass."""
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
    return [ReentryCheck(*row) for row in rows]


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


def reentry_key(
    candidate: Candidate, active_campaign: ActiveCampaign, reentry_check: ReentryCheck, is_test: bool
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
