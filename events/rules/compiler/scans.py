"""Conditions on events, answered from one reading of the stream for all that are on one name."""

from __future__ import annotations

from datetime import datetime, timedelta

from config.db.sql import Sql, join, sql
from events.rules.compiler.aggregates import BY_NOW
from events.rules.compiler.columns import MOST_COLUMNS
from events.rules.compiler.comparisons import (
    Answer,
    compare,
    compare_number,
    compile_event_tree,
    count_left,
    threshold,
)
from events.rules.compiler.parameters import Earliest
from events.rules.conditions import EventConditions
from events.rules.nodes import AbsoluteWindow, EventLeaf, PropertyLeaf, RelativeWindow

MAX_EVENTS_SHOWN = 20
# An aggregate that minds the order must say so: another's DISTINCT may sort what all of them are given.
_NEWEST_FIRST = "ORDER BY e.occurred_at DESC, e.id DESC"


class Scan:
    """One reading of a contact's events of one name, that all conditions on the name share."""

    def __init__(self, event_name: str, alias: str, as_if_unknown: bool) -> None:
        self.event_name = event_name
        self.alias = alias
        self.known = sql(" AND e.id <> ALL (b.unknown)" if as_if_unknown else "")
        self.conditions = EventConditions()
        self.fields: set[str] = set()
        # The columns' names, by what is in them.
        self.columns: dict[Sql, str] = {}
        self.windows: list[RelativeWindow | AbsoluteWindow | None] = []

    @property
    def is_full(self) -> bool:
        """Whether another condition might have more columns than there is room for."""
        return max(len(self.columns), len(self.fields)) > MOST_COLUMNS

    def join(self) -> Sql:
        """Return the lateral that reads the events."""
        bound, low = self._bound()
        # Each id by itself, both ends of the time, and a name that no index has: so the planner sees one short range
        # of the contact's index, whatever it knows of the stream, and passes over the months outside.
        return sql(
            "CROSS JOIN LATERAL (SELECT {} FROM unnest(b.ids) AS one (id) CROSS JOIN LATERAL ("
            "SELECT e.id, e.occurred_at, {} FROM events_event e"
            " WHERE e.workspace_id = {workspace_id:uuid} AND e.contact_id = one.id AND e.name || '' = {:text}"
            " AND e.id >= {:uuid} AND e.id < {end_id:uuid} AND e.occurred_at <= b.until{}{} OFFSET 0) e) {}",
            join(", ", [sql(f"{{}} AS {name}", expression) for expression, name in self.columns.items()]),
            self.conditions.columns,
            self.event_name,
            low,
            bound,
            self.known,
            sql(self.alias),
        )

    def answer(self, leaf: EventLeaf) -> Answer:
        """Answer a condition."""
        self.windows.append(leaf.window)
        counted = self._counted(leaf)
        if leaf.aggregation == "count":
            return self._count(leaf, counted)
        if leaf.aggregation in ("first", "last") and not leaf.property:
            edge = "max" if leaf.aggregation == "last" else "min"
            found = sql(f"{edge}(e.occurred_at) FILTER (WHERE {{}})", counted)
            moment = self._column(sql(BY_NOW, found))
            return compare(moment, leaf.comparison).with_lapse(self._oldest(leaf, counted))
        return self._aggregate(leaf, counted)

    def shown(self, leaf: EventLeaf) -> Sql:
        """Return the latest events that count, as JSON: id, time and, where one is measured, the value."""
        self.windows.append(leaf.window)
        events = self._column(
            sql(
                "jsonb_agg(jsonb_build_object('id', e.id, 'at', e.occurred_at, 'value', {})"
                f" {_NEWEST_FIRST}) FILTER (WHERE {{}})",
                self._field(leaf.property) if leaf.property else sql("NULL::jsonb"),
                self._counted(leaf),
            )
        )
        return sql(f"jsonb_path_query_array({{}}, '$[0 to {MAX_EVENTS_SHOWN - 1}]')", events)

    def _bound(self) -> tuple[Sql, Earliest]:
        """Return the condition and the first id that all windows together need."""
        starts: list[datetime] = []
        lengths: list[timedelta] = []
        for window in self.windows:
            if isinstance(window, RelativeWindow):
                lengths.append(window.length)
            elif isinstance(window, AbsoluteWindow) and window.start is not None:
                starts.append(window.start)
            else:
                return Sql(), Earliest()
        if starts and lengths:
            # Two kinds of beginnings have no common one that stays.
            return Sql(), Earliest()
        if starts:
            return Sql(), Earliest(start=min(starts))
        longest = max(lengths)
        return sql(" AND e.occurred_at > b.as_of - {:interval}", longest), Earliest(longest)

    def _count(self, leaf: EventLeaf, counted: Sql) -> Answer:
        number = self._column(sql("count(*) FILTER (WHERE {})", counted))
        lapse = None
        if isinstance(leaf.window, RelativeWindow) and (left := count_left(number, leaf.comparison)):
            lapse = sql("{} + {:interval}", self._lapsing(leaf, left, counted), leaf.window.length)
        return compare_number(number, leaf.comparison).with_lapse(lapse)

    def _lapsing(self, leaf: EventLeaf, left: Sql, counted: Sql) -> Sql:
        """Return when the event happened whose lapse leaves `left` of those that count, and another answer."""
        if threshold(leaf.comparison) == 1:
            # Whether there is one at all, the usual question, ends with the newest: nothing need be sorted.
            return self._column(sql("max(e.occurred_at) FILTER (WHERE {})", counted))
        times = self._column(sql(f"array_agg(e.occurred_at {_NEWEST_FIRST}) FILTER (WHERE {{}})", counted))
        return sql("({})[{} + 1]", times, left)

    def _aggregate(self, leaf: EventLeaf, counted: Sql) -> Answer:
        value = self._field(leaf.property)
        present = sql("{} AND {} IS NOT NULL", counted, value)
        if leaf.aggregation == "distinct":
            number = self._column(sql("count(DISTINCT {}) FILTER (WHERE {})", value, present))
            return compare_number(number, leaf.comparison).with_lapse(self._oldest(leaf, present))
        if leaf.aggregation in ("first", "last"):
            values = self._column(sql(f"array_agg({{}} {_NEWEST_FIRST}) FILTER (WHERE {{}})", value, present))
            place = "({0})[1]" if leaf.aggregation == "last" else "({0})[cardinality({0})]"
            return compare(sql(place, values), leaf.comparison).with_lapse(self._oldest(leaf, present))
        numeric = sql("{} AND jsonb_typeof({}) = 'number'", counted, value)
        total = self._column(
            sql(f"{leaf.aggregation}({{}}::numeric) FILTER (WHERE {{}})", value, numeric),
        )
        return compare(sql("to_jsonb({})", total), leaf.comparison).with_lapse(self._oldest(leaf, numeric))

    def _oldest(self, leaf: EventLeaf, counted: Sql) -> Sql | None:
        if not isinstance(leaf.window, RelativeWindow):
            return None
        oldest = self._column(sql("min(e.occurred_at) FILTER (WHERE {})", counted))
        return sql("{} + {:interval}", oldest, leaf.window.length)

    def _counted(self, leaf: EventLeaf) -> Sql:
        """Return the condition on an event to count: within the window, past the filters."""
        parts = [sql("true")]
        if isinstance(leaf.window, RelativeWindow):
            parts = [sql("e.occurred_at > b.as_of - {:interval}", leaf.window.length)]
        elif isinstance(leaf.window, AbsoluteWindow):
            if leaf.window.start is not None:
                parts.append(sql("e.occurred_at >= {:timestamptz}", leaf.window.start))
            if leaf.window.end is not None:
                parts.append(sql("e.occurred_at < {:timestamptz}", leaf.window.end))
        if leaf.filters is not None:
            self.fields |= {inner.field for inner in leaf.filters.leaves() if isinstance(inner, PropertyLeaf)}
            parts.append(compile_event_tree(leaf.filters, self.conditions))
        return join(" AND ", parts)

    def _field(self, name: str) -> Sql:
        self.fields.add(name)
        return self.conditions.column(name)

    def _column(self, expression: Sql) -> Sql:
        name = self.columns.setdefault(expression, f"a{len(self.columns)}")
        return sql(f"{self.alias}.{name}")
