"""Types of property values: what is coerced, what is learned, and what a learned type admits."""

import json
import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from config.http.rendering import iso_millis
from config.values.datetimes import parse_timestamp
from config.values.numbers import as_stored
from events.errors import InvalidPropertyValue
from events.models import EventProperty

Type = EventProperty.Type

SMALLEST_INTEGER, LARGEST_INTEGER = -(2**63), 2**63 - 1


class NotCoercible(Exception):
    """A value that the type does not admit."""


def coerce(value: Any, type_: str, property_name: str = "") -> Any:
    """Return `value` as a declared property of `type_` stores it.

    A date or date-time becomes UTC text with milliseconds. Raises InvalidPropertyValue.
    """
    try:
        return _COERCERS[Type(type_)](value)
    except NotCoercible:
        raise InvalidPropertyValue(property_name, type_) from None


def learned_type(value: Any) -> EventProperty.Type | None:
    """Return the type that a first value gives its property; None for null, objects and arrays."""
    match value:
        case bool():
            return Type.BOOLEAN
        case int():
            return Type.INTEGER
        case float():
            return Type.NUMBER
        case str():
            return next((type_ for type_, has_form in _FORMS if has_form(value)), Type.STRING)
        case _:
            return None


def normalised(value: Any, type_: str, property_name: str = "") -> Any:
    """Return `value` as a learned property of `type_` stores it, floats with six digits after the point.

    Only what loses nothing is admitted: an integral float as an integer, an integer as a number.
    Raises InvalidPropertyValue.
    """
    try:
        return _NORMALISERS[Type(type_)](value)
    except NotCoercible:
        raise InvalidPropertyValue(property_name, type_) from None


def accepts(value: Any, type_: str) -> bool:
    """Tell whether a learned property of `type_` admits `value`."""
    try:
        _NORMALISERS[Type(type_)](value)
    except NotCoercible:
        return False
    return True


def round_half_up_6(number: int | float) -> int | float:
    """Return `number` with six digits after the point, rounded half up on its decimal text."""
    if abs(number) >= _INTEGRAL_FROM or not math.isfinite(number):
        return as_stored(number)
    return as_stored(float(Decimal(repr(number)).quantize(_SIX_DIGITS, ROUND_HALF_UP)))


def is_date(text: str) -> bool:
    """Tell whether `text` is a day that exists, as YYYY-MM-DD."""
    return bool(_DATE.fullmatch(text)) and parse_timestamp(text) is not None


def is_datetime(text: str) -> bool:
    """Tell whether `text` is a moment of RFC 3339: with seconds, and `Z` or an offset."""
    return bool(_RFC_3339.fullmatch(text)) and parse_timestamp(text) is not None


def is_url(text: str) -> bool:
    """Tell whether `text` is an http or https address with a host."""
    return bool(_URL.fullmatch(text))


def is_email(text: str) -> bool:
    """Tell whether `text` has the form of an e-mail address."""
    return len(text) <= _LONGEST_EMAIL and bool(_EMAIL.fullmatch(text))


# Doubles from 2**53 on have no digits after the point.
_INTEGRAL_FROM = 2**53
_SIX_DIGITS = Decimal("0.000001")
_LONGEST_EMAIL = 320
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_RFC_3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
# Numbers are milliseconds since 1970. What is nearer to it than this, 1973, is as good as certainly seconds.
_LEAST_MILLISECONDS = 10**11
_URL = re.compile(r"https?://[^\s/?#@]+(?:@[^\s/?#@]+)?(?:[/?#]\S*)?", re.IGNORECASE)
_EMAIL = re.compile(r"[^\s@<>(),;:\"\[\]\\]+@[^\s@<>(),;:\"\[\]\\./]+(?:\.[^\s@<>(),;:\"\[\]\\./]+)+")
_INTEGER_TEXT = re.compile(r"[+-]?[0-9]+")
_NUMBER_TEXT = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_LONGEST_NUMBER = 400
_BOOLEAN_WORDS = {"true": True, "false": False, "1": True, "0": False}


def _stored_integer(number: int) -> int:
    if not SMALLEST_INTEGER <= number <= LARGEST_INTEGER:
        raise NotCoercible
    return number


def _coerce_number(value: Any) -> int | float:
    match value:
        case bool():
            raise NotCoercible
        case int():
            return _stored_integer(value)
        case float() if math.isfinite(value):
            return as_stored(value)
        case str():
            return _number_of_text(value.strip())
        case _:
            raise NotCoercible


def _number_of_text(text: str) -> int | float:
    # Not float() alone: it takes "1_000", "nan" and digits of every script, which no client means.
    if len(text) > _LONGEST_NUMBER or not _NUMBER_TEXT.fullmatch(text):
        raise NotCoercible
    if _INTEGER_TEXT.fullmatch(text):
        return _stored_integer(int(text))
    if not math.isfinite(number := float(text)):
        raise NotCoercible
    return as_stored(number)


def _coerce_integer(value: Any) -> int:
    return _integral(_coerce_number(value))


def _integral(number: int | float) -> int:
    if isinstance(number, float) and not number.is_integer():
        raise NotCoercible
    return _stored_integer(int(number))


def _coerce_boolean(value: Any) -> bool:
    match value:
        case bool():
            return value
        case int() | float() if value in (0, 1):
            return value == 1
        case str() if (word := value.lower()) in _BOOLEAN_WORDS:
            return _BOOLEAN_WORDS[word]
        case _:
            raise NotCoercible


def _coerce_string(value: Any) -> str:
    match value:
        case str():
            return value
        case bool() | int() | float():
            return json.dumps(value)
        case _:
            raise NotCoercible


def _coerce_moment(value: Any) -> str:
    try:
        return iso_millis(_read_moment(value))
    except (ValueError, OverflowError):
        raise NotCoercible from None


def _read_moment(value: Any) -> datetime:
    match value:
        case bool():
            raise NotCoercible
        case int() | float() if abs(value) >= _LEAST_MILLISECONDS:
            return _EPOCH + timedelta(milliseconds=value)
        case str() if (moment := parse_timestamp(value.strip())) is not None:
            return moment
        case _:
            raise NotCoercible


def _of_form(has_form: Callable[[str], bool]) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if not isinstance(value, str) or not has_form(value):
            raise NotCoercible
        return value

    return check


def _normalise_boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise NotCoercible
    return value


def _normalise_number(value: Any) -> int | float:
    match value:
        case bool():
            raise NotCoercible
        case int():
            return _stored_integer(value)
        case float() if math.isfinite(value):
            return round_half_up_6(value)
        case _:
            raise NotCoercible


def _normalise_integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise NotCoercible
    return _integral(value)


def _any_text(_: str) -> bool:
    return True


# Disjoint forms: the order only documents the intent, specific before general.
_FORMS: tuple[tuple[EventProperty.Type, Callable[[str], bool]], ...] = (
    (Type.DATE, is_date),
    (Type.DATETIME, is_datetime),
    (Type.URL, is_url),
    (Type.EMAIL, is_email),
)
_COERCERS: dict[EventProperty.Type, Callable[[Any], Any]] = {
    Type.BOOLEAN: _coerce_boolean,
    Type.INTEGER: _coerce_integer,
    Type.NUMBER: _coerce_number,
    Type.STRING: _coerce_string,
    Type.DATE: _coerce_moment,
    Type.DATETIME: _coerce_moment,
    Type.EMAIL: _of_form(is_email),
    Type.URL: _of_form(is_url),
}
_NORMALISERS: dict[EventProperty.Type, Callable[[Any], Any]] = {
    Type.BOOLEAN: _normalise_boolean,
    Type.INTEGER: _normalise_integer,
    Type.NUMBER: _normalise_number,
    Type.STRING: _of_form(_any_text),
    **{type_: _of_form(has_form) for type_, has_form in _FORMS},
}
