"""Who comes into a campaign and who does not, and why: runs and decisions, in one statement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.db import connection

from campaigns.models import CampaignSet, Decision, Run
from campaigns.reasons import Reason
from campaigns.services.plans import Starter
from campaigns.signals import runs_wait
from config import ids
from events.conditions import Sql

_NEW_ID: Final = "(%s || substr(md5(%s || {row}), 1, 3) || '8' || substr(md5(%s || {row}), 4, 15))::uuid"
"""A UUIDv7, the hash of a row's number under a secret of the statement's own: by far cheaper than chance."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A contact to whom something happened that may start a run.

    `source` names what happened, so that it starts one run at most. `refusal`: it starts none, unless the campaign
    takes history too. `value` is the key of a campaign that has one run a key.
    """

    contact_id: UUID
    source: str
    occurred_at: datetime
    event_id: UUID | None = None
    depth: int = 0
    refusal: Reason | None = None
    value: str | None = None


@dataclass(frozen=True, slots=True)
class Entered:
    """What was decided of one candidate; `run_id` None: it did not come in, because of `reason`."""

    contact_id: UUID
    campaign_id: UUID
    run_id: UUID | None
    reason: str


def enrol(
    workspace_id: UUID,
    starters: Sequence[Starter],
    candidates: Sequence[Candidate],
    now: datetime,
    *,
    matched: Sql | None = None,
    is_repeat: bool = False,
    is_test: bool = False,
) -> list[Entered]:
    """Decide for each campaign and candidate, in their order, and write the runs and the decisions.

    `matched` is a query of (event_id, place): the campaigns, counted from 1, of which an event is a trigger; None:
    each candidate is one of each. With `is_repeat` what was decided before is not decided again.
    Returns those that came in, and of a single candidate why it did not.
    """
    if not starters or not candidates:
        return []
    text, parameters = _statement(workspace_id, starters, candidates, now, matched, is_repeat, is_test)
    with connection.cursor() as cursor:
        cursor.execute(text, parameters)
        rows = [Entered(*row) for row in cursor.fetchall()]
    if any(row.run_id for row in rows):
        runs_wait.send(sender=Run, workspace_id=workspace_id)
    return rows


def _statement(
    workspace_id: UUID,
    starters: Sequence[Starter],
    candidates: Sequence[Candidate],
    now: datetime,
    matched: Sql | None,
    is_repeat: bool,
    is_test: bool,
) -> tuple[str, list[Any]]:
    text = _ENROL.format(
        matched=f", matched AS MATERIALIZED (SELECT DISTINCT event_id, place FROM ({matched.text}) m)"
        if matched
        else "",
        join="LEFT JOIN matched m ON m.event_id = g.event_id AND m.place = c.place" if matched else "",
        is_matched="m.place IS NOT NULL" if matched else "true",
        undecided=_UNDECIDED if is_repeat else "",
        run_id=_NEW_ID.format(row="r.row::text"),
        decision_id=_NEW_ID.format(row="d.row::text"),
        returned="true" if len(candidates) == 1 else "run_id IS NOT NULL",
    )
    reentries = [one.definition.reentry for one in starters]
    return text, [
        [one.contact_id for one in candidates],
        [one.source for one in candidates],
        [one.occurred_at for one in candidates],
        [one.event_id for one in candidates],
        [one.depth for one in candidates],
        [one.refusal for one in candidates],
        [one.value for one in candidates],
        *(matched.parameters if matched else ()),
        [one.campaign_id for one in starters],
        [one.version_id for one in starters],
        [one.definition.start for one in starters],
        ["every" if is_test else reentry.mode for reentry in reentries],
        [reentry.days for reentry in reentries],
        [one.refusal(now) for one in starters],
        [one.definition.includes_history for one in starters],
        *([workspace_id] if is_repeat else ()),
        *_id_parameters(now),
        now,
        workspace_id,
        workspace_id,
        workspace_id,
        now,
        now,
        is_test,
        workspace_id.hex,
        workspace_id,
        *_id_parameters(now),
        workspace_id,
        now,
    ]


def _id_parameters(now: datetime) -> list[str]:
    """Return what the ids of one kind begin with, up to the version, and the secret that makes them their own."""
    secret = ids.uuid7().hex
    return [f"{ids.first_id_at(now).hex[:12]}7", secret, secret]


_UNDECIDED: Final = f"""WHERE NOT EXISTS (
    SELECT FROM campaigns_decision d LEFT JOIN {CampaignSet._meta.db_table} s ON s.id = d.campaign_set_id
    WHERE d.workspace_id = %s AND d.event_id = g.event_id
    AND (d.campaign_id = c.campaign_id OR c.campaign_id = ANY (s.campaign_ids))
    AND d.kind IN ('{Decision.Kind.ENTERED}', '{Decision.Kind.NOT_ENTERED}')
)"""

# Most are refused: they are neither ranked nor looked up.
# Of what happened to one contact in this very batch, the first may start a run and the others come too late for it.
# A run that follows another has that one's id in its key, so of two that would follow it one only is let in.
# Campaigns that refuse a candidate for the same reason are named by their places until each such set is known once.
_ENROL: Final = f"""
WITH given AS MATERIALIZED (
    SELECT * FROM unnest(
        %s::uuid[], %s::text[], %s::timestamptz[], %s::uuid[], %s::int[], %s::text[], %s::text[]
    ) WITH ORDINALITY AS g (contact_id, source, occurred_at, event_id, depth, refusal, value, number)
){{matched}}, starter AS MATERIALIZED (
    SELECT * FROM unnest(%s::uuid[], %s::uuid[], %s::text[], %s::text[], %s::int[], %s::text[], %s::boolean[])
        WITH ORDINALITY AS c (campaign_id, version_id, start, mode, days, refusal, takes_history, place)
), candidate AS MATERIALIZED (
    SELECT g.number, g.contact_id, g.source, g.occurred_at, g.event_id, g.depth, g.value,
        c.place, c.campaign_id, c.version_id, c.start, c.mode, c.days,
        CASE WHEN c.refusal IS NOT NULL THEN c.refusal
            WHEN NOT c.takes_history AND g.refusal IS NOT NULL THEN g.refusal
            WHEN NOT ({{is_matched}}) THEN '{Reason.NOT_MATCHED}'
            WHEN c.mode = 'key' AND g.value IS NULL THEN '{Reason.VALUE_MISSING}' END AS refusal
    FROM given g CROSS JOIN starter c {{join}} {{undecided}}
), ranked AS (
    SELECT *, row_number() OVER () AS row, row_number() OVER (
        PARTITION BY campaign_id, contact_id,
            CASE mode WHEN 'key' THEN value WHEN 'every' THEN source ELSE '' END
        ORDER BY occurred_at, event_id
    ) AS turn FROM candidate WHERE refusal IS NULL
), judged AS MATERIALIZED (
    SELECT r.*, last.id AS last_id,
        CASE WHEN r.turn = 1 AND last.id IS NULL THEN NULL
            WHEN r.mode IN ('once', 'key', 'every') THEN '{Reason.ALREADY_ENTERED}'
            WHEN r.mode = 'interval' THEN CASE WHEN r.turn > 1 OR last.is_recent THEN '{Reason.TOO_SOON}' END
            WHEN r.turn > 1 OR last.status = '{Run.Status.OPEN}' THEN '{Reason.ALREADY_RUNNING}' END AS reason,
        {{run_id}} AS run_id
    FROM ranked r LEFT JOIN LATERAL (
        SELECT run.id, run.status, run.started_at > %s::timestamptz - r.days * interval '1 day' AS is_recent
        FROM unnest(r.contact_id || ARRAY(
            SELECT one.id FROM contacts_contact one
            WHERE one.workspace_id = %s AND one.merged_into_id = r.contact_id
        )) AS person (id)
        CROSS JOIN LATERAL (
            -- Fenced off: by the campaign, a planner without fresh statistics would go through all of its runs.
            SELECT * FROM campaigns_run WHERE workspace_id = %s AND contact_id = person.id OFFSET 0
        ) run
        WHERE r.turn = 1 AND run.campaign_id = r.campaign_id
        AND NOT run.is_test AND CASE r.mode WHEN 'key' THEN run.key = 'key:' || r.value
            WHEN 'every' THEN run.key = r.source ELSE true END
        ORDER BY run.id DESC LIMIT 1
    ) last ON true
), entered AS (
    INSERT INTO campaigns_run (id, workspace_id, campaign_id, version_id, contact_id, key, status, event_id, depth,
        triggered_at, step, wake_at, since, awaits, awaited_value, steps_taken, attempts, error, started_at,
        end_reason, is_test)
    SELECT run_id, %s, campaign_id, version_id, contact_id,
        CASE mode WHEN 'once' THEN 'once' WHEN 'key' THEN 'key:' || value WHEN 'every' THEN source
            ELSE 'after:' || COALESCE(last_id::text, '') END,
        '{Run.Status.OPEN}', event_id, depth, occurred_at, start, %s, occurred_at, '', '', 0, 0, '', %s, '', %s
    FROM judged WHERE reason IS NULL ORDER BY campaign_id, contact_id
    ON CONFLICT (workspace_id, campaign_id, contact_id, key) DO NOTHING
    RETURNING id
), answer AS MATERIALIZED (
    SELECT number, contact_id, place, campaign_id, event_id, CASE WHEN has_entered THEN run_id END AS run_id,
        COALESCE(reason, CASE WHEN NOT has_entered THEN '{Reason.ALREADY_RUNNING}' END, '') AS reason
    FROM (
        -- Not joined, for the planner takes both for a handful and would compare each with each.
        SELECT *, run_id IN (SELECT id FROM entered) AS has_entered FROM judged OFFSET 0
    ) j
    UNION ALL
    SELECT number, contact_id, place, campaign_id, event_id, NULL, refusal FROM candidate
    WHERE refusal IS NOT NULL
), refused AS MATERIALIZED (
    SELECT number, reason, array_agg(place ORDER BY place) AS places
    FROM answer WHERE run_id IS NULL GROUP BY number, reason
), refusing AS MATERIALIZED (
    SELECT d.places, ids[1] AS campaign_id,
        CASE WHEN cardinality(ids) > 1 THEN md5(%s || ids::text)::uuid END AS campaign_set_id, ids
    FROM (SELECT DISTINCT places FROM refused) d CROSS JOIN LATERAL (
        SELECT array_agg(c.campaign_id ORDER BY c.campaign_id) AS ids FROM starter c WHERE c.place = ANY (d.places)
    ) named
), sets AS (
    INSERT INTO {CampaignSet._meta.db_table} (id, workspace_id, campaign_ids)
    SELECT n.campaign_set_id, %s, n.ids FROM refusing n
    WHERE n.campaign_set_id IS NOT NULL
        AND NOT EXISTS (SELECT FROM {CampaignSet._meta.db_table} s WHERE s.id = n.campaign_set_id)
    ORDER BY 1 ON CONFLICT (id) DO NOTHING
), decided AS (
    INSERT INTO campaigns_decision (id, workspace_id, campaign_id, campaign_set_id, contact_id, run_id, event_id,
        kind, reason, step, detail, decided_at)
    SELECT {{decision_id}}, %s, d.campaign_id, d.campaign_set_id, d.contact_id, d.run_id, d.event_id,
        CASE WHEN d.run_id IS NULL THEN '{Decision.Kind.NOT_ENTERED}' ELSE '{Decision.Kind.ENTERED}' END,
        d.reason, '', '{{{{}}}}', %s
    FROM (
        SELECT row_number() OVER () AS row, * FROM (
            SELECT contact_id, event_id, campaign_id, NULL::uuid AS campaign_set_id, run_id, reason
            FROM answer WHERE run_id IS NOT NULL
            UNION ALL
            SELECT g.contact_id, g.event_id, CASE WHEN n.campaign_set_id IS NULL THEN n.campaign_id END,
                n.campaign_set_id, NULL, r.reason
            FROM refused r JOIN refusing n USING (places) JOIN given g USING (number)
        ) one
    ) d
)
SELECT contact_id, campaign_id, run_id, reason FROM answer WHERE {{returned}}
"""
