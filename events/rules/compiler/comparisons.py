"""Comparisons of one value: of JSON, of moments, and of numbers that never lack."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from math import ceil, floor
from typing import Any

from config.db.sql import Sql, join, sql
from events.rules.conditions import EventConditions, compile_operator
from events.rules.durations import Offset, parse_duration, parse_moment
from events.rules.nodes import Comparison, Group, Node, PropertyLeaf, Rule

_TICK = timedelta(microseconds=1)
_NOTHING = sql("NULL::jsonb")


@dataclass(frozen=True, slots=True)
class Answer:
    """A leaf in SQL; `next_at` None: time alone cannot change it. Value and events, for explanations, are jsonb."""

    matches: Sql
    next_at: Sql | None = None
    value: Sql = _NOTHING
    events: Sql = _NOTHING

    def with_lapse(self, lapse: Sql | None) -> Answer:
        """Return the answer with the moment at which the oldest event lapses as one that may change it."""
        if lapse is None:
            return self
        next_at = lapse if self.next_at is None else sql("LEAST({}, {})", self.next_at, lapse)
        return Answer(self.matches, next_at, self.value)


def compile_event_rule(rule: Rule, conditions: EventConditions) -> Sql:
    """Compile a rule that only the triggering event decides; its columns are taken from `conditions`."""
    return compile_event_tree(rule.root, conditions)


def compile_event_tree(node: Node, conditions: EventConditions) -> Sql:
    """Compile a tree over one event's fields to a condition that is true or false, never null."""
    if isinstance(node, PropertyLeaf):
        return sql("COALESCE({}, false)", compare(conditions.column(node.field), node.comparison).matches)
    if not isinstance(node, Group):
        raise TypeError(node)
    parts = [compile_event_tree(child, conditions) for child in node.children]
    if not parts:
        return sql("true")
    if node.operator == "NOT":
        return sql("(NOT ({}))", join(" OR ", parts))
    return sql("({})", join(f" {node.operator} ", parts))


def compare(column: Sql, comparison: Comparison) -> Answer:
    """Compare a jsonb value; null is a missing one."""
    operator, value = comparison.operator, comparison.value
    if operator in _MOMENTS:
        return _MOMENTS[operator](column, value)
    compile_ = _is_moment if comparison.as_moments else compile_operator
    matches = compile_(operator, column, value)
    if comparison.when_missing:
        matches = sql("({} OR {} IS NULL)", matches, column)
    return Answer(matches, None, column)


def compare_number(number: Sql, comparison: Comparison) -> Answer:
    """Compare a number that is never missing."""
    operator, value = comparison.operator, comparison.value
    if operator == "between":
        low, high = map(_exact, value)
        matches = sql("({} BETWEEN {:numeric} AND {:numeric})", number, low, high)
    elif operator in ("in", "not_in"):
        quantified = "= ANY" if operator == "in" else "<> ALL"
        matches = sql(f"({{}} {quantified}({{:numeric[]}}))", number, list(map(_exact, value)))
    else:
        matches = sql(f"({{}} {_SYMBOLS[operator]} {{:numeric}})", number, _exact(value))
    return Answer(matches, None, sql("to_jsonb({})", number))


def _exact(value: float) -> Decimal:
    return Decimal(str(value))


_MOST_EVENTS = 2**31
_SYMBOLS = {"eq": "=", "neq": "<>", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


def threshold(comparison: Comparison) -> int | None:
    """Return n where a count's comparison says "at least n", or the opposite."""
    if comparison.operator not in ("gt", "gte", "lt", "lte"):
        return None
    at: float = comparison.value
    return floor(at) + 1 if comparison.operator in ("gt", "lte") else ceil(at)


def count_left(number: Sql, comparison: Comparison) -> Sql | None:
    """Return how many of the counted events are left when the answer changes, null or None if it never does.

    While events lapse, the count falls; the answer changes at the first number below that is answered otherwise.
    """
    operator, value = comparison.operator, comparison.value
    if operator not in ("in", "not_in") and not all(
        abs(bound) < _MOST_EVENTS for bound in (value if isinstance(value, tuple) else (value,))
    ):
        return None
    if (low := threshold(comparison)) is not None:
        return sql(f"(CASE WHEN {{}} >= {low} THEN {low - 1} END)", number) if low > 0 else None
    if operator in ("eq", "neq"):
        if value != int(value) or value < 0:
            return None
        at = int(value)
        at_it = f"WHEN {{0}} = {at} THEN {at - 1} " if at > 0 else ""
        return sql(f"(CASE {at_it}WHEN {{0}} > {at} THEN {at} END)", number)
    if operator == "between":
        low, high = ceil(value[0]), floor(value[1])
        if high < low or high < 0:
            return None
        at_it = f"WHEN {{0}} >= {low} THEN {low - 1} " if low > 0 else ""
        return sql(f"(CASE WHEN {{0}} > {high} THEN {high} {at_it}END)", number)
    # A list of numbers: look again at each lapse.
    return sql("NULLIF({}, 0) - 1", number)


def _is_moment(operator: str, column: Sql, value: Any) -> Sql:
    """Compare moments, however they are spelled; a value that is none is equal to none."""
    wanted = [parse_moment(spelled) for spelled in (value if isinstance(value, tuple) else (value,))]
    among = sql("events_moment({}) = ANY({:timestamptz[]})", column, wanted)
    if operator in ("eq", "in"):
        return among
    return sql("({} IS NOT NULL AND ({}) IS NOT TRUE)", column, among)


def _is_beside(symbol: str, delay: timedelta) -> Callable[[Sql, Any], Answer]:
    """Return what compares a moment with another; one relative to now is passed `delay` after it is met."""

    def compile_(column: Sql, value: Any) -> Answer:
        moment, bound = sql("events_moment({})", column), parse_moment(value)
        if not isinstance(bound, Offset):
            return Answer(sql(f"{{}} {symbol} {{:timestamptz}}", moment, bound), None, column)
        matches = sql(f"{{}} {symbol} b.as_of + {{:interval}}", moment, bound.length)
        passes = sql("({} - {:interval} + {:interval})", moment, bound.length, delay)
        return Answer(matches, _in_future(passes), column)

    return compile_


def _is_within(column: Sql, value: Any) -> Answer:
    """The last seven days ("7d"), or the next ("+7d"): each moment of the way is in it once, ends excluded once."""
    moment = sql("events_moment({})", column)
    length = parse_duration(value) or timedelta()
    if str(value).startswith("+"):
        matches = sql("({0} > b.as_of AND {0} <= b.as_of + {1:interval})", moment, length)
        begins, ends = sql("({} - {:interval})", moment, length), moment
    else:
        length = abs(length)
        matches = sql("({0} <= b.as_of AND {0} > b.as_of - {1:interval})", moment, length)
        begins, ends = moment, sql("({} + {:interval})", moment, length)
    return Answer(matches, sql("COALESCE({}, {})", _in_future(begins), _in_future(ends)), column)


_MOMENTS: Mapping[str, Callable[[Sql, Any], Answer]] = {
    "before": _is_beside("<", _TICK),
    "after": _is_beside(">", timedelta()),
    "within": _is_within,
}


def _in_future(moment: Sql) -> Sql:
    return sql("CASE WHEN {0} > b.as_of THEN {0} END", moment)
