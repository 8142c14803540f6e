"""Liquid filters: the library's and our own, strict about missing values and bounded in size."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from functools import wraps
from typing import Any, Final

import nh3
from liquid.exceptions import LiquidTypeError, UndefinedError
from liquid.expression import Expression
from liquid.filter import flatten, with_context
from liquid.undefined import UNDEFINED, Undefined

from campaigns.messaging.liquid import region
from campaigns.messaging.liquid.values import (
    Missing,
    bound,
    is_missing,
    number_of,
    refuse_missing,
    size_of,
    text_of,
)

Filter = Callable[..., Any]

TEXTUAL: Final = frozenset(
    [
        *("append", "base64_decode", "base64_encode", "base64_url_safe_decode", "base64_url_safe_encode"),
        *("capitalize", "downcase", "escape", "escape_once", "escapejs", "lstrip", "newline_to_br"),
        *("prepend", "remove", "remove_first", "remove_last", "replace", "replace_first", "replace_last"),
        *("rstrip", "split", "squish", "strip", "strip_html", "strip_newlines", "truncate"),
        *("truncatewords", "upcase", "url_decode", "url_encode"),
    ]
)
"""Filters that turn any value into a text."""
NUMERIC: Final = frozenset(
    [
        *("abs", "at_least", "at_most", "ceil", "divided_by", "floor", "minus", "modulo", "plus"),
        *("round", "times"),
    ]
)


class Written(str):
    """A text that is JSON already when printed; for filters it is a text like any other."""

    __slots__ = ("json",)
    json: str

    def __new__(cls, text: str, json: str) -> Written:
        written = super().__new__(cls, text)
        written.json = json
        return written


def registered(library: Mapping[str, Filter]) -> dict[str, Filter]:
    """Return all filters by name, strict and bounded."""
    # Markup is made by escaping, never by a tenant's word for it.
    ours = {name: function for name, function in library.items() if name != "safe"}
    ours |= {
        "compact": _compact,
        "concat": _concat,
        "find": _find,
        "find_index": _find_index,
        "has": _has,
        "map": _map,
        "reject": _reject,
        "replace": _checked_replace(library["replace"]),
        "size": _size,
        "slice": _slice(library["slice"]),
        "sort": _sort,
        "sort_natural": _sort_natural,
        "strip_html": _strip_html,
        "sum": _sum,
        "where": _where,
        "join": _join(library["join"]),
        **{name: with_context(function) for name, function in region.FILTERS.items()},
    }
    strict: dict[str, Filter] = {name: _strict(name, function) for name, function in ours.items()}
    strict |= {"default": default, "json": to_json}
    return {name: _bounded(function) for name, function in strict.items()}


def default(value: object, fallback: object = "", *, allow_false: object = False) -> object:
    """Return the value, or the fallback if it is missing, empty or false."""
    if is_missing(value) or (value is False and allow_false is not True):
        return fallback
    return fallback if isinstance(value, str | list | tuple | dict) and not value else value


def to_json(value: object) -> str:
    """Return a value as JSON; null and blank are kept, a value that is not there at all is missing."""
    if isinstance(value, Missing):
        if value.value is UNDEFINED:
            refuse_missing(value, "json")
        value = value.value
    written = json.dumps(value, default=_plain, allow_nan=False)
    return Written(written, written)


def _plain(value: object) -> object:
    match value:
        case Undefined() | Expression():
            return None
        case datetime() | date():
            return text_of(value)
        case Decimal():
            return float(value)
        case range():
            return list(value)
        case Mapping():
            raise LiquidTypeError("json: a loop is no value", token=None)
        case _:
            return str(value)


def _strict(name: str, function: Filter) -> Filter:
    """Make a filter refuse missing values and convert its input; a result that is not found is missing."""

    @wraps(function)
    def strict(value: object, *args: object, **kwargs: object) -> object:
        for element in (value, *args, *kwargs.values()):
            refuse_missing(element, name)
        if name in TEXTUAL:
            value, args = text_of(value), tuple(_as_text(element) for element in args)
        elif name in NUMERIC:
            value, args = number_of(value, name), tuple(number_of(element, name) for element in args)
        result = function(value, *args, **kwargs)
        if result is None:
            return Missing(name, hint=f"what {name} looks for is undefined")
        return list(result) if isinstance(result, tuple) else result

    return strict


def _as_text(value: object) -> object:
    return value if isinstance(value, int) and not isinstance(value, bool) else text_of(value)


def _bounded(function: Filter) -> Filter:
    """Check the size of a filter's input and output."""

    @wraps(function)
    def bounded(*args: Any, **kwargs: Any) -> Any:
        for element in args:
            bound(size_of(element))
        result = function(*args, **kwargs)
        bound(size_of(result))
        return result

    return bounded


def _checked_replace(replace: Filter) -> Filter:
    """Check a replacement's size before it is made: the output can be as long as both texts multiplied."""

    @wraps(replace)
    def checked(value: object, sought: object, replacement: object = "", **kwargs: Any) -> Any:
        text, sought_text = str(value), str(sought)
        bound(len(text) + (text.count(sought_text) * len(str(replacement)) if text else 0))
        return replace(value, sought, replacement, **kwargs)

    return checked


def _strip_html(value: object) -> str:
    return html.unescape(nh3.clean(str(value), tags=set()))


# Lists -----------------------------------------------------------------------------------------------------------


def _elements(value: object) -> list[Any]:
    """Return the elements of a list, nested ones included; anything else is its own element."""
    match value:
        case list() | tuple():
            return flatten(value)
        case range():
            return list(value)
        case _:
            return [value]


def _of_each(value: object, key: object, user: str) -> list[tuple[Any, Any]]:
    """Return pairs (element, key): the element's item of a name, or itself."""
    elements = _elements(value)
    if key is None:
        return [(element, element) for element in elements]
    return [(element, _under(element, key, user)) for element in elements]


def _under(element: object, key: object, user: str) -> object:
    if not isinstance(element, Mapping) or isinstance(element, Undefined):
        raise LiquidTypeError(f"{user}: not a list of objects", token=None)
    return element.get(str(key))


def _join(join: Filter) -> Filter:
    @wraps(join)
    def joined(value: object, separator: object = " ", **kwargs: Any) -> object:
        texts = [text_of(element) for element in _elements(value)]
        bound(sum(map(len, texts)) + len(texts) * len(text_of(separator)))
        return join(texts, text_of(separator), **kwargs)

    return joined


def _slice(slice_: Filter) -> Filter:
    @wraps(slice_)
    def sliced(value: object, *args: object) -> object:
        return slice_(value if isinstance(value, list | tuple | range) else text_of(value), *args)

    return sliced


def _size(value: object) -> int:
    match value:
        case str() | list() | tuple() | range() | Mapping():
            return len(value)
        case _:
            raise UndefinedError("size: a number has none", token=None)


def _map(value: object, key: object) -> list[Any]:
    return [under for _, under in _of_each(value, key, "map")]


def _concat(value: object, other: object) -> list[Any]:
    if not isinstance(other, list | tuple | range):
        raise LiquidTypeError("concat: not a list", token=None)
    return [*_elements(value), *_elements(other)]


def _compact(value: object, key: object = None) -> list[Any]:
    return [element for element, under in _of_each(value, key, "compact") if not is_missing(under)]


def _where(value: object, key: object, *wanted: object) -> list[Any]:
    return [element for element, fits in _fitting(value, key, wanted, "where") if fits]


def _reject(value: object, key: object, *wanted: object) -> list[Any]:
    return [element for element, fits in _fitting(value, key, wanted, "reject") if not fits]


def _find(value: object, key: object, *wanted: object) -> object:
    return next((element for element, fits in _fitting(value, key, wanted, "find") if fits), None)


def _find_index(value: object, key: object, *wanted: object) -> int | None:
    fitting = enumerate(_fitting(value, key, wanted, "find_index"))
    return next((place for place, (_, fits) in fitting if fits), None)


def _has(value: object, key: object, *wanted: object) -> bool:
    return any(fits for _, fits in _fitting(value, key, wanted, "has"))


def _fitting(value: object, key: object, wanted: tuple[object, ...], user: str) -> list[tuple[Any, bool]]:
    """Return pairs (element, matches): whether its item of a name equals the wanted value; without one, is there."""
    if len(wanted) > 1:
        raise LiquidTypeError(f"{user}: takes a name and a value", token=None)
    pairs = _of_each(value, key, user)
    if not wanted:
        return [(element, not is_missing(under) and under is not False) for element, under in pairs]
    # To Python, 1 is true.
    return [
        (element, isinstance(under, bool) == isinstance(wanted[0], bool) and under == wanted[0])
        for element, under in pairs
    ]


def _sum(value: object, key: object = None) -> int | float:
    parts = [under for _, under in _of_each(value, key, "sum")]
    for element in parts:
        refuse_missing(element, "sum")
    numbers = [number_of(element, "sum") for element in parts]
    if all(isinstance(element, int) for element in numbers):
        return sum(numbers)
    return float(sum(Decimal(str(element)) for element in numbers))


def _sort(value: object, key: object = None) -> list[Any]:
    return _sorted(_of_each(value, key, "sort"), lambda under: under)


def _sort_natural(value: object, key: object = None) -> list[Any]:
    return _sorted(_of_each(value, key, "sort_natural"), lambda under: text_of(under).lower())


def _sorted(pairs: Iterable[tuple[Any, Any]], place: Callable[[Any], Any]) -> list[Any]:
    """Sort the elements of pairs by their keys; those without one come last."""
    placed, last = [], []
    for element, under in pairs:
        if is_missing(under):
            last.append(element)
        else:
            placed.append((place(under), element))
    try:
        placed.sort(key=lambda pair: pair[0])
    except TypeError as error:
        raise LiquidTypeError("sort: not values of one kind", token=None) from error
    return [element for _, element in placed] + last
