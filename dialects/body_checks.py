"""The parser kit of bodies that are sent in numbers: checks of values, composed into tables.

A check yields every problem that it finds and never raises; `schema_of` it is what the OpenAPI document says.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from config.values.datetimes import has_timezone, parse_timestamp


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """What is wrong with one field; `field` is its path, such as `contact.tags[3]`."""

    field: str
    code: str
    message: str


Check = Callable[[str, Any], Iterator[FieldProblem]]
Schema = dict[str, Any]


def is_timestamp(value: str) -> bool:
    """Tell whether a text is a date-time with its zone."""
    return has_timezone(value) and parse_timestamp(value) is not None


def described(check: Check, schema: Schema) -> Check:
    """Keep beside a check the JSON schema of what passes it."""
    check.schema = schema  # type: ignore[attr-defined]  # functions have no such attribute of their own
    return check


def schema_of(check: Check) -> Schema:
    """Return the JSON schema of what passes a check; `{}` for a check that was not described."""
    return dict(getattr(check, "schema", {}))


def text(max_length: int | None = None, *, is_blank_allowed: bool = True) -> Check:
    """Demand a string."""

    def check(path: str, value: Any) -> Iterator[FieldProblem]:
        if not isinstance(value, str):
            yield FieldProblem(path, "unsupported_type", "must be a string")
        elif not is_blank_allowed and not value.strip():
            yield FieldProblem(path, "required", "must not be blank")
        elif max_length is not None and len(value) > max_length:
            yield FieldProblem(path, "too_long", f"must have at most {max_length} characters")

    lengths = {"minLength": None if is_blank_allowed else 1, "maxLength": max_length}
    return described(check, {"type": "string", **{key: each for key, each in lengths.items() if each}})


def form(recognise: Callable[[str], object], message: str, **schema: Any) -> Check:
    """Demand a string of which `recognise` returns something else than None or False."""

    def check(path: str, value: Any) -> Iterator[FieldProblem]:
        if not isinstance(value, str):
            yield FieldProblem(path, "unsupported_type", "must be a string")
        elif recognise(value) in (None, False):
            yield FieldProblem(path, "invalid_format", message)

    return described(check, {"type": "string", **schema})


def number(path: str, value: Any) -> Iterator[FieldProblem]:
    """Demand a number; true and false are none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        yield FieldProblem(path, "unsupported_type", "must be a number")


def boolean(path: str, value: Any) -> Iterator[FieldProblem]:
    """Demand true or false."""
    if not isinstance(value, bool):
        yield FieldProblem(path, "unsupported_type", "must be true or false")


described(number, {"type": "number"})
described(boolean, {"type": "boolean"})


def optional(check: Check) -> Check:
    """Let null pass."""

    def check_unless_null(path: str, value: Any) -> Iterator[FieldProblem]:
        if value is not None:
            yield from check(path, value)

    schema = schema_of(check)
    if "type" in schema:
        types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        schema["type"] = list(dict.fromkeys([*types, "null"]))
    if "enum" in schema:
        schema["enum"] = [*schema["enum"], None]
    if "oneOf" in schema:
        schema["oneOf"] = [*schema["oneOf"], {"type": "null"}]
    return described(check_unless_null, schema)


def either(accepts: type, check: Check, otherwise: Check) -> Check:
    """Apply `check` to a value of the type `accepts`, `otherwise` to any other."""

    def check_by_type(path: str, value: Any) -> Iterator[FieldProblem]:
        yield from (check if isinstance(value, accepts) else otherwise)(path, value)

    return described(check_by_type, {"oneOf": [schema_of(check), schema_of(otherwise)]})


def listed(item: Check, max_items: int | None = None) -> Check:
    """Demand an array whose items pass."""

    def check(path: str, value: Any) -> Iterator[FieldProblem]:
        if not isinstance(value, list):
            yield FieldProblem(path, "unsupported_type", "must be an array")
        elif max_items is not None and len(value) > max_items:
            yield FieldProblem(path, "too_many", f"must have at most {max_items} items")
        else:
            for index, member in enumerate(value):
                yield from item(f"{path}[{index}]", member)

    schema = {"type": "array", "items": schema_of(item)}
    return described(check, schema if max_items is None else {**schema, "maxItems": max_items})


def record(fields: Mapping[str, Check], *, required: tuple[str, ...] = ()) -> Check:
    """Demand an object whose members pass.

    A member that `fields` does not name is ignored, as the vendors do. For a member that a vendor documents and
    we cannot express, `fields` has a check that refuses it by name.
    """

    def check(path: str, value: Any) -> Iterator[FieldProblem]:
        if not isinstance(value, dict):
            yield FieldProblem(path, "unsupported_type", "must be an object")
            return
        for name in required:
            if value.get(name) is None:
                yield FieldProblem(_join(path, name), "required", "is required")
        for name, member in value.items():
            if member is None and name in required:
                continue
            if name in fields:
                yield from fields[name](_join(path, name), member)

    properties = {name: schema_of(field) for name, field in fields.items()}
    schema: Schema = {"type": "object", "properties": properties}
    return described(check, {**schema, "required": list(required)} if required else schema)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
