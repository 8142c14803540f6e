"""Source of a field: the columns or the constant that it comes from, and how values of each type are read."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo
from fnmatch import fnmatchcase
from typing import Any, Final

from rest_framework.exceptions import ParseError

from config.files.errors import RowRefused
from config.files.times import parse_time
from config.http.json import parse_json

Values = Mapping[str, Any]
Reader = Callable[[Values], Any]
"""Returns a field's value of a row, None where the row does not say. Raises RowRefused."""
REST: Final = "*"
"""In a map: all columns that no other field takes."""
_MISSING: Final = object()
_INT64: Final = range(-(2**63), 2**63)


@dataclass(frozen=True)
class Source:
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

    def among(self, columns: Sequence[str]) -> "Source":
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
        convert = CONVERTERS[self.type]
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


def _descend(values: Any, path: list[str]) -> Any:
    for key in path:
        if isinstance(values, Mapping):
            values = values.get(key)
        elif isinstance(values, list) and key.isdecimal() and int(key) < len(values):
            values = values[int(key)]
        else:
            return None
    return values


def _as_is(source: Source, value: Any) -> Any:
    return value


def _text(source: Source, value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int):
        raise RowRefused(f"{source.column or source.name} must be a text")
    return str(value)


def _time(source: Source, value: Any) -> datetime:
    return parse_time(value, source.column or source.name, source.format, source.zone)


def _time_text(source: Source, value: Any) -> str:
    return _time(source, value).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _number(source: Source, value: Any) -> Any:
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


def _integer(source: Source, value: Any) -> int:
    number = _number(source, value)
    if isinstance(number, float):
        if not number.is_integer() or int(number) not in _INT64:
            raise RowRefused(f"{source.column}: {value!r} is no whole number of 64 bits")
        number = int(number)
    return int(number)


def _boolean(source: Source, value: Any) -> bool:
    found = value if isinstance(value, bool) else _BOOLEANS.get(str(value).strip().lower())
    if found is None:
        raise RowRefused(f"{source.column}: {value!r} is neither true nor false")
    return found


def _json(source: Source, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return parse_json(value)
    except ParseError as error:
        raise RowRefused(f"{source.column}: {str(error.detail).replace('The body', 'The value')}") from error


def _list(source: Source, value: Any) -> list[Any]:
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
CONVERTERS: Final[dict[str, Callable[[Source, Any], Any]]] = {
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
FITTING: Final[dict[str, tuple[str, ...]]] = {
    "text": ("text", "time-text"),
    "time": ("time",),
    "list": ("list",),
    "json": ("json", "any", "list"),
}
"""What a field of ours can be made of, by its own type; properties and attributes are of any."""
