"""Who comes into a campaign and who does not, and why: runs and decisions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache, partial
from typing import Final
from uuid import UUID, uuid5

from django.db import connection, transaction

from campaigns.definition import Reentry
from campaigns.models import CampaignSet, Decided, Decision, Run, RunState
from campaigns.models.runs import STATE
from campaigns.reasons import Reason
from campaigns.services.beginning import begin
from campaigns.services.plans import Starter
from campaigns.signals import runs_wait
from config import clock, ids
from config.arrays import array
from config.schedule import notify_beat
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
    holds_lanes: bool = False,
) -> list[Entered]:
    """Decide for each campaign and candidate, in their order, and write the runs and the decisions.

    `matched` is a query of (event_id, place): the campaigns, counted from 1, of which an event is a trigger; None:
    each candidate is one of each. Of the campaigns at the places `about_own` nothing is decided of an event that is
    not about them: it has neither their place nor minus it. With `is_repeat` what was decided before is not decided
    again. `holds_lanes`: no effects of the candidates are applied before the commit; else their runs begin with a
    worker, for what happens meanwhile would find none.
    Returns of a single candidate what was decided; of more, nothing.
    """
    if not starters or not candidates:
        return []
    sifted = _sift(
        workspace_id, starters, candidates, now, matched, about_own, is_repeat=is_repeat, is_test=is_test
    )
    judged = _let_in(workspace_id, sifted.wanted, now, is_test=is_test, holds_lanes=holds_lanes)
    refused = [*sifted.refused, *_too_late(workspace_id, sifted.wanted, judged)]
    _store_sets(workspace_id, {of for _, _, of in refused})
    Decision.objects.write(workspace_id, (_refused(one, why, of, now) for one, why, of in refused))
    if len(candidates) > 1:
        return []
    entered = [
        Entered(run.contact_id, run.campaign_id, run.id, "") for run in judged if isinstance(run, RunState)
    ]
    return entered + [Entered(one.contact_id, id_, None, why) for one, why, of in refused for id_ in of.ids]


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


class _Overtaken(Exception):
    """Another has let in somebody meanwhile, so all are to be judged anew."""


def _let_in(
    workspace_id: UUID, wanted: Wanted, now: datetime, *, is_test: bool, holds_lanes: bool
) -> list[RunState | Reason]:
    """Start a run for each that no earlier one of the contact in the campaign forbids.

    Returns for each its run, or why there is none. Whoever is overtaken sees that in the next look, for he has waited
    for the other's commit.
    """
    while wanted:
        try:
            with transaction.atomic():
                return _start_runs(workspace_id, wanted, now, is_test=is_test, holds_lanes=holds_lanes)
        except _Overtaken:
            continue
    return []


def _start_runs(
    workspace_id: UUID, wanted: Wanted, now: datetime, *, is_test: bool, holds_lanes: bool
) -> list[RunState | Reason]:
    judged = _judge(workspace_id, wanted, now, is_test)
    outcomes = [
        _run_of(one, starter, verdict, now, is_test) if verdict.reason is None else Reason(verdict.reason)
        for (one, starter), verdict in zip(wanted, judged, strict=True)
    ]
    runs = [one for one in outcomes if isinstance(one, RunState)]
    if not runs:
        return outcomes
    decisions = [_entered(run, now) for run in runs]
    if holds_lanes:
        # Of who was merged, another run may have come to be one of the same person: whoever steps looks after that.
        alone = [
            run
            for run, verdict in zip(outcomes, judged, strict=True)
            if isinstance(run, RunState) and not verdict.is_merged
        ]
        decisions += begin(
            workspace_id, alone, {starter.version_id: starter.definition for _, starter in wanted}, now
        )
    _insert(workspace_id, runs)
    Decision.objects.write(workspace_id, decisions)
    moments = {run.wake_at for run in runs if run.wake_at is not None}
    if any(moment <= now for moment in moments):
        runs_wait.send(sender=Run, workspace_id=workspace_id)
    if later := [moment for moment in moments if moment > now]:
        notify_beat("runs", min(later))
    return outcomes


def _run_of(one: Candidate, starter: Starter, verdict: _Verdict, now: datetime, is_test: bool) -> RunState:
    return RunState(
        id=_id_after(verdict.last_id),
        campaign_id=starter.campaign_id,
        version_id=starter.version_id,
        contact_id=one.contact_id,
        key=_key_of(one, starter, verdict, is_test),
        event_id=one.event_id,
        depth=one.depth,
        level=int(one.level),
        triggered_at=one.occurred_at,
        since=one.occurred_at,
        started_at=now,
        step=starter.definition.start or "",
        wake_at=now,
        is_test=is_test,
    )


def _id_after(last_id: UUID | None) -> UUID:
    """Return a new id after the one of the run that it follows, though that was made by a clock that is ahead."""
    now = clock.now()
    return ids.uuid7(now if last_id is None else max(now, ids.time_of(last_id) + _TICK))


_TICK: Final = timedelta(milliseconds=1)


def _key_of(one: Candidate, starter: Starter, verdict: _Verdict, is_test: bool) -> str:
    """Return what makes the run another than the contact's earlier ones.

    A run that follows another has that one's id in it, so of two that would follow it one only is let in.
    """
    match "every" if is_test else starter.definition.reentry.mode:
        case "once":
            return "once"
        case "key":
            return f"key:{one.value}"
        case "every":
            return one.source
        case _:
            return f"after:{verdict.last_id or ''}"


def _insert(workspace_id: UUID, runs: Sequence[RunState]) -> None:
    """Write the runs, wherever they have come to. Raises _Overtaken."""
    columns = [array([getattr(run, name) for run in runs]) for name in STATE]
    with connection.cursor() as cursor:
        cursor.execute(_INSERT, [workspace_id, *columns])
        if cursor.rowcount < len(runs):
            raise _Overtaken


_KINDS: Final = {
    **dict.fromkeys(["id", "campaign_id", "version_id", "contact_id", "event_id", "resumed_by"], "uuid"),
    **dict.fromkeys(
        ["triggered_at", "since", "started_at", "wake_at", "arrived_at", "ended_at"], "timestamptz"
    ),
    **dict.fromkeys(["depth", "level", "steps_taken", "attempts"], "int"),
    **dict.fromkeys(["is_test", "skips_waits"], "bool"),
}
_INSERT: Final = f"""
INSERT INTO campaigns_run (workspace_id, {", ".join(STATE)})
SELECT %s::uuid, * FROM unnest({", ".join(f"%s::{_KINDS.get(name, 'text')}[]" for name in STATE)})
    AS w ({", ".join(STATE)})
ORDER BY campaign_id, contact_id
ON CONFLICT (workspace_id, campaign_id, contact_id, key) DO NOTHING
"""


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What a contact's earlier runs in a campaign say of another one."""

    reason: str | None
    last_id: UUID | None
    # Whether others were merged into the contact.
    is_merged: bool


def _judge(workspace_id: UUID, wanted: Wanted, now: datetime, is_test: bool) -> list[_Verdict]:
    reentries = [Reentry("every") if is_test else starter.definition.reentry for _, starter in wanted]
    with connection.cursor() as cursor:
        cursor.execute(
            _JUDGE,
            [
                array(range(len(wanted))),
                array([one.contact_id for one, _ in wanted]),
                array([one.source for one, _ in wanted]),
                array([one.occurred_at for one, _ in wanted]),
                array([one.event_id for one, _ in wanted]),
                array([one.value for one, _ in wanted]),
                array([starter.campaign_id for _, starter in wanted]),
                array([reentry.mode for reentry in reentries]),
                array([reentry.days for reentry in reentries]),
                *(workspace_id, now, workspace_id),
            ],
        )
        return [_Verdict(*row) for row in cursor.fetchall()]


# Of what happened to one contact in this very batch, the first may start a run and the others come too late for it.
_JUDGE: Final = f"""
WITH ranked AS (
    SELECT *, row_number() OVER (
        PARTITION BY campaign_id, contact_id,
            CASE mode WHEN 'key' THEN value WHEN 'every' THEN source ELSE '' END
        ORDER BY occurred_at, event_id
    ) AS turn
    FROM unnest(
        %s::int[], %s::uuid[], %s::text[], %s::timestamptz[], %s::uuid[], %s::text[], %s::uuid[], %s::text[],
        %s::int[]
    ) AS g (place, contact_id, source, occurred_at, event_id, value, campaign_id, mode, days)
)
SELECT
    CASE WHEN r.turn = 1 AND last.id IS NULL THEN NULL
        WHEN r.mode IN ('once', 'key', 'every') THEN '{Reason.ALREADY_ENTERED}'
        WHEN r.mode = 'interval' THEN CASE WHEN r.turn > 1 OR last.is_recent THEN '{Reason.TOO_SOON}' END
        WHEN r.turn > 1 OR last.status = '{Run.Status.OPEN}' THEN '{Reason.ALREADY_RUNNING}' END,
    last.id, person.merged <> '{{}}'
FROM ranked r
CROSS JOIN LATERAL (
    SELECT ARRAY(
        SELECT id FROM contacts_contact WHERE workspace_id = %s AND merged_into_id = r.contact_id
    ) AS merged OFFSET 0
) person
LEFT JOIN LATERAL (
    SELECT run.id, run.status, run.started_at > %s::timestamptz - r.days * interval '1 day' AS is_recent
    FROM unnest(r.contact_id || person.merged) AS one (id) CROSS JOIN LATERAL (
        SELECT id, status, started_at FROM campaigns_run
        WHERE workspace_id = %s AND campaign_id = r.campaign_id AND contact_id = one.id
        AND r.turn = 1 AND NOT is_test AND CASE r.mode WHEN 'key' THEN key = 'key:' || r.value
            WHEN 'every' THEN key = r.source ELSE true END
        OFFSET 0  -- else the runs of the whole campaign may be read in their order, for one of the contact
    ) run ORDER BY run.id DESC LIMIT 1
) last ON true
ORDER BY r.place
"""


def _too_late(workspace_id: UUID, wanted: Wanted, judged: Sequence[RunState | Reason]) -> Refused:
    """Return those for whom there is no run, by candidate and reason."""
    refused: dict[tuple[UUID, str, str], tuple[Candidate, list[UUID]]] = {}
    for (one, starter), found in zip(wanted, judged, strict=True):
        if isinstance(found, Reason):
            key = one.contact_id, one.source, found
            refused.setdefault(key, (one, []))[1].append(starter.campaign_id)
    return [(one, why, _campaigns(workspace_id, of)) for (*_, why), (one, of) in refused.items()]


def _entered(run: RunState, now: datetime) -> Decided:
    return Decided(
        kind=Decision.Kind.ENTERED,
        campaign_id=run.campaign_id,
        contact_id=run.contact_id,
        event_id=run.event_id,
        run_id=run.id,
        decided_at=now,
    )


def _refused(one: Candidate, why: str, of: _Campaigns, now: datetime) -> Decided:
    """Return the row for a candidate and a reason, however many campaigns have it."""
    return Decided(
        kind=Decision.Kind.NOT_ENTERED,
        reason=why,
        campaign_id=None if of.set_id else of.ids[0],
        campaign_set_id=of.set_id,
        contact_id=one.contact_id,
        event_id=one.event_id,
        decided_at=now,
    )


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
        in_order = sorted(fresh)
        spelled = [array(fresh[id_]) for id_ in in_order]
        with connection.cursor() as cursor:
            cursor.execute(_STORE, [workspace_id, array(in_order), array(spelled)])
        transaction.on_commit(partial(_remember, list(fresh)))


_STORE: Final = """
INSERT INTO campaigns_campaignset (id, workspace_id, campaign_ids)
SELECT id, %s::uuid, campaign_ids::uuid[] FROM unnest(%s::uuid[], %s::text[]) AS w (id, campaign_ids)
ON CONFLICT DO NOTHING
"""


def _remember(set_ids: Sequence[UUID]) -> None:
    if len(_stored) > _MOST_STORED:
        _stored.clear()
    _stored.update(set_ids)
