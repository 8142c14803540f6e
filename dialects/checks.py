"""Checks of a body's shape, composed into tables; each yields every problem it finds, none raises."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from config.values.datetimes import has_timezone, parse_timestamp


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one field; `field` is its path, such as `contact.tags[3]`."""

    field: str
    code: str
    message: str


def names_moment(value: str) -> bool:
    """Tell whether a text is a date-time with its zone."""
    return has_timezone(value) and parse_timestamp(value) is not None


Check = Callable[[str, Any], Iterator[Problem]]


def text(max_length: int | None = None, *, is_blank_allowed: bool = True) -> Check:
    """Demand a string."""

    def check(path: str, value: Any) -> Iterator[Problem]:
        if not isinstance(value, str):
            yield Problem(path, "unsupported_type", "must be a string")
        elif not is_blank_allowed and not value.strip():
            yield Problem(path, "required", "must not be blank")
        elif max_length is not None and len(value) > max_length:
            yield Problem(path, "too_long", f"must have at most {max_length} characters")

    return check


def form(recognise: Callable[[str], object], message: str) -> Check:
    """Demand a string of which `recognise` returns something else than None or False."""

    def check(path: str, value: Any) -> Iterator[Problem]:
        if not isinstance(value, str):
            yield Problem(path, "unsupported_type", "must be a string")
        elif recognise(value) in (None, False):
            yield Problem(path, "invalid_format", message)

    return check


def number(path: str, value: Any) -> Iterator[Problem]:
    """Demand a number; true and false are none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        yield Problem(path, "unsupported_type", "must be a number")


def boolean(path: str, value: Any) -> Iterator[Problem]:
    """Demand true or false."""
    if not isinstance(value, bool):
        yield Problem(path, "unsupported_type", "must be true or false")


def anything(path: str, value: Any) -> Iterator[Problem]:
    """Demand nothing."""
    yield from ()


def optional(check: Check) -> Check:
    """Let null pass."""

    def check_unless_null(path: str, value: Any) -> Iterator[Problem]:
        if value is not None:
            yield from check(path, value)

    return check_unless_null


def either(accepts: type, check: Check, otherwise: Check) -> Check:
    """Apply `check` to a value of the type `accepts`, `otherwise` to any other."""

    def check_by_type(path: str, value: Any) -> Iterator[Problem]:
        yield from (check if isinstance(value, accepts) else otherwise)(path, value)

    return check_by_type


def listed(item: Check, max_items: int | None = None) -> Check:
    """Demand an array whose items pass."""

    def check(path: str, value: Any) -> Iterator[Problem]:
        if not isinstance(value, list):
            yield Problem(path, "unsupported_type", "must be an array")
        elif max_items is not None and len(value) > max_items:
            yield Problem(path, "too_many", f"must have at most {max_items} items")
        else:
            for index, one in enumerate(value):
                yield from item(f"{path}[{index}]", one)

    return check


def record(fields: Mapping[str, Check], *, required: tuple[str, ...] = ()) -> Check:
    """Demand an object whose members pass. One that no table names is ignored, as the vendors do; what a vendor
    documents and we cannot express has a check here that refuses it by name."""

    def check(path: str, value: Any) -> Iterator[Problem]:
        if not isinstance(value, dict):
            yield Problem(path, "unsupported_type", "must be an object")
            return
        for name in required:
            if value.get(name) is None:
                yield Problem(_join(path, name), "required", "is required")
        for name, member in value.items():
            if member is None and name in required:
                continue
            if name in fields:
                yield from fields[name](_join(path, name), member)

    return check


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
