"""All-time conditions, answered from the aggregates that the effects keep."""

from __future__ import annotations

from config.db.sql import Sql, join, sql
from events.rules.compiler.columns import Columns
from events.rules.compiler.comparisons import Answer, compare, compare_number
from events.rules.compiler.parameters import AggregateSpec
from events.rules.nodes import EventLeaf

BY_NOW = "to_jsonb(CASE WHEN {0} > b.as_of AND {0} <= b.until THEN b.as_of ELSE {0} END)"
"""A moment: what another process's clock puts a little ahead has happened by now."""


def uses_maintained_aggregate(leaf: EventLeaf) -> bool:
    """Whether an aggregate can answer the condition, once it is built."""
    return leaf.window is None and leaf.aggregation != "distinct"


def aggregate_spec(leaf: EventLeaf) -> AggregateSpec:
    """Return the aggregate that answers the condition."""
    return AggregateSpec(leaf.event_name, leaf.filters, leaf.property)


class Aggregates:
    """One reading of a contact's aggregates, for all the all-time conditions."""

    def __init__(self) -> None:
        self.columns = Columns("aggregate")
        self.names: dict[tuple[str, AggregateSpec], Sql] = {}

    def joins(self) -> list[Sql]:
        """Return the laterals that read the aggregates."""
        specs = dict.fromkeys(spec for _, spec in self.names)
        source = sql(
            "FROM events_contactaggregate g WHERE g.workspace_id = {workspace_id:uuid}"
            " AND g.contact_id = ANY(b.ids) AND g.aggregate_id IN ({})",
            join(", ", [sql("{:uuid}", spec) for spec in specs]),
        )
        return self.columns.joins(source)

    def answer(self, leaf: EventLeaf) -> Answer:
        """Answer a condition."""
        spec = aggregate_spec(leaf)
        if leaf.aggregation == "count":
            number = self._column("COALESCE(sum(g.count) FILTER (WHERE {0}), 0)", spec)
            return compare_number(number, leaf.comparison)
        column = self._column(_ALL_TIME[leaf.aggregation, bool(leaf.property)], spec)
        return compare(column, leaf.comparison)

    def _column(self, template: str, spec: AggregateSpec) -> Sql:
        if (template, spec) not in self.names:
            own = sql("g.aggregate_id = {:uuid}", spec)
            self.names[template, spec] = self.columns.add(sql(template, own))
        return self.names[template, spec]


_ALL_TIME = {
    ("sum", True): "to_jsonb(sum(g.total) FILTER (WHERE {0} AND g.numbers > 0))",
    ("avg", True): (
        "to_jsonb(sum(g.total) FILTER (WHERE {0} AND g.numbers > 0)"
        " / sum(g.numbers) FILTER (WHERE {0} AND g.numbers > 0))"
    ),
    ("min", True): "to_jsonb(min(g.minimum) FILTER (WHERE {0}))",
    ("max", True): "to_jsonb(max(g.maximum) FILTER (WHERE {0}))",
    ("first", False): BY_NOW.replace("{0}", "min(g.first_at) FILTER (WHERE {0})"),
    ("last", False): BY_NOW.replace("{0}", "max(g.last_at) FILTER (WHERE {0})"),
    ("first", True): (
        "(array_agg(g.first_value ORDER BY g.first_at, g.first_event_id)"
        " FILTER (WHERE {0} AND g.first_at IS NOT NULL))[1]"
    ),
    ("last", True): (
        "(array_agg(g.last_value ORDER BY g.last_at DESC, g.last_event_id DESC)"
        " FILTER (WHERE {0} AND g.last_at IS NOT NULL))[1]"
    ),
}
