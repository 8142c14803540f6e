"""Parse rules: JSON to `Rule`, or InvalidCondition with the path of what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import isfinite
from typing import Any, Final, cast
from uuid import UUID

from django.conf import settings
from django.utils.module_loading import import_string

from config.db.read_once import read_once
from config.ids import parse_uuid
from config.values.json_values import JsonValue
from config.values.names import composed
from contacts.models import Consent, Field
from events.errors import InvalidCondition
from events.models import EventProperty
from events.names import CONTACT_PREFIX, FORM_PREFIX
from events.rules.conditions import OPERATORS, field_error, value_error
from events.rules.durations import LONGEST, is_timestamp, parse_duration, parse_moment
from events.rules.nodes import (
    EQUALITY,
    AbsoluteWindow,
    Aggregation,
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
    Window,
)
from events.rules.stored_values import field_as_recorded, normalize_comparison

MAX_DEPTH = 10
MAX_LEAVES = 100
MAX_TEXT = 255
_INT64 = range(-(2**63), 2**63)
MOMENT_OPERATORS = frozenset({"before", "after", "within"})
CONTACT_FIELDS = frozenset(
    {"email", "phone", "externalId", "firstName", "lastName", "createdAt", "updatedAt", "score"}
)
COMPANY_FIELDS = frozenset({"name", "website", "industry", "size"})
AGGREGATIONS = ("count", "sum", "avg", "min", "max", "first", "last", "distinct")
_NUMERIC = frozenset({"eq", "neq", "gt", "gte", "lt", "lte", "between", "in", "not_in"})
_EXISTENCE = frozenset({"exists", "not_exists"})
_TAKES_MISSING = frozenset({"neq", "not_in", "not_contains"})
_OF_TYPE: dict[str, frozenset[str]] = {
    "number": _NUMERIC | _EXISTENCE,
    "boolean": frozenset({"eq", "neq"}) | _EXISTENCE,
    "moment": EQUALITY | MOMENT_OPERATORS | _EXISTENCE,
    "text": (OPERATORS | MOMENT_OPERATORS),
}
_KIND_OF_TYPE = {
    "integer": "number",
    "number": "number",
    "boolean": "boolean",
    "date": "moment",
    "datetime": "moment",
}


@dataclass(frozen=True, slots=True)
class DeclaredTypes:
    """What is declared of the workspace's values: "number", "boolean" or "moment"; texts and the rest are absent."""

    properties: Mapping[tuple[str, str], str] = field(default_factory=dict)
    attributes: Mapping[str, str] = field(default_factory=dict)
    # Whether they were looked up, as they are where a rule is saved; one that stands is read as well as it can be.
    are_known: bool = False


def parse_rule(rule: object, *, about_event: str | None = None, types: DeclaredTypes | None = None) -> Rule:
    """Parse a rule. Raises InvalidCondition with the path of the fault.

    `about_event`: the name of an event whose own fields conditions may read, without a type; null is a rule then,
    which always holds. `types`: the declared types, which values must have.
    """
    validate_storable(rule)
    parser = _RuleParser(about_event, types or DeclaredTypes())
    if rule is None:
        if about_event is None:
            raise InvalidCondition("", "A rule is needed.")
        return Rule(Group("AND", ()))
    node = parser.node(JsonValue(rule, "", InvalidCondition), 1)
    return Rule(node if isinstance(node, Group) else Group("AND", (node,)))


@read_once
def declared_types(workspace_id: UUID) -> DeclaredTypes:
    """Return what the workspace declares of its events' properties and its contacts' attributes."""
    properties = (
        EventProperty.objects.in_workspace(workspace_id)
        .filter(definition__deleted_at=None, is_locked=True, type__in=_KIND_OF_TYPE)
        .values_list("definition__name", "name", "type")
    )
    fields = Field.objects.in_workspace(workspace_id).filter(type__in=_KIND_OF_TYPE)
    return DeclaredTypes(
        {(event, name): _KIND_OF_TYPE[type_] for event, name, type_ in properties},
        {name: _KIND_OF_TYPE[type_] for name, type_ in fields.values_list("name", "type")},
        are_known=True,
    )


def validate_segments(
    workspace_id: UUID, rule: Rule, raw: object, *, known: Collection[UUID] | None = None
) -> None:
    """Check that the segments a rule refers to exist, or are among the known ones. Raises InvalidCondition."""
    if not rule.segment_ids:
        return
    if known is None:
        known = import_string(settings.RULE_TARGETS["segment"])(workspace_id, rule.segment_ids)
    for path, target in referenced_segment_ids(raw):
        if target not in known:
            raise InvalidCondition(path, "There is no such segment.")


def referenced_segment_ids(raw: Any, path: str = "") -> Iterator[tuple[str, UUID]]:
    """Yield the segments that a rule builds on, each with the path of its id; of an unreadable one what there is."""
    if not isinstance(raw, Mapping):
        return
    if "conditions" in raw:
        for place, child in enumerate(raw["conditions"] if isinstance(raw["conditions"], list) else ()):
            yield from referenced_segment_ids(
                child, f"{path}.conditions[{place}]" if path else f"conditions[{place}]"
            )
    elif raw.get("type") == "segment" and (target := parse_uuid(raw.get("segmentId"))) is not None:
        yield f"{path}.segmentId" if path else "segmentId", target


def scopes_required_by_rule(raw: Any) -> set[str]:
    """Return the scopes that read what a rule asks about; for invalid rules, of the valid parts."""
    if isinstance(raw, list):
        return set().union(*map(scopes_required_by_rule, raw))
    if not isinstance(raw, Mapping):
        return set()
    if "conditions" in raw:
        return scopes_required_by_rule(raw["conditions"])
    kind = raw.get("type", "property")
    found = {_SCOPES[kind]} if isinstance(kind, str) and kind in _SCOPES else set()
    return found | scopes_required_by_event(raw.get("eventType")) if kind == "event" else found


def scopes_required_by_event(event_name: object) -> set[str]:
    """Return the scopes besides `events:read` that read system events of a name."""
    return (
        {"contacts:read"}
        if isinstance(event_name, str) and event_name.startswith(CONTACT_EVENT_PREFIXES)
        else set()
    )


CONTACT_EVENT_PREFIXES: Final = (CONTACT_PREFIX, FORM_PREFIX)
"""How the names begin of events by which the system notes contacts, and what visitors say of themselves."""
_SCOPES: Final = {
    **dict.fromkeys(("attribute", "channel", "tag", "company"), "contacts:read"),
    **dict.fromkeys(("event", "property"), "events:read"),
    "segment": "segments:read",
}


class _RuleParser:
    """Parses one rule; `is_filter`: the filters of an event condition, which may read the event's own fields only."""

    def __init__(self, about_event: str | None, types: DeclaredTypes, *, is_filter: bool = False) -> None:
        self.about_event = about_event
        self.types = types
        self.is_filter = is_filter
        self.leaves = 0

    def node(self, node: JsonValue, depth: int) -> Node:
        if "conditions" in node.as_object().raw:
            return self.group(node, depth)
        self.leaves += 1
        if self.leaves > MAX_LEAVES:
            node.fail(f"A rule may have at most {MAX_LEAVES} conditions.")
        kind = node.get("type", "property" if self.about_event is not None else None)
        known = self._kinds()
        if not isinstance(kind.raw, str) or kind.raw not in known:
            kind.fail(f"The type must be one of {', '.join(known)}.")
        parse, keys = _LEAVES[kind.raw]
        return parse(self, node.as_object(keys | {"type"}))

    def _kinds(self) -> list[str]:
        if self.is_filter:
            return ["property"]
        return sorted(kind for kind in _LEAVES if kind != "property" or self.about_event is not None)

    def group(self, node: JsonValue, depth: int) -> Group:
        operator = node.as_object({"operator", "conditions"}).get("operator")
        if operator.raw not in ("AND", "OR", "NOT"):
            operator.fail("The operator must be AND, OR or NOT.")
        if depth > MAX_DEPTH:
            node.fail(f"A rule may be at most {MAX_DEPTH} groups deep.")
        return Group(operator.raw, self.children(node.get("conditions"), depth + 1))

    def children(self, conditions: JsonValue, depth: int) -> tuple[Node, ...]:
        if not isinstance(conditions.raw, list) or not conditions.raw:
            conditions.fail("The conditions must be a list of at least one.")
        return tuple(self.node(child, depth) for child in conditions.items())

    def property(self, node: JsonValue) -> Leaf:
        event_name, field = self.about_event or "", node.get("field")
        if (fault := field_error(field.raw)) is not None:
            field.fail(fault)
        name = composed(field.raw)
        comparison = _comparison(node, self._kind_of(event_name, name))
        if self.is_filter and comparison.depends_on_clock:
            node.get("value").fail("A filter compares with fixed moments only.")
        return PropertyLeaf(name, self._as_stored(field_as_recorded(event_name, name), comparison, node))

    def _kind_of(self, event_name: str, field: str) -> str:
        return self.types.properties.get((event_name, field.partition(".")[2]), "any")

    def attribute(self, node: JsonValue) -> Leaf:
        name = _composed(node.get("field").raw)
        if isinstance(name, str) and name in CONTACT_FIELDS:
            kind = {"createdAt": "moment", "updatedAt": "moment", "score": "number"}.get(name, "text")
            return AttributeLeaf(name, self._as_stored(name, _comparison(node, kind), node))
        if not isinstance(name, str) or not _is_path(name, "attributes."):
            known = ", ".join(sorted(CONTACT_FIELDS))
            node.get("field").fail(f'The field must be "attributes.…" or one of {known}.')
        kind = self.types.attributes.get(name.removeprefix("attributes."), "any")
        return AttributeLeaf(name, _comparison(node, kind))

    def _as_stored(self, field: str, comparison: Comparison, node: JsonValue) -> Comparison:
        """Return a comparison with values in their stored form. Raises InvalidCondition where there is none."""
        spelled = normalize_comparison(field, comparison)
        if isinstance(spelled, Comparison):
            return spelled
        if self.types.are_known:
            node.get("value").fail(spelled)
        return comparison

    def event(self, node: JsonValue) -> Leaf:
        name = node.get("eventType").text(MAX_TEXT)
        aggregation = node.get("aggregate", "count")
        if aggregation.raw not in AGGREGATIONS:
            aggregation.fail(f"The aggregate must be one of {', '.join(AGGREGATIONS)}.")
        filters = self._filters(node.get("filters"), name)
        return EventLeaf(
            name,
            cast(Aggregation, aggregation.raw),
            self._aggregated_property(node, aggregation.raw),
            _window(node.get("timeWindow")),
            filters,
            self._event_comparison(node, name, aggregation.raw),
        )

    def _aggregated_property(self, node: JsonValue, aggregation: str) -> str:
        """Return the property that is aggregated; empty if the events themselves are."""
        name = _composed(node.get("property").raw)
        if name is None and aggregation in ("count", "first", "last"):
            return ""
        if aggregation == "count":
            node.get("property").fail("A count takes no property; filter by it instead.")
        if (fault := field_error(name)) is not None:
            node.get("property").fail(fault)
        return cast(str, name)

    def _event_comparison(self, node: JsonValue, event_name: str, aggregation: str) -> Comparison:
        if aggregation in ("count", "distinct"):
            return _counted(node)
        if aggregation in ("first", "last"):
            name = _composed(node.get("property").raw)
            return _comparison(node, "moment only" if name is None else self._kind_of(event_name, name))
        return _comparison(node, "number")

    def _filters(self, value: JsonValue, event_name: str) -> Group | None:
        if value.raw is None:
            return None
        # An event's filters are a rule about that event, and count among the leaves of the whole.
        inner = _RuleParser(event_name, self.types, is_filter=True)
        inner.leaves = self.leaves
        nodes = inner.children(value, 2) if isinstance(value.raw, list) else (inner.node(value, 2),)
        self.leaves = inner.leaves
        is_group = not isinstance(value.raw, list) and isinstance(nodes[0], Group)
        return cast(Group, nodes[0]) if is_group else Group("AND", nodes)

    def channel(self, node: JsonValue) -> Leaf:
        channel, status = node.get("channel"), node.get("status", "OPTED_IN")
        channels = [choice.upper() for choice in Consent.Channel.values]
        statuses = [*(choice.upper() for choice in Consent.Status.values), "UNKNOWN"]
        if not isinstance(channel.raw, str) or channel.raw.upper() not in channels:
            channel.fail(f"The channel must be one of {', '.join(channels)}.")
        if not isinstance(status.raw, str) or status.raw.upper() not in statuses:
            status.fail(f"The status must be one of {', '.join(statuses)}.")
        is_unknown = status.raw.upper() == "UNKNOWN"
        return ChannelLeaf(channel.raw.lower(), None if is_unknown else status.raw.lower())

    def tag(self, node: JsonValue) -> Leaf:
        operator = node.get("operator", "has")
        if operator.raw not in ("has", "not_has"):
            operator.fail("The operator must be has or not_has.")
        return TagLeaf(node.get("value").text(MAX_TEXT), operator.raw == "has")

    def company(self, node: JsonValue) -> Leaf:
        field = node.get("field", "")
        name = _composed(field.raw)
        if name == "":
            comparison = _comparison(node.replace({"operator": "exists", **node.raw}), "any")
            if comparison.operator not in _EXISTENCE:
                field.fail("A field of the company is needed.")
            return CompanyLeaf("", comparison)
        if not isinstance(name, str) or (name not in COMPANY_FIELDS and not _is_path(name, "attributes.")):
            known = ", ".join(sorted(COMPANY_FIELDS))
            field.fail(f'The field must be "attributes.…" or one of {known}.')
        comparison = _comparison(node, "text" if name in COMPANY_FIELDS else "any")
        if comparison.depends_on_clock:
            node.get("value").fail("A company is compared with fixed moments only.")
        return CompanyLeaf(name, comparison)

    def segment(self, node: JsonValue) -> Leaf:
        operator, segment_id = node.get("operator", "in"), node.get("segmentId")
        if operator.raw not in ("in", "not_in"):
            operator.fail("The operator must be in or not_in.")
        if (target := parse_uuid(segment_id.raw)) is None:
            segment_id.fail("The id of a segment is needed.")
        return SegmentLeaf(target, operator.raw == "in")


_COMPARES = frozenset({"field", "operator", "value", "whenMissing"})
_LEAVES: dict[str, tuple[Callable[[_RuleParser, JsonValue], Leaf], frozenset[str]]] = {
    "property": (_RuleParser.property, _COMPARES),
    "attribute": (_RuleParser.attribute, _COMPARES),
    "event": (
        _RuleParser.event,
        frozenset(
            {
                "eventType",
                "aggregate",
                "property",
                "timeWindow",
                "filters",
                "operator",
                "value",
                "whenMissing",
            }
        ),
    ),
    "channel": (_RuleParser.channel, frozenset({"channel", "status"})),
    "tag": (_RuleParser.tag, frozenset({"operator", "value"})),
    "company": (_RuleParser.company, _COMPARES),
    "segment": (_RuleParser.segment, frozenset({"segmentId", "operator"})),
}


def _comparison(node: JsonValue, kind: str) -> Comparison:
    """Parse operator, value and whenMissing, for values of a kind."""
    operator, value, when_missing = (
        node.get("operator"),
        node.get("value"),
        node.get("whenMissing", False),
    )
    allowed = _allowed(kind)
    if not isinstance(operator.raw, str) or operator.raw not in allowed:
        operator.fail(f"The operator must be one of {', '.join(sorted(allowed))}.")
    if (fault := _value_error(operator.raw, value.raw, kind)) is not None:
        value.fail(fault)
    takes_missing = when_missing.flag()
    if "whenMissing" in node.raw and operator.raw not in _TAKES_MISSING:
        when_missing.fail(f"Only {', '.join(sorted(_TAKES_MISSING))} take it.")
    return Comparison(
        operator.raw, tuple(value.raw) if isinstance(value.raw, list) else value.raw, takes_missing
    )


def _counted(node: JsonValue) -> Comparison:
    """Parse what a number of events is compared with; "at least one" if there is no operator."""
    if "whenMissing" in node.raw:
        node.get("whenMissing").fail("A count is never missing: none is zero.")
    if "operator" not in node.raw:
        return _comparison(node.replace({"value": 1, **node.raw, "operator": "gte"}), "count")
    operator = node.raw["operator"]
    if isinstance(operator, str) and operator in _EXISTENCE:
        _comparison(node, "any")
        return Comparison("gte", 1) if operator == "exists" else Comparison("eq", 0)
    return _comparison(node, "count")


def _allowed(kind: str) -> frozenset[str]:
    if kind == "moment only":
        return MOMENT_OPERATORS | _EXISTENCE
    if kind == "count":
        return _NUMERIC
    return _OF_TYPE.get(kind, OPERATORS | MOMENT_OPERATORS)


def _value_error(operator: str, value: object, kind: str) -> str | None:
    if operator == "within":
        if parse_duration(value) in (None, timedelta()):
            return 'The operator within needs a duration: "7d" for the last seven days, "+7d" for the next.'
        return None
    if operator in MOMENT_OPERATORS:
        if parse_moment(value) is None:
            return f'The operator {operator} needs a date, a date-time, "now", or an offset such as "-7d".'
        return None
    if (fault := value_error(operator, value)) is not None:
        return fault
    if operator not in _EXISTENCE and not all(_is_of_kind(item, kind) for item in _items(value)):
        return _EXPECTED[kind]
    if operator == "between" and cast(list[Any], value)[0] > cast(list[Any], value)[1]:
        return "The range must not end before it begins."
    return None


def _items(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def _is_of_kind(value: object, kind: str) -> bool:
    if kind in ("number", "count"):
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind == "boolean":
        return isinstance(value, bool)
    if kind == "moment":
        return is_timestamp(value)
    return kind != "text" or isinstance(value, str)


_EXPECTED = {
    "number": "The values are numbers.",
    "count": "The value must be a number.",
    "boolean": "The values are true or false.",
    "moment": "The values are dates.",
    "text": "The values are texts.",
}


def _window(value: JsonValue) -> Window:
    if value.raw is None:
        return None
    if isinstance(value.raw, str):
        length = parse_duration(value.raw)
        if length is None or length <= timedelta() or value.raw[0] == "+":
            value.fail(f'The window must be such as "7d", "24h" or "4w", up to {LONGEST.days}d.')
        return RelativeWindow(length)
    value.as_object({"from", "to"})
    start, end = _moment(value.get("from")), _moment(value.get("to"))
    if start is None and end is None:
        value.fail("The window needs from or to.")
    if start is not None and end is not None and start >= end:
        value.get("to").fail("The window must end after it begins.")
    return AbsoluteWindow(start, end)


def _moment(value: JsonValue) -> datetime | None:
    if value.raw is None:
        return None
    moment = parse_moment(value.raw)
    if not isinstance(moment, datetime):
        value.fail("Must be a date or a date-time.")
    return moment


def _composed(raw: Any) -> Any:
    return composed(raw) if isinstance(raw, str) else raw


def _is_path(name: object, prefix: str) -> bool:
    return (
        isinstance(name, str)
        and name.startswith(prefix)
        and len(name) <= 1024
        and all(name.removeprefix(prefix).split("."))
    )


def validate_storable(rule: object) -> None:
    """Check that a value can be stored as JSON (no NUL, no lone surrogates), at any depth."""
    waiting: list[tuple[str, object]] = [("", rule)]
    while waiting:
        path, value = waiting.pop()
        if (fault := _storage_error(value)) is not None:
            raise InvalidCondition(path, fault)
        if isinstance(value, dict):
            waiting.extend((_at(path, key), item) for key, item in reversed(value.items()))
        elif isinstance(value, list):
            waiting.extend((f"{path}[{place}]", item) for place, item in reversed(list(enumerate(value))))


def _storage_error(value: object) -> str | None:
    if isinstance(value, str):
        return None if _is_storable(value) else "A text may have no NUL and no lone surrogate."
    if isinstance(value, dict):
        is_sound = all(isinstance(key, str) and _is_storable(key) for key in value)
        return None if is_sound else "The keys must be texts."
    if isinstance(value, float) and not isfinite(value):
        return "Must be a finite number."
    if isinstance(value, int) and not isinstance(value, bool) and value not in _INT64:
        return "An integer must fit into 64 bits."
    is_json = value is None or isinstance(value, bool | int | float | list)
    return None if is_json else "Must be JSON."


def _is_storable(text: str) -> bool:
    return "\x00" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text)


def _at(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
