"""Evaluate rules for the contacts of enrollments, as of now."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from campaigns.journeys.step_context import EnrollmentBatch
from campaigns.models import EnrollmentState
from config.db.arrays import array
from config.db.sql import join, sql
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
    compiled = compile_rules(rules)
    until = known_until(batch.now)
    people = [batch.people[enrollment.contact_id] for enrollment in enrollments]
    statement = sql(
        """
        SELECT b.enrollment_id, ARRAY[{}] FROM (
            SELECT w.enrollment_id, w.contact_id, w.ids::uuid[] AS ids, w.event_id,
                {:timestamptz} AS as_of, {:timestamptz} AS until, NULL::numeric AS score
            FROM unnest({:uuid[]}, {:uuid[]}, {:text[]}, {:uuid[]}) AS w (enrollment_id, contact_id, ids, event_id)
            OFFSET 0
        ) b
        LEFT JOIN LATERAL (
            SELECT * FROM events_event WHERE workspace_id = {workspace_id:uuid} AND id = b.event_id OFFSET 0
        ) t ON true
        {}
        """,
        join(", ", compiled.matches),
        batch.now,
        until,
        array(enrollment.id for enrollment in enrollments),
        array(person.id for person in people),
        array(array(person.ids) for person in people),
        array(enrollment.event_id for enrollment in enrollments),
        compiled.joins,
    )
    return dict(fetch_all(statement, bound_values(batch.workspace_id, batch.now, until)))
