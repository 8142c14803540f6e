"""Random rules over a small world, and random people in it: small, so that they meet often."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from hypothesis import strategies as st

from config.ids import keyed_id
from events.rules.parser import DeclaredTypes
from tests.events.rules.reference import TICK, EventRecord, Person

NOW = datetime(2026, 3, 15, 12, tzinfo=UTC)
STEP = timedelta(hours=6)
EVENT_NAMES = ("buy", "login")
TAGS = ("vip", "new", "Ünïcode")
CHANNELS = ("EMAIL", "SMS")
SEGMENTS = tuple(str(UUID(int=number)) for number in (7, 8))
MOMENTS = DeclaredTypes({("buy", "due"): "moment", ("login", "due"): "moment"}, {"due": "moment"})
"""What is declared to be a date or a date-time."""
EVENT_FIELDS = (
    *("metadata.amount", "properties.amount", "metadata.sku", "metadata.due", "metadata.when"),
    *("metadata.deep.n", "metadata.items.0", "metadata.items", "utmSource"),
)
ATTRIBUTES = ("attributes.plan", "attributes.due", "attributes.deep.n", "attributes.items")
COMPANY_FIELDS = ("name", "industry", "attributes.plan", "attributes.due")
DURATIONS = ("6h", "1d", "36h", "3d", "1w")

numbers = st.sampled_from([-1, 0, 1, 2, 2.0, 3, 0.1, 0.2, 1.5, 10, 12_345_678_901])
texts = st.sampled_from(["", "a", "A", "ab", "b", "é", "10", "true", "x'); --%s {}", "\U0001f600a", "a\\b"])
scalars = numbers | texts | st.booleans()


def moments(*, after: int = -30, ahead: int = 20) -> st.SearchStrategy[datetime]:
    """Moments on a grid, so that many are the same, and sometimes a tick beside it."""
    grid = st.integers(after, ahead).map(lambda place: NOW + place * STEP)
    return st.builds(lambda at, tick: at + tick * TICK, grid, st.sampled_from([0, 0, 0, 1, -1]))


def moment_texts() -> st.SearchStrategy[str]:
    """The same moments in all spellings: with zone and without, whole days."""
    spellings = (
        lambda moment: moment.isoformat(),
        lambda moment: moment.isoformat().replace("+00:00", "Z"),
        lambda moment: moment.replace(tzinfo=None).isoformat(sep=" "),
        lambda moment: moment.date().isoformat(),
        lambda moment: (moment + timedelta(hours=2)).replace(tzinfo=None).isoformat() + "+02:00",
    )
    return st.builds(lambda spell, moment: spell(moment), st.sampled_from(spellings), moments())


values = st.one_of(
    numbers,
    texts,
    moment_texts(),
    moment_texts(),
    st.booleans(),
    st.none(),
    st.just("2026-02-30"),
    st.lists(scalars, max_size=3),
    st.dictionaries(st.sampled_from(["n", "m"]), scalars, max_size=2),
)


# Rules -------------------------------------------------------------------------------------------------------


def _one(operators: list[str], value: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"operator": st.sampled_from(operators), "value": value})


def _maybe_missing(strategy: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    def add(comparison: dict[str, Any], when_missing: bool | None) -> dict[str, Any]:
        if when_missing is None or comparison["operator"] not in ("neq", "not_in", "not_contains"):
            return comparison
        return {**comparison, "whenMissing": when_missing}

    return st.builds(add, strategy, st.sampled_from([None, True, False]))


_EXISTENCE = st.fixed_dictionaries({"operator": st.sampled_from(["exists", "not_exists"])})
_ORDER = ["gt", "gte", "lt", "lte"]
_DURATIONS = st.sampled_from(DURATIONS)
_OFFSETS = st.builds(lambda sign, length: sign + length, st.sampled_from(["-", "+"]), _DURATIONS) | st.just(
    "now"
)


def _pairs(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(strategy, min_size=2, max_size=2).map(sorted)


def _comparisons_of(some: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return _maybe_missing(
        _one(["eq", "neq"], some) | _one(["in", "not_in"], st.lists(some, min_size=1, max_size=3))
    )


_NUMERIC = _comparisons_of(numbers) | _one(_ORDER, numbers) | _one(["between"], _pairs(numbers))
_TEXTUAL = st.one_of(
    _comparisons_of(texts),
    _one(_ORDER, texts),
    _one(["between"], _pairs(texts)),
    _maybe_missing(_one(["contains", "not_contains"], texts)),
    _one(["starts_with", "ends_with"], texts.filter(bool)),
)


def _temporal(*, fixed: bool) -> st.SearchStrategy[dict[str, Any]]:
    """Comparisons with moments; `fixed`: none that goes with the clock."""
    at_fixed = _one(["before", "after"], moment_texts())
    if fixed:
        return at_fixed
    reaches = st.builds(lambda sign, length: sign + length, st.sampled_from(["", "-", "+"]), _DURATIONS)
    return st.one_of(at_fixed, _one(["before", "after"], _OFFSETS), _one(["within"], reaches))


def _any(*, fixed: bool = False) -> st.SearchStrategy[dict[str, Any]]:
    mixed = _comparisons_of(scalars | moment_texts()) | _maybe_missing(
        _one(["contains", "not_contains"], scalars)
    )
    return st.one_of(_NUMERIC, _TEXTUAL, mixed, _of_moments(fixed=fixed))


def _of_moments(*, fixed: bool = False) -> st.SearchStrategy[dict[str, Any]]:
    return st.one_of(_comparisons_of(moment_texts()), _temporal(fixed=fixed), _EXISTENCE)


def _merged(*parts: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.tuples(*parts).map(lambda dicts: {key: value for part in dicts for key, value in part.items()})


def _is_moment(event_name: str | None, field: str) -> bool:
    return (event_name, field.partition(".")[2]) in MOMENTS.properties


def _property(
    event_name: str | None, *, fixed: bool, with_type: bool = False
) -> st.SearchStrategy[dict[str, Any]]:
    def compare(field: str) -> st.SearchStrategy[dict[str, Any]]:
        comparison = _of_moments(fixed=fixed) if _is_moment(event_name, field) else _any(fixed=fixed)
        kind = {"type": "property"} if with_type else {}
        return _merged(st.just({**kind, "field": field}), comparison)

    return st.sampled_from(EVENT_FIELDS).flatmap(compare)


def trees(
    leaves: st.SearchStrategy[dict[str, Any]], *, max_leaves: int = 6
) -> st.SearchStrategy[dict[str, Any]]:
    """Leaves, and groups of them."""

    def group(children: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
        return st.fixed_dictionaries(
            {
                "operator": st.sampled_from(["AND", "OR", "NOT"]),
                "conditions": st.lists(children, min_size=1, max_size=3),
            }
        )

    return st.recursive(leaves, group, max_leaves=max_leaves)


def _filters(event_name: str) -> st.SearchStrategy[Any]:
    leaf = _property(event_name, fixed=True)
    return st.one_of(leaf, st.lists(leaf, min_size=1, max_size=2), trees(leaf, max_leaves=3))


_WINDOWS = st.one_of(
    st.none(),
    *[_DURATIONS] * 5,
    moment_texts().map(lambda start: {"from": start}),
    moment_texts().map(lambda end: {"to": end}),
    _pairs(moments())
    .filter(lambda pair: pair[0] != pair[1])
    .map(lambda pair: {"from": pair[0].isoformat(), "to": pair[1].isoformat()}),
)
_COUNTS = st.sampled_from([-1, 0, 1, 2, 3, 4, 1.5])
_COUNTED = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"value": st.sampled_from([0, 1, 2, 3])}),
    _EXISTENCE,
    _one(["eq", "neq", *_ORDER], _COUNTS),
    _one(["between"], _pairs(_COUNTS)),
    _one(["in", "not_in"], st.lists(_COUNTS, min_size=1, max_size=3)),
)


def _aggregated(event_name: str) -> st.SearchStrategy[dict[str, Any]]:
    """What is counted or measured, and what that is compared with."""

    def edge(aggregate: str, field: str | None) -> st.SearchStrategy[dict[str, Any]]:
        if field is None:
            return _merged(st.just({"aggregate": aggregate}), _temporal(fixed=False) | _EXISTENCE)
        comparison = _of_moments() if _is_moment(event_name, field) else _any()
        return _merged(st.just({"aggregate": aggregate, "property": field}), comparison)

    fields = st.fixed_dictionaries({"property": st.sampled_from(EVENT_FIELDS)})
    arithmetic = st.fixed_dictionaries({"aggregate": st.sampled_from(["sum", "avg", "min", "max"])})
    return st.one_of(
        _COUNTED,
        _COUNTED,
        _merged(st.just({"aggregate": "distinct"}), fields, _COUNTED),
        _merged(arithmetic, fields, _NUMERIC | _EXISTENCE),
        st.tuples(st.sampled_from(["first", "last"]), st.sampled_from([None, *EVENT_FIELDS])).flatmap(
            lambda pair: edge(*pair)
        ),
    )


def _event_of(event_name: str) -> st.SearchStrategy[dict[str, Any]]:
    named = st.fixed_dictionaries(
        {"type": st.just("event"), "eventType": st.just(event_name), "timeWindow": _WINDOWS},
        optional={"filters": _filters(event_name)},
    )
    return _merged(named, _aggregated(event_name))


event_leaves = st.sampled_from(EVENT_NAMES).flatmap(_event_of)


def _all_time_of(event_name: str) -> st.SearchStrategy[dict[str, Any]]:
    named = st.fixed_dictionaries(
        {"type": st.just("event"), "eventType": st.just(event_name)},
        optional={"filters": _filters(event_name)},
    )
    return _merged(named, _aggregated(event_name))


all_time_leaves = st.sampled_from(EVENT_NAMES).flatmap(_all_time_of)


def _of_field(
    kind: str, fields: tuple[str, ...], comparison: st.SearchStrategy[dict[str, Any]]
) -> st.SearchStrategy[dict[str, Any]]:
    return _merged(
        st.fixed_dictionaries({"type": st.just(kind), "field": st.sampled_from(fields)}), comparison
    )


score_leaves = _of_field("attribute", ("score",), _NUMERIC | _EXISTENCE)
attribute_leaves = st.one_of(
    _of_field("attribute", ("email", "phone", "externalId", "firstName", "lastName"), _TEXTUAL | _EXISTENCE),
    _of_field("attribute", ("createdAt", "updatedAt"), _of_moments()),
    _of_field("attribute", ("attributes.due",), _of_moments()),
    _of_field("attribute", tuple(name for name in ATTRIBUTES if name != "attributes.due"), _any()),
)
_STATUSES = ["OPTED_IN", "OPTED_OUT", "UNKNOWN", "opted_in"]
contact_leaves = st.one_of(
    st.fixed_dictionaries(
        {"type": st.just("channel"), "channel": st.sampled_from([*CHANNELS, "email"])},
        optional={"status": st.sampled_from(_STATUSES)},
    ),
    st.fixed_dictionaries(
        {"type": st.just("tag"), "value": st.sampled_from([*TAGS, "unheard of"])},
        optional={"operator": st.sampled_from(["has", "not_has"])},
    ),
)


def segment_leaves(ids: Sequence[str]) -> st.SearchStrategy[dict[str, Any]]:
    """Being in one of these segments, or not."""
    return st.fixed_dictionaries(
        {"type": st.just("segment"), "segmentId": st.sampled_from(ids)},
        optional={"operator": st.sampled_from(["in", "not_in"])},
    )


other_leaves = st.one_of(
    contact_leaves,
    segment_leaves(SEGMENTS),
    _of_field("company", ("name", "industry"), _TEXTUAL | _EXISTENCE),
    _of_field("company", ("attributes.plan", "attributes.due"), _any(fixed=True)),
    _merged(st.just({"type": "company"}), st.just({}) | _EXISTENCE),
)


def _ticking_of(event_name: str) -> st.SearchStrategy[dict[str, Any]]:
    """What time changes often: few filters, and windows that go with the clock."""
    few = st.just({"field": "metadata.amount", "operator": "gte", "value": 1})
    named = st.fixed_dictionaries(
        {"type": st.just("event"), "eventType": st.just(event_name), "timeWindow": _DURATIONS},
        optional={"filters": few},
    )
    return _merged(named, _aggregated(event_name))


_clock = st.one_of(
    st.fixed_dictionaries({"operator": st.sampled_from(["before", "after"]), "value": _OFFSETS}),
    st.fixed_dictionaries({"operator": st.just("within"), "value": _DURATIONS}),
    st.fixed_dictionaries({"operator": st.just("within"), "value": _DURATIONS.map("+{}".format)}),
)
ticking_leaves = st.one_of(
    *[st.sampled_from(EVENT_NAMES).flatmap(_ticking_of)] * 3,
    _of_field("attribute", ("createdAt", "attributes.due", "attributes.plan"), _clock),
)
ticking_rules = trees(ticking_leaves)
person_leaves = st.one_of(
    event_leaves, event_leaves, event_leaves, attribute_leaves, score_leaves, other_leaves
)
person_rules = trees(person_leaves)


def triggered_rules(
    event_name: str, others: st.SearchStrategy[dict[str, Any]] = person_leaves
) -> st.SearchStrategy[dict[str, Any]]:
    """Rules that are also about the event that triggers them."""
    own = _property(event_name, fixed=False) | _property(event_name, fixed=True, with_type=True)
    return trees(own | others)


def trigger_only_rules(event_name: str) -> st.SearchStrategy[dict[str, Any]]:
    """Rules that the triggering event alone decides."""
    return trees(_property(event_name, fixed=True))


# People ------------------------------------------------------------------------------------------------------

event_properties = st.fixed_dictionaries(
    {"amount": numbers | values},
    optional={
        "sku": texts | values,
        "due": moment_texts() | values,
        "when": moment_texts() | values,
        "deep": st.dictionaries(st.sampled_from(["n", "m"]), values, max_size=2) | values,
        "items": st.lists(values, max_size=3) | values,
    },
)


def _happening(chance: int, occurred_at: datetime, ahead: float, **rest: Any) -> EventRecord:
    # An id carries the time that its sender told; what is of one moment is in no particular order.
    told = occurred_at + timedelta(seconds=ahead)
    return EventRecord(keyed_id(UUID(int=0), str(chance), told), occurred_at=occurred_at, **rest)


AHEAD = st.sampled_from([0.0, 0.0, 0.0, 0.000001, 0.001, 0.2, 1.0, 61.0, 299.999, 300.0])
"""How far a sender's clock may be ahead of ours, in seconds."""


happenings = st.builds(
    _happening,
    chance=st.integers(0, 1000),
    name=st.sampled_from(EVENT_NAMES),
    occurred_at=moments(ahead=0),
    ahead=AHEAD,
    properties=event_properties,
    context=st.fixed_dictionaries({}, optional={"utmSource": texts | st.none()}),
)
_companies = st.fixed_dictionaries(
    {"name": st.sampled_from(["a", "A", "ab", "10"])},
    optional={
        "industry": texts,
        "attributes": st.dictionaries(st.sampled_from(["plan", "due"]), values, max_size=2),
    },
)
_people = st.builds(
    Person,
    fields=st.fixed_dictionaries(
        {},
        optional={
            "firstName": texts.filter(bool),
            "lastName": texts.filter(bool),
            **dict.fromkeys(("email", "phone", "externalId"), texts.filter(bool)),
        },
    ),
    created_at=moments(ahead=0),
    updated_at=moments(ahead=0),
    score=st.sampled_from([Decimal(0), Decimal(1), Decimal("1.5"), Decimal(10), Decimal("0.1")]),
    attributes=st.dictionaries(st.sampled_from(["plan", "due", "deep", "items"]), values, max_size=4),
    tags=st.frozensets(st.sampled_from(TAGS), max_size=2),
    consents=st.dictionaries(st.sampled_from(["email", "sms"]), st.sampled_from(["opted_in", "opted_out"])),
    companies=st.lists(_companies, max_size=2, unique_by=lambda company: company["name"].casefold()),
    segments=st.frozensets(st.sampled_from(SEGMENTS)),
    events=st.lists(happenings, min_size=4, max_size=14, unique_by=lambda event: event.id),
)


def _with_own_identifiers(some: list[Person]) -> list[Person]:
    """An identifier is one person's only: take from the later ones what an earlier one has."""
    taken: set[tuple[str, str]] = set()
    result = []
    for person in some:
        own = {name: value for name, value in person.fields.items() if (name, value) not in taken}
        taken |= {pair for pair in own.items() if pair[0] in ("email", "phone", "externalId")}
        result.append(replace(person, fields=own))
    return result


def _with_own_events(some: list[Person]) -> list[Person]:
    seen: set[UUID] = set()
    result = []
    for person in some:
        own = [event for event in person.events if event.id not in seen]
        seen |= {event.id for event in own}
        result.append(replace(person, events=own))
    return result


people = st.lists(_people, min_size=1, max_size=2).map(_with_own_identifiers).map(_with_own_events)


# Extremes ----------------------------------------------------------------------------------------------------

_extremes = st.sampled_from(
    [
        *(1e308, -1e308, 5e-324, 2**63 - 1, -(2**63), 1e-7, 123_456_789.123_456_789),
        *(
            "0001-01-01",
            "9999-12-31",
            "9999-12-31T23:59:59.999999999-15:59",
            "0000-01-01",
            "2026-01-01T24:00:00",
        ),
        *("2026-01-01T12:60", "2026-13-01", "2016-12-31T23:59:60Z", "-0001-01-01", "infinity", "now"),
        *("%s %% {}", "\\u0000", "\x7f\u2028", "a" * 70_000, "NaN", "[1]", "null"),
    ]
)


def _to_extremes(some: list[Person], extremes: list[Any]) -> list[Person]:
    """Put the extremes wherever people have a value, and make sure of an event."""
    attributes = dict(zip(("plan", "due", "deep"), extremes, strict=False))
    own = dict(zip(("amount", "due", "when", "sku"), extremes, strict=False))
    first = _happening(0, NOW, 0.0, name="buy", properties=own)
    return [
        replace(
            person,
            attributes={**person.attributes, **attributes},
            events=[
                replace(first, id=keyed_id(UUID(int=number), "first", NOW)),
                *(replace(event, properties={**event.properties, **own}) for event in person.events),
            ],
        )
        for number, person in enumerate(some)
    ]


extreme_people = st.builds(_to_extremes, people, st.lists(_extremes, min_size=1, max_size=4))


# Nonsense -----------------------------------------------------------------------------------------------------

_WORDS = st.sampled_from(
    [
        *("AND", "OR", "NOT", "eq", "neq", "in", "between", "exists", "within", "before", "contains", "has"),
        *("property", "attribute", "event", "channel", "tag", "segment", "company", "count", "sum", "last"),
        *("metadata.a", "attributes.a", "email", "createdAt", "buy", "EMAIL", "7d", "now", "2026-01-01", ""),
        *("\x00", "\ud800", "moment", "0" * 32, "utmSource", "score", "3660d", "-3660d", "+3660d", "now"),
    ]
)
_KEYS = st.sampled_from(
    [
        *("type", "operator", "conditions", "field", "value", "whenMissing", "as", "eventType", "aggregate"),
        *("property", "timeWindow", "filters", "channel", "status", "segmentId", "from", "to"),
    ]
)
anything = st.recursive(
    st.one_of(
        _WORDS,
        _extremes,
        st.text(max_size=5),
        st.integers(),
        st.floats(),
        st.booleans(),
        st.none(),
        st.binary(max_size=2),
    ),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(_KEYS | st.text(max_size=3) | st.integers(), inner)
    ),
    max_leaves=20,
)


def spoilt(raw: Any, data: st.DataObject) -> Any:
    """Put something else in one place of the rule, or a key where none was."""
    if not isinstance(raw, dict | list) or not raw or data.draw(st.integers(0, 3)) == 0:
        return data.draw(anything)
    if isinstance(raw, list):
        place = data.draw(st.integers(0, len(raw) - 1))
        return [*raw[:place], spoilt(raw[place], data), *raw[place + 1 :]]
    key = data.draw(st.sampled_from(sorted(raw)) | _KEYS)
    return {**raw, key: spoilt(raw.get(key), data)}
