"""What a rule means, in plain Python: written from the semantics, to hold the SQL against."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID

Json = Any
Node = Mapping[str, Any]
_OF_PARTS = ("contains", "not_contains", "starts_with", "ends_with")
MISSING: Any = type("Missing", (), {"__repr__": lambda self: "MISSING"})()
TICK = timedelta(microseconds=1)


@dataclass(frozen=True)
class EventRecord:
    """An event of the stream."""

    id: UUID
    name: str
    occurred_at: datetime
    properties: Mapping[str, Json] = field(default_factory=dict)
    context: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True)
class Person:
    """All that a rule can know of a contact, those merged into it included."""

    # By the names that rules use: email, phone, externalId, firstName, lastName; absent: missing.
    fields: Mapping[str, str] = field(default_factory=dict)
    created_at: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    updated_at: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    score: Decimal = Decimal(0)
    attributes: Mapping[str, Json] = field(default_factory=dict)
    tags: frozenset[str] = frozenset()
    # By channel, as "opted_in" or "opted_out".
    consents: Mapping[str, str] = field(default_factory=dict)
    # Each with name, website, industry, size and attributes.
    companies: Sequence[Mapping[str, Json]] = ()
    segments: frozenset[str] = frozenset()
    events: Sequence[EventRecord] = ()


def holds(node: Node, person: Person, at: datetime, trigger: EventRecord | None = None) -> bool:
    """Tell whether the rule holds for a person at a moment, given what had happened by then."""
    if "conditions" in node:
        answers = [holds(child, person, at, trigger) for child in node["conditions"]]
        return {"AND": all(answers), "OR": any(answers), "NOT": not any(answers)}[node["operator"]]
    kind = node.get("type", "property")
    if kind == "property":
        assert trigger is not None
        return _event_field_fulfils(node, trigger, at)
    if kind == "company":
        return _company_holds(node, person, at)
    if kind == "channel":
        status = person.consents.get(node["channel"].lower(), "unknown")
        return status == node.get("status", "OPTED_IN").lower()
    if kind == "tag":
        return (node["value"] in person.tags) == (node.get("operator", "has") == "has")
    if kind == "segment":
        return (str(node["segmentId"]) in person.segments) == (node.get("operator", "in") == "in")
    operator, wanted, when_missing = _wanted(node)
    if node.get("field") == "email" and operator in _OF_PARTS and str(wanted).strip():
        # As the store has them: of these texts no more is to be done than this.
        wanted = str(wanted).lower()
    return fulfils(actual(node, person, at), operator, wanted, when_missing, at)


def actual(node: Node, person: Person, at: datetime) -> Json:
    """Return what an attribute or event condition compares, MISSING if there is none."""
    if node["type"] == "attribute":
        return _contact_field(node["field"], person)
    events = counted(node, person, at)
    aggregate = node.get("aggregate", "count")
    if aggregate == "count":
        return len(events)
    if "property" not in node:
        return iso(events[0 if aggregate == "last" else -1].occurred_at) if events else MISSING
    values = [value for event in events if (value := event_field(event, node["property"])) is not MISSING]
    if aggregate == "distinct":
        return len({_key(value) for value in values})
    if aggregate in ("first", "last"):
        return values[0 if aggregate == "last" else -1] if values else MISSING
    return _arithmetic(aggregate, [exact(value) for value in values if is_number(value)])


def counted(node: Node, person: Person, at: datetime) -> list[EventRecord]:
    """Return the events that an event condition speaks of, the newest first."""
    events = [
        event
        for event in person.events
        if event.name == node["eventType"].strip()
        and event.occurred_at <= at
        and _is_in_window(event.occurred_at, node.get("timeWindow"), at)
        and _passes(event, node.get("filters"), at)
    ]
    return sorted(events, key=lambda event: (event.occurred_at, event.id.int), reverse=True)


def next_change(
    node: Node, person: Person, at: datetime, trigger: EventRecord | None = None
) -> datetime | None:
    """Return the first moment after `at` with another answer, if nothing more happens; None: there is none.

    Found by trying every moment that any condition could turn on: each moment that the person or its past has,
    moved by each duration that the rule has.
    """
    past = replace(person, events=[event for event in person.events if event.occurred_at <= at])
    answer = holds(node, past, at, trigger)
    known = {*_moments_in(past), *(_moments_in(trigger) if trigger else ())}
    lengths = {timedelta(), *_durations_in(node)}
    candidates = {
        turn + tick
        for moment in known
        for length in lengths
        for turn in (moment - length, moment + length)
        for tick in (timedelta(), TICK)
        if turn + tick > at
    }
    changes = (one for one in sorted(candidates) if holds(node, past, one, trigger) != answer)
    return next(changes, None)


# Values ------------------------------------------------------------------------------------------------------


def fulfils(value: Json, operator: str, wanted: Json, when_missing: bool, at: datetime) -> bool:
    """Compare a value; a missing one fulfils nothing but not_exists, unless the rule says so."""
    if operator in ("exists", "not_exists"):
        return (value is not MISSING) == (operator == "exists")
    if value is MISSING:
        return when_missing
    if operator in ("before", "after", "within"):
        return _stands_in_time(parse_moment(value), operator, wanted, at)
    if operator in _EQUALITY and all(map(is_timestamp, wanted if isinstance(wanted, list) else [wanted])):
        return _is_moment_among(parse_moment(value), operator, wanted)
    if operator in _ORDERED:
        return _is_alike(value, wanted) and _ORDERED[operator](_comparable(value), _comparable(wanted))
    return _COMPARE[operator](value, wanted)


def json_equal(one: Json, other: Json) -> bool:
    """Compare as JSON does: 1 is 1.0, and no number is a boolean."""
    return _key(one) == _key(other)


def is_number(value: Json) -> bool:
    """Tell numbers from everything else, booleans too."""
    return isinstance(value, int | float | Decimal | Fraction) and not isinstance(value, bool)


def exact(number: Json) -> Fraction:
    """Return the number that the JSON spells, without any rounding to binary."""
    return number if isinstance(number, Fraction) else Fraction(str(number))


def parse_moment(text: Json) -> datetime | None:
    """Return the moment that an ISO date or date-time names, UTC if it names no zone."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def is_timestamp(value: Json) -> bool:
    """Tell dates from texts that are merely of digits."""
    return parse_moment(value) is not None and value[4] == value[7] == "-"


def parse_duration(text: Json) -> timedelta | None:
    """Return the length of "7d", "-24h" or "+3d"; "now" is none at all."""
    if text == "now":
        return timedelta()
    unit = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
    if not isinstance(text, str) or text[-1:] not in unit or not text[:-1].lstrip("+-").isdecimal():
        return None
    return timedelta(seconds=int(text[:-1]) * unit[text[-1]])


def iso(moment: datetime) -> str:
    """Return the moment's own spelling."""
    return moment.astimezone(UTC).isoformat()


def _key(value: Json) -> Any:
    if is_number(value):
        return "number", exact(value)
    if isinstance(value, list | tuple):
        return "list", tuple(_key(item) for item in value)
    if isinstance(value, Mapping):
        return "object", frozenset((name, _key(item)) for name, item in value.items())
    return type(value).__name__, value


def _is_alike(one: Json, other: Json) -> bool:
    """Only numbers compare with numbers, and texts with texts."""
    wanted = other if isinstance(other, list) else [other]
    return all(
        (is_number(one) and is_number(item)) or (isinstance(one, str) and isinstance(item, str))
        for item in wanted
    )


def _comparable(value: Json) -> Any:
    if isinstance(value, list):
        return [_comparable(item) for item in value]
    return exact(value) if is_number(value) else value


_EQUALITY = ("eq", "neq", "in", "not_in")
_ORDERED = {
    "gt": lambda value, wanted: value > wanted,
    "gte": lambda value, wanted: value >= wanted,
    "lt": lambda value, wanted: value < wanted,
    "lte": lambda value, wanted: value <= wanted,
    "between": lambda value, wanted: wanted[0] <= value <= wanted[1],
}


def _contains(value: Json, wanted: Json) -> bool | None:
    """None: the value is nothing that could contain."""
    if isinstance(value, list):
        return any(json_equal(item, wanted) for item in value)
    if isinstance(value, str):
        return _spelled(wanted) in value
    return None


def _spelled(value: Json) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(value)


_COMPARE = {
    "eq": json_equal,
    "neq": lambda value, wanted: not json_equal(value, wanted),
    "in": lambda value, wanted: any(json_equal(value, one) for one in wanted),
    "not_in": lambda value, wanted: not any(json_equal(value, one) for one in wanted),
    "contains": lambda value, wanted: _contains(value, wanted) is True,
    "not_contains": lambda value, wanted: _contains(value, wanted) is False,
    "starts_with": lambda value, wanted: isinstance(value, str) and value.startswith(wanted),
    "ends_with": lambda value, wanted: isinstance(value, str) and value.endswith(wanted),
}


def _stands_in_time(moment: datetime | None, operator: str, wanted: str, at: datetime) -> bool:
    if moment is None:
        return False
    length = parse_duration(wanted)
    if operator == "within":
        assert length is not None
        if wanted.startswith("+"):
            return at < moment <= at + length
        return at - abs(length) < moment <= at
    bound = at + length if length is not None else parse_moment(wanted)
    assert bound is not None
    return moment < bound if operator == "before" else moment > bound


def _is_moment_among(moment: datetime | None, operator: str, wanted: Json) -> bool:
    """A text that names no moment is present, and equals none."""
    among = moment in [parse_moment(one) for one in (wanted if isinstance(wanted, list) else [wanted])]
    return among == (operator in ("eq", "in"))


# Conditions --------------------------------------------------------------------------------------------------


def _wanted(node: Node) -> tuple[str, Json, bool]:
    """Return operator, value, and what a missing value means."""
    operator, value = node.get("operator"), node.get("value")
    if node["type"] == "event" and node.get("aggregate", "count") in ("count", "distinct"):
        if operator in (None, "exists"):
            operator, value = "gte", node.get("value", 1)
        elif operator == "not_exists":
            operator, value = "eq", 0
    assert isinstance(operator, str)
    return operator, value, node.get("whenMissing", False)


def _contact_field(name: str, person: Person) -> Json:
    if name.startswith("attributes."):
        return dig(person.attributes, name.split(".")[1:])
    if name == "score":
        return person.score
    if name in ("createdAt", "updatedAt"):
        return iso(person.created_at if name == "createdAt" else person.updated_at)
    return person.fields.get(name) or MISSING


def event_field(event: EventRecord, path: str) -> Json:
    """Return a field of an event: "metadata.…" and "properties.…" are one, others what came beside them."""
    first, _, rest = path.partition(".")
    return dig(event.properties, rest.split(".")) if rest else dig(event.context, [first])


def dig(value: Json, keys: Sequence[str]) -> Json:
    """Follow a path; a null is missing, a list's items go by number, from the end if negative."""
    for key in keys:
        if isinstance(value, Mapping) and key in value:
            value = value[key]
        elif isinstance(value, list) and (place := _place(key, len(value))) is not None:
            value = value[place]
        else:
            return MISSING
    return MISSING if value is None else value


def _place(key: str, length: int) -> int | None:
    if not key.removeprefix("-").isdecimal():
        return None
    return int(key) if -length <= int(key) < length else None


def _event_field_fulfils(node: Node, event: EventRecord, at: datetime) -> bool:
    value = event_field(event, node["field"])
    return fulfils(value, node["operator"], node.get("value"), node.get("whenMissing", False), at)


def _company_holds(node: Node, person: Person, at: datetime) -> bool:
    """One of the companies fulfils it; nobody's company is a missing value, and not_exists asks for no value."""
    name, operator = node.get("field", ""), node.get("operator", "exists")
    values = [_company_field(company, name) for company in person.companies] or [MISSING]
    if operator == "not_exists":
        return all(value is MISSING for value in values)
    rest = node.get("value"), node.get("whenMissing", False), at
    return any(fulfils(value, operator, *rest) for value in values)


def _company_field(company: Mapping[str, Json], name: str) -> Json:
    if name.startswith("attributes."):
        return dig(company.get("attributes", {}), name.split(".")[1:])
    return company.get(name or "name") or MISSING


def _is_in_window(occurred_at: datetime, window: Json, at: datetime) -> bool:
    if window is None:
        return True
    if isinstance(window, str):
        length = parse_duration(window)
        assert length is not None
        return at - length < occurred_at <= at
    start, end = parse_moment(window.get("from")), parse_moment(window.get("to"))
    return (start is None or start <= occurred_at) and (end is None or occurred_at < end)


def _passes(event: EventRecord, filters: Json, at: datetime) -> bool:
    if filters is None:
        return True
    tree = {"operator": "AND", "conditions": filters} if isinstance(filters, list) else filters
    return holds(tree, Person(), at, trigger=event)


def _arithmetic(aggregate: str, numbers: list[Fraction]) -> Json:
    if not numbers:
        return MISSING
    if aggregate == "avg":
        return sum(numbers, Fraction()) / len(numbers)
    return {"sum": sum(numbers, Fraction()), "min": min(numbers), "max": max(numbers)}[aggregate]


# What a rule could turn on -----------------------------------------------------------------------------------


def _moments_in(value: object) -> Iterator[datetime]:
    if isinstance(value, datetime):
        yield value
    elif isinstance(value, Person | EventRecord):
        for part in vars(value).values():
            yield from _moments_in(part)
    elif isinstance(value, Mapping):
        yield from _moments_in(list(value.values()))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _moments_in(item)
    elif (moment := parse_moment(value)) is not None:
        yield moment


def _durations_in(value: object) -> Iterator[timedelta]:
    if isinstance(value, Mapping):
        yield from _durations_in(list(value.values()))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _durations_in(item)
    elif (length := parse_duration(value)) is not None:
        yield length
