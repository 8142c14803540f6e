"""The first wheel: events earn points, once per event and rule."""

from collections import defaultdict
from collections.abc import Sequence
from uuid import UUID

from django.db import connection

from events.conditions import EventConditions
from events.services import EffectBatch, EffectEvent, isolate, park, parked_subjects
from scoring.models import ScoringRule

EFFECT = "scoring.effects.apply_scoring_rules"


def apply_scoring_rules(batch: EffectBatch) -> None:
    """Apply the active rules to the batch. A rule that fails is parked with its events; the others go on."""
    events: dict[str, list[EffectEvent]] = defaultdict(list)
    for event in batch.events:
        events[event.name].append(event)
    rules: dict[str, list[ScoringRule]] = defaultdict(list)
    for rule in ScoringRule.objects.filter(
        workspace_id=batch.workspace_id, active=True, event_name__in=events
    ).order_by("id"):
        rules[rule.event_name].append(rule)
    for name, listening in rules.items():
        _apply(batch, listening, events[name])


def _apply(batch: EffectBatch, rules: Sequence[ScoringRule], events: Sequence[EffectEvent]) -> None:
    parked = parked_subjects(batch.workspace_id, EFFECT, [_subject(rule) for rule in rules])

    def set_aside(rule: ScoringRule, error: Exception) -> None:
        park(
            batch.workspace_id,
            effect=EFFECT,
            subject=_subject(rule),
            event_ids=[event.id for event in events],
            level=max(event.level for event in events),
            error=error,
        )

    for rule in rules:
        if _subject(rule) in parked:
            set_aside(rule, RuntimeError("waits behind an earlier failure of this rule"))
    sound = [rule for rule in rules if _subject(rule) not in parked]
    isolate(sound, lambda some: _award(batch, some, events), set_aside)


def _subject(rule: ScoringRule) -> str:
    return f"rule:{rule.id}"


def _award(batch: EffectBatch, rules: Sequence[ScoringRule], events: Sequence[EffectEvent]) -> None:
    """Write the ledger's new lines and move the scores by their sums, in one statement."""
    conditions = EventConditions()
    compiled = [conditions.add(rule.condition) for rule in rules]
    matches = ", ".join(f"CASE WHEN {sql.text} THEN {place} END" for place, sql in enumerate(compiled, 1))
    columns = conditions.columns
    # OFFSET 0 keeps the planner from reading a path once per condition, and to one look-up by key an event.
    statement = f"""
        WITH matched AS MATERIALIZED (
            SELECT e.id AS event_id, b.contact_id, e.occurred_at, m.place
            FROM unnest(%s::uuid[], %s::uuid[]) AS b (event_id, contact_id)
            CROSS JOIN LATERAL (
                SELECT id, occurred_at, properties, context FROM events_event
                WHERE workspace_id = %s AND id = b.event_id AND id BETWEEN %s AND %s OFFSET 0
            ) e
            CROSS JOIN LATERAL (SELECT {columns.text} OFFSET 0) v
            CROSS JOIN LATERAL unnest(array_remove(ARRAY[{matches}]::int[], NULL)) AS m (place)
        ), entered AS (
            INSERT INTO scoring_scoreentry
                (id, workspace_id, contact_id, rule_id, event_id, points, occurred_at, created_at)
            SELECT gen_random_uuid(), %s, contact_id, (%s::uuid[])[place], event_id, (%s::numeric[])[place],
                occurred_at, %s
            FROM matched
            ON CONFLICT (workspace_id, event_id, rule_id) DO NOTHING
            RETURNING contact_id, points
        )
        INSERT INTO contacts_contactscore (id, workspace_id, contact_id, points, updated_at)
        SELECT gen_random_uuid(), %s, contact_id, sum(points), %s FROM entered GROUP BY contact_id
        ORDER BY contact_id
        ON CONFLICT (workspace_id, contact_id) DO UPDATE
        SET points = contacts_contactscore.points + excluded.points, updated_at = excluded.updated_at
    """
    ids: list[UUID] = [event.id for event in events]
    with connection.cursor() as cursor:
        cursor.execute(
            statement,
            [
                ids,
                [event.contact_id for event in events],
                batch.workspace_id,
                min(ids),
                max(ids),
                *columns.parameters,
                *(parameter for sql in compiled for parameter in sql.parameters),
                batch.workspace_id,
                [rule.id for rule in rules],
                [rule.points for rule in rules],
                batch.now,
                batch.workspace_id,
                batch.now,
            ],
        )
