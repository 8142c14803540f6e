"""Evaluate contacts against segments' rules, in a statement that writes memberships and timers of the next change."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from config.db.arrays import array, array_of_decimals
from config.db.plans import force_generic_plan
from config.db.sql import Statement, join, sql
from config.db.statements import execute, fetch_all
from events.id_bounds import known_until
from events.rules import AggregateSpec, CompiledRules, compile_rules
from events.rules.batches import batch_rules
from events.rules.compiler import bound_values
from events.stream.outbox import LANE_SQL
from segments.plans import Plan, RuleVersion

MergedIds = Mapping[UUID, str]
"""Survivors of merges: by contact, its own id and the merged ones, as PostgreSQL spells an array."""


@dataclass(frozen=True, slots=True)
class Transition:
    """A contact came into what a version of a rule says, or went out, at a moment."""

    rule_version: RuleVersion
    contact_id: UUID
    is_in: bool
    at: datetime

    @property
    def segment_id(self) -> UUID:
        """The segment whose rule it is."""
        return self.rule_version.segment_id


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What an evaluation changed, and whom to evaluate again as of a moment that has passed already."""

    transitions: list[Transition]
    again: list[tuple[RuleVersion, UUID, datetime]]


@dataclass(frozen=True, slots=True)
class EvaluationStatement:
    """Evaluates contacts by groups of rules, writes memberships and timers, and returns what changed.

    The groups are of one shape, and a contact is evaluated by the group it comes with: what they share is asked
    once for all, however many rules there are.
    """

    groups: tuple[tuple[RuleVersion, ...], ...]
    # The places, within a group, of the rules that go with time.
    timed: tuple[int, ...]
    statement: Statement

    @property
    def size(self) -> int:
        """The rules of a group."""
        return len(self.groups[0])

    def execute(
        self,
        workspace_id: UUID,
        contact_ids: Collection[UUID],
        merged: MergedIds,
        now: datetime,
        moments: Mapping[UUID, datetime] | None = None,
        scores: Mapping[UUID, Decimal] | None = None,
        groups: Sequence[int] = (),
    ) -> Evaluated:
        """Evaluate each contact as of its moment, or of now where there is none; by its group, or by the only one.

        A moment before now leaves alone who came in after it. `scores` are read instead of the stored ones. Groups
        are counted from 1.
        """
        evaluated = Evaluated([], [])
        # Who is evaluated as of now has no moment: nothing on the stream is still to come.
        past = {contact_id: moment for contact_id, moment in (moments or {}).items() if moment < now}
        until = known_until(now)
        # Arrays that are left empty are filled up with nulls: most contacts stand for themselves, and for now.
        has_merged = bool(merged) and any(contact_id in merged for contact_id in contact_ids)
        bound = {
            # What was due has passed, and who has no moment is evaluated as of now.
            **bound_values(workspace_id, min(past.values(), default=now), until),
            "now": now,
            "until": until,
            "contact_ids": array(contact_ids),
            "ids": array(merged.get(contact_id) for contact_id in contact_ids) if has_merged else "{}",
            "moments": array(past.get(contact_id) for contact_id in contact_ids) if past else "{}",
            "scores": array_of_decimals(map(scores.get, contact_ids)) if scores else "{}",
            "group_numbers": array(groups),
        }
        for kind, place, contact_id, at in fetch_all(self.statement, bound):
            if kind == _AGAIN:
                group, timed = divmod(place - 1, len(self.timed))
                evaluated.again.append((self.groups[group][self.timed[timed]], contact_id, at))
            else:
                group, rule = divmod(place - 1, self.size)
                transition = Transition(self.groups[group][rule], contact_id, kind == _IN, at or now)
                evaluated.transitions.append(transition)
        return evaluated


def evaluation_statement(
    workspace_id: UUID, groups: Sequence[Sequence[RuleVersion]], built: Collection[AggregateSpec]
) -> EvaluationStatement:
    """Compile groups of rules into one statement. They must be of one shape: see `batch_groups`."""
    return _statement(workspace_id, groups, [_compiled(group, built) for group in groups])


def _statement(
    workspace_id: UUID, groups: Sequence[Sequence[RuleVersion]], compiled: Sequence[CompiledRules]
) -> EvaluationStatement:
    first, rules = compiled[0], batch_rules(workspace_id, compiled)
    timed, size = _timed(groups[0]), len(groups[0])
    versions = array(rule_version.version for group in groups for rule_version in group)
    own_versions = sql(f"({{:uuid[]}})[b.before + 1 : b.before + {size}]", versions)
    evaluate = sql(
        _EVALUATE,
        columns=rules.columns,
        size=sql(str(size)),
        joins=rules.joins,
        fits=join(
            ", ",
            [
                sql(f"CASE WHEN {{}} THEN b.before + {place} END", matches)
                for place, matches in enumerate(first.matches, 1)
            ],
        ),
        next_at=join(", ", [first.next_at[place] for place in timed]),
        held=sql(_HELD_OF_FEW if size <= _FEW else _HELD_OF_MANY, versions=own_versions),
        segments=array(rule_version.segment_id for group in groups for rule_version in group),
        versions=versions,
    )
    parts = [evaluate, sql(_RETURN, versions=versions)]
    if timed:
        number = sql(str(len(timed)))
        timed_versions = array(group[place].version for group in groups for place in timed)
        own_timed = sql("({1:uuid[]})[(j.g - 1) * {0} + 1 : j.g * {0}]", number, timed_versions)
        parts.insert(1, sql(_SCHEDULE, own_timed=own_timed))
        parts.append(sql(_RETURN_AGAIN, own_timed=own_timed, timed=number))
    return EvaluationStatement(tuple(map(tuple, groups)), timed, join("", parts).render())


def _compiled(rule_versions: Sequence[RuleVersion], built: Collection[AggregateSpec]) -> CompiledRules:
    return compile_rules([rule_version.rule for rule_version in rule_versions], built=built)


def _timed(rule_versions: Sequence[RuleVersion]) -> tuple[int, ...]:
    return tuple(place for place, rule_version in enumerate(rule_versions) if rule_version.goes_with_time)


def statement_of(workspace_id: UUID, plan: Plan, rule_versions: Sequence[RuleVersion]) -> EvaluationStatement:
    """Return the statement for some rules of a plan, compiled once."""
    key = tuple(rule_version.version for rule_version in rule_versions)
    statement: EvaluationStatement | None = plan.statements.get(key)
    if statement is None:
        statement = plan.statements[key] = evaluation_statement(workspace_id, [rule_versions], plan.built)
    return statement


@dataclass(frozen=True, slots=True)
class BatchGroups:
    """Some groups of a level of a plan, by their places there, that one statement evaluates."""

    places: tuple[int, ...]
    statement: EvaluationStatement

    def execute(
        self, workspace_id: UUID, affected: Mapping[int, Collection[UUID]], merged: MergedIds, now: datetime
    ) -> list[Transition]:
        """Evaluate contacts, by the place of their group in the level, as of now."""
        contact_ids: list[UUID] = []
        groups: list[int] = []
        for number, place in enumerate(self.places, 1):
            found = affected.get(place, ())
            contact_ids += found
            groups += [number] * len(found)
        if not contact_ids:
            return []
        return self.statement.execute(workspace_id, contact_ids, merged, now, groups=groups).transitions


def batch_groups(workspace_id: UUID, plan: Plan, level: int) -> list[BatchGroups]:
    """Return the groups of a level of a plan, those of one shape together, compiled once."""
    if level not in plan.batches:
        by_shape: dict[object, list[int]] = defaultdict(list)
        groups = [group.rule_versions for group in plan.levels[level]]
        compiled = [_compiled(rule_versions, plan.built) for rule_versions in groups]
        for place, rule_versions in enumerate(groups):
            by_shape[compiled[place].shape, _timed(rule_versions)].append(place)
        plan.batches[level] = [
            BatchGroups(
                tuple(batch),
                _statement(
                    workspace_id, [groups[place] for place in batch], [compiled[place] for place in batch]
                ),
            )
            for places in by_shape.values()
            for start in range(0, len(places), _MAX_BATCHED_RULES)
            for batch in [places[start : start + _MAX_BATCHED_RULES]]
        ]
    batches: list[BatchGroups] = plan.batches[level]
    return batches


def evaluate_contacts(
    workspace_id: UUID,
    rule_version: RuleVersion,
    contact_ids: Collection[UUID],
    built: Collection[AggregateSpec],
    now: datetime,
) -> Evaluated:
    """Evaluate one rule for contacts as of now; their lanes must be held. Merged and deleted ones are skipped."""
    found = sorted(canonical(workspace_id, contact_ids))
    if not found:
        return Evaluated([], [])
    with force_generic_plan():
        merged = merged_ids(workspace_id, found)
        statement = evaluation_statement(workspace_id, [[rule_version]], built)
        return statement.execute(workspace_id, found, merged, now)


def canonical(workspace_id: UUID, contact_ids: Collection[UUID]) -> set[UUID]:
    """Return those of the contacts that exist and were not merged into another."""
    if not contact_ids:
        return set()
    return {contact_id for (contact_id,) in fetch_all(_CANONICAL, [array(contact_ids), workspace_id])}


def merged_ids(workspace_id: UUID, contact_ids: Collection[UUID]) -> dict[UUID, str]:
    """Return the survivors of merges among the contacts, each with its own id and the merged ones."""
    if not contact_ids:
        return {}
    return dict(fetch_all(_MERGED_IDS, [array(contact_ids), workspace_id]))


def remove_memberships(
    workspace_id: UUID, contact_ids: Collection[UUID], rule_versions: Mapping[UUID, RuleVersion], at: datetime
) -> list[Transition]:
    """Take contacts that stand no more out of all these versions."""
    rows = fetch_all(
        "DELETE FROM segments_membership WHERE workspace_id = %s AND contact_id = ANY(%s)"
        " AND version = ANY(%s) RETURNING version, contact_id",
        [workspace_id, list(contact_ids), list(rule_versions)],
    )
    return [Transition(rule_versions[version], contact_id, False, at) for version, contact_id in rows]


def postpone(workspace_id: UUID, entries: Sequence[Transition]) -> None:
    """Have contacts be members since a later moment than that which they were evaluated as of."""
    if not entries:
        return
    execute(
        _POSTPONE,
        [
            array([entry.rule_version.version for entry in entries]),
            array([entry.contact_id for entry in entries]),
            array(entry.at for entry in entries),
            workspace_id,
        ],
    )


_OUT, _IN, _AGAIN = 0, 1, 2

_POSTPONE = """
UPDATE segments_membership m SET since = later.at
FROM unnest(%s::uuid[], %s::uuid[], %s::timestamptz[]) AS later (version, contact_id, at)
WHERE m.workspace_id = %s AND m.version = later.version AND m.contact_id = later.contact_id AND m.since < later.at
"""

# OFFSET 0 and the laterals keep it to one look-up by key a contact, whatever the planner thinks there is.
_CANONICAL = """
SELECT c.id FROM unnest(%s::uuid[]) AS wanted (id)
CROSS JOIN LATERAL (
    SELECT id FROM contacts_contact WHERE workspace_id = %s AND id = wanted.id AND merged_into_id IS NULL OFFSET 0
) c
"""
_MERGED_IDS = """
SELECT wanted.id, array_prepend(wanted.id, array_agg(f.id))::text FROM unnest(%s::uuid[]) AS wanted (id)
CROSS JOIN LATERAL (
    SELECT id FROM contacts_contact WHERE workspace_id = %s AND merged_into_id = wanted.id OFFSET 0
) f
GROUP BY wanted.id
"""

# `held` and `fits` are places among the rules, ascending, so equal arrays mean that nothing changed. What goes
# is deleted where it was seen to stand: by any key, a planner may read all memberships of the workspace instead.
_EVALUATE = """
WITH evaluated AS MATERIALIZED (
SELECT b.contact_id, b.as_of, b.g, held.places AS held, held.tids AS held_tids, held.since AS held_since,
array_remove(ARRAY[{fits}]::int[], NULL) AS fits, ARRAY[{next_at}]::timestamptz[] AS next_at
FROM (
SELECT w.contact_id, COALESCE(w.ids::uuid[], ARRAY[w.contact_id]) AS ids,
COALESCE(w.as_of, {now:timestamptz}) AS as_of,
COALESCE(w.as_of, {until:timestamptz}) AS until, w.score, COALESCE(w.g, 1) AS g,
(COALESCE(w.g, 1) - 1) * {size} AS before{columns}
FROM unnest({contact_ids:uuid[]}, {ids:text[]}, {moments:timestamptz[]}, {scores:numeric[]}, {group_numbers:int[]})
    AS w (contact_id, ids, as_of, score, g) OFFSET 0
) b
{joins}
CROSS JOIN LATERAL (
SELECT COALESCE(array_agg(m.place ORDER BY m.place), '{{}}') AS places,
COALESCE(array_agg(m.tid ORDER BY m.place), '{{}}') AS tids,
COALESCE(array_agg(m.since ORDER BY m.place), '{{}}') AS since
FROM ({held}) m
) held
), entered AS (
INSERT INTO segments_membership (id, workspace_id, segment_id, version, contact_id, since)
SELECT gen_random_uuid(), {workspace_id:uuid}, ({segments:uuid[]})[f.place], ({versions:uuid[]})[f.place],
j.contact_id, j.as_of
FROM evaluated j CROSS JOIN LATERAL unnest(j.fits) AS f (place)
WHERE j.fits <> j.held AND f.place <> ALL (j.held)
ON CONFLICT (workspace_id, version, contact_id) DO NOTHING
RETURNING version, contact_id, since
), going AS (
SELECT h.tid, h.place, j.contact_id, j.as_of
FROM evaluated j CROSS JOIN LATERAL unnest(j.held, j.held_tids, j.held_since) AS h (place, tid, since)
WHERE j.fits <> j.held AND h.place <> ALL (j.fits) AND (j.as_of >= {now:timestamptz} OR h.since <= j.as_of)
), gone AS (
DELETE FROM segments_membership m
WHERE m.workspace_id = {workspace_id:uuid} AND m.ctid = ANY (ARRAY(SELECT tid FROM going))
RETURNING m.ctid AS tid
)"""
# Of many rules, a contact's memberships are read all at once; of few, they are looked up one by one, for there may
# be hundreds of others.
_HELD_OF_MANY = """SELECT ctid AS tid, since,
b.before + array_position({versions}, version) AS place
FROM segments_membership WHERE workspace_id = {workspace_id:uuid} AND contact_id = b.contact_id
AND version = ANY({versions}) OFFSET 0"""
_HELD_OF_FEW = """SELECT one.tid, one.since, b.before + v.place::int AS place
FROM unnest({versions}) WITH ORDINALITY AS v (version, place)
CROSS JOIN LATERAL (SELECT ctid AS tid, since FROM segments_membership
WHERE workspace_id = {workspace_id:uuid} AND version = v.version AND contact_id = b.contact_id OFFSET 0) one"""
_FEW = 8
_MAX_BATCHED_RULES = 500
"""Groups of one statement; their parameters go along each time."""
_SCHEDULE = f""", scheduled AS (
INSERT INTO events_timer AS d (id, workspace_id, timer_key, contact_id, lane, due_at)
SELECT gen_random_uuid(), {{workspace_id:uuid}}, n.timer_key, j.contact_id, {LANE_SQL.format("j.contact_id")}, n.at
FROM evaluated j CROSS JOIN LATERAL unnest({{own_timed}}, j.next_at) AS n (timer_key, at)
WHERE n.at > {{now:timestamptz}} AND n.at < COALESCE((
SELECT due_at FROM events_timer
WHERE workspace_id = {{workspace_id:uuid}} AND timer_key = n.timer_key AND contact_id = j.contact_id
), 'infinity')
ON CONFLICT (workspace_id, timer_key, contact_id) DO UPDATE SET due_at = excluded.due_at
WHERE excluded.due_at < d.due_at
)"""
# A moment that is now comes back as null: it is known, and most are.
_RETURN = f"""
SELECT {_IN}, array_position({{versions:uuid[]}}, version), contact_id, NULLIF(since, {{now:timestamptz}})
FROM entered
UNION ALL SELECT {_OUT}, place, contact_id, NULLIF(as_of, {{now:timestamptz}}) FROM going JOIN gone USING (tid)"""
_RETURN_AGAIN = f"""
UNION ALL SELECT {_AGAIN}, (j.g - 1) * {{timed}} + n.place::int, j.contact_id, n.at
FROM evaluated j CROSS JOIN LATERAL unnest({{own_timed}}, j.next_at) WITH ORDINALITY AS n (timer_key, at, place)
WHERE n.at <= {{now:timestamptz}} AND n.at > j.as_of"""
