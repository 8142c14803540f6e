"""TimestampCache that are read by the thousand: as numbers, for the driver takes its time with each text of one."""

from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def epoch_microseconds(column: str) -> str:
    """Return the SQL of a timestamp as whole microseconds since 1970."""
    return f"(extract(epoch FROM {column}) * 1000000)::bigint"


class TimestampCache(dict[int, datetime]):
    """The moments of such numbers, each made once: many events share theirs."""

    def __missing__(self, microseconds: int) -> datetime:
        """Make a moment, and keep it."""
        moment = self[microseconds] = _EPOCH + timedelta(microseconds=microseconds)
        return moment
