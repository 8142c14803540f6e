"""Read timestamps by the thousand, as numbers: the driver parses their texts slowly."""

from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def epoch_microseconds(column: str) -> str:
    """Return SQL for a timestamp as whole microseconds since 1970."""
    return f"(extract(epoch FROM {column}) * 1000000)::bigint"


class TimestampCache(dict[int, datetime]):
    """Datetimes by microseconds since 1970, each made once: many events share a time."""

    def __missing__(self, microseconds: int) -> datetime:
        """Make the datetime, and keep it."""
        timestamp = self[microseconds] = _EPOCH + timedelta(microseconds=microseconds)
        return timestamp
