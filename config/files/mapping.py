"""Mapping of a file's columns to fields: by the header, or by a map in YAML with constants, paths and formats."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from rest_framework.exceptions import ParseError

from config.files.documents import InvalidDocument, load_document
from config.files.errors import InvalidMapping, RowRefused
from config.files.times import parse_time
from config.http.json import parse_json

Values = Mapping[str, Any]
Reader = Callable[[Values], Any]
"""Returns a field's value of a row, None where the row does not say. Raises RowRefused."""
REST: Final = "*"
"""In a map: all columns that no other field takes."""
ONLY: Final = "only"
"""In a map: which rows it is for, by the values of columns; a row without the column is among them."""
_OPTIONS: Final = {"column", "value", "type", "format", "timezone", "separator", "decimal", "without"}
_MISSING: Final = object()
_INT64: Final = range(-(2**63), 2**63)


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


@dataclass(frozen=True)
class _Source:
    """Where a field comes from, and how it is read."""

    name: str
    type: str
    column: str = ""
    constant: Any = None
    format: str = ""
    zone: tzinfo = UTC
    separator: str = ","
    decimal: str = "."
    without: tuple[str, ...] = ()
    takes_rest: bool = False
    others: tuple[str, ...] = ()
    """Columns that are read where the first says nothing."""

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns, the first that counts first."""
        return (self.column, *self.others)

    def among(self, columns: Sequence[str]) -> "_Source":
        """Return the source in rows of these columns: those of its own that they may have."""
        if not self.others:
            return self
        found = [
            column
            for column in self.columns
            if column == REST or column in columns or column.partition(".")[0] in columns
        ]
        first, *others = found or [self.column]
        return replace(
            self,
            column=first,
            others=tuple(column for column in others if column != REST),
            takes_rest=first == REST,
        )

    def leaves_out(self, column: str) -> bool:
        """Tell whether a column is none of the rest: its name fits a pattern such as `context_*`."""
        return any(fnmatchcase(column, pattern) for pattern in self.without)

    def reader(self) -> Reader:
        """Return the function that reads it."""
        convert = _CONVERTERS[self.type]
        if not self.column:
            constant = self.constant
            return lambda values: constant
        if self.others:
            readers = [replace(self, column=column, others=()).reader() for column in self.columns]
            return lambda values: next(
                (value for each in readers if (value := each(values)) is not None), None
            )
        column, path = self.column, self.column.split(".")

        def read(values: Values) -> Any:
            value = values.get(column, _MISSING)
            if value is _MISSING:
                value = _descend(values, path)
            return None if value is None or value == "" else convert(self, value)

        return self._reader_of_rest(read) if self.without else read

    def _reader_of_rest(self, read: Reader) -> Reader:
        """Return what reads an object without the parts that are left out."""

        def read_rest(values: Values) -> Any:
            value = read(values)
            if not isinstance(value, dict):
                return value
            return {key: part for key, part in value.items() if not self.leaves_out(key)} or None

        return read_rest


def _source_of_column(fields: Fields, name: str, column: str) -> _Source:
    """Return the source of a field that the header names, whatever the column is called."""
    return _Source(name, _type_of(fields, name) or "any", column)


def _type_of(fields: Fields, name: str) -> str | None:
    """Return the type of a field, None if there is no such field."""
    group, _, key = name.partition(".")
    if key:
        return fields.groups.get(group)
    return fields.single.get(name) or ("json" if name in fields.groups else None)


def _source(fields: Fields, name: str, spec: Any) -> _Source:
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
    if not isinstance(type_, str) or type_ not in _CONVERTERS:
        raise InvalidMapping(f"{name}: there is no type {type_}; there are {', '.join(_CONVERTERS)}")
    if type_ not in _FITTING.get(own, _CONVERTERS):
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
    source = _Source(
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
            return replace(source, constant=_CONVERTERS[type_](source, spec["value"]))
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


def _descend(values: Any, path: list[str]) -> Any:
    for key in path:
        if isinstance(values, Mapping):
            values = values.get(key)
        elif isinstance(values, list) and key.isdecimal() and int(key) < len(values):
            values = values[int(key)]
        else:
            return None
    return values


def _as_is(source: _Source, value: Any) -> Any:
    return value


def _text(source: _Source, value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int):
        raise RowRefused(f"{source.column or source.name} must be a text")
    return str(value)


def _time(source: _Source, value: Any) -> datetime:
    return parse_time(value, source.column or source.name, source.format, source.zone)


def _time_text(source: _Source, value: Any) -> str:
    return _time(source, value).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _number(source: _Source, value: Any) -> Any:
    try:
        if not isinstance(value, str):
            return _checked_number(value)
        return _parsed(_with_point(value) if source.decimal == "," else value)
    except (ParseError, ValueError) as error:
        raise RowRefused(f"{source.column}: {value!r} is no number") from error


def _parsed(text: str) -> Any:
    return _checked_number(parse_json(text.strip()))


# Thousands may be grouped by a point, a space of any width or an apostrophe, as spreadsheets write them.
_WITH_COMMA: Final = re.compile(r"([+-]?)(\d+|\d{1,3}(?:[. \u00a0\u202f'\u2019]\d{3})+)(?:,(\d+))?", re.ASCII)


def _with_point(text: str) -> str:
    """Return a number with a decimal comma as JSON has it. Raises ValueError."""
    if (found := _WITH_COMMA.fullmatch(text.strip())) is None:
        raise ValueError(text)
    sign, whole, fraction = found.groups()
    digits = "".join(character for character in whole if character.isdigit()).lstrip("0") or "0"
    return f"{sign.replace('+', '')}{digits}" + (f".{fraction}" if fraction else "")


def _checked_number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(value)
    return value


def _integer(source: _Source, value: Any) -> int:
    number = _number(source, value)
    if isinstance(number, float):
        if not number.is_integer() or int(number) not in _INT64:
            raise RowRefused(f"{source.column}: {value!r} is no whole number of 64 bits")
        number = int(number)
    return int(number)


def _boolean(source: _Source, value: Any) -> bool:
    found = value if isinstance(value, bool) else _BOOLEANS.get(str(value).strip().lower())
    if found is None:
        raise RowRefused(f"{source.column}: {value!r} is neither true nor false")
    return found


def _json(source: _Source, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return parse_json(value)
    except ParseError as error:
        raise RowRefused(f"{source.column}: {str(error.detail).replace('The body', 'The value')}") from error


def _list(source: _Source, value: Any) -> list[Any]:
    """Return a list: of JSON, or of texts between separators."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = _json(source, value)
    if isinstance(value, str):
        return [part.strip() for part in value.split(source.separator) if part.strip()]
    if not isinstance(value, list):
        raise RowRefused(f"{source.column}: it must be a list")
    # Some systems have objects of them.
    return [item["name"] if isinstance(item, dict) and "name" in item else item for item in value]


_BOOLEANS: Final = {
    "true": True,
    "yes": True,
    "1": True,
    "t": True,
    "false": False,
    "no": False,
    "0": False,
    "f": False,
}
_CONVERTERS: Final[dict[str, Callable[[_Source, Any], Any]]] = {
    "any": _as_is,
    "text": _text,
    "number": _number,
    "integer": _integer,
    "boolean": _boolean,
    "json": _json,
    "list": _list,
    "time": _time,
    "time-text": _time_text,
}


_FITTING: Final[dict[str, tuple[str, ...]]] = {
    "text": ("text", "time-text"),
    "time": ("time",),
    "list": ("list",),
    "json": ("json", "any", "list"),
}
"""What a field of ours can be made of, by its own type; properties and attributes are of any."""
