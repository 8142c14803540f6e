"""Record the points of new events in the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from config.db.arrays import array, array_of_decimals
from config.db.sql import Sql, sql
from config.db.statements import fetch_all
from events.processing.passes import EffectEvent
from events.rules.event_matching import given_events, matches
from scoring.calculation import Award
from scoring.rule_matching import RuleEvaluator
from scoring.rule_scores import Entered, apply_entries


def award(
    workspace_id: UUID, evaluators: Sequence[RuleEvaluator], events: Sequence[EffectEvent], now: datetime
) -> set[UUID]:
    """Insert ledger entries and update the scores. Returns the contacts whose score changed.

    Rules whose points merely add up cost one statement together; give the others one at a time, because their
    entries depend on one another.
    """
    source = given_events(
        workspace_id, [event.id for event in events], [event.contact_id for event in events]
    )
    times = [event.occurred_at for event in events]
    matched = matches(workspace_id, evaluators, source, earliest=min(times), latest=max(times))
    if all(adds_up(evaluator) for evaluator in evaluators):
        return _add_up(workspace_id, evaluators, matched, now)
    entered = _enter(workspace_id, evaluators, matched, now)
    return apply_entries(
        workspace_id, {evaluator.rule.id: evaluator.rule for evaluator in evaluators}, entered, now
    )


def adds_up(evaluator: RuleEvaluator) -> bool:
    """Whether the rule's value is the plain sum of its entries."""
    return evaluator.rule.terms.are_plain and not evaluator.rule.is_rescoring


_ENTER = """
    INSERT INTO scoring_scoreentry (id, workspace_id, contact_id, rule_id, event_id, points, occurred_at, created_at)
    SELECT gen_random_uuid(), {:uuid}, contact_id, ({:uuid[]})[place], event_id, ({:numeric[]})[place], occurred_at,
        {:timestamptz}
    FROM matched
    ON CONFLICT (workspace_id, event_id, rule_id) DO NOTHING
"""


def _entering(workspace_id: UUID, evaluators: Sequence[RuleEvaluator], matched: Sql, now: datetime) -> Sql:
    return sql(
        f"WITH matched AS MATERIALIZED ({{}}), entered AS ({_ENTER}"
        " RETURNING contact_id, rule_id, event_id, occurred_at, points)",
        matched,
        workspace_id,
        array(evaluator.rule.id for evaluator in evaluators),
        array_of_decimals(evaluator.rule.points for evaluator in evaluators),
        now,
    )


def _add_up(
    workspace_id: UUID, evaluators: Sequence[RuleEvaluator], matched: Sql, now: datetime
) -> set[UUID]:
    statement = sql(
        """{}
        INSERT INTO contacts_contactscore (id, workspace_id, contact_id, points, updated_at)
        SELECT gen_random_uuid(), {:uuid}, contact_id, sum(points), {:timestamptz} FROM entered GROUP BY contact_id
        ORDER BY contact_id
        ON CONFLICT (workspace_id, contact_id) DO UPDATE
        SET points = contacts_contactscore.points + excluded.points, updated_at = excluded.updated_at
        RETURNING contact_id
        """,
        _entering(workspace_id, evaluators, matched, now),
        workspace_id,
        now,
    )
    return {contact_id for (contact_id,) in fetch_all(statement)}


def _enter(
    workspace_id: UUID, evaluators: Sequence[RuleEvaluator], matched: Sql, now: datetime
) -> list[Entered]:
    statement = sql(
        "{} SELECT contact_id, rule_id, event_id, occurred_at, points FROM entered",
        _entering(workspace_id, evaluators, matched, now),
    )
    return [
        Entered(contact_id, rule_id, Award(occurred_at, event_id, points))
        for contact_id, rule_id, event_id, occurred_at, points in fetch_all(statement)
    ]
