"""Reference evaluator: what a rule means, in plain Python. Tests and `verify_segments` compare the SQL with it.

Written from the meaning of the language and not from its SQL, for it has to notice where the two part. Nothing
here is quick.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import Any
from uuid import UUID

from config.http.rendering import dumps
from events.rules.conditions import path_of
from events.rules.durations import parse_duration, parse_moment
from events.rules.nodes import (
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
    SegmentLeaf,
    TagLeaf,
    Window,
)

IsMember = Callable[[UUID], bool]
Json = Any
"""What JSON can be; None is a missing value."""


@dataclass(frozen=True, slots=True)
class EventRecord:
    """An event with the fields that rules read."""

    id: UUID
    name: str
    occurred_at: datetime
    properties: Mapping[str, Json]
    context: Mapping[str, Json]

    def value(self, name: str) -> Json:
        """Return a field of the event."""
        column, *keys = path_of(name)
        return at_path(self.properties if column == "properties" else self.context, keys)


@dataclass(slots=True)
class Person:
    """A contact with all that was merged into it."""

    id: UUID
    fields: dict[str, Json] = field(default_factory=dict)
    attributes: Mapping[str, Json] = field(default_factory=dict)
    # Channel to status.
    consents: dict[str, str] = field(default_factory=dict)
    tags: set[str] = field(default_factory=set)
    # Each with name, website, industry, size and attributes.
    companies: list[Mapping[str, Json]] = field(default_factory=list)
    # By name, in the order of (occurred_at, id).
    events: dict[str, list[EventRecord]] = field(default_factory=dict)
    # The segments that it is in by what is stored.
    segments: set[UUID] = field(default_factory=set)


def holds(
    node: Node, person: Person, as_of: datetime, is_member: IsMember, trigger: EventRecord | None = None
) -> bool:
    """Return whether a rule's node holds for a person at a moment; `is_member` answers for other segments.

    `trigger`: the event that the rule is about, if it is about one.
    """
    if isinstance(node, PropertyLeaf) and trigger is not None:
        return passes(node, trigger, as_of)
    if not isinstance(node, Group):
        return _leaf_holds(node, person, as_of, is_member)
    answers = [holds(child, person, as_of, is_member, trigger) for child in node.children]
    if node.operator == "AND":
        return all(answers)
    return any(answers) == (node.operator == "OR")


def passes(node: Node, event: EventRecord, as_of: datetime) -> bool:
    """Return whether an event fulfils a node over its own fields."""
    if isinstance(node, PropertyLeaf):
        return _fulfils(event.value(node.field), node.comparison, as_of)
    if not isinstance(node, Group):
        raise TypeError(node)
    answers = [passes(child, event, as_of) for child in node.children]
    return all(answers) if node.operator == "AND" else any(answers) == (node.operator == "OR")


def spelled(moment: datetime) -> str:
    """Return a time as the database writes it in JSON."""
    text = moment.astimezone(UTC).isoformat()
    return re.sub(r"\.(\d+?)0*\+", r".\1+", text)


def at_path(value: Json, keys: Sequence[str]) -> Json:
    """Return what stands below the keys; an array's are its places, from the end where negative."""
    for key in keys:
        if isinstance(value, Mapping):
            value = value.get(key)
        elif isinstance(value, list) and re.fullmatch(r"[+-]?\d{1,9}", key, re.ASCII):
            place = int(key)
            value = value[place] if -len(value) <= place < len(value) else None
        else:
            return None
    return value


def _leaf_holds(leaf: Leaf, person: Person, as_of: datetime, is_member: IsMember) -> bool:
    match leaf:
        case EventLeaf():
            events = [
                event for event in person.events.get(leaf.event_name, ()) if _counts(leaf, event, as_of)
            ]
            return _fulfils(_aggregate(leaf, events), leaf.comparison, as_of)
        case AttributeLeaf():
            return _fulfils(_attribute(person, leaf.field), leaf.comparison, as_of)
        case ChannelLeaf():
            return person.consents.get(leaf.channel) == leaf.status
        case TagLeaf():
            return (leaf.name in person.tags) == leaf.is_wanted
        case CompanyLeaf():
            return _company_holds(leaf, person, as_of)
        case SegmentLeaf():
            return is_member(leaf.segment_id) == leaf.is_wanted
        case PropertyLeaf():
            raise TypeError(leaf)


def _attribute(person: Person, name: str) -> Json:
    if name.startswith("attributes."):
        return at_path(person.attributes, name.split(".")[1:])
    return person.fields.get(name)


def _company_holds(leaf: CompanyLeaf, person: Person, as_of: datetime) -> bool:
    """One of the companies has to fulfil it; who has none lacks the value."""
    path = (leaf.field or "name").split(".")
    values = [at_path(company, path) for company in person.companies] or [None]
    if leaf.comparison.operator == "not_exists":
        return all(value is None for value in values)
    return any(_fulfils(value, leaf.comparison, as_of) for value in values)


# Events ------------------------------------------------------------------------------------------------------


def _counts(leaf: EventLeaf, event: EventRecord, as_of: datetime) -> bool:
    return (
        event.occurred_at <= as_of
        and _is_within(leaf.window, event.occurred_at, as_of)
        and (leaf.filters is None or passes(leaf.filters, event, as_of))
    )


def _is_within(window: Window, moment: datetime, as_of: datetime) -> bool:
    if window is None:
        return True
    if isinstance(window, RelativeWindow):
        return as_of - window.length < moment
    return (window.start is None or window.start <= moment) and (window.end is None or moment < window.end)


def _aggregate(leaf: EventLeaf, events: Sequence[EventRecord]) -> Json:
    if leaf.aggregation == "count":
        return len(events)
    place = {"first": 0, "last": -1}.get(leaf.aggregation)
    if not leaf.property:
        return spelled(events[place or 0].occurred_at) if events else None
    values = [value for event in events if (value := event.value(leaf.property)) is not None]
    if place is not None:
        return values[place] if values else None
    if leaf.aggregation == "distinct":
        return len({_alike(value) for value in values})
    return _of_numbers(leaf.aggregation, [exact(value) for value in values if _is_number(value)])


def _of_numbers(aggregation: str, numbers: Sequence[Fraction]) -> Fraction | None:
    if not numbers:
        return None
    match aggregation:
        case "sum":
            return sum(numbers, Fraction())
        case "avg":
            return sum(numbers, Fraction()) / len(numbers)
        case "min":
            return min(numbers)
        case _:
            return max(numbers)


# Values ------------------------------------------------------------------------------------------------------


def _fulfils(value: Json, comparison: Comparison, as_of: datetime) -> bool:
    """Compare; a missing value fulfils nothing but what asks for it."""
    operator = comparison.operator
    if operator in ("exists", "not_exists"):
        return (value is not None) == (operator == "exists")
    if value is None:
        return comparison.when_missing
    if comparison.as_moments:
        return _is_same_moment(value, comparison.value) == (operator in ("eq", "in"))
    if operator in _MOMENTS:
        moment = _moment(value)
        return moment is not None and _MOMENTS[operator](moment, comparison.value, as_of)
    return _OPERATORS[operator](value, comparison.value)


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float | Fraction) and not isinstance(value, bool)


def exact(number: Json) -> Fraction:
    """Return the number that its decimal spelling means: what was sent, not what binary makes of it."""
    return number if isinstance(number, Fraction) else Fraction(str(number))


def _alike(value: Json) -> Any:
    """Return what two values have in common exactly where JSON holds them equal: 1 is 1.0, and not true."""
    if _is_number(value):
        return ("number", exact(value))
    if isinstance(value, Mapping):
        return ("object", frozenset((key, _alike(item)) for key, item in value.items()))
    if isinstance(value, list | tuple):
        return ("array", tuple(map(_alike, value)))
    return (type(value).__name__, value)


def _ordered(value: Json, other: Json) -> int | None:
    """Return -1, 0 or 1, None where the two have no order: numbers have one, and texts by code point."""
    if _is_number(value) and _is_number(other):
        value, other = exact(value), exact(other)
    elif not (isinstance(value, str) and isinstance(other, str)):
        return None
    return int(value > other) - int(value < other)


def _is_between(value: Json, bounds: Sequence[Json]) -> bool:
    return _ordered(value, bounds[0]) in (0, 1) and _ordered(value, bounds[1]) in (-1, 0)


def _contains(value: Json, part: Json) -> bool | None:
    """Look for a text in a text, or an item in a list; None: nothing else contains anything."""
    if isinstance(value, list):
        return _alike(part) in map(_alike, value)
    if isinstance(value, str):
        return (part if isinstance(part, str) else dumps(part).decode()) in value
    return None


_OPERATORS: Mapping[str, Callable[[Json, Any], bool]] = {
    "eq": lambda value, other: _alike(value) == _alike(other),
    "neq": lambda value, other: _alike(value) != _alike(other),
    "gt": lambda value, other: _ordered(value, other) == 1,
    "gte": lambda value, other: _ordered(value, other) in (0, 1),
    "lt": lambda value, other: _ordered(value, other) == -1,
    "lte": lambda value, other: _ordered(value, other) in (-1, 0),
    "between": _is_between,
    "in": lambda value, wanted: _alike(value) in map(_alike, wanted),
    "not_in": lambda value, wanted: _alike(value) not in map(_alike, wanted),
    "contains": lambda value, part: _contains(value, part) is True,
    "not_contains": lambda value, part: _contains(value, part) is False,
    "starts_with": lambda value, part: isinstance(value, str) and value.startswith(part),
    "ends_with": lambda value, part: isinstance(value, str) and value.endswith(part),
}

# Moments -----------------------------------------------------------------------------------------------------

_SPELLED = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?(?:Z|([+-])(\d\d):?(\d\d))?)?",
    re.ASCII,
)
_LAST_OFFSET_HOUR = 15


def _moment(value: Json) -> int | None:
    """Return the moment that a text spells, in microseconds, which reach beyond the years of a datetime."""
    match = _SPELLED.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    *parts, fraction, sign, offset_hours, offset_minutes = match.groups(default="0")
    year, month, day, hour, minute, second = map(int, parts)
    ahead = (int(offset_hours), int(offset_minutes))
    microseconds = round(Fraction(int(fraction) * 10**6, 10 ** len(fraction)))
    is_sound = minute < 60 and second <= 60 and ahead[0] <= _LAST_OFFSET_HOUR and ahead[1] < 60
    if not is_sound or (hour, minute, second, microseconds) > (24, 0, 0, 0):
        return None
    try:
        days = date(year, month, day).toordinal()
    except ValueError:
        return None
    minutes = (days * 24 + hour) * 60 + minute - (-1 if sign == "-" else 1) * (ahead[0] * 60 + ahead[1])
    ticks: int = (minutes * 60 + second) * 10**6 + microseconds
    return ticks


def _is_same_moment(value: Json, wanted: Any) -> bool:
    return _moment(value) in [_bound(bound) for bound in (wanted if isinstance(wanted, tuple) else (wanted,))]


def _ticks(moment: datetime) -> int:
    return _length(moment.astimezone(UTC).replace(tzinfo=None) - datetime.min) + _length(timedelta(days=1))  # noqa: DTZ901


def _length(length: timedelta) -> int:
    return length // timedelta(microseconds=1)


def _bound(value: Any, as_of: datetime | None = None) -> int:
    moment = parse_moment(value)
    if isinstance(moment, datetime):
        return _ticks(moment)
    if moment is None or as_of is None:
        raise ValueError(value)
    return _ticks(as_of) + _length(moment.length)


def _is_close(moment: int, value: Any, as_of: datetime) -> bool:
    """ "7d": the last seven days, now included; "+7d": the next seven, now excluded."""
    now, length = _ticks(as_of), abs(_length(parse_duration(value) or timedelta()))
    if value.startswith("+"):
        return now < moment <= now + length
    return now - length < moment <= now


_MOMENTS: Mapping[str, Callable[[int, Any, datetime], bool]] = {
    "before": lambda moment, value, as_of: moment < _bound(value, as_of),
    "after": lambda moment, value, as_of: moment > _bound(value, as_of),
    "within": _is_close,
}
