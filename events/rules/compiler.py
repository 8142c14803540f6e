"""Rule → SQL: whether it holds for a contact at a moment, and when that can next change without an event.

The SQL hangs on a relation `b` with the columns `contact_id`, `ids` (uuid[]: the contact and those merged into
it), `as_of`, `until` and `score`, which the caller puts before it:

    SELECT b.contact_id, {matches[0]}, {next_at[0]} FROM b {joins} …

`until` is the last moment whose events count: `as_of` itself for one that has passed, `known_until` for now.
`score` (numeric) is what the contact's score was at that moment, null for the stored one.

A rule about a triggering event also reads the alias `t`, a row of the stream.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache
from math import ceil, floor
from typing import Any
from uuid import UUID

from django.conf import settings
from django.utils.module_loading import import_string

from events.id_bounds import end_id_of_events, first_id_of_events
from events.rules.conditions import EventConditions, Sql, compile_operator
from events.rules.durations import Offset, parse_duration, parse_moment
from events.rules.nodes import (
    AbsoluteWindow,
    AttributeLeaf,
    ChannelLeaf,
    CompanyLeaf,
    Comparison,
    EventLeaf,
    Group,
    Leaf,
    Node,
    PropertyLeaf,
    RelativeWindow,
    Rule,
    SegmentLeaf,
    TagLeaf,
    written,
)

_TICK = timedelta(microseconds=1)
# Python's moments end with the year 9999; what would change after that never does.
_NEVER = "'9999-12-31'::timestamptz"
_NOTHING = Sql("NULL::jsonb")
_NO_SOURCE = Sql("")
# A select may have 1,664; a condition adds a few at once.
MOST_COLUMNS = 1_000
MAX_EVENTS_SHOWN = 20


class _Workspace:
    """Placeholder: the workspace's id."""


WORKSPACE = _Workspace()


@dataclass(frozen=True, slots=True)
class Earliest:
    """Placeholder: the first event id of a window of this length."""

    length: timedelta | None
    start: datetime | None = None


class _Latest:
    """Placeholder: the first event id after those of events up to every `until`."""


LATEST = _Latest()


@dataclass(frozen=True, slots=True)
class AggregateSpec:
    """An aggregate that an all-time condition reads: event name, aggregation, property, filters.

    `key`, a hash of what is measured, tells two measures apart; Python would take `true` for 1.
    """

    event_name: str = dataclasses.field(compare=False)
    filters: Group | None = dataclasses.field(compare=False)
    field: str = dataclasses.field(compare=False)
    key: str = dataclasses.field(init=False, repr=False)

    def __post_init__(self) -> None:
        filters = None if self.filters is None else _canonical_value(written(self.filters))
        spelled = repr((self.event_name, filters, self.field))
        object.__setattr__(self, "key", hashlib.sha256(spelled.encode()).hexdigest())

    def id_in(self, workspace_id: UUID) -> UUID:
        """Return the aggregate's id in a workspace."""
        return UUID(bytes=hashlib.sha256(workspace_id.bytes + self.key.encode()).digest()[:16])


@dataclass(frozen=True, slots=True)
class LeafColumns:
    """The columns of a leaf's answer: what was compared (jsonb) and, for explanations, its events (jsonb)."""

    matches: str
    next_at: str
    value: str
    events: str


@dataclass(slots=True)
class CompiledRules:
    """SQL that decides several rules at once."""

    joins: Sql
    matches: list[str]
    next_at: list[str]
    # In the order of `Group.leaves`, and the groups by identity; to explain.
    leaves: list[list[LeafColumns]]
    groups: dict[int, tuple[str, str]]

    def bind(self, workspace_id: UUID, earliest: datetime, latest: datetime) -> list[Any]:
        """Return the parameters of `joins`; no `as_of` in `b` lies before `earliest`, no `until` after `latest`."""
        return bind(self.joins, workspace_id, earliest, latest)


def _canonical_value(value: Any) -> Any:
    """Return JSON with one spelling of each number: 100000.0 comes back from the database as 100000."""
    if isinstance(value, dict):
        return sorted((key, _canonical_value(item)) for key, item in value.items())
    if isinstance(value, list):
        return [_canonical_value(item) for item in value]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return str(Decimal(str(value)).normalize()) if is_number else repr(value)


def bind(sql: Sql, workspace_id: UUID, earliest: datetime, latest: datetime) -> list[Any]:
    """Replace the placeholders among parameters by their values."""

    def value(parameter: Any) -> Any:
        if parameter is WORKSPACE:
            return workspace_id
        if isinstance(parameter, Earliest):
            start = parameter.start or (earliest - parameter.length if parameter.length else None)
            return first_id_of_events(start) if start else UUID(int=0)
        if parameter is LATEST:
            return end_id_of_events(latest)
        if isinstance(parameter, AggregateSpec):
            return parameter.id_in(workspace_id)
        return parameter

    return [value(parameter) for parameter in sql.parameters]


def aggregates_of_rule(rule: Rule) -> frozenset[AggregateSpec]:
    """Return what the rule's all-time conditions read."""
    return frozenset(_aggregate_spec(leaf) for leaf in rule.event_leaves if _uses_maintained_aggregate(leaf))


def compile_rules(
    rules: Sequence[Rule],
    *,
    built: Collection[AggregateSpec] = (),
    explain: bool = False,
    as_if_unknown: bool = False,
) -> CompiledRules:
    """Compile rules so that each contact's events of one name are read once for all of them.

    `built` are the measures whose aggregates can be relied on; others are read from the stream. With
    `as_if_unknown`, `b` has a column `unknown` (uuid[]) besides: events that the stream is read without.
    """
    return _Compiler(built, explain, as_if_unknown).compile(rules)


def compile_event_rule(rule: Rule, conditions: EventConditions) -> Sql:
    """Compile a rule that only the triggering event decides; its columns are taken from `conditions`."""
    return _tree_of_properties(rule.root, conditions)


def join(separator: str, parts: Sequence[Sql]) -> Sql:
    """Concatenate pieces of SQL with their parameters."""
    return Sql(
        separator.join(part.text for part in parts),
        tuple(parameter for part in parts for parameter in part.parameters),
    )


def _sql(text: str, *parts: Sql | Any) -> Sql:
    """Fill the `{}` of a text with SQL, in order; other parts are parameters, for its `%s`, in order."""
    pieces: list[str] = []
    parameters: list[Any] = []
    rest = text
    for part in parts:
        mark = "{}" if isinstance(part, Sql) else "%s"
        before, found, rest = rest.partition(mark)
        if not found:
            raise ValueError(text)
        pieces.append(before)
        pieces.append(part.text if isinstance(part, Sql) else "%s")
        parameters.extend(part.parameters if isinstance(part, Sql) else (part,))
    pieces.append(rest)
    return Sql("".join(pieces), tuple(parameters))


@dataclass(frozen=True, slots=True)
class _CompiledLeaf:
    """A leaf in SQL; `next_at` None: time alone cannot change it."""

    matches: Sql
    next_at: Sql | None = None
    value: Sql = _NOTHING
    events: Sql = _NOTHING


class _Columns:
    """Named column expressions, spread over as many selects as needed.

    OFFSET 0 keeps the planner from computing one as often as it is read.
    """

    def __init__(self, alias: str) -> None:
        self.alias = alias
        self.expressions: list[Sql] = []

    def add(self, expression: Sql) -> str:
        """Return the name of the expression's column."""
        place = len(self.expressions)
        self.expressions.append(expression)
        return f"{self.alias}{place // MOST_COLUMNS}.c{place}"

    def joins(self, source: Sql = _NO_SOURCE) -> list[Sql]:
        """Return the laterals that compute the columns from `source`, a FROM clause, and what stands before."""
        return [
            _sql(
                f"CROSS JOIN LATERAL (SELECT {{}} {{}} OFFSET 0) {self.alias}{start // MOST_COLUMNS}",
                join(", ", [_sql(f"{{}} AS c{place}", self.expressions[place]) for place in places]),
                source,
            )
            for start in range(0, len(self.expressions), MOST_COLUMNS)
            for places in [range(start, min(start + MOST_COLUMNS, len(self.expressions)))]
        ]


class _Compiler:
    def __init__(self, built: Collection[AggregateSpec], explain: bool, as_if_unknown: bool) -> None:
        self.built = built
        self.explain = explain
        self.as_if_unknown = as_if_unknown
        self.scans: dict[tuple[str, bool], list[_Scan]] = {}
        self.aggregates = _Aggregates()
        self.triggers: list[EventConditions] = []
        self.trigger_fields: dict[str, str] = {}
        self.contact = _Columns("contact")
        self.contact_fields: dict[str, str] = {}
        self.leaves = _Columns("leaf")

    def compile(self, rules: Sequence[Rule]) -> CompiledRules:
        places = [[self._place(self._answer(leaf)) for leaf in rule.root.leaves()] for rule in rules]
        groups = _Groups()
        roots = [groups.add(rule.root, iter(columns)) for rule, columns in zip(rules, places, strict=True)]
        joins = [*self.contact.joins(_CONTACT), *self._trigger_joins(), *self.aggregates.joins()]
        joins += [scan.join() for scans in self.scans.values() for scan in scans]
        joins += [*self.leaves.joins(), *groups.joins()]
        return CompiledRules(
            joins=join("\n", joins),
            matches=[matches for matches, _ in roots],
            next_at=[next_at for _, next_at in roots],
            leaves=places,
            groups=groups.names,
        )

    def _place(self, answer: _CompiledLeaf) -> LeafColumns:
        never = Sql("NULL::timestamptz")
        next_at = (
            never
            if answer.next_at is None
            else _sql(f"NULLIF(LEAST({{}}, {_NEVER}), {_NEVER})", answer.next_at)
        )
        value, events = (answer.value, answer.events) if self.explain else (None, None)
        return LeafColumns(
            self.leaves.add(_sql("COALESCE({}, false)", answer.matches)),
            self.leaves.add(next_at),
            self.leaves.add(value) if value else "",
            self.leaves.add(events) if events else "",
        )

    def _answer(self, leaf: Leaf) -> _CompiledLeaf:
        if isinstance(leaf, EventLeaf):
            return self._event(leaf)
        if isinstance(leaf, AttributeLeaf):
            return _compared(self._attribute(leaf.field), leaf.comparison)
        if isinstance(leaf, PropertyLeaf):
            return _compared(self._trigger_field(leaf.field), leaf.comparison)
        if isinstance(leaf, ChannelLeaf):
            return _channel(leaf)
        if isinstance(leaf, TagLeaf):
            return _tag(leaf)
        if isinstance(leaf, CompanyLeaf):
            return _company(leaf)
        return self._segment(leaf)

    def _segment(self, leaf: SegmentLeaf) -> _CompiledLeaf:
        member, next_at = _rule_source("segment")(leaf.segment_id)
        matches = member if leaf.is_wanted else _sql("NOT {}", member)
        # Whoever comes into that segment or leaves it is evaluated then, so no timer is needed for it.
        return _CompiledLeaf(matches, next_at if self.explain else None, _sql("to_jsonb({})", member))

    def _attribute(self, name: str) -> str:
        if name not in self.contact_fields:
            self.contact_fields[name] = self.contact.add(_contact_field(name))
        return self.contact_fields[name]

    def _trigger_field(self, name: str) -> str:
        if name not in self.trigger_fields:
            if len(self.trigger_fields) % MOST_COLUMNS == 0:
                self.triggers.append(EventConditions("t"))
            self.trigger_fields[name] = f"trigger{len(self.triggers) - 1}.{self.triggers[-1].column(name)}"
        return self.trigger_fields[name]

    def _trigger_joins(self) -> list[Sql]:
        return [
            _sql(f"CROSS JOIN LATERAL (SELECT {{}} OFFSET 0) trigger{place}", conditions.columns)
            for place, conditions in enumerate(self.triggers)
        ]

    def _event(self, leaf: EventLeaf) -> _CompiledLeaf:
        if _uses_maintained_aggregate(leaf) and _aggregate_spec(leaf) in self.built:
            answer = self.aggregates.answer(leaf)
            if not self.explain:
                return answer
            shown = self._scan(leaf, shown=True)
            return _CompiledLeaf(answer.matches, answer.next_at, answer.value, shown.shown(leaf))
        scan = self._scan(leaf)
        answer = scan.answer(leaf)
        if not self.explain:
            return answer
        return _CompiledLeaf(
            answer.matches, answer.next_at, answer.value, self._scan(leaf, shown=True).shown(leaf)
        )

    def _scan(self, leaf: EventLeaf, *, shown: bool = False) -> _Scan:
        scans = self.scans.setdefault((leaf.event_name, shown), [])
        if not scans or scans[-1].is_full:
            number = sum(map(len, self.scans.values()))
            scans.append(_Scan(leaf.event_name, f"scan{number}", self.as_if_unknown))
        return scans[-1]


class _Groups:
    """The inner nodes, one lateral a level, so that no expression is written twice."""

    def __init__(self) -> None:
        self.levels: list[_Columns] = []
        self.names: dict[int, tuple[str, str]] = {}

    def add(self, group: Group, leaves: Any) -> tuple[str, str]:
        """Return the columns of the group's answer and of the next moment at which it can change."""
        matches, next_at, _ = self._add(group, leaves)
        return matches, next_at

    def _add(self, node: Node, leaves: Any) -> tuple[str, str, int]:
        if not isinstance(node, Group):
            columns = next(leaves)
            return columns.matches, columns.next_at, 0
        children = [self._add(child, leaves) for child in node.children]
        depth = max((below for _, _, below in children), default=0)
        if depth == len(self.levels):
            self.levels.append(_Columns(f"level{depth}_"))
        matches, next_at = _combine(node.operator, [(m, n) for m, n, _ in children])
        names = (self.levels[depth].add(Sql(matches)), self.levels[depth].add(Sql(next_at)))
        self.names[id(node)] = names
        return (*names, depth + 1)

    def joins(self) -> list[Sql]:
        return [lateral for level in self.levels for lateral in level.joins()]


def _combine(operator: str, children: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """Return the answer, and a moment before which it cannot change.

    An AND that holds may fall with its first child; one that does not can rise only when all the false ones
    have changed. OR is its mirror image, NOT is "none of them".
    """
    if not children:
        return "true", "NULL::timestamptz"
    if operator == "AND":
        holds = " AND ".join(matches for matches, _ in children)
        blocking = [(f"NOT {matches}", next_at) for matches, next_at in children]
    else:
        holds = " OR ".join(matches for matches, _ in children)
        blocking = list(children)
    first = f"LEAST({', '.join(next_at for _, next_at in children)})"
    last = ", ".join(
        f"CASE WHEN {blocks} THEN COALESCE({next_at}, 'infinity') END" for blocks, next_at in blocking
    )
    # AND waits for its false children when false; OR and NOT wait for their true ones when any is true.
    is_blocked = f"NOT ({holds})" if operator == "AND" else f"({holds})"
    next_at = f"NULLIF(CASE WHEN {is_blocked} THEN GREATEST({last}) ELSE {first} END, 'infinity')"
    return (f"NOT ({holds})" if operator == "NOT" else f"({holds})"), next_at


# Events ------------------------------------------------------------------------------------------------------


# An aggregate that minds the order must say so: another's DISTINCT may sort what all of them are given.
_NEWEST_FIRST = "ORDER BY e.occurred_at DESC, e.id DESC"


class _Scan:
    """One reading of a contact's events of one name, that all conditions on the name share."""

    def __init__(self, event_name: str, alias: str, as_if_unknown: bool) -> None:
        self.event_name = event_name
        self.alias = alias
        self.known = Sql(" AND e.id <> ALL (b.unknown)" if as_if_unknown else "")
        self.conditions = EventConditions()
        self.fields: set[str] = set()
        self.columns: dict[tuple[str, tuple[Any, ...]], tuple[str, Sql]] = {}
        self.windows: list[RelativeWindow | AbsoluteWindow | None] = []

    @property
    def is_full(self) -> bool:
        """Whether another condition might have more columns than there is room for."""
        return max(len(self.columns), len(self.fields)) > MOST_COLUMNS

    def join(self) -> Sql:
        bound, low = self._bound()
        columns = join(", ", [_sql(f"{{}} AS {name}", sql) for name, sql in self.columns.values()])
        inner = self.conditions.columns
        # Each id by itself, both ends of the time, and a name that no index has: so the planner sees one short range
        # of the contact's index, whatever it knows of the stream, and passes over the months outside.
        return _sql(
            "CROSS JOIN LATERAL (SELECT {} FROM unnest(b.ids) AS one (id) CROSS JOIN LATERAL ("
            "SELECT e.id, e.occurred_at, {} FROM events_event e"
            " WHERE e.workspace_id = %s AND e.contact_id = one.id AND e.name || '' = %s AND e.id >= %s::uuid"
            " AND e.id < %s::uuid AND e.occurred_at <= b.until{}{} OFFSET 0) e) " + self.alias,
            columns,
            inner,
            WORKSPACE,
            self.event_name,
            low,
            LATEST,
            bound,
            self.known,
        )

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
                return Sql(""), Earliest(None)
        if starts and lengths:
            # Two kinds of beginnings have no common one that stays.
            return Sql(""), Earliest(None)
        if starts:
            return Sql(""), Earliest(None, min(starts))
        longest = max(lengths)
        return Sql(" AND e.occurred_at > b.as_of - %s::interval", (longest,)), Earliest(longest)

    def answer(self, leaf: EventLeaf) -> _CompiledLeaf:
        self.windows.append(leaf.window)
        counted = self._counted(leaf)
        if leaf.aggregation == "count":
            return self._count(leaf, counted)
        if leaf.aggregation in ("first", "last") and not leaf.property:
            edge = "max" if leaf.aggregation == "last" else "min"
            found = _sql(f"{edge}(e.occurred_at) FILTER (WHERE {{}})", counted)
            moment = self._column(_sql(_BY_NOW, found, found, found))
            return _with_lapse(_compared(moment, leaf.comparison), self._oldest(leaf, counted))
        return self._aggregate(leaf, counted)

    def _count(self, leaf: EventLeaf, counted: Sql) -> _CompiledLeaf:
        number = self._column(_sql("count(*) FILTER (WHERE {})", counted))
        lapse = None
        if isinstance(leaf.window, RelativeWindow) and (left := _count_left(number, leaf.comparison)):
            lapse = _sql("{} + %s::interval", self._lapsing(leaf, left, counted), leaf.window.length)
        return _CompiledLeaf(_number(number, leaf.comparison), lapse, Sql(f"to_jsonb({number})"))

    def _lapsing(self, leaf: EventLeaf, left: Sql, counted: Sql) -> Sql:
        """Return when the event happened whose lapse leaves `left` of those that count, and another answer."""
        if _threshold(leaf.comparison) == 1:
            # Whether there is one at all, the usual question, ends with the newest: nothing need be sorted.
            return Sql(self._column(_sql("max(e.occurred_at) FILTER (WHERE {})", counted)))
        times = self._column(_sql(f"array_agg(e.occurred_at {_NEWEST_FIRST}) FILTER (WHERE {{}})", counted))
        return _sql(f"({times})[{{}} + 1]", left)

    def _aggregate(self, leaf: EventLeaf, counted: Sql) -> _CompiledLeaf:
        value = self._field(leaf.property)
        present = _sql(f"{{}} AND {value} IS NOT NULL", counted)
        if leaf.aggregation == "distinct":
            number = self._column(_sql(f"count(DISTINCT {value}) FILTER (WHERE {{}})", present))
            answer = _CompiledLeaf(_number(number, leaf.comparison), None, Sql(f"to_jsonb({number})"))
            return _with_lapse(answer, self._oldest(leaf, present))
        if leaf.aggregation in ("first", "last"):
            values = self._column(_sql(f"array_agg({value} {_NEWEST_FIRST}) FILTER (WHERE {{}})", present))
            place = "1" if leaf.aggregation == "last" else f"cardinality({values})"
            return _with_lapse(
                _compared(f"({values})[{place}]", leaf.comparison), self._oldest(leaf, present)
            )
        numeric = _sql(f"{{}} AND jsonb_typeof({value}) = 'number'", counted)
        total = self._column(_sql(f"{leaf.aggregation}({value}::numeric) FILTER (WHERE {{}})", numeric))
        return _with_lapse(_compared(f"to_jsonb({total})", leaf.comparison), self._oldest(leaf, numeric))

    def _oldest(self, leaf: EventLeaf, counted: Sql) -> Sql | None:
        if not isinstance(leaf.window, RelativeWindow):
            return None
        oldest = self._column(_sql("min(e.occurred_at) FILTER (WHERE {})", counted))
        return Sql(f"{oldest} + %s::interval", (leaf.window.length,))

    def shown(self, leaf: EventLeaf) -> Sql:
        """Return the latest events that count, as JSON: id, time and, where one is measured, the value."""
        self.windows.append(leaf.window)
        value = self._field(leaf.property) if leaf.property else "NULL::jsonb"
        events = self._column(
            _sql(
                f"jsonb_agg(jsonb_build_object('id', e.id, 'at', e.occurred_at, 'value', {value}) {_NEWEST_FIRST})"
                " FILTER (WHERE {})",
                self._counted(leaf),
            )
        )
        return Sql(f"jsonb_path_query_array({events}, '$[0 to {MAX_EVENTS_SHOWN - 1}]')")

    def _counted(self, leaf: EventLeaf) -> Sql:
        """Return the condition on an event to count: within the window, past the filters."""
        parts = [Sql("true")]
        if isinstance(leaf.window, RelativeWindow):
            parts = [Sql("e.occurred_at > b.as_of - %s::interval", (leaf.window.length,))]
        elif isinstance(leaf.window, AbsoluteWindow):
            if leaf.window.start is not None:
                parts.append(Sql("e.occurred_at >= %s::timestamptz", (leaf.window.start,)))
            if leaf.window.end is not None:
                parts.append(Sql("e.occurred_at < %s::timestamptz", (leaf.window.end,)))
        if leaf.filters is not None:
            self.fields |= {inner.field for inner in leaf.filters.leaves() if isinstance(inner, PropertyLeaf)}
            parts.append(_tree_of_properties(leaf.filters, self.conditions))
        return join(" AND ", parts)

    def _field(self, name: str) -> str:
        self.fields.add(name)
        return self.conditions.column(name)

    def _column(self, sql: Sql) -> str:
        key = (sql.text, _hashable(sql.parameters))
        name, _ = self.columns.setdefault(key, (f"a{len(self.columns)}", sql))
        return f"{self.alias}.{name}"


class _Aggregates:
    """One reading of a contact's aggregates, for all the all-time conditions."""

    def __init__(self) -> None:
        self.columns = _Columns("aggregate")
        self.names: dict[tuple[str, AggregateSpec], str] = {}

    def joins(self) -> list[Sql]:
        specs = dict.fromkeys(spec for _, spec in self.names)
        source = _sql(
            "FROM events_contactaggregate g WHERE g.workspace_id = %s AND g.contact_id = ANY(b.ids)"
            " AND g.aggregate_id IN ({})",
            WORKSPACE,
            join(", ", [Sql("%s::uuid", (spec,)) for spec in specs]),
        )
        return self.columns.joins(source)

    def answer(self, leaf: EventLeaf) -> _CompiledLeaf:
        spec = _aggregate_spec(leaf)
        if leaf.aggregation == "count":
            number = self._column("COALESCE(sum(g.count) FILTER (WHERE {}), 0)", spec)
            return _CompiledLeaf(_number(number, leaf.comparison), None, Sql(f"to_jsonb({number})"))
        return _compared(
            self._column(_ALL_TIME[leaf.aggregation, bool(leaf.property)], spec), leaf.comparison
        )

    def _column(self, template: str, spec: AggregateSpec) -> str:
        if (template, spec) not in self.names:
            text = template.replace("{}", "g.aggregate_id = %s::uuid")
            self.names[template, spec] = self.columns.add(Sql(text, (spec,) * text.count("%s")))
        return self.names[template, spec]


# What another process's clock puts a little ahead has happened by now.
_BY_NOW = "to_jsonb(CASE WHEN {} > b.as_of AND {} <= b.until THEN b.as_of ELSE {} END)"
_ALL_TIME = {
    ("sum", True): "to_jsonb(sum(g.total) FILTER (WHERE {} AND g.numbers > 0))",
    ("avg", True): (
        "to_jsonb(sum(g.total) FILTER (WHERE {} AND g.numbers > 0)"
        " / sum(g.numbers) FILTER (WHERE {} AND g.numbers > 0))"
    ),
    ("min", True): "to_jsonb(min(g.minimum) FILTER (WHERE {}))",
    ("max", True): "to_jsonb(max(g.maximum) FILTER (WHERE {}))",
    ("first", False): _BY_NOW.replace("{}", "min(g.first_at) FILTER (WHERE {})"),
    ("last", False): _BY_NOW.replace("{}", "max(g.last_at) FILTER (WHERE {})"),
    ("first", True): (
        "(array_agg(g.first_value ORDER BY g.first_at, g.first_event_id)"
        " FILTER (WHERE {} AND g.first_at IS NOT NULL))[1]"
    ),
    ("last", True): (
        "(array_agg(g.last_value ORDER BY g.last_at DESC, g.last_event_id DESC)"
        " FILTER (WHERE {} AND g.last_at IS NOT NULL))[1]"
    ),
}


def _uses_maintained_aggregate(leaf: EventLeaf) -> bool:
    return leaf.window is None and leaf.aggregation != "distinct"


def _aggregate_spec(leaf: EventLeaf) -> AggregateSpec:
    return AggregateSpec(leaf.event_name, leaf.filters, leaf.property)


def _with_lapse(answer: _CompiledLeaf, lapse: Sql | None) -> _CompiledLeaf:
    """Add the moment at which the oldest event lapses to what may change the answer."""
    if lapse is None:
        return answer
    if answer.next_at is None:
        return _CompiledLeaf(answer.matches, lapse, answer.value)
    return _CompiledLeaf(answer.matches, _sql("LEAST({}, {})", answer.next_at, lapse), answer.value)


def _number(number: str, comparison: Comparison) -> Sql:
    """Compare a number that is never missing."""
    operator, value = comparison.operator, comparison.value
    if operator == "between":
        return Sql(f"({number} BETWEEN %s::numeric AND %s::numeric)", (_exact(value[0]), _exact(value[1])))
    if operator in ("in", "not_in"):
        quantified = "= ANY" if operator == "in" else "<> ALL"
        return Sql(f"({number} {quantified}(%s::numeric[]))", ([_exact(element) for element in value],))
    return Sql(f"({number} {_SYMBOLS[operator]} %s::numeric)", (_exact(value),))


def _exact(value: float) -> Decimal:
    return Decimal(str(value))


_MOST_EVENTS = 2**31
_SYMBOLS = {"eq": "=", "neq": "<>", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


def _threshold(comparison: Comparison) -> int | None:
    """Return n where a count's comparison says "at least n", or the opposite."""
    if comparison.operator not in ("gt", "gte", "lt", "lte"):
        return None
    at: float = comparison.value
    return floor(at) + 1 if comparison.operator in ("gt", "lte") else ceil(at)


def _count_left(number: str, comparison: Comparison) -> Sql | None:
    """Return how many of the counted events are left when the answer changes, null or None if it never does.

    While events lapse, the count falls; the answer changes at the first number below that is answered otherwise.
    """
    operator, value = comparison.operator, comparison.value
    if operator not in ("in", "not_in") and not all(
        abs(bound) < _MOST_EVENTS for bound in (value if isinstance(value, tuple) else (value,))
    ):
        return None
    if (low := _threshold(comparison)) is not None:
        return Sql(f"(CASE WHEN {number} >= {low} THEN {low - 1} END)") if low > 0 else None
    if operator in ("eq", "neq"):
        if value != int(value) or value < 0:
            return None
        at = int(value)
        at_it = f"WHEN {number} = {at} THEN {at - 1} " if at > 0 else ""
        return Sql(f"(CASE {at_it}WHEN {number} > {at} THEN {at} END)")
    if operator == "between":
        low, high = ceil(value[0]), floor(value[1])
        if high < low or high < 0:
            return None
        at_it = f"WHEN {number} >= {low} THEN {low - 1} " if low > 0 else ""
        return Sql(f"(CASE WHEN {number} > {high} THEN {high} {at_it}END)")
    # A list of numbers: look again at each lapse.
    return Sql(f"NULLIF({number}, 0) - 1")


def _tree_of_properties(node: Node, conditions: EventConditions) -> Sql:
    """Compile a tree over one event's fields to a condition that is true or false, never null."""
    if isinstance(node, PropertyLeaf):
        answer = _compared(conditions.column(node.field), node.comparison)
        return _sql("COALESCE({}, false)", answer.matches)
    if not isinstance(node, Group):
        raise TypeError(node)
    parts = [_tree_of_properties(child, conditions) for child in node.children]
    if not parts:
        return Sql("true")
    if node.operator == "NOT":
        return _sql("(NOT ({}))", join(" OR ", parts))
    return _sql("({})", join(f" {node.operator} ", parts))


# Values ------------------------------------------------------------------------------------------------------


def _compared(column: str, comparison: Comparison) -> _CompiledLeaf:
    """Compare a jsonb value; null is a missing one."""
    operator, value = comparison.operator, comparison.value
    if operator in _MOMENTS:
        return _MOMENTS[operator](column, value)
    if comparison.as_moments:
        matches = _is_moment(operator, column, value)
    else:
        matches = compile_operator(operator, column, value)
    if comparison.when_missing:
        matches = _sql(f"({{}} OR {column} IS NULL)", matches)
    return _CompiledLeaf(matches, None, Sql(column))


def _is_moment(operator: str, column: str, value: Any) -> Sql:
    """Compare moments, however they are spelled; a value that is none is equal to none."""
    wanted = [parse_moment(moment) for moment in (value if isinstance(value, tuple) else (value,))]
    among = Sql(f"events_moment({column}) = ANY(%s::timestamptz[])", (wanted,))
    if operator in ("eq", "in"):
        return among
    return _sql(f"({column} IS NOT NULL AND ({{}}) IS NOT TRUE)", among)


def _before(column: str, value: Any) -> _CompiledLeaf:
    moment = f"events_moment({column})"
    bound = parse_moment(value)
    if isinstance(bound, Offset):
        passes = Sql(f"({moment} - %s::interval + %s::interval)", (bound.length, _TICK))
        return _CompiledLeaf(
            Sql(f"{moment} < b.as_of + %s::interval", (bound.length,)),
            _in_future(passes),
            Sql(column),
        )
    return _CompiledLeaf(Sql(f"{moment} < %s::timestamptz", (bound,)), None, Sql(column))


def _after(column: str, value: Any) -> _CompiledLeaf:
    moment = f"events_moment({column})"
    bound = parse_moment(value)
    if isinstance(bound, Offset):
        passes = Sql(f"({moment} - %s::interval)", (bound.length,))
        return _CompiledLeaf(
            Sql(f"{moment} > b.as_of + %s::interval", (bound.length,)),
            _in_future(passes),
            Sql(column),
        )
    return _CompiledLeaf(Sql(f"{moment} > %s::timestamptz", (bound,)), None, Sql(column))


def _within(column: str, value: Any) -> _CompiledLeaf:
    """The last seven days ("7d"), or the next ("+7d"): each moment of the way is in it once, ends excluded once."""
    moment = f"events_moment({column})"
    length = parse_duration(value) or timedelta()
    if str(value).startswith("+"):
        matches = Sql(f"({moment} > b.as_of AND {moment} <= b.as_of + %s::interval)", (length,))
        begins = Sql(f"({moment} - %s::interval)", (length,))
        ends = Sql(f"({moment})")
    else:
        length = abs(length)
        matches = Sql(f"({moment} <= b.as_of AND {moment} > b.as_of - %s::interval)", (length,))
        begins = Sql(f"({moment})")
        ends = Sql(f"({moment} + %s::interval)", (length,))
    return _CompiledLeaf(matches, _sql("COALESCE({}, {})", _in_future(begins), _in_future(ends)), Sql(column))


_MOMENTS: Mapping[str, Callable[[str, Any], _CompiledLeaf]] = {
    "before": _before,
    "after": _after,
    "within": _within,
}


def _in_future(moment: Sql) -> Sql:
    return _sql("CASE WHEN {} > b.as_of THEN {} END", moment, moment)


_CONTACT = Sql("FROM contacts_contact c WHERE c.workspace_id = %s AND c.id = b.contact_id", (WORKSPACE,))


def _contact_field(name: str) -> Sql:
    if name.startswith("attributes."):
        keys = name.split(".")[1:]
        return Sql("NULLIF(c.attributes #> %s::text[], 'null'::jsonb)", (keys,))
    if name in _IDENTIFIERS:
        return Sql(
            "(SELECT to_jsonb(i.value) FROM contacts_identifier i WHERE i.workspace_id = %s"
            " AND i.contact_id = ANY(b.ids) AND i.kind = %s AND i.is_primary"
            " ORDER BY i.contact_id <> b.contact_id, i.id LIMIT 1)",
            (WORKSPACE, _IDENTIFIERS[name]),
        )
    if name == "score":
        return Sql(
            "to_jsonb(COALESCE(b.score, (SELECT s.points FROM contacts_contactscore s WHERE s.workspace_id = %s"
            " AND s.contact_id = b.contact_id), 0))",
            (WORKSPACE,),
        )
    return Sql(f"to_jsonb({_COLUMNS[name]})")


_IDENTIFIERS = {"email": "email", "phone": "phone", "externalId": "external_id"}
_COLUMNS = {
    "firstName": "NULLIF(c.first_name, '')",
    "lastName": "NULLIF(c.last_name, '')",
    "createdAt": "c.created_at",
    "updatedAt": "c.updated_at",
}


def _channel(leaf: ChannelLeaf) -> _CompiledLeaf:
    """Of merged contacts, one who opted out speaks for the person."""
    status = Sql(
        "(SELECT k.status FROM contacts_consent k WHERE k.workspace_id = %s AND k.contact_id = ANY(b.ids)"
        " AND k.channel = %s ORDER BY k.status = 'opted_out' DESC LIMIT 1)",
        (WORKSPACE, leaf.channel),
    )
    wanted = Sql("IS NULL") if leaf.status is None else Sql("= %s", (leaf.status,))
    return _CompiledLeaf(_sql("({} {})", status, wanted), None, _sql("to_jsonb({})", status))


def _tag(leaf: TagLeaf) -> _CompiledLeaf:
    has = Sql(
        "EXISTS (SELECT 1 FROM contacts_contacttag ct JOIN contacts_tag tag ON tag.workspace_id = %s"
        " AND tag.id = ct.tag_id WHERE ct.workspace_id = %s AND ct.contact_id = ANY(b.ids) AND tag.name = %s)",
        (WORKSPACE, WORKSPACE, leaf.name),
    )
    return _CompiledLeaf(has if leaf.is_wanted else _sql("NOT {}", has), None, _sql("to_jsonb({})", has))


def _company(leaf: CompanyLeaf) -> _CompiledLeaf:
    """Hold if one of the companies fulfils it; where there is none, the value is missing."""
    values = _sql(
        "FROM contacts_companymembership cm CROSS JOIN LATERAL ("
        "SELECT {} AS value FROM contacts_company o WHERE o.workspace_id = %s AND o.id = cm.company_id) company"
        " WHERE cm.workspace_id = %s AND cm.contact_id = ANY(b.ids)",
        _company_field(leaf.field),
        WORKSPACE,
        WORKSPACE,
    )
    shown = _sql("(SELECT jsonb_agg(company.value ORDER BY company.value) {})", values)
    if leaf.comparison.operator == "not_exists":
        return _CompiledLeaf(
            _sql("NOT EXISTS (SELECT 1 {} AND company.value IS NOT NULL)", values), None, shown
        )
    condition = _compared("company.value", leaf.comparison).matches
    holds = _sql("EXISTS (SELECT 1 {} AND {})", values, condition)
    if leaf.comparison.when_missing:
        holds = _sql("({} OR NOT EXISTS (SELECT 1 {}))", holds, values)
    return _CompiledLeaf(holds, None, shown)


def _company_field(name: str) -> Sql:
    if name.startswith("attributes."):
        return Sql("NULLIF(o.attributes #> %s::text[], 'null'::jsonb)", (name.split(".")[1:],))
    return Sql(f"to_jsonb(NULLIF(o.{name or 'name'}, ''))")


@cache
def _rule_source(kind: str) -> Callable[[UUID], tuple[Sql, Sql]]:
    """Return what an upper app adds to the language (see `settings.RULE_SOURCES`): the condition, its next moment."""
    source: Callable[[UUID], tuple[Sql, Sql]] = import_string(settings.RULE_SOURCES[kind])
    return source


def _hashable(parameters: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(tuple(parameter) if isinstance(parameter, list) else parameter for parameter in parameters)
