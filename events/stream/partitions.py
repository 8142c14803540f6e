"""The stream's monthly partitions, by the time that its ids carry."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from config import clock
from config.ids import first_id_at

MONTHS_AHEAD = 12
HORIZON_MONTHS = 60
"""Months back that have a partition of their own; one partition takes everything older."""

Month = tuple[int, int]

_known: set[Month] = set()
_is_hidden: ContextVar[bool] = ContextVar("stream_is_hidden", default=False)


def ensure_partitions(moments: Iterable[datetime]) -> None:
    """Make the partitions that events of these moments need. Costs nothing where they are known to exist."""
    missing = {(moment.year, moment.month) for moment in moments} - _known
    if missing and not _is_hidden.get():
        _create(missing)
        transaction.on_commit(lambda: _known.update(missing))


@contextmanager
def no_partitions() -> Iterator[None]:
    """Make none in the block, where a temporary relation hides the stream."""
    token = _is_hidden.set(True)
    try:
        yield
    finally:
        _is_hidden.reset(token)


def make_partitions() -> None:
    """Make last month's partition, this one's and those of the year ahead, and the one for all that is older."""
    today = _month_of(clock.now())
    _create({_shift(today, offset) for offset in range(-1, MONTHS_AHEAD + 1)})


def _create(months: set[Month]) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('events_event partitions'))")
        horizon = _horizon(cursor)
        for month in sorted(months):
            if month >= horizon:
                _attach(cursor, f"events_event_y{month[0]:04}m{month[1]:02}", month, _shift(month, 1))


def _horizon(cursor: CursorWrapper) -> Month:
    """Return the first month with a partition of its own, fixed when the stream is made."""
    cursor.execute(
        "SELECT relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace"
        # Its indexes are named after it, and may stand before it.
        " WHERE relname LIKE 'events_event_before_y%%' AND relkind = 'r' AND nspname = current_schema()"
    )
    if row := cursor.fetchone():
        year, month = row[0].removeprefix("events_event_before_y").split("m")
        return int(year), int(month)
    horizon = _shift(_month_of(clock.now()), -HORIZON_MONTHS)
    _attach(cursor, f"events_event_before_y{horizon[0]:04}m{horizon[1]:02}", None, horizon)
    return horizon


def _attach(cursor: CursorWrapper, name: str, start: Month | None, end: Month) -> None:
    # Attaching takes a lock that lets others write on; CREATE TABLE … PARTITION OF takes one that does not.
    lower = "MINVALUE" if start is None else f"'{first_id_at(_start_of(start))}'"
    cursor.execute("SELECT to_regclass(%s)", [name])
    if cursor.fetchone()[0] is None:
        cursor.execute(
            f"CREATE TABLE {name} (LIKE events_event INCLUDING ALL);"
            f" ALTER TABLE events_event ATTACH PARTITION {name}"
            f" FOR VALUES FROM ({lower}) TO ('{first_id_at(_start_of(end))}')"
        )


def _month_of(moment: datetime) -> Month:
    return moment.year, moment.month


def _start_of(month: Month) -> datetime:
    return datetime(month[0], month[1], 1, tzinfo=UTC)


def _shift(month: Month, months: int) -> Month:
    year, index = divmod(month[0] * 12 + month[1] - 1 + months, 12)
    return year, index + 1
