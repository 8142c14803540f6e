"""JSON and timestamps as the native API writes them."""

from datetime import UTC, datetime
from typing import Any

import orjson


def dumps(value: Any) -> bytes:
    """Return `value` as compact JSON; datetimes in milliseconds, UTC."""
    return orjson.dumps(
        value, default=_default, option=orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_NON_STR_KEYS
    )


def iso_millis(at: datetime) -> str:
    """Return e.g. `2026-01-15T10:00:00.000Z`."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def iso_seconds(at: datetime) -> str:
    """Return e.g. `2026-01-15T10:00:00Z`."""
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def iso_micros(at: datetime) -> str:
    """Return e.g. `2026-01-15T10:00:00.000000Z`."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _default(value: Any) -> Any:
    if isinstance(value, datetime):
        return iso_millis(value)
    return str(value)
