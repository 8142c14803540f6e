"""Leadpush's bodies and queries: read into plain values, or refused field by field; and its answers."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.http import QueryDict
from rest_framework.exceptions import ParseError

from config.http.json import parse_json
from config.http.rendering import iso_micros
from contacts.identifiers import normalize_identifier
from contacts.models import Contact, Field
from dialects.leadpush.errors import invalid
from dialects.leadpush.mapping import IDENTIFIER_ATTRIBUTES, NAME_ATTRIBUTES, attributes_of
from events.models import Event

DEFAULT_PER_PAGE = 10
MAX_PER_PAGE = 100
MAX_PAGE = 10**9
MAX_EVENT_NAME_LENGTH = 255
MAX_NAME_LENGTH = 255
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)
_MISSING = object()


class Errors(dict[str, list[str]]):
    """What is wrong with a request, by field."""

    def add(self, field: str, problem: str) -> None:
        """Note that `field` has a problem, such as `must be a string`."""
        self.setdefault(field, []).append(f"The {_spoken(field)} field {problem}.")

    def raise_if_any(self) -> None:
        """Raise the 422 if there is anything."""
        if self:
            raise invalid(self)


@dataclass(frozen=True, slots=True)
class EventBody:
    """The body of a send."""

    event_name: str
    attributes: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ContactBody:
    """The body that creates or changes a contact."""

    attributes: dict[str, Any]
    subscribed: bool | None


@dataclass(frozen=True, slots=True)
class FieldBody:
    """The body that creates a field, or changes what it names of one."""

    given: frozenset[str]
    name: Any = None
    type: Any = None
    format: Any = None


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list is wanted; `number` starts at 1."""

    number: int
    size: int

    @property
    def offset(self) -> int:
        """How many rows come before this page."""
        return (self.number - 1) * self.size


@dataclass(frozen=True, slots=True)
class FieldFilter:
    """Which fields a list asks for; None means all types."""

    search: str = ""
    types: frozenset[str] | None = None


def parse_event(body: Mapping[str, Any]) -> EventBody:
    """Return the event that a body describes. Raises a 422."""
    errors = Errors()
    name = _event_name(body.get("event_name"), errors)
    attributes = _event_attributes(body.get("attributes"), errors)
    errors.raise_if_any()
    return EventBody(name, attributes)


def parse_contact(body: Mapping[str, Any], identity_field: str, *, is_new: bool) -> ContactBody:
    """Return the contact that a body describes; a new one needs its identity. Raises a 422."""
    errors = Errors()
    subscribed = body.get("subscribed")
    if subscribed is not None and not isinstance(subscribed, bool):
        errors.add("subscribed", "must be true or false")
    attributes = _contact_attributes(body.get("attributes"), identity_field, errors)
    if is_new and identity_field not in attributes and "attributes" not in errors:
        errors.add(f"attributes.{identity_field}", "is required")
    errors.raise_if_any()
    return ContactBody(attributes, subscribed)


def parse_field(body: Any, *, is_new: bool) -> FieldBody:
    """Return the field that a body describes; the core checks the values. Raises a 422."""
    errors = Errors()
    _check_field(body, "", errors, is_new=is_new)
    errors.raise_if_any()
    return _field_body(body)


def parse_fields(body: Mapping[str, Any]) -> list[FieldBody]:
    """Return the fields of the older generation's `{"fields": […]}`. Raises a 422."""
    errors = Errors()
    items = body.get("fields")
    if items is None:
        errors.add("fields", "is required")
    elif not isinstance(items, list):
        errors.add("fields", "must be an array")
    elif not 0 < len(items) <= MAX_PER_PAGE:
        errors.add("fields", f"must have between 1 and {MAX_PER_PAGE} items")
    else:
        for index, item in enumerate(items):
            _check_field(item, f"fields.{index}", errors, is_new=True)
    errors.raise_if_any()
    return [_field_body(item) for item in items or ()]


def parse_page(query: QueryDict) -> Page:
    """Return the page that a query asks for; more rows than allowed are cut to the most. Raises a 422."""
    errors = Errors()
    number = _integer(query, "page", 1, errors)
    size = _integer(query, "per_page", DEFAULT_PER_PAGE, errors)
    if number < 1:
        errors.add("page", "must be at least 1")
    errors.raise_if_any()
    return Page(min(number, MAX_PAGE), min(max(size, 1), MAX_PER_PAGE))


def parse_search(query: QueryDict) -> str:
    """Return what a list is searched for. Raises a 422."""
    search = query.get("search", "").strip()
    if "\x00" in search:
        raise invalid({"search": ["The search field must be text."]})
    return search


def parse_newest_first(query: QueryDict) -> bool:
    """Return whether `sorting[]` asks for the newest first; the oldest is by default (L9). Raises a 422."""
    orders = [_sorting(index, text) for index, text in enumerate(query.getlist("sorting[]"))]
    return orders[0] if orders else False


def parse_field_filter(query: QueryDict) -> FieldFilter:
    """Return which fields are asked for, by the SDK's `filters` or the docs' `filters[]`. Raises a 422."""
    filters = [_json(text, "filters") for text in query.getlist("filters[]")]
    for text in query.getlist("filters"):
        value = _json(text, "filters")
        filters.extend(value if isinstance(value, list) else [value])
    types = [_filtered_types(one) for one in filters]
    wanted = frozenset.intersection(*types) if types else None
    return FieldFilter(parse_search(query), wanted)


def render_contact(contact: Contact, fields: Sequence[str]) -> dict[str, Any]:
    """Return a contact; `fields` are the names of the workspace's declared ones."""
    return {
        "uuid": str(contact.id),
        "subscribed": contact.subscribed,
        "attributes": attributes_of(contact, fields),
        # Where a contact was imported from; Headrace imports from nowhere yet.
        "provider": None,
        "created_at": iso_micros(contact.created_at),
        "updated_at": iso_micros(contact.updated_at),
    }


def render_event(event: Event) -> dict[str, Any]:
    """Return an event."""
    return {
        "uuid": str(event.id),
        "event_name": event.name,
        "attributes": event.properties,
        "created_at": iso_micros(event.occurred_at),
    }


def render_field(row: Field) -> dict[str, Any]:
    """Return a field."""
    return {
        "uuid": str(row.id),
        "name": row.name,
        "type": row.type,
        "format": row.format,
        "created_at": iso_micros(row.created_at),
    }


def render_page(rows: Sequence[dict[str, Any]], page: Page, total: int) -> dict[str, Any]:
    """Return a page of a list; `rows` has one more than the page where another page follows."""
    shown = rows[: page.size]
    has_next = len(rows) > page.size
    # A big total is an estimate: it must not contradict what is known for certain.
    total = max(total, page.offset + len(rows)) if rows else total
    return {
        "data": shown,
        "meta": {
            "current_page": page.number,
            "per_page": page.size,
            "total": total,
            "last_page": max(math.ceil(total / page.size), 1),
            "has_next": has_next,
        },
    }


def _spoken(field: str) -> str:
    # Laravel names a plain field in words and a nested one by its path.
    return field if "." in field else field.replace("_", " ")


def _event_name(value: Any, errors: Errors) -> str:
    if value is None or (isinstance(value, str) and not value.strip()):
        errors.add("event_name", "is required")
        return ""
    if not isinstance(value, str):
        errors.add("event_name", "must be a string")
        return ""
    name = value.strip()
    if len(name) > MAX_EVENT_NAME_LENGTH:
        errors.add("event_name", f"must not be greater than {MAX_EVENT_NAME_LENGTH} characters")
    return name


def _event_attributes(value: Any, errors: Errors) -> dict[str, Any]:
    """Read an object, or its JSON text, which the vendor's SDKs send (L3); null is nothing (L4)."""
    if value is None:
        return {}
    if isinstance(value, str):
        value = _parsed(value)
    if not isinstance(value, dict):
        errors.add("attributes", "must be a JSON object")
        return {}
    return value


def _parsed(text: str) -> Any:
    # PHP cannot tell an empty object from an empty array: json_encode([]) gives this.
    if text.strip() == "[]":
        return {}
    try:
        return parse_json(text)
    except ParseError:
        return _MISSING


def _contact_attributes(value: Any, identity_field: str, errors: Errors) -> dict[str, Any]:
    if value is None:
        return {}
    # PHP's empty array again.
    if value == []:
        return {}
    if not isinstance(value, dict):
        errors.add("attributes", "must be an object")
        return {}
    for name, item in value.items():
        _check_attribute(name, item, identity_field, errors)
    return value


def _check_attribute(name: str, value: Any, identity_field: str, errors: Errors) -> None:
    path = f"attributes.{name}"
    if isinstance(value, dict | list):
        errors.add(path, "must be a string, a number, a boolean or null")
    elif name in NAME_ATTRIBUTES and value is not None and not isinstance(value, str):
        errors.add(path, "must be a string")
    elif name in NAME_ATTRIBUTES and value is not None and len(value) > MAX_NAME_LENGTH:
        errors.add(path, f"must not be greater than {MAX_NAME_LENGTH} characters")
    elif name == identity_field and (value is None or value == ""):
        errors.add(path, "is required")
    elif name in (identity_field, *IDENTIFIER_ATTRIBUTES) and not _identifies(name, value):
        errors.add(path, f"must be a valid {name}")


def _identifies(name: str, value: Any) -> bool:
    return value is None or normalize_identifier(name, value) is not None


def _check_field(body: Any, path: str, errors: Errors, *, is_new: bool) -> None:
    prefix = f"{path}." if path else ""
    if not isinstance(body, dict):
        errors.add(path, "must be an object")
        return
    for name in ("name", "type"):
        value = body.get(name)
        if value is None and (is_new or name in body):
            errors.add(f"{prefix}{name}", "is required")
        elif value is not None and not isinstance(value, str):
            errors.add(f"{prefix}{name}", "must be a string")
    if body.get("format") is not None and not isinstance(body["format"], dict):
        errors.add(f"{prefix}format", "must be an object")


def _field_body(body: Mapping[str, Any]) -> FieldBody:
    return FieldBody(
        given=frozenset(body),
        name=body.get("name"),
        type=body.get("type"),
        # The SDK's models spell out every key that they do not use as null.
        format={key: value for key, value in (body.get("format") or {}).items() if value is not None} or None,
    )


def _integer(query: QueryDict, name: str, default: int, errors: Errors) -> int:
    text = query.get(name, "").strip()
    if not text:
        return default
    if not _INTEGER.fullmatch(text):
        errors.add(name, "must be an integer")
        return default
    return int(text)


def _sorting(index: int, text: str) -> bool:
    value = _json(text, f"sorting.{index}")
    if not isinstance(value, dict):
        raise invalid({f"sorting.{index}": [f"The sorting.{index} field must be an object."]})
    if value.get("id") != "created_at":
        raise invalid({f"sorting.{index}.id": [f"The selected sorting.{index}.id is invalid."]})
    if not isinstance(value.get("desc", False), bool):
        raise invalid({f"sorting.{index}.desc": [f"The sorting.{index}.desc field must be true or false."]})
    return bool(value.get("desc", False))


def _filtered_types(value: Any) -> frozenset[str]:
    if not isinstance(value, dict) or value.get("id") != "type":
        raise invalid({"filters": ["The selected filters.id is invalid."]})
    types = value.get("value")
    wanted = types if isinstance(types, list) else [types]
    if not wanted or not all(isinstance(one, str) and one in Field.Type.values for one in wanted):
        raise invalid({"filters": ["The selected filters.value is invalid."]})
    return frozenset(wanted)


def _json(text: str, name: str) -> Any:
    try:
        return parse_json(text)
    except ParseError as error:
        raise invalid({name: [f"The {name} field must be a valid JSON string."]}) from error
