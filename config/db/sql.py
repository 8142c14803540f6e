"""SQL fragments: text and typed parameters in one piece, composed at will and rendered once, when all is in place.

    sql("{} = ANY({:uuid[]}) AND workspace_id = {workspace_id:uuid}", column, contact_ids)

A field without a type takes another fragment. One with a type is a parameter: of the value given for it or, if none
is, of the value bound by the field's name at execution. (`psycopg.sql` composes text alone: its placeholders have
neither values nor types, and can't be keys.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from string import Formatter
from typing import Any


class Deferred:
    """A value that is known only when the statement is executed, from what is bound then by name."""

    __slots__ = ()

    def resolve(self, bound: Mapping[str, Any]) -> Any:
        """Return the value. Raises KeyError if a name that it needs is not bound."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Bound(Deferred):
    """The value that is bound by a name."""

    name: str

    def resolve(self, bound: Mapping[str, Any]) -> Any:
        """Return it."""
        return bound[self.name]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A placeholder of a type of PostgreSQL's, with its value or a `Deferred` one; an array's is a tuple."""

    type: str
    value: Any


_Parts = tuple[str | Parameter, ...]


@dataclass(frozen=True, slots=True)
class Sql:
    """A fragment: never two texts side by side, so equal SQL has equal parts."""

    parts: _Parts = ()

    @property
    def shape(self) -> tuple[object, ...]:
        """What fragments have in common that differ in the values of their parameters alone."""
        return tuple(part if isinstance(part, str) else (part.type,) for part in self.parts)

    def bind(self, **bound: Any) -> Sql:
        """Return the fragment with all deferred values in place."""
        return Sql(tuple(part if isinstance(part, str) else _resolved(part, bound) for part in self.parts))

    def render(self) -> Statement:
        """Return the text for the driver, and the parameters in their order."""
        text = "".join(
            part.replace("%", "%%") if isinstance(part, str) else f"%s::{part.type}" for part in self.parts
        )
        return Statement(text, tuple(part.value for part in self.parts if not isinstance(part, str)))


@dataclass(frozen=True, slots=True)
class Statement:
    """Rendered SQL, to be run as often as wanted (`config.db.statements`), each time with what is bound by name."""

    text: str
    values: tuple[Any, ...]

    def parameters(self, bound: Mapping[str, Any]) -> list[Any]:
        """Return the parameters as the driver takes them: arrays as lists. Raises KeyError for a name not bound."""
        values = (value.resolve(bound) if isinstance(value, Deferred) else value for value in self.values)
        return [list(value) if isinstance(value, tuple) else value for value in values]


def sql(template: str, *given: Any, **named: Any) -> Sql:
    """Fill the fields of a template, as `str.format` finds them: see the module. `{{` and `}}` are braces.

    Raises TypeError for a field without a type that is given no fragment, and if not all that is given is used.
    """
    fields, positions, names = _fields_of(template)
    if positions != len(given) or not named.keys() <= names:
        raise TypeError(f"{template!r} is given other than it has fields for")
    pieces: list[_Parts] = []
    for text, key, kind in fields:
        if text:
            pieces.append((text,))
        if key is None:
            continue
        value = given[key] if isinstance(key, int) else named[key] if key in named else Bound(key)
        if kind:
            pieces.append((Parameter(kind, tuple(value) if isinstance(value, list) else value),))
        elif isinstance(value, Sql):
            pieces.append(value.parts)
        else:
            raise TypeError(f"{{{key}}} of {template!r} is given {value!r}, which is no SQL")
    return Sql(_concatenated(pieces))


def join(separator: str, fragments: Iterable[Sql]) -> Sql:
    """Concatenate fragments, with a text between them."""
    pieces = [piece for fragment in fragments for piece in ((separator,), fragment.parts)]
    return Sql(_concatenated(pieces[1:]))


@lru_cache(5_000)
def _fields_of(template: str) -> tuple[list[tuple[str, int | str | None, str]], int, set[str]]:
    """Return each text with the field after it and its type; how many values are given by position; the names."""
    fields: list[tuple[str, int | str | None, str]] = []
    for text, field, kind, _ in Formatter().parse(template):
        key: int | str | None = field
        if field == "":
            key = sum(isinstance(key, int) for _, key, _ in fields)
        elif field is not None and field.isdecimal():
            key = int(field)
        fields.append((text, key, kind or ""))
    keys = {key for _, key, _ in fields}
    names = {key for key in keys if isinstance(key, str)}
    return fields, len({key for key in keys if isinstance(key, int)}), names


def _concatenated(pieces: Iterable[_Parts]) -> _Parts:
    """Return all parts, with texts that come side by side as one."""
    parts: list[str | Parameter] = []
    texts: list[str] = []
    for piece in pieces:
        start, end = 0, len(piece)
        if piece and isinstance(piece[0], str):
            texts.append(piece[0])
            start = 1
        if start == end:
            continue
        if text := "".join(texts):
            parts.append(text)
        texts = []
        if isinstance(piece[-1], str):
            texts.append(piece[-1])
            end -= 1
        parts += piece[start:end]
    if text := "".join(texts):
        parts.append(text)
    return tuple(parts)


def _resolved(parameter: Parameter, bound: Mapping[str, Any]) -> Parameter:
    value = parameter.value
    return Parameter(parameter.type, value.resolve(bound)) if isinstance(value, Deferred) else parameter
