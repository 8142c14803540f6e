"""Match events against rules about events, in SQL; used by scoring, triggers and previews alike."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from uuid import UUID

from config.db.arrays import array
from config.db.sql import Sql, join, sql
from events.id_bounds import first_id_of_events
from events.rules.compiler import bound_values, compile_event_rule, compile_rules
from events.rules.conditions import EventConditions
from events.rules.nodes import Rule
from events.rules.parser import parse_rule

ALWAYS = datetime.min.replace(tzinfo=UTC)
_BEFORE_ALL_EVENTS = datetime(1970, 1, 1, tzinfo=UTC)
_AFTER_ALL_EVENTS = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class EventRule:
    """A rule about an event, and the time of receipt from which on it applies."""

    tree: Rule
    evaluates_from: datetime = ALWAYS
    # As `serialize_rule` has it, for rules that are applied again and again: they are compiled once.
    spelled: str = ""

    @property
    def needs_contact(self) -> bool:
        """Whether it reads more than the event itself."""
        return not self.tree.reads_only_event


def serialize_rule(event_name: str, condition: object) -> str:
    """Serialize a rule as JSON text, as a key for caches: in Python 1 equals true."""
    return json.dumps([event_name, condition])


@lru_cache(10_000)
def parse_serialized_rule(spelled: str) -> Rule:
    """Parse what `serialize_rule` returned. Raises InvalidCondition."""
    event_name, condition = json.loads(spelled)
    return parse_rule(condition, about_event=event_name)


def given_events(workspace_id: UUID, event_ids: Sequence[UUID], contact_ids: Sequence[UUID]) -> Sql:
    """Return the relation of these events, each with the contact that it counts for."""
    # OFFSET 0 keeps the planner to one look-up by key an event.
    return sql(
        f"""unnest({{:uuid[]}}, {{:uuid[]}}) AS sent (event_id, contact_id)
            CROSS JOIN LATERAL (
                SELECT {_COLUMNS} FROM events_event
                WHERE workspace_id = {{:uuid}} AND id = sent.event_id AND id BETWEEN {{:uuid}} AND {{:uuid}} OFFSET 0
            ) t""",
        array(event_ids),
        array(contact_ids),
        workspace_id,
        min(event_ids),
        max(event_ids),
    )


def events_of_contacts(
    workspace_id: UUID,
    owners: Sequence[tuple[UUID, UUID]],
    name: str,
    *,
    since: datetime = _BEFORE_ALL_EVENTS,
) -> Sql:
    """Return the relation of all events of a name; `owners` are (who it came with, who it counts for).

    By the contact, whatever the planner thinks: by the name, it would read everybody's for each.
    """
    return sql(
        f"""unnest({{:uuid[]}}, {{:uuid[]}}) AS sent (origin_id, contact_id)
            CROSS JOIN LATERAL (
                SELECT {_COLUMNS} FROM events_event
                WHERE workspace_id = {{:uuid}} AND contact_id = sent.origin_id AND name || '' = {{:text}}
                    AND id >= {{:uuid}} OFFSET 0
            ) t""",
        array(origin for origin, _ in owners),
        array(owner for _, owner in owners),
        workspace_id,
        name,
        first_id_of_events(since),
    )


def latest_events(workspace_id: UUID, name: str, since: datetime, limit: int) -> Sql:
    """Return the relation of the latest events of a name, from a moment on, that have a contact."""
    return sql(
        f"""(
                SELECT {_COLUMNS}, contact_id FROM events_event
                WHERE workspace_id = {{0:uuid}} AND name = {{1:text}} AND id >= {{2:uuid}}
                    AND occurred_at >= {{3:timestamptz}} AND contact_id IS NOT NULL
                ORDER BY id DESC LIMIT {{4:int}}
            ) t
            CROSS JOIN LATERAL (
                SELECT COALESCE(merged_into_id, id) AS contact_id FROM contacts_contact
                WHERE workspace_id = {{0:uuid}} AND id = t.contact_id OFFSET 0
            ) sent""",
        workspace_id,
        name,
        first_id_of_events(since),
        since,
        limit,
    )


def matches(
    workspace_id: UUID,
    rules: Sequence[EventRule],
    source: Sql,
    *,
    earliest: datetime = _BEFORE_ALL_EVENTS,
    latest: datetime = _AFTER_ALL_EVENTS,
) -> Sql:
    """Return a query of (event_id, contact_id, occurred_at, depth, place): the rules' places, from 1, that match.

    `source` is one of the relations above, with no event before `earliest` or after `latest`. What rules ask of the
    contact is evaluated as of the event's moment, by what is known now.
    """
    joins, places = _compile(rules)
    ids = sql(_IDS_OF_CONTACT) if any(rule.needs_contact for rule in rules) else Sql()
    return sql(
        """
        SELECT t.id AS event_id, b.contact_id, t.occurred_at, t.depth, m.place
        FROM {}
        CROSS JOIN LATERAL (SELECT sent.contact_id, t.occurred_at AS as_of, t.occurred_at AS until{}) b
        {}
        CROSS JOIN LATERAL unnest(array_remove(ARRAY[{}]::int[], NULL)) AS m (place)
        WHERE t.received_at >= ({:timestamptz[]})[m.place]
        """,
        source,
        ids,
        joins,
        places,
        [rule.evaluates_from for rule in rules],
    ).bind(**bound_values(workspace_id, earliest, latest))


def places_that_hold(conditions: Iterable[Sql]) -> Sql:
    """Return a list of the conditions' places, from 1, null for those that do not hold."""
    return join(
        ", ", [sql(f"CASE WHEN {{}} THEN {place} END", holds) for place, holds in enumerate(conditions, 1)]
    )


_COLUMNS = "id, occurred_at, received_at, depth, properties, context"
_IDS_OF_CONTACT = """, sent.contact_id || ARRAY(
            SELECT id FROM contacts_contact
            WHERE workspace_id = {workspace_id:uuid} AND merged_into_id = sent.contact_id
        ) AS ids, NULL::numeric AS score OFFSET 0"""


def _compile(rules: Sequence[EventRule]) -> tuple[Sql, Sql]:
    """Return joins, and the places of the rules that hold."""
    if all(rule.spelled for rule in rules):
        return _compiled(tuple(rule.spelled for rule in rules))
    return _compile_trees([rule.tree for rule in rules])


@lru_cache(200)
def _compiled(spelled: tuple[str, ...]) -> tuple[Sql, Sql]:
    """Compile rules once: to compile a hundred takes longer than to apply them to a few events."""
    return _compile_trees([parse_serialized_rule(rule) for rule in spelled])


def _compile_trees(trees: Sequence[Rule]) -> tuple[Sql, Sql]:
    if not all(tree.reads_only_event for tree in trees):
        compiled = compile_rules(trees)
        return compiled.joins, places_that_hold(compiled.matches)
    conditions = EventConditions("t")
    places = places_that_hold(compile_event_rule(tree, conditions) for tree in trees)
    # OFFSET 0: a path is read once, however many conditions are on it.
    return sql("CROSS JOIN LATERAL (SELECT {} OFFSET 0) v", conditions.columns), places
