"""Values in templates: which are missing, how they are printed, and how big they may be."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final

from liquid import Markup
from liquid.exceptions import LiquidTypeError, LiquidValueError, ResourceLimitError, UndefinedError
from liquid.expression import Expression
from liquid.token import Token
from liquid.undefined import UNDEFINED, FalsyStrictUndefined, Undefined

from config.http.rendering import iso_millis

MAX_VALUE: Final = 200_000
"""Characters of a text or bits of a number, at most; of a list, a hundredth as many elements."""
_NUMBER: Final = re.compile(r"\s*[+-]?\d{1,300}(\.\d{1,300})?([eE][+-]?\d{1,3})?\s*", re.ASCII)


class Missing(FalsyStrictUndefined):
    """A missing value: can be tested and get a default, but not be used.

    `value`: the null or blank that it stands for, if any.
    """

    __slots__ = ("value",)
    allowed_properties = FalsyStrictUndefined.allowed_properties | {"value"}
    force_liquid_default = True

    def __init__(
        self,
        name: str,
        *,
        token: Token | None = None,
        obj: object = UNDEFINED,
        hint: str | None = None,
        value: object = UNDEFINED,
    ) -> None:
        super().__init__(name, token=token, obj=obj, hint=hint)
        self.value = value


class BlankText(str):
    """A blank text that comes from the data, not from the template."""

    __slots__ = ()


def marked(value: Any) -> Any:
    """Return the data with its blank texts marked, to tell them from blanks in the template."""
    match value:
        case str():
            return BlankText(value) if all(map(_is_invisible, value)) else value
        case Mapping():
            return {key: marked(item) for key, item in value.items()}
        case list() | tuple():
            return [marked(item) for item in value]
        case _:
            return value


def _is_invisible(character: str) -> bool:
    """Return whether a character is white space or has no width, such as U+200B."""
    return character.isspace() or unicodedata.category(character) in ("Cc", "Cf")


def is_missing(value: object) -> bool:
    """Return whether a value is missing."""
    return value is None or isinstance(value, Undefined | BlankText)


def refuse_missing(value: object, user: str) -> None:
    """Raise UndefinedError for a missing value; `user`: what wants to use it."""
    if isinstance(value, Missing):
        raise UndefinedError(value.msg, token=value.token)
    if is_missing(value):
        raise UndefinedError(f"{user}: a value is missing", token=None)


def text_of(value: object) -> str:
    """Return a value as Liquid prints it: a list joined, never Python's repr.

    Raises UndefinedError, LiquidTypeError for an object, ResourceLimitError.
    """
    refuse_missing(value, "text")
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case float():
            return _spelled(value)
        case Decimal():
            return format(value, "f")
        case range():
            return f"{value.start}..{value.stop - 1}"
        case list() | tuple():
            return _joined(value)
        case Mapping():
            raise LiquidTypeError("an object is no text: name what is in it, or use | json", token=None)
        case datetime():
            return iso_millis(value)
        case date():
            return value.isoformat()
        case Expression():  # the words blank and empty
            return ""
        case _:
            return str(value)


def number_of(value: object, user: str) -> int | float:
    """Return a number, or the number that a text spells. Raises UndefinedError, LiquidTypeError."""
    refuse_missing(value, user)
    match value:
        case bool():
            pass
        case int() | float():
            return value
        case Decimal():
            return float(value)
        case str() if _NUMBER.fullmatch(value):
            return int(value) if value.strip().lstrip("+-").isdigit() else float(value)
    raise LiquidTypeError(f"{user}: not a number", token=None)


def size_of(value: object) -> int:
    """Return the size of a value, to compare with MAX_VALUE."""
    match value:
        case str():
            return len(value)
        case bool():
            return 1
        case int():
            return value.bit_length() * 100
        case list() | tuple() | range():
            return len(value) * 100
        case _:
            return 1


def bound(size: int) -> None:
    """Raise ResourceLimitError for a value that is too big."""
    if size > MAX_VALUE:
        raise ResourceLimitError("a value is too big", token=None)


def _spelled(value: float) -> str:
    if not math.isfinite(value):
        raise LiquidValueError("a number is too big", token=None)
    text = repr(value)
    return format(Decimal(text), "f") if "e" in text else text


def _joined(values: Iterable[object]) -> str:
    texts, size = [], 0
    for value in values:
        texts.append(text_of(value))
        size += len(texts[-1])
        bound(size)
    # What is no markup is escaped beside what is.
    glue = Markup("") if any(isinstance(text, Markup) for text in texts) else ""
    return glue.join(texts)
