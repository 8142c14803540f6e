"""The decision itself: who fits which rules, set-based, in one statement that also writes what it finds."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection

from events.rules import CompiledRules, MeasureSpec, compile_rules
from events.services import lane_of
from segments.services.plans import Plan, Ruling


@dataclass(frozen=True, slots=True)
class Person:
    """A contact that stands, and everybody it speaks for, as PostgreSQL spells an array of ids."""

    contact_id: UUID
    ids: str

    @property
    def others(self) -> list[UUID]:
        """Those that were merged into it."""
        return [UUID(one) for one in self.ids[1:-1].split(",")[1:]]


@dataclass(frozen=True, slots=True)
class Transition:
    """A contact came into what a version of a rule says, or went out, at a moment."""

    ruling: Ruling
    contact_id: UUID
    is_in: bool
    at: datetime


@dataclass(frozen=True, slots=True)
class Judgement:
    """What judging changed, and whom to judge again as of a moment that has passed already."""

    transitions: list[Transition]
    again: list[tuple[Ruling, UUID, datetime]]


@dataclass(frozen=True, slots=True)
class JudgingStatement:
    """Judges contacts by some rules, writes memberships and timetable, and returns what changed."""

    rulings: tuple[Ruling, ...]
    compiled: CompiledRules
    text: str

    def execute(
        self, workspace_id: UUID, people: Sequence[Person], moments: Sequence[datetime], now: datetime
    ) -> Judgement:
        """Judge each person as of its moment. Moments before now leave alone who came in after them."""
        by_version = {ruling.version: ruling for ruling in self.rulings}
        judgement = Judgement([], [])
        with connection.cursor() as cursor:
            cursor.execute(self.text, self._parameters(workspace_id, people, moments, now))
            for kind, version, contact_id, at in cursor.fetchall():
                ruling = by_version[version]
                if kind == _AGAIN:
                    judgement.again.append((ruling, contact_id, at))
                else:
                    judgement.transitions.append(Transition(ruling, contact_id, kind == _IN, at))
        return judgement

    def _parameters(
        self, workspace_id: UUID, people: Sequence[Person], moments: Sequence[datetime], now: datetime
    ) -> list[Any]:
        versions = [ruling.version for ruling in self.rulings]
        timed = [ruling.version for ruling in self.rulings if ruling.goes_with_time]
        parameters = [
            [person.contact_id for person in people],
            [person.ids for person in people],
            [lane_of(person.contact_id) for person in people],
            list(moments),
            *self.compiled.bind(workspace_id, min(moments)),
            versions,
            workspace_id,
            versions,
            workspace_id,
            [ruling.segment_id for ruling in self.rulings],
            versions,
            versions,
            now,
            workspace_id,
        ]
        if timed:
            parameters += [workspace_id, timed, now, workspace_id, timed, now]
        return parameters


def judging_statement(rulings: Sequence[Ruling], built: Collection[MeasureSpec]) -> JudgingStatement:
    """Compile rules into one statement. Rules of the same shape give the same text, which is planned once."""
    compiled = compile_rules([ruling.rule for ruling in rulings], built=built)
    fits = ", ".join(
        f"CASE WHEN {matches} THEN {place} END" for place, matches in enumerate(compiled.matches, 1)
    )
    timed = [
        next_at for ruling, next_at in zip(rulings, compiled.next_at, strict=True) if ruling.goes_with_time
    ]
    text = _JUDGE.format(joins=compiled.joins.text, fits=fits, next_at=", ".join(timed))
    text += (_SCHEDULE + _RETURN + _RETURN_AGAIN) if timed else _RETURN
    return JudgingStatement(tuple(rulings), compiled, text)


def statement_of(plan: Plan, rulings: Sequence[Ruling]) -> JudgingStatement:
    """Return the statement for some rules of a plan, compiled once."""
    key = tuple(ruling.version for ruling in rulings)
    statement: JudgingStatement | None = plan.statements.get(key)
    if statement is None:
        statement = plan.statements[key] = judging_statement(rulings, plan.built)
    return statement


def standing(workspace_id: UUID, contact_ids: Collection[UUID]) -> dict[UUID, Person]:
    """Return those of the contacts that exist and were not merged into another."""
    if not contact_ids:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(_STANDING, [list(contact_ids), workspace_id, workspace_id])
        return {contact_id: Person(contact_id, ids) for contact_id, ids in cursor.fetchall()}


def dismiss(
    workspace_id: UUID, contact_ids: Collection[UUID], rulings: Mapping[UUID, Ruling], at: datetime
) -> list[Transition]:
    """Take contacts that stand no more out of all these versions."""
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM segments_membership WHERE workspace_id = %s AND contact_id = ANY(%s)"
            " AND version = ANY(%s) RETURNING version, contact_id",
            [workspace_id, list(contact_ids), list(rulings)],
        )
        return [
            Transition(rulings[version], contact_id, False, at) for version, contact_id in cursor.fetchall()
        ]


_OUT, _IN, _AGAIN = 0, 1, 2

# OFFSET 0 and the lateral keep it to one look-up by key a contact, whatever the planner thinks there is.
_STANDING = """
SELECT c.id, array_prepend(c.id, ARRAY(
    SELECT f.id FROM contacts_contact f WHERE f.workspace_id = c.workspace_id AND f.merged_into_id = c.id
))::text
FROM unnest(%s::uuid[]) AS wanted (id)
CROSS JOIN LATERAL (
    SELECT id, workspace_id FROM contacts_contact
    WHERE workspace_id = %s AND id = wanted.id AND merged_into_id IS NULL OFFSET 0
) c
WHERE c.workspace_id = %s
"""

# `held` and `fits` are places among the rules, ascending, so equal arrays mean that nothing changed. What goes
# is deleted by its id: joined freely, a planner may read all memberships of the version instead.
_JUDGE = """
WITH judged AS MATERIALIZED (
    SELECT b.contact_id, b.lane, b.as_of, held.places AS held, held.ids AS held_ids, held.since AS held_since,
        array_remove(ARRAY[{fits}]::int[], NULL) AS fits, ARRAY[{next_at}]::timestamptz[] AS next_at
    FROM (
        SELECT w.contact_id, w.ids::uuid[] AS ids, w.lane, w.as_of
        FROM unnest(%s::uuid[], %s::text[], %s::int[], %s::timestamptz[]) AS w (contact_id, ids, lane, as_of)
        OFFSET 0
    ) b
    {joins}
    CROSS JOIN LATERAL (
        SELECT COALESCE(array_agg(m.place ORDER BY m.place), '{{}}') AS places,
            COALESCE(array_agg(m.id ORDER BY m.place), '{{}}') AS ids,
            COALESCE(array_agg(m.since ORDER BY m.place), '{{}}') AS since
        FROM (
            SELECT id, since, array_position(%s::uuid[], version) AS place FROM segments_membership
            WHERE workspace_id = %s AND contact_id = b.contact_id AND version = ANY(%s::uuid[]) OFFSET 0
        ) m
    ) held
), entered AS (
    INSERT INTO segments_membership (id, workspace_id, segment_id, version, contact_id, since)
    SELECT gen_random_uuid(), %s, (%s::uuid[])[f.place], (%s::uuid[])[f.place], j.contact_id, j.as_of
    FROM judged j CROSS JOIN LATERAL unnest(j.fits) AS f (place)
    WHERE j.fits <> j.held AND f.place <> ALL (j.held)
    ON CONFLICT (workspace_id, version, contact_id) DO NOTHING
    RETURNING version, contact_id, since
), going AS (
    SELECT h.id, (%s::uuid[])[h.place] AS version, j.contact_id, j.as_of
    FROM judged j CROSS JOIN LATERAL unnest(j.held, j.held_ids, j.held_since) AS h (place, id, since)
    WHERE j.fits <> j.held AND h.place <> ALL (j.fits) AND (j.as_of >= %s::timestamptz OR h.since <= j.as_of)
), gone AS (
    DELETE FROM segments_membership WHERE workspace_id = %s AND id = ANY (ARRAY(SELECT id FROM going))
    RETURNING id
)"""
_SCHEDULE = """, scheduled AS (
    INSERT INTO events_due AS d (id, workspace_id, subject, contact_id, lane, due_at)
    SELECT gen_random_uuid(), %s, n.subject, j.contact_id, j.lane, n.at
    FROM judged j CROSS JOIN LATERAL unnest(%s::uuid[], j.next_at) AS n (subject, at)
    WHERE n.at > %s::timestamptz AND n.at < COALESCE((
        SELECT due_at FROM events_due
        WHERE workspace_id = %s AND subject = n.subject AND contact_id = j.contact_id
    ), 'infinity')
    ON CONFLICT (workspace_id, subject, contact_id) DO UPDATE SET due_at = excluded.due_at
    WHERE excluded.due_at < d.due_at
)"""
_RETURN = f"""
SELECT {_IN}, version, contact_id, since FROM entered
UNION ALL SELECT {_OUT}, version, contact_id, as_of FROM going JOIN gone USING (id)"""
_RETURN_AGAIN = f"""
UNION ALL SELECT {_AGAIN}, n.subject, j.contact_id, n.at
FROM judged j CROSS JOIN LATERAL unnest(%s::uuid[], j.next_at) AS n (subject, at)
WHERE n.at <= %s::timestamptz AND n.at > j.as_of"""
