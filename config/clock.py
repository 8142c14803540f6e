"""The one source of time: every timestamp and every id takes its moment from here; tests replace it."""

from datetime import UTC, datetime


def now() -> datetime:
    """Return the current moment, aware, in UTC."""
    return datetime.now(UTC)
