"""Evaluate rules for the contacts of enrollments, as of now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from uuid import UUID

from campaigns.journeys.step_context import EnrollmentBatch
from campaigns.models import EnrollmentState
from config.db.arrays import array
from config.db.sql import Statement, join, sql
from config.db.statements import fetch_all
from events.id_bounds import known_until
from events.rules import Rule, compile_rules
from events.rules.compiler import bound_values


def evaluate_rules(
    batch: EnrollmentBatch, enrollments: Sequence[EnrollmentState], rules: Sequence[Rule]
) -> dict[UUID, list[bool]]:
    """Return by enrollment id which of the rules hold now, in one statement.

    Rules may read the triggering event; for an enrollment without one, its properties are missing.
    """
    statement = _statement(_Rules(tuple(rules)))
    until = known_until(batch.now)
    people = [batch.people[enrollment.contact_id] for enrollment in enrollments]
    bound = bound_values(batch.workspace_id, batch.now, until) | {
        "now": batch.now,
        "until": until,
        "enrollments": array(enrollment.id for enrollment in enrollments),
        "contacts": array(person.id for person in people),
        "merged": array(array(person.ids) for person in people),
        "events": array(enrollment.event_id for enrollment in enrollments),
    }
    return dict(fetch_all(statement, bound))


@dataclass(frozen=True, slots=True, eq=False)
class _Rules:
    """Rules of a definition as a key: the same objects, as in Python 1 equals true."""

    rules: tuple[Rule, ...]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Rules) and list(map(id, self.rules)) == list(map(id, other.rules))

    def __hash__(self) -> int:
        return hash(tuple(map(id, self.rules)))


@lru_cache(500)
def _statement(key: _Rules) -> Statement:
    """Compile the rules of a step once: definitions are kept, too."""
    compiled = compile_rules(key.rules)
    return sql(
        """
        SELECT b.enrollment_id, ARRAY[{}] FROM (
            SELECT w.enrollment_id, w.contact_id, w.ids::uuid[] AS ids, w.event_id,
                {now:timestamptz} AS as_of, {until:timestamptz} AS until, NULL::numeric AS score
            FROM unnest({enrollments:uuid[]}, {contacts:uuid[]}, {merged:text[]}, {events:uuid[]})
                AS w (enrollment_id, contact_id, ids, event_id)
            OFFSET 0
        ) b
        LEFT JOIN LATERAL (
            SELECT * FROM events_event WHERE workspace_id = {workspace_id:uuid} AND id = b.event_id OFFSET 0
        ) t ON true
        {}
        """,
        join(", ", compiled.matches),
        compiled.joins,
    ).render()
