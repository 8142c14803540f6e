"""Correlation values: which events belong together, by a property such as an order's number."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson

from events.models import Event

_MAX_LENGTH = 200


def correlation_value_at(properties: Any, path: tuple[str, ...]) -> str | None:
    """Return the value at a path of an event's properties as text, None if it is missing or empty.

    A number equals its text, as systems differ in that. More than 200 characters are hashed.
    """
    for key in path:
        if not isinstance(properties, Mapping) or key not in properties:
            return None
        properties = properties[key]
    if properties is None or properties == "":
        return None
    text = _to_text(properties)
    return text if len(text) <= _MAX_LENGTH else f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def event_properties(workspace_id: UUID, event_ids: Collection[UUID]) -> dict[UUID, Any]:
    """Return the properties of events, by id."""
    events = Event.objects.by_ids(workspace_id, event_ids)
    return dict(events.values_list("id", "properties"))


def _to_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{Decimal(str(value)).normalize():f}"
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
