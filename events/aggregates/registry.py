"""The aggregates that all-time conditions read: registered with rules, maintained event by event, rebuilt and purged.

A measure is kept per contact, incrementally, by `events.effects.maintain_aggregates`. A new measure is built lane by
lane from the stream, without what still waits in the lane's outbox: the effects will count that.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet

from config.db.arrays import array
from config.db.bulk import insert_rows
from config.db.plans import hashed_lists
from config.db.sql import Sql, join, sql
from config.db.statements import execute, fetch_all
from config.ids import NO_ID
from events.errors import InvalidCondition
from events.models import Aggregate
from events.processing.passes import EffectEvent, bump_rules_version
from events.rules.compiler import AggregateSpec, compile_event_rule
from events.rules.conditions import EventConditions
from events.rules.event_matching import places_that_hold
from events.rules.nodes import Group, Rule, written
from events.rules.parser import parse_rule
from events.stream.outbox import LANE_COUNT, LANE_SQL
from events.versioned_cache import VersionedEventNames

logger = logging.getLogger(__name__)

ALL_LANES = (1 << LANE_COUNT) - 1


@dataclass(frozen=True, slots=True)
class MaintainedAggregate:
    """An aggregate that effects maintain, in the lanes whose bit is set."""

    id: UUID
    spec: AggregateSpec
    lanes_built: int


def register_aggregates(workspace_id: UUID, specs: Collection[AggregateSpec]) -> None:
    """Maintain aggregates from now on, in lanes that are built. Call it in the edit's transaction, under
    the rules' lock.
    """
    insert_rows(
        [
            Aggregate(
                id=spec.id_in(workspace_id),
                workspace_id=workspace_id,
                key=spec.key,
                event_name=spec.event_name,
                filters=None if spec.filters is None else written(spec.filters),
                property=spec.field,
            )
            for spec in specs
        ],
        ignore_conflicts=True,
    )


def reset_aggregates(workspace_id: UUID, specs: Collection[AggregateSpec]) -> None:
    """Have aggregates built anew by the next builds that read them; until then nobody reads or maintains them.

    Call it in the edit's transaction, under the rules' lock.
    """
    keys = [spec.key for spec in specs]
    Aggregate.objects.in_workspace(workspace_id).filter(key__in=keys).update(lanes_built=0)


def purge_aggregates(workspace_id: UUID, wanted: Callable[[], Collection[AggregateSpec]]) -> int:
    """Delete the aggregates that no rule reads any more, with contacts' values. Returns how many values.

    `wanted` is asked again under the rules' lock, for a rule may come to want one meanwhile. A measure is no longer
    built from the first commit on, so nobody reads or keeps it; its row stays until its aggregates are gone, so that
    whoever comes after a crash finds them.
    """
    if not _unwanted(workspace_id, wanted()).exists():
        return 0
    with transaction.atomic(durable=True):
        bump_rules_version(workspace_id)
        unwanted = _unwanted(workspace_id, wanted())
        gone = list(unwanted.values_list("id", flat=True))
        unwanted.update(lanes_built=0)
    deleted = _delete_aggregates(workspace_id, gone) if gone else 0
    with transaction.atomic(durable=True):
        bump_rules_version(workspace_id)
        _unwanted(workspace_id, wanted()).filter(id__in=gone).delete()
    return deleted


def built_aggregates(workspace_id: UUID) -> set[AggregateSpec]:
    """Return the aggregates that are built for every contact."""
    return {kept.spec for kept in maintained_aggregates(workspace_id) if kept.lanes_built == ALL_LANES}


def maintained_aggregates(
    workspace_id: UUID, event_names: Collection[str] | None = None
) -> list[MaintainedAggregate]:
    """Return the workspace's aggregates, or those over events of some names."""
    aggregates = Aggregate.objects.in_workspace(workspace_id).order_by("id")
    if event_names is not None:
        aggregates = aggregates.filter(event_name__in=event_names)
    return [
        MaintainedAggregate(row.id, spec, row.lanes_built)
        for row in aggregates
        if (spec := _spec(row)) is not None
    ]


def _aggregated_event_names(workspace_id: UUID) -> Iterable[str]:
    return Aggregate.objects.in_workspace(workspace_id).values_list("event_name", flat=True)


aggregated_event_names: Final = VersionedEventNames(_aggregated_event_names)


def add_to_aggregates(
    workspace_id: UUID,
    events: Sequence[EffectEvent],
    lanes: Sequence[int],
    kept: Sequence[MaintainedAggregate],
) -> None:
    """Add new events of one name to the aggregates; `lanes` are those of the events."""
    conditions = EventConditions()
    specs = [aggregate.spec for aggregate in kept]
    branches = _branches(specs, conditions)
    event_ids = [event.id for event in events]
    statement = sql(
        """
        WITH counted AS (
            SELECT e.contact_id, e.id, e.occurred_at, m.place, m.value
            FROM unnest({:uuid[]}, {:int[]}) AS b (event_id, lane)
            CROSS JOIN LATERAL (
                SELECT id, contact_id, occurred_at, properties, context FROM events_event
                WHERE workspace_id = {:uuid} AND id = b.event_id AND id BETWEEN {:uuid} AND {:uuid} OFFSET 0
            ) e
            CROSS JOIN LATERAL (SELECT {} OFFSET 0) v
            CROSS JOIN LATERAL (VALUES {}) AS m (place, holds, value)
            WHERE m.holds AND (({:int[]})[m.place] >> b.lane) & 1 = 1
        )
        {} {}
        """,
        array(event_ids),
        array(lanes),
        workspace_id,
        min(event_ids),
        max(event_ids),
        conditions.columns,
        branches,
        array(aggregate.lanes_built for aggregate in kept),
        _upsert(workspace_id, specs),
        sql(_ADD),
    )
    execute(statement)


def recompute_aggregates(
    workspace_id: UUID, contact_ids: Sequence[UUID], specs: Sequence[AggregateSpec]
) -> None:
    """Recompute contacts' aggregates from the stream, each by its own id; events still in the outbox are left out.

    The contacts' lanes must be held: nobody else counts meanwhile.
    """
    by_name: dict[str, list[AggregateSpec]] = defaultdict(list)
    for spec in specs:
        by_name[spec.event_name].append(spec)
    execute(
        "DELETE FROM events_contactaggregate WHERE workspace_id = %s AND contact_id ="
        " ANY(%s) AND aggregate_id = ANY(%s)",
        [workspace_id, list(contact_ids), [spec.id_in(workspace_id) for spec in specs]],
    )
    with hashed_lists():
        for name, named in by_name.items():
            _recount(workspace_id, contact_ids, name, named)


def build_aggregates(workspace_id: UUID, lane: int, specs: Collection[AggregateSpec]) -> bool:
    """Build the aggregates that this lane lacks; it must be locked until the commit. Returns whether any were."""
    missing = [
        aggregate.spec
        for aggregate in maintained_aggregates(workspace_id)
        if aggregate.spec in specs and not aggregate.lanes_built >> lane & 1
    ]
    if not missing:
        return False
    for contact_ids in _contacts_and_merged(workspace_id, lane):
        recompute_aggregates(workspace_id, contact_ids, missing)
    execute(
        "UPDATE events_aggregate SET lanes_built = lanes_built | %s WHERE workspace_id = %s AND id = ANY(%s)",
        [1 << lane, workspace_id, [spec.id_in(workspace_id) for spec in missing]],
    )
    return True


def _contacts_and_merged(workspace_id: UUID, lane: int, size: int = 5_000) -> Iterator[list[UUID]]:
    """Yield the contacts of a lane in batches; merged contacts come with their survivor."""
    last = UUID(int=0)
    while True:
        rows = fetch_all(
            "SELECT id FROM contacts_contact WHERE workspace_id = %s AND id > %s"
            f" AND {LANE_SQL.format('COALESCE(merged_into_id, id)')} = %s ORDER BY id LIMIT %s",
            [workspace_id, last, lane, size],
        )
        chunk = [contact_id for (contact_id,) in rows]
        if not chunk:
            return
        yield chunk
        last = chunk[-1]


def match_events_to_aggregates(
    workspace_id: UUID, events: Sequence[EffectEvent], specs: Collection[AggregateSpec]
) -> dict[AggregateSpec, set[UUID]]:
    """Return by aggregate the contacts (survivors) whose events count for it.

    One statement per name of event; measures without filters need none.
    """
    touched: dict[AggregateSpec, set[UUID]] = {}
    by_name: dict[str, list[EffectEvent]] = defaultdict(list)
    for event in events:
        by_name[event.name].append(event)
    filtered: dict[str, list[AggregateSpec]] = defaultdict(list)
    for spec in specs:
        if spec.event_name not in by_name:
            continue
        if spec.filters is None:
            touched[spec] = {event.contact_id for event in by_name[spec.event_name]}
        else:
            filtered[spec.event_name].append(spec)
    for name, named in filtered.items():
        for place, contact_ids in _matches(workspace_id, by_name[name], named):
            touched[named[place - 1]] = set(contact_ids)
    return touched


def _unwanted(workspace_id: UUID, wanted: Collection[AggregateSpec]) -> QuerySet[Aggregate]:
    return Aggregate.objects.in_workspace(workspace_id).exclude(key__in=[spec.key for spec in wanted])


def _delete_aggregates(workspace_id: UUID, aggregate_ids: Sequence[UUID]) -> int:
    """Delete values of aggregates page by page along the key, but for those that were built anew meanwhile."""
    total, last = 0, (NO_ID, NO_ID)
    while True:
        rows = fetch_all(
            _DELETE_PAGE, [workspace_id, *last, _PAGE, workspace_id, workspace_id, list(aggregate_ids)]
        )
        if not rows:
            return total
        contact_id, aggregate_id, deleted = rows[0]
        total, last = total + deleted, (contact_id, aggregate_id)


def _matches(
    workspace_id: UUID, events: Sequence[EffectEvent], specs: Sequence[AggregateSpec]
) -> Iterable[tuple[int, list[UUID]]]:
    conditions = EventConditions()
    places = places_that_hold(_filter(spec, conditions) for spec in specs)
    event_ids = [event.id for event in events]
    statement = sql(
        """
        SELECT m.place, array_agg(DISTINCT b.contact_id)
        FROM unnest({:uuid[]}, {:uuid[]}) AS b (event_id, contact_id)
        CROSS JOIN LATERAL (
            SELECT properties, context FROM events_event
            WHERE workspace_id = {:uuid} AND id = b.event_id AND id BETWEEN {:uuid} AND {:uuid} OFFSET 0
        ) e
        CROSS JOIN LATERAL (SELECT {} OFFSET 0) v
        CROSS JOIN LATERAL unnest(array_remove(ARRAY[{}]::int[], NULL)) AS m (place)
        GROUP BY m.place
        """,
        array(event_ids),
        array(event.contact_id for event in events),
        workspace_id,
        min(event_ids),
        max(event_ids),
        conditions.columns,
        places,
    )
    return fetch_all(statement)


def _recount(
    workspace_id: UUID, contact_ids: Sequence[UUID], name: str, specs: Sequence[AggregateSpec]
) -> None:
    conditions = EventConditions()
    branches = _branches(specs, conditions)
    statement = sql(
        """
        WITH waiting AS MATERIALIZED (
            SELECT unnest(event_ids) AS id FROM events_eventbatch WHERE workspace_id = {:uuid} AND NOT is_repeat
        ), counted AS (
            SELECT e.contact_id, e.id, e.occurred_at, m.place, m.value
            FROM unnest({:uuid[]}) AS b (contact_id)
            CROSS JOIN LATERAL (
                SELECT id, contact_id, occurred_at, properties, context FROM events_event
                WHERE workspace_id = {:uuid} AND contact_id = b.contact_id AND name || '' = {:text} OFFSET 0
            ) e
            CROSS JOIN LATERAL (SELECT {} OFFSET 0) v
            CROSS JOIN LATERAL (VALUES {}) AS m (place, holds, value)
            WHERE m.holds AND e.id NOT IN (SELECT id FROM waiting)
        )
        {}
        """,
        workspace_id,
        array(contact_ids),
        workspace_id,
        name,
        conditions.columns,
        branches,
        _upsert(workspace_id, specs),
    )
    execute(statement)


def _branches(specs: Sequence[AggregateSpec], conditions: EventConditions) -> Sql:
    """Return SQL with a row per aggregate: its place, whether the event counts, and the value that is aggregated."""
    rows = []
    for place, spec in enumerate(specs, 1):
        value = sql("v.{}", conditions.column(spec.field)) if spec.field else sql("NULL::jsonb")
        rows.append(sql(f"({place}, {{}}, {{}})", _filter(spec, conditions), value))
    return join(", ", rows)


def _upsert(workspace_id: UUID, specs: Sequence[AggregateSpec]) -> Sql:
    """Return what inserts the aggregates of the events in `counted`."""
    return sql(
        _UPSERT,
        workspace_id,
        array(spec.id_in(workspace_id) for spec in specs),
        array(bool(spec.field) for spec in specs),
    )


def _filter(spec: AggregateSpec, conditions: EventConditions) -> Sql:
    return compile_event_rule(Rule(spec.filters or Group("AND", ())), conditions)


def _spec(aggregate: Aggregate) -> AggregateSpec | None:
    """Return what is counted; None where that cannot be read any more, as the rules that ask for it cannot."""
    filters = aggregate.filters
    try:
        group = None if filters is None else parse_rule(filters, about_event=aggregate.event_name).root
        return AggregateSpec(aggregate.event_name, group, aggregate.property)
    except (InvalidCondition, TypeError) as error:  # or a leaf that is about more than the event
        logger.warning("The aggregate %s cannot be read, and is not maintained: %s", aggregate.id, error)
        return None


_PAGE = 10_000
"""Aggregates that are looked at in one transaction."""
_DELETE_PAGE = """
WITH page AS MATERIALIZED (
    SELECT id, contact_id, aggregate_id FROM events_contactaggregate
    WHERE workspace_id = %s AND (contact_id, aggregate_id) > (%s, %s) ORDER BY contact_id, aggregate_id LIMIT %s
), gone AS (
    DELETE FROM events_contactaggregate WHERE workspace_id = %s AND id IN (
        SELECT p.id FROM page p JOIN events_aggregate m
            ON m.workspace_id = %s AND m.id = p.aggregate_id AND m.id = ANY(%s) AND m.lanes_built = 0
    ) RETURNING id
)
SELECT contact_id, aggregate_id, (SELECT count(*) FROM gone) FROM page ORDER BY contact_id DESC,
aggregate_id DESC LIMIT 1
"""
_UPSERT = """
INSERT INTO events_contactaggregate AS a (id, workspace_id, aggregate_id, contact_id, count, numbers,
total, minimum, maximum,
    first_at, first_event_id, first_value, last_at, last_event_id, last_value)
SELECT gen_random_uuid(), {:uuid}, ({:uuid[]})[place], contact_id, count(*), count(number), COALESCE(sum(number), 0),
    min(number), max(number), min(at), (array_agg(id ORDER BY at, id) FILTER (WHERE at IS NOT NULL))[1],
    (array_agg(value ORDER BY at, id) FILTER (WHERE at IS NOT NULL))[1], max(at),
    (array_agg(id ORDER BY at DESC, id DESC) FILTER (WHERE at IS NOT NULL))[1],
    (array_agg(value ORDER BY at DESC, id DESC) FILTER (WHERE at IS NOT NULL))[1]
FROM (
    SELECT contact_id, place, id, value,
        CASE WHEN jsonb_typeof(value) = 'number' THEN value::numeric END AS number,
        CASE WHEN value IS NOT NULL OR NOT ({:boolean[]})[place] THEN occurred_at END AS at
    FROM counted
) counted
GROUP BY contact_id, place ORDER BY contact_id, place
"""
_ADD = """
ON CONFLICT (workspace_id, contact_id, aggregate_id) DO UPDATE SET
    count = a.count + excluded.count, numbers = a.numbers + excluded.numbers, total = a.total + excluded.total,
    minimum = LEAST(a.minimum, excluded.minimum), maximum = GREATEST(a.maximum, excluded.maximum),
    (first_at, first_event_id, first_value) = (
        SELECT at, id, value FROM (VALUES (a.first_at, a.first_event_id, a.first_value),
            (excluded.first_at, excluded.first_event_id, excluded.first_value)) AS both_ (at, id, value)
        ORDER BY at, id LIMIT 1),
    (last_at, last_event_id, last_value) = (
        SELECT at, id, value FROM (VALUES (a.last_at, a.last_event_id, a.last_value),
            (excluded.last_at, excluded.last_event_id, excluded.last_value)) AS both_ (at, id, value)
        ORDER BY at DESC NULLS LAST, id DESC LIMIT 1)
"""
