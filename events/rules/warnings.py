"""Warnings about rules: names that were never seen, and comparisons with another kind of value than was seen."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import connection

from config.db.statements import fetch_one
from config.http.rendering import dumps
from contacts.models import Field, Tag
from events.models import EventDefinition, EventProperty
from events.names import SYSTEM_PREFIXES
from events.rules.conditions import CONTEXT_FIELDS
from events.rules.nodes import AttributeLeaf, CompanyLeaf, Comparison, EventLeaf, PropertyLeaf, Rule, TagLeaf

SAMPLE_SIZE = 10_000
"""So many of the latest events of a name, or contacts, are asked of what kind their values are."""

_KINDS = {
    "number": "a number",
    "string": "a text",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
    "moment": "a date",
}
_NUMBERS = frozenset({"number"})
_MOMENTS = frozenset({"moment"})
_TEXTS = frozenset({"string"})
_TEXTS_OR_LISTS = frozenset({"string", "array"})
_OF_OPERATOR = {
    **dict.fromkeys(("before", "after", "within"), _MOMENTS),
    **dict.fromkeys(("starts_with", "ends_with"), _TEXTS),
    **dict.fromkeys(("contains", "not_contains"), _TEXTS_OR_LISTS),
}
# The kinds that a comparison is about; none: any.
Kinds = frozenset[str]
_ANY: Kinds = frozenset()


@dataclass(slots=True)
class _FieldUses:
    """The fields that a rule uses: properties by event, and attributes, each with the kinds of value that
    it compares with.
    """

    events: dict[str, set[tuple[tuple[str, ...], Kinds]]] = field(default_factory=lambda: defaultdict(set))
    attributes: set[tuple[tuple[str, ...], Kinds]] = field(default_factory=set)
    of_companies: set[tuple[tuple[str, ...], Kinds]] = field(default_factory=set)
    tags: set[str] = field(default_factory=set)


def find_rule_warnings(workspace_id: UUID, *rules: Rule, about: str = "") -> list[str]:
    """Return a sentence for each event, property, attribute and tag that was never seen, or was of another kind.

    `about` is the name of the event that the rules' own conditions on an event are about.
    """
    field_uses = _FieldUses()
    if about:
        field_uses.events[about] = set()
    for rule in rules:
        _gather(rule, about, field_uses)
    return [
        *_of_events(workspace_id, field_uses),
        *_of_attributes(workspace_id, field_uses),
        *_of_tags(workspace_id, field_uses.tags),
    ]


def _gather(rule: Rule, about: str, field_uses: _FieldUses) -> None:
    for leaf in rule.root.leaves():
        match leaf:
            case EventLeaf():
                field_uses.events[leaf.event_name].update(_of_event_leaf(leaf))
            case PropertyLeaf() if about and (path := _path(leaf.field)):
                field_uses.events[about].add((path, _kinds(leaf.comparison)))
            case AttributeLeaf() if path := _attribute(leaf.field):
                field_uses.attributes.add((path, _kinds(leaf.comparison)))
            case CompanyLeaf() if path := _attribute(leaf.field):
                field_uses.of_companies.add((path, _kinds(leaf.comparison)))
            case TagLeaf():
                field_uses.tags.add(leaf.name)


def _of_event_leaf(leaf: EventLeaf) -> Iterator[tuple[tuple[str, ...], Kinds]]:
    if path := _path(leaf.property):
        in_numbers = leaf.aggregation in ("sum", "avg", "min", "max")
        as_it_is = leaf.aggregation in ("first", "last")
        yield path, _NUMBERS if in_numbers else _kinds(leaf.comparison) if as_it_is else _ANY
    for inner in leaf.filters.leaves() if leaf.filters is not None else ():
        if isinstance(inner, PropertyLeaf) and (path := _path(inner.field)):
            yield path, _kinds(inner.comparison)


def _path(name: str) -> tuple[str, ...]:
    """Return the keys of a property; none for a field of the event's own."""
    return () if name in CONTEXT_FIELDS else tuple(name.split(".")[1:])


def _attribute(name: str) -> tuple[str, ...]:
    return tuple(name.split(".")[1:]) if name.startswith("attributes.") else ()


def _kinds(comparison: Comparison) -> Kinds:
    if (kinds := _OF_OPERATOR.get(comparison.operator)) is not None:
        return kinds
    if comparison.as_moments:
        return _MOMENTS
    value = comparison.value
    wanted = value if isinstance(value, tuple) else () if value is None else (value,)
    return frozenset(
        "boolean" if isinstance(element, bool) else "string" if isinstance(element, str) else "number"
        for element in wanted
    )


def _of_events(workspace_id: UUID, field_uses: _FieldUses) -> Iterator[str]:
    names = sorted(name for name in field_uses.events if not name.startswith(SYSTEM_PREFIXES))
    definitions = EventDefinition.objects.in_workspace(workspace_id).filter(deleted_at=None, name__in=names)
    seen = set(definitions.values_list("name", flat=True))
    listed = set(
        EventProperty.objects.in_workspace(workspace_id)
        .filter(definition__in=definitions)
        .values_list("definition__name", "name")
    )
    yield from (f'The event "{name}" has never been seen.' for name in names if name not in seen)
    for name in names:
        if name not in seen or not (wanted := field_uses.events[name]):
            continue
        found = _found(_EVENTS, [workspace_id, name, SAMPLE_SIZE], [path for path, _ in wanted])
        for path, kinds in sorted(wanted, key=_in_order):
            # Values that are lists and objects are not listed, and neither is what lies within them.
            is_listed = (name, path[0]) in listed and (len(path) == 1 or not found.rows)
            what = f'The property "{".".join(path)}" of the event "{name}"'
            yield from _sentences(what, found.counts[path], kinds, "events", is_known=is_listed)


def _of_attributes(workspace_id: UUID, field_uses: _FieldUses) -> Iterator[str]:
    for paths, sample, what, rows in (
        (field_uses.attributes, _CONTACTS, "attribute", "contacts"),
        (field_uses.of_companies, _COMPANIES, "company's attribute", "companies"),
    ):
        if not paths:
            continue
        found = _found(sample, [workspace_id, SAMPLE_SIZE], [path for path, _ in paths])
        declared = set(Field.objects.in_workspace(workspace_id).values_list("name", flat=True))
        for path, kinds in sorted(paths, key=_in_order):
            is_known = (rows == "contacts" and path[0] in declared) or (
                # An old contact may have it.
                not found.counts[path]
                and found.rows == SAMPLE_SIZE
                and _exists(_EXISTS[rows], workspace_id, path[0])
            )
            sentence = f'The {what} "{".".join(path)}"'
            yield from _sentences(sentence, found.counts[path], kinds, rows, is_known=is_known)


def _of_tags(workspace_id: UUID, names: Iterable[str]) -> Iterator[str]:
    if wanted := sorted(names):
        known = set(
            Tag.objects.in_workspace(workspace_id).filter(name__in=wanted).values_list("name", flat=True)
        )
        yield from (f'The tag "{name}" has never been seen.' for name in wanted if name not in known)


def _sentences(
    what: str, counts: Mapping[str, int], kinds: Kinds, rows: str, *, is_known: bool
) -> Iterator[str]:
    if not counts and not is_known:
        yield f"{what} has never been seen."
    if "moment" not in kinds and "moment" in counts:
        # Where no date is asked for, dates are texts.
        texts = counts.get("string", 0) + counts["moment"]
        counts = {**{kind: count for kind, count in counts.items() if kind != "moment"}, "string": texts}
    unexpected = {kind: count for kind, count in counts.items() if kind not in kinds and kind != "null"}
    if kinds and unexpected:
        seen = " or ".join(_KINDS[kind] for kind in _KINDS if kind in unexpected)
        wanted = " or ".join(_KINDS[kind] for kind in _KINDS if kind in kinds)
        yield (
            f"{what} is {seen} in {sum(unexpected.values()):,} of {sum(counts.values()):,} {rows},"
            f" and the rule compares it with {wanted}."
        )


def _in_order(field_uses: tuple[tuple[str, ...], Kinds]) -> tuple[tuple[str, ...], list[str]]:
    return field_uses[0], sorted(field_uses[1])


@dataclass(frozen=True, slots=True)
class _SampledKinds:
    """How many rows were looked at, and how many of them have a value of each kind at each path."""

    rows: int
    counts: Mapping[tuple[str, ...], Mapping[str, int]]


def _found(sample: str, parameters: Sequence[Any], paths: Sequence[tuple[str, ...]]) -> _SampledKinds:
    unique = list(dict.fromkeys(paths))
    counts: dict[tuple[str, ...], dict[str, int]] = {path: {} for path in unique}
    rows = 0
    with connection.cursor() as cursor:
        cursor.execute(_COUNT.format(sample=sample), [dumps(unique).decode(), *parameters])
        for place, kind, count in cursor.fetchall():
            if place == 1:
                rows += count
            if kind is not None:
                counts[unique[place - 1]][kind] = count
    return _SampledKinds(rows, counts)


def _exists(statement: str, workspace_id: UUID, key: str) -> bool:
    (exists,) = fetch_one(statement, [workspace_id, key])
    return bool(exists)


_EVENTS = """
    SELECT properties AS value FROM events_event WHERE workspace_id = %s AND name = %s ORDER BY id DESC LIMIT %s
"""
_CONTACTS = (
    "SELECT attributes AS value FROM contacts_contact WHERE workspace_id = %s"
    " ORDER BY created_at DESC, id DESC LIMIT %s"
)
_COMPANIES = "SELECT attributes AS value FROM contacts_company WHERE workspace_id = %s LIMIT %s"
_EXISTS = {
    "contacts": "SELECT EXISTS (SELECT FROM contacts_contact WHERE workspace_id = %s AND attributes ? %s)",
    "companies": "SELECT EXISTS (SELECT FROM contacts_company WHERE workspace_id = %s AND attributes ? %s)",
}
_COUNT = """
WITH asked AS MATERIALIZED (
    SELECT place, ARRAY(SELECT jsonb_array_elements_text(path)) AS path
    FROM jsonb_array_elements(%s::jsonb) WITH ORDINALITY AS one (path, place)
)
SELECT asked.place, kind, count(*)
FROM ({sample}) row CROSS JOIN asked
CROSS JOIN LATERAL (SELECT row.value #> asked.path AS value OFFSET 0) found
CROSS JOIN LATERAL (
    SELECT CASE WHEN events_moment(found.value) IS NOT NULL THEN 'moment' ELSE jsonb_typeof(found.value) END AS kind
) kinds
GROUP BY 1, 2
"""
