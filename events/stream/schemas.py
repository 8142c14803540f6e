"""Check events against their definitions, by the wire format's schema policy, and learn new properties."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import transaction

from config import clock, ids
from config.db.statements import execute, fetch_all, fetch_one
from config.errors import DomainError
from events.errors import EventNotDefined, InvalidPropertyValue, SchemaMismatch, UnknownProperty
from events.stream.coercion import coerce, learned_type, normalised
from events.stream.types import RecordedEvent, SchemaPolicy

MAX_OBSERVED_NAMES = 10_000
MAX_OBSERVED_PROPERTIES = 500
"""Beyond these an open format's names and properties are still stored, but no longer listed."""
MAX_LEARNED_PROPERTIES = 2_000
"""Of one name: beyond these its properties are still stored, but not learned. Every event of the name reads them."""
_MAX_PROPERTY_NAME = 128

Checked = Mapping[str, Any] | DomainError
"""The properties as they are to be stored, or why not."""


@dataclass(slots=True)
class Schema:
    """A definition's types by property name; `locked` are those that refuse another type."""

    id: UUID
    types: dict[str, str] = field(default_factory=dict)
    locked: set[str] = field(default_factory=set)
    declared: set[str] = field(default_factory=set)

    def may_learn(self, name: str) -> bool:
        """Return whether there is room for another property that is not locked."""
        return name in self.types or len(self.types) < MAX_LEARNED_PROPERTIES


def check_schemas(workspace_id: UUID, events: Sequence[RecordedEvent], policy: SchemaPolicy) -> list[Checked]:
    """Return each event's properties as they are to be stored, or its refusal.

    Under LEARNED, what is new becomes part of the schema, in the caller's transaction.
    """
    match policy:
        case SchemaPolicy.OPEN:
            _observe(workspace_id, events)
            return [event.properties for event in events]
        case SchemaPolicy.DECLARED:
            schemas = _load(workspace_id, {event.name for event in events}, declared_only=True)
            return [_refusal_or(_coerced, event, schemas.get(event.name)) for event in events]
        case SchemaPolicy.LEARNED:
            return _learn_schema(workspace_id, events)


def _refusal_or(check: Any, event: RecordedEvent, schema: Schema | None) -> Checked:
    try:
        checked: Mapping[str, Any] = check(event, schema)
    except DomainError as error:
        return error
    return checked


def _coerced(event: RecordedEvent, schema: Schema | None) -> Mapping[str, Any]:
    if schema is None:
        raise EventNotDefined
    for name in event.properties:
        if name not in schema.declared:
            raise UnknownProperty(event.name, name)
    return {
        name: coerce(value, schema.types[name], name)
        for name, value in event.properties.items()
        if value is not None
    }


def _learn_schema(workspace_id: UUID, events: Sequence[RecordedEvent]) -> list[Checked]:
    names = {event.name for event in events}
    schemas = _load(workspace_id, names)
    if any(_has_news(event, schemas.get(event.name)) for event in events):
        _insert_definitions(workspace_id, names)
        _lock_definitions(workspace_id, names)
        # Only now, with the rows held, is it certain what others have learned meanwhile.
        schemas = _load(workspace_id, names)
    learned: dict[tuple[UUID, str], str] = {}
    results = [_refusal_or(_Learner(learned), event, schemas[event.name]) for event in events]
    if learned:
        _insert_properties(
            workspace_id,
            [(definition, name, type_) for (definition, name), type_ in learned.items()],
            lock=True,
        )
    return results


def _has_news(event: RecordedEvent, schema: Schema | None) -> bool:
    return schema is None or any(
        name not in schema.locked and learned_type(value) is not None and schema.may_learn(name)
        for name, value in event.properties.items()
    )


@dataclass(frozen=True, slots=True)
class _Learner:
    """Checks events one by one, and adds to the schema what valid ones bring."""

    learned: dict[tuple[UUID, str], str]

    def __call__(self, event: RecordedEvent, schema: Schema) -> Mapping[str, Any]:
        problems: list[DomainError] = []
        stored: dict[str, Any] = {}
        news: dict[str, str] = {}
        for name, value in event.properties.items():
            if value is None:
                continue
            locked = name in schema.locked
            type_ = schema.types[name] if locked else learned_type(value)
            if type_ is None:
                problems.append(InvalidPropertyValue(name, "scalar"))
                continue
            try:
                stored[name] = normalised(value, type_, name)
            except InvalidPropertyValue as problem:
                problems.append(problem)
            if not locked and (
                name in schema.types or len(schema.types) + len(news) < MAX_LEARNED_PROPERTIES
            ):
                news[name] = type_
        if problems:
            raise SchemaMismatch(problems)
        schema.types.update(news)
        schema.locked.update(news)
        self.learned.update({(schema.id, name): type_ for name, type_ in news.items()})
        return stored


def _load(workspace_id: UUID, names: Iterable[str], *, declared_only: bool = False) -> dict[str, Schema]:
    rows = fetch_all(
        # One look-up by key a definition, however many there are of others.
        "SELECT d.name, d.id, p.name, p.type, p.is_locked, p.is_declared FROM ("
        " SELECT id, name FROM events_eventdefinition WHERE workspace_id = %s AND name = ANY(%s)"
        " AND deleted_at IS NULL AND (is_declared OR NOT %s) OFFSET 0) d"
        " LEFT JOIN LATERAL (SELECT name, type, is_locked, is_declared FROM events_eventproperty"
        " WHERE workspace_id = %s AND definition_id = d.id OFFSET 0) p ON true",
        [workspace_id, list(names), declared_only, workspace_id],
    )
    schemas: dict[str, Schema] = {}
    for name, definition_id, property_name, type_, is_locked, is_declared in rows:
        schema = schemas.setdefault(name, Schema(definition_id))
        if property_name is not None:
            schema.types[property_name] = type_
            if is_locked:
                schema.locked.add(property_name)
            if is_declared:
                schema.declared.add(property_name)
    return schemas


def _insert_definitions(workspace_id: UUID, names: Iterable[str]) -> None:
    ordered = sorted(names)
    execute(
        "INSERT INTO events_eventdefinition (id, workspace_id, name, description, is_declared,"
        " late_after_hours, created_at, updated_at)"
        " SELECT new.id, %s, new.name, '', false, 72, %s, %s"
        " FROM unnest(%s::uuid[], %s::text[]) AS new (id, name) ORDER BY new.name"
        " ON CONFLICT (workspace_id, name) WHERE deleted_at IS NULL DO NOTHING",
        [workspace_id, clock.now(), clock.now(), [ids.uuid7() for _ in ordered], ordered],
    )


def _lock_definitions(workspace_id: UUID, names: Iterable[str]) -> None:
    execute(
        "SELECT id FROM events_eventdefinition WHERE workspace_id = %s AND name = ANY(%s)"
        " AND deleted_at IS NULL ORDER BY name FOR UPDATE",
        [workspace_id, list(names)],
    )


def _insert_properties(
    workspace_id: UUID, properties: Sequence[tuple[UUID, str, str]], *, lock: bool
) -> None:
    """Insert (definition, name, type) rows; a locking one also locks a row that was merely observed."""
    on_conflict = (
        "DO UPDATE SET type = excluded.type, is_locked = true WHERE NOT events_eventproperty.is_locked"
        if lock
        else "DO NOTHING"
    )
    ordered = sorted(properties)
    execute(
        "INSERT INTO events_eventproperty (id, workspace_id, definition_id, name, type, description,"
        " suggested_values, is_declared, is_locked, position)"
        " SELECT new.id, %s, new.definition_id, new.name, new.type, '', '{}', false, %s, 0"
        " FROM unnest(%s::uuid[], %s::uuid[], %s::text[], %s::text[]) AS new (id, definition_id, name, type)"
        f" ON CONFLICT (workspace_id, definition_id, name) {on_conflict}",
        [workspace_id, lock, [ids.uuid7() for _ in ordered], *map(list, zip(*ordered, strict=True))],
    )


# Workspace, name, and a hash of the properties with their types, which a client may make as many as it likes.
_Shape = tuple[UUID, str, int]
# What this process knows to be listed already → until when to believe it.
_observed: dict[_Shape, float] = {}
_OBSERVED_FOR_SECONDS = 60.0
_OBSERVED_AT_MOST = 50_000


def _observe(workspace_id: UUID, events: Sequence[RecordedEvent]) -> None:
    """Record the names and types that an open format's events have; costs nothing for those seen in the
    last minute.
    """
    now = clock.now().timestamp()
    shapes = {
        (event.name, *event.properties, *map(type, event.properties.values())): event for event in events
    }
    news = {
        shape: event
        for spelled, event in shapes.items()
        if _observed.get(shape := (workspace_id, event.name, hash(spelled)), 0.0) < now
    }
    if not news:
        return
    names = {event.name for event in news.values()}
    if _room_for_names(workspace_id):
        _insert_definitions(workspace_id, names)
    schemas = _load(workspace_id, names)
    fresh = [
        property_
        for event in news.values()
        if event.name in schemas
        for property_ in _unlisted(event, schemas[event.name])
    ]
    if fresh:
        _insert_properties(workspace_id, fresh, lock=False)
    transaction.on_commit(lambda: _remember(news, now + _OBSERVED_FOR_SECONDS))


def _unlisted(event: RecordedEvent, schema: Schema) -> Iterator[tuple[UUID, str, str]]:
    """Add what an event brings to its schema, as far as there is room, and yield it: definition, name, type."""
    for name, value in event.properties.items():
        if len(schema.types) >= MAX_OBSERVED_PROPERTIES:
            return
        if name in schema.types or not 0 < len(name) <= _MAX_PROPERTY_NAME:
            continue
        if (type_ := learned_type(value)) is not None:
            schema.types[name] = type_
            yield schema.id, name, type_


def _remember(shapes: Iterable[_Shape], until: float) -> None:
    if len(_observed) > _OBSERVED_AT_MOST:
        _observed.clear()
    _observed.update(dict.fromkeys(shapes, until))


def _room_for_names(workspace_id: UUID) -> bool:
    (count,) = fetch_one(
        "SELECT count(*) FROM events_eventdefinition WHERE workspace_id = %s", [workspace_id]
    )
    return bool(count < MAX_OBSERVED_NAMES)
