"""JSON and moments as the native format writes them."""

from datetime import UTC, datetime
from typing import Any

import orjson


def dumps(value: Any) -> bytes:
    """Return `value` as compact JSON; datetimes as the native format writes them."""
    return orjson.dumps(
        value, default=_default, option=orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_NON_STR_KEYS
    )


def iso_millis(moment: datetime) -> str:
    """Return e.g. `2026-01-15T10:00:00.000Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def iso_micros(moment: datetime) -> str:
    """Return e.g. `2026-01-15T10:00:00.000000Z`."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _default(value: Any) -> Any:
    if isinstance(value, datetime):
        return iso_millis(value)
    return str(value)
