"""Mapping of a file's columns to fields: by the header, or by a map in YAML with constants, paths and formats."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from config.files.documents import InvalidDocument, load_document
from config.files.errors import InvalidMapping, RowRefused
from config.files.sources import CONVERTERS, FITTING, REST, Reader, Source, Values

ONLY: Final = "only"
"""In a map: which rows it is for, by the values of columns; a row without the column is among them."""
_OPTIONS: Final = {"column", "value", "type", "format", "timezone", "separator", "decimal", "without"}


@dataclass(frozen=True)
class Fields:
    """What can be imported of one kind: single fields, and groups such as `properties.…`, by their types.

    `aliases` name, for files without a map, the field of a column in small letters without separators.
    """

    single: Mapping[str, str]
    groups: Mapping[str, str]
    aliases: Mapping[str, str]
    rest: str
    """The group of columns that are not known."""


def _spelled(column: str) -> str:
    return "".join(character for character in column.lower() if character not in " _-$")


@dataclass(frozen=True, slots=True)
class _Plan:
    """How rows of the same columns are read: the frequent cases by themselves, which is several times as fast."""

    texts: list[tuple[str, str, Reader]]
    """Field, column, and what reads the column where it is no text."""
    cells: dict[str, list[tuple[str, str]]]
    """By group: key and column of what is taken as it is."""
    fields: list[tuple[str, str, Reader]]
    """All others: field or group, key, and what reads it."""


class ColumnMapping:
    """Turns rows into fields. Rows of the same columns share a plan."""

    def __init__(self, fields: Fields, definition: Mapping[str, Any] | None = None) -> None:
        """Check a map. Raises InvalidMapping."""
        self._fields = fields
        self.definition = dict(definition or {})
        self._only = _only(self.definition.get(ONLY))
        self._sources = {
            name: _source(fields, name, spec) for name, spec in self.definition.items() if name != ONLY
        }
        self._plans: dict[tuple[str, ...], _Plan] = {}
        self._planned_columns = 0

    def leaves_out(self, values: Values) -> bool:
        """Tell whether a row is none of those that the map is for."""
        return bool(self._only) and any(
            value is not None and not (isinstance(value, str | int) and value in wanted)
            for column, wanted in self._only
            for value in [values.get(column)]
        )

    def read(self, values: Values) -> dict[str, Any]:
        """Return the fields that a row says; groups as objects. Raises RowRefused."""
        columns = tuple(values)
        plan = self._plans.get(columns)
        if plan is None:
            self._planned_columns += len(columns)
            if len(self._plans) >= _MOST_PLANS or self._planned_columns > _MOST_COLUMNS:
                self._plans.clear()
                self._planned_columns = len(columns)
            plan = self._plans[columns] = self._plan(columns)
        found: dict[str, Any] = {}
        for name, column, reader in plan.texts:
            value = values[column]
            if type(value) is not str:
                value = reader(values)
            if value:
                found[name] = value
        for name, cells in plan.cells.items():
            if group := {
                key: value for key, column in cells if (value := values[column]) is not None and value != ""
            }:
                found[name] = group
        for name, key, reader in plan.fields:
            if (value := reader(values)) is not None:
                _add(found, name, key, value)
        return found

    def _plan(self, columns: tuple[str, ...]) -> _Plan:
        sources = {name: source.among(columns) for name, source in self._sources.items()} or {
            name: _source_of_column(self._fields, name, column)
            for column, name in _by_header(self._fields, columns).items()
        }
        named = {column for source in sources.values() for column in source.columns}
        taken = named | {column.partition(".")[0] for column in named if column}
        plan = _Plan([], {}, [])
        known = set(columns)
        for name, source in sources.items():
            group, _, key = name.partition(".")
            if source.takes_rest:
                rest = [
                    (column, column)
                    for column in columns
                    if column and column not in taken and not source.leaves_out(column)
                ]
                plan.cells.setdefault(group, []).extend(rest)
            elif source.others:
                plan.fields.append((group, key, source.reader()))
            elif source.column in known and source.type == "text" and not key:
                plan.texts.append((name, source.column, source.reader()))
            elif source.column in known and source.type == "any" and key:
                plan.cells.setdefault(group, []).append((key, source.column))
            else:
                plan.fields.append((group, key, source.reader()))
        return plan


def _add(found: dict[str, Any], name: str, key: str, value: Any) -> None:
    """Add a field, or a part of a group. Raises RowRefused where a group is none."""
    group = found.get(name)
    if not key:
        # A copy: single keys may join it, and the row is to stay as it was read.
        found[name] = {**value, **(group or {})} if type(value) is dict else value
    elif group is None:
        found[name] = {key: value}
    elif type(group) is dict:
        group[key] = value
    else:
        raise RowRefused(f"{name} must be an object")


_MOST_PLANS: Final = 1_000
_MOST_COLUMNS: Final = 200_000
"""Of all plans that are kept: some hundred bytes each."""


def load_mapping(fields: Fields, path: Path, section: str) -> ColumnMapping:
    """Read a map from a file of YAML, its section `events` or `contacts`. Raises InvalidMapping."""
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        raise InvalidMapping(f"The map {path!s:.200} cannot be read: {error}") from error
    return read_mapping(fields, content, section, f"The map {path}")


def read_mapping(fields: Fields, content: bytes, section: str, name: str = "The map") -> ColumnMapping:
    """Read a map from a document of YAML, or of JSON, which is YAML too. Raises InvalidMapping."""
    try:
        loaded = load_document(content)
    except InvalidDocument as error:
        place = f"{error.path}: " if error.path else ""
        raise InvalidMapping(f"{name} cannot be read: {place}{error.message}".rstrip(".")) from error
    if not isinstance(found := loaded.get(section), dict) or not found:
        raise InvalidMapping(f"{name} has no section `{section}` with fields")
    return ColumnMapping(fields, found)


def _by_header(fields: Fields, columns: Iterable[str]) -> dict[str, str]:
    """Return the fields of columns by their names.

    Of two columns for one field the first alias counts, then the shorter name; the other is one of the rest.
    """
    places = {alias: place for place, alias in enumerate(fields.aliases)}

    def order(column: str) -> tuple[int, int]:
        return places.get(_spelled(column), len(places)), len(column)

    chosen: dict[str, str] = {}
    taken: set[str] = set()
    for column in sorted(filter(None, columns), key=order):
        group, _, key = column.partition(".")
        name = column if key and group in fields.groups else fields.aliases.get(_spelled(column))
        rest = f"{fields.rest}.{column}"
        # `color` is the property that `properties.color` names, too.
        if name is None or name in taken:
            name = rest
        chosen[column] = name
        taken.add(name)
    return chosen


def _source_of_column(fields: Fields, name: str, column: str) -> Source:
    """Return the source of a field that the header names, whatever the column is called."""
    return Source(name, _type_of(fields, name) or "any", column)


def _type_of(fields: Fields, name: str) -> str | None:
    """Return the type of a field, None if there is no such field."""
    group, _, key = name.partition(".")
    if key:
        return fields.groups.get(group)
    return fields.single.get(name) or ("json" if name in fields.groups else None)


def _source(fields: Fields, name: str, spec: Any) -> Source:
    """Return the source that a map's entry describes. Raises InvalidMapping."""
    _, _, key = name.partition(".")
    if (own := _type_of(fields, name)) is None:
        known = ", ".join([*fields.single, *(f"{group}.…" for group in fields.groups)])
        raise InvalidMapping(f"There is no field {name}; there are {known}")
    if not isinstance(spec, dict):
        spec = {"column": spec}
    if unknown := sorted(set(spec) - _OPTIONS):
        raise InvalidMapping(f"{name}: {unknown[0]} is not known; there are {', '.join(sorted(_OPTIONS))}")
    if ("column" in spec) == ("value" in spec):
        raise InvalidMapping(f"{name}: it takes either a column or a value")
    type_ = spec.get("type", own)
    if not isinstance(type_, str) or type_ not in CONVERTERS:
        raise InvalidMapping(f"{name}: there is no type {type_}; there are {', '.join(CONVERTERS)}")
    if type_ not in FITTING.get(own, CONVERTERS):
        raise InvalidMapping(f"{name}: it is of the type {own}, which cannot be made of {type_}")
    if "format" in spec and type_ not in ("time", "time-text"):
        raise InvalidMapping(f"{name}: only a time has a format")
    column, *others = _columns(name, spec)
    if REST in (column, *others) and (key or name not in fields.groups):
        raise InvalidMapping(f"{name}: only {', '.join(fields.groups)} take all columns")
    texts = {option: str(spec[option]) for option in ("format", "separator", "decimal") if option in spec}
    if texts.get("decimal", ".") not in (".", ","):
        raise InvalidMapping(f"{name}: the decimal sign is a point or a comma")
    if "decimal" in spec and type_ not in ("number", "integer"):
        raise InvalidMapping(f"{name}: only numbers have a decimal sign")
    if not all(texts.values()):
        raise InvalidMapping(f"{name}: a format or a separator is not empty")
    without = spec.get("without", ())
    if not isinstance(without, list | tuple) or (without and (key or name not in fields.groups)):
        raise InvalidMapping(f"{name}: `without` is a list of columns that are left out of all")
    source = Source(
        name,
        type_,
        column,
        zone=_zone(name, spec),
        without=tuple(map(str, without)),
        takes_rest=column == REST,
        others=tuple(others),
        **texts,
    )
    if "value" in spec:
        try:
            return replace(source, constant=CONVERTERS[type_](source, spec["value"]))
        except RowRefused as error:
            raise InvalidMapping(error.message) from error
    return source


def _columns(name: str, spec: Mapping[str, Any]) -> list[str]:
    """Return the columns of an entry, "" where it has none. Raises InvalidMapping."""
    named = spec.get("column", "")
    columns = named if isinstance(named, list) else [named]
    are_texts = all(isinstance(column, str) for column in columns)
    if not columns or not are_texts or ("column" in spec and not all(columns)):
        raise InvalidMapping(f"{name}: a column is named by a text, several by a list of texts")
    if REST in columns[:-1]:
        raise InvalidMapping(f"{name}: all columns come last")
    return columns


def _only(spec: Any) -> list[tuple[str, frozenset[Any]]]:
    """Return by column the values of the rows that a map is for. Raises InvalidMapping."""
    if spec is None:
        return []
    found = []
    for column, named in spec.items() if isinstance(spec, dict) else [(None, None)]:
        values = named if isinstance(named, list) else [named]
        if not isinstance(column, str) or not all(isinstance(value, str | int) for value in values):
            raise InvalidMapping(
                f"{ONLY}: it names columns, and of each the values of the rows that are meant"
            )
        found.append((column, frozenset(values)))
    return found


def _zone(name: str, spec: Mapping[str, Any]) -> tzinfo:
    if "timezone" not in spec:
        return UTC
    try:
        return ZoneInfo(str(spec["timezone"]))
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise InvalidMapping(f"{name}: there is no time zone {spec['timezone']}") from error
