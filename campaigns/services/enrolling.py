"""Who comes into a campaign and who does not, and why: runs and decisions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache, partial
from typing import Any, Final
from uuid import UUID, uuid5

from django.db import connection, transaction

from campaigns.definition import Reentry
from campaigns.models import CampaignSet, Decision, Run
from campaigns.reasons import Reason
from campaigns.services.plans import Starter
from campaigns.signals import runs_wait
from config import ids
from events.conditions import Sql
from events.models import EffectsLevel


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
    level: EffectsLevel = EffectsLevel.ALL
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
    about_own: frozenset[int] = frozenset(),
    is_repeat: bool = False,
    is_test: bool = False,
) -> list[Entered]:
    """Decide for each campaign and candidate, in their order, and write the runs and the decisions.

    `matched` is a query of (event_id, place): the campaigns, counted from 1, of which an event is a trigger; None:
    each candidate is one of each. Of the campaigns at the places `about_own` nothing is decided of an event that is
    not about them: it has neither their place nor minus it. With `is_repeat` what was decided before is not decided
    again.
    Returns those that came in, and of a single candidate why it did not.
    """
    if not starters or not candidates:
        return []
    sifted = _sift(
        workspace_id, starters, candidates, now, matched, about_own, is_repeat=is_repeat, is_test=is_test
    )
    runs = _write_runs(workspace_id, sifted.wanted, now, is_test)
    refused = [*sifted.refused, *_too_late(workspace_id, sifted.wanted, runs)]
    _write_decisions(workspace_id, sifted.wanted, runs, refused, now)
    entered = [
        Entered(one.contact_id, starter.campaign_id, run_id, "")
        for (one, starter), (run_id, _) in zip(sifted.wanted, runs, strict=True)
        if run_id
    ]
    if entered:
        runs_wait.send(sender=Run, workspace_id=workspace_id)
    if len(candidates) == 1:
        entered += [Entered(one.contact_id, id_, None, why) for one, why, of in refused for id_ in of.ids]
    return entered


@dataclass(frozen=True, slots=True, eq=False)
class _Campaigns:
    """Campaigns of which one decision is; made once for all that it is made of. `set_id`: there are several."""

    ids: list[UUID]
    set_id: UUID | None


Wanted = list[tuple[Candidate, Starter]]
Refused = list[tuple[Candidate, str, _Campaigns]]
"""Candidates, each with a reason and the campaigns that have it."""


@dataclass(frozen=True, slots=True)
class _Sifted:
    wanted: Wanted
    refused: Refused


def _sift(
    workspace_id: UUID,
    starters: Sequence[Starter],
    candidates: Sequence[Candidate],
    now: datetime,
    matched: Sql | None,
    about_own: frozenset[int],
    *,
    is_repeat: bool,
    is_test: bool,
) -> _Sifted:
    """Part the campaigns that a candidate may come into from those that refuse it whatever it did there before."""
    standing = [starter.refusal(now) for starter in starters]
    hits = None if matched is None else _places(matched)
    seen = _places(_seen(workspace_id, starters, candidates)) if is_repeat else {}

    @cache
    def shape(
        refusal: Reason | None, own_hits: frozenset[int] | None, own_seen: frozenset[int]
    ) -> tuple[list[Starter], list[tuple[str, _Campaigns]]]:
        wanted = []
        refused: dict[str, list[UUID]] = defaultdict(list)
        for place, starter in enumerate(starters, 1):
            if place in own_seen:
                continue
            is_hit = own_hits is None or place in own_hits
            if not is_hit and place in about_own and -place not in (own_hits or ()):
                continue
            if why := standing[place - 1] or _refusal(starter, refusal, is_hit=is_hit):
                refused[why].append(starter.campaign_id)
            else:
                wanted.append(starter)
        return wanted, [(why, _campaigns(workspace_id, of)) for why, of in refused.items()]

    sifted = _Sifted([], [])
    for one in candidates:
        own_hits = None if hits is None else hits.get(one.event_id, _NONE)
        wanted, refused = shape(one.refusal, own_hits, seen.get(one.event_id, _NONE))
        sifted.refused.extend((one, why, of) for why, of in refused)
        # A trial is beside all other runs, so it needs no key.
        if one.value is None and not is_test:
            if lacking := [starter.campaign_id for starter in wanted if _is_by_key(starter)]:
                sifted.refused.append((one, Reason.VALUE_MISSING, _campaigns(workspace_id, lacking)))
            wanted = [starter for starter in wanted if not _is_by_key(starter)]
        sifted.wanted.extend((one, starter) for starter in wanted)
    return sifted


_NONE: Final = frozenset[int]()


def _refusal(starter: Starter, refusal: Reason | None, *, is_hit: bool) -> Reason | None:
    if refusal is not None and not starter.definition.includes_history:
        return refusal
    return None if is_hit else Reason.NOT_MATCHED


def _is_by_key(starter: Starter) -> bool:
    return starter.definition.reentry.mode == "key"


def _places(query: Sql) -> Mapping[UUID | None, frozenset[int]]:
    """Return the places of a query of (event_id, place), by event."""
    places: dict[UUID | None, set[int]] = defaultdict(set)
    with connection.cursor() as cursor:
        cursor.execute(query.text, query.parameters)
        for event_id, place in cursor.fetchall():
            places[event_id].add(place)
    return {event_id: frozenset(found) for event_id, found in places.items()}


def _seen(workspace_id: UUID, starters: Sequence[Starter], candidates: Sequence[Candidate]) -> Sql:
    """Return the query of (event_id, place) of the campaigns that have decided about an event already.

    And of those that did not serve yet when it was received: what is repeated is no news to them.
    """
    event_ids = [one.event_id for one in candidates if one.event_id is not None]
    campaign_ids = [starter.campaign_id for starter in starters]
    return Sql(
        _SEEN,
        (
            *(event_ids, workspace_id, workspace_id, campaign_ids),
            *(event_ids, workspace_id, min(event_ids), max(event_ids)),
            [starter.activated_at for starter in starters],
        ),
    )


_SEEN: Final = f"""
SELECT d.event_id, c.place FROM unnest(%s::uuid[]) AS g (event_id)
CROSS JOIN LATERAL (
    SELECT event_id, campaign_id, campaign_set_id FROM campaigns_decision
    WHERE workspace_id = %s AND event_id = g.event_id
    AND kind IN ('{Decision.Kind.ENTERED}', '{Decision.Kind.NOT_ENTERED}')
) d
LEFT JOIN {CampaignSet._meta.db_table} s ON s.workspace_id = %s AND s.id = d.campaign_set_id
JOIN unnest(%s::uuid[]) WITH ORDINALITY AS c (campaign_id, place)
    ON c.campaign_id = d.campaign_id OR c.campaign_id = ANY (s.campaign_ids)
UNION ALL
SELECT e.id, c.place FROM unnest(%s::uuid[]) AS g (event_id)
CROSS JOIN LATERAL (
    SELECT id, received_at FROM events_event
    WHERE workspace_id = %s AND id = g.event_id AND id BETWEEN %s AND %s OFFSET 0
) e
JOIN unnest(%s::timestamptz[]) WITH ORDINALITY AS c (activated_at, place) ON e.received_at < c.activated_at
"""


Told = tuple[UUID | None, str]
"""The run that somebody wanted, or why there is none."""


def _write_runs(workspace_id: UUID, wanted: Wanted, now: datetime, is_test: bool) -> list[Told]:
    """Start a run for each that no earlier one of the contact in the campaign forbids. Returns both for each."""
    if not wanted:
        return []
    reentries = [Reentry("every") if is_test else starter.definition.reentry for _, starter in wanted]
    run_ids = [ids.uuid7() for _ in wanted]
    parameters: list[Any] = [
        run_ids,
        [one.contact_id for one, _ in wanted],
        [one.source for one, _ in wanted],
        [one.occurred_at for one, _ in wanted],
        [one.event_id for one, _ in wanted],
        [one.depth for one, _ in wanted],
        [int(one.level) for one, _ in wanted],
        [one.value for one, _ in wanted],
        [starter.campaign_id for _, starter in wanted],
        [starter.version_id for _, starter in wanted],
        [starter.definition.start for _, starter in wanted],
        [reentry.mode for reentry in reentries],
        [reentry.days for reentry in reentries],
        *(now, workspace_id, workspace_id, workspace_id, now, now, is_test),
    ]
    with connection.cursor() as cursor:
        cursor.execute(_ENTER, parameters)
        told = dict(cursor.fetchall())
    # Of neither kind is who has just lost to another with the same key.
    reasons = [told.get(run_id, Reason.ALREADY_RUNNING) for run_id in run_ids]
    return [(None if why else run_id, why) for run_id, why in zip(run_ids, reasons, strict=True)]


# Of what happened to one contact in this very batch, the first may start a run and the others come too late for it.
# A run that follows another has that one's id in its key, so of two that would follow it one only is let in.
_ENTER: Final = f"""
WITH ranked AS (
    SELECT *, row_number() OVER (
        PARTITION BY campaign_id, contact_id,
            CASE mode WHEN 'key' THEN value WHEN 'every' THEN source ELSE '' END
        ORDER BY occurred_at, event_id
    ) AS turn
    FROM unnest(
        %s::uuid[], %s::uuid[], %s::text[], %s::timestamptz[], %s::uuid[], %s::int[], %s::int[], %s::text[],
        %s::uuid[], %s::uuid[], %s::text[], %s::text[], %s::int[]
    ) AS g (run_id, contact_id, source, occurred_at, event_id, depth, level, value,
        campaign_id, version_id, start, mode, days)
), judged AS MATERIALIZED (
    SELECT r.*, last.id AS last_id,
        CASE WHEN r.turn = 1 AND last.id IS NULL THEN NULL
            WHEN r.mode IN ('once', 'key', 'every') THEN '{Reason.ALREADY_ENTERED}'
            WHEN r.mode = 'interval' THEN CASE WHEN r.turn > 1 OR last.is_recent THEN '{Reason.TOO_SOON}' END
            WHEN r.turn > 1 OR last.status = '{Run.Status.OPEN}' THEN '{Reason.ALREADY_RUNNING}' END AS reason
    FROM ranked r LEFT JOIN LATERAL (
        SELECT run.id, run.status, run.started_at > %s::timestamptz - r.days * interval '1 day' AS is_recent
        FROM unnest(r.contact_id || ARRAY(
            SELECT one.id FROM contacts_contact one
            WHERE one.workspace_id = %s AND one.merged_into_id = r.contact_id
        )) AS one (id) CROSS JOIN LATERAL (
            SELECT id, status, started_at FROM campaigns_run
            WHERE workspace_id = %s AND campaign_id = r.campaign_id AND contact_id = one.id
            AND r.turn = 1 AND NOT is_test AND CASE r.mode WHEN 'key' THEN key = 'key:' || r.value
                WHEN 'every' THEN key = r.source ELSE true END
            OFFSET 0  -- else the runs of the whole campaign may be read in their order, for one of the contact
        ) run ORDER BY run.id DESC LIMIT 1
    ) last ON true
), entered AS (
    INSERT INTO campaigns_run (id, workspace_id, campaign_id, version_id, contact_id, key, status, event_id, depth,
        level, triggered_at, step, wake_at, since, awaits, awaited_value, steps_taken, attempts, error, started_at,
        end_reason, is_test)
    SELECT run_id, %s, campaign_id, version_id, contact_id,
        CASE mode WHEN 'once' THEN 'once' WHEN 'key' THEN 'key:' || value WHEN 'every' THEN source
            ELSE 'after:' || COALESCE(last_id::text, '') END,
        '{Run.Status.OPEN}', event_id, depth, level, occurred_at, start, %s, occurred_at, '', '', 0, 0, '', %s, '', %s
    FROM judged WHERE reason IS NULL ORDER BY campaign_id, contact_id
    ON CONFLICT (workspace_id, campaign_id, contact_id, key) DO NOTHING
    RETURNING id
)
SELECT id, '' FROM entered UNION ALL SELECT run_id, reason FROM judged WHERE reason IS NOT NULL
"""


def _too_late(workspace_id: UUID, wanted: Wanted, runs: Sequence[Told]) -> Refused:
    """Return those for whom there is no run, by candidate and reason."""
    refused: dict[tuple[UUID, str, str], tuple[Candidate, list[UUID]]] = {}
    for (one, starter), (run_id, why) in zip(wanted, runs, strict=True):
        if run_id is None:
            key = one.contact_id, one.source, why
            refused.setdefault(key, (one, []))[1].append(starter.campaign_id)
    return [(one, why, _campaigns(workspace_id, of)) for (*_, why), (one, of) in refused.items()]


def _write_decisions(
    workspace_id: UUID, wanted: Wanted, runs: Sequence[Told], refused: Refused, now: datetime
) -> None:
    """Note a row for each run, and one for each candidate and reason, however many campaigns have it."""
    started = [
        (one, starter.campaign_id, run_id)
        for (one, starter), (run_id, _) in zip(wanted, runs, strict=True)
        if run_id
    ]
    _store_sets(workspace_id, {of for _, _, of in refused})
    common = {"workspace_id": workspace_id, "decided_at": now}
    decisions = [
        Decision(
            kind=Decision.Kind.ENTERED,
            campaign_id=campaign_id,
            contact_id=one.contact_id,
            event_id=one.event_id,
            run_id=run_id,
            **common,
        )
        for one, campaign_id, run_id in started
    ]
    decisions += [
        Decision(
            kind=Decision.Kind.NOT_ENTERED,
            reason=why,
            campaign_id=None if of.set_id else of.ids[0],
            campaign_set_id=of.set_id,
            contact_id=one.contact_id,
            event_id=one.event_id,
            **common,
        )
        for one, why, of in refused
    ]
    Decision.objects.write(decisions)


def _campaigns(workspace_id: UUID, campaign_ids: Sequence[UUID]) -> _Campaigns:
    """Return what a decision is about. The same campaigns have the same id wherever they are refused."""
    if len(campaign_ids) == 1:
        return _Campaigns(list(campaign_ids), None)
    in_order = sorted(campaign_ids)
    return _Campaigns(in_order, uuid5(workspace_id, ",".join(map(str, in_order))))


_MOST_STORED: Final = 100_000
_stored: set[UUID] = set()
"""Sets that this process knows to be in the database."""


def _store_sets(workspace_id: UUID, found: Collection[_Campaigns]) -> None:
    """Insert the sets that may not be there yet."""
    fresh = {one.set_id: one.ids for one in found if one.set_id and one.set_id not in _stored}
    if fresh:
        rows = [
            CampaignSet(id=id_, workspace_id=workspace_id, campaign_ids=fresh[id_]) for id_ in sorted(fresh)
        ]
        CampaignSet.objects.bulk_create(rows, ignore_conflicts=True)
        transaction.on_commit(partial(_remember, list(fresh)))


def _remember(set_ids: Sequence[UUID]) -> None:
    if len(_stored) > _MOST_STORED:
        _stored.clear()
    _stored.update(set_ids)
