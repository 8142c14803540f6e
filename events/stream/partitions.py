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

LASTING_MONTHS = 2
"""Months back whose partitions are known to stay: of older ones every insert asks whether they are there."""
_PREFIX = "events_event_y"
_OLDEST = "events_event_before_y"

Month = tuple[int, int]

_known: set[Month] = set()
_is_hidden: ContextVar[bool] = ContextVar("stream_is_hidden", default=False)


def ensure_partitions(moments: Iterable[datetime]) -> None:
    """Make the partitions that events of these moments need, in the transaction that inserts them.

    Costs nothing where they are known to exist. Nothing is known of months that may be dropped: each time they are
    asked for, and those that are there are held until the transaction's end.
    """
    first = _first_lasting_month()
    months = {(moment.year, moment.month) for moment in moments}
    missing = {month for month in months if month < first or month not in _known}
    if not missing or _is_hidden.get():
        return
    lasting = {month for month in missing if month >= first}
    if len(lasting) < len(missing):
        missing = _lacking(missing)
    if missing:
        _create(missing)
    transaction.on_commit(lambda: _known.update(lasting))


def is_droppable(month: Month) -> bool:
    """Return whether a month's partition may be dropped: no insert goes by its being there, not since yesterday."""
    return month < _shift(_first_lasting_month(), -1)


def _first_lasting_month() -> Month:
    return _shift(_month_of(clock.now()), -LASTING_MONTHS)


def _lacking(months: set[Month]) -> set[Month]:
    """Return the months without a partition. Nobody drops the others' until the transaction's end."""
    with transaction.atomic(savepoint=False), connection.cursor() as cursor:
        # What an insert takes anyhow.
        cursor.execute("LOCK TABLE ONLY events_event IN ROW EXCLUSIVE MODE")
        cursor.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'events_event'::regclass"
        )
        names = [name for (name,) in cursor.fetchall()]
    horizon = max((month_of_partition(name) for name in names if is_oldest(name)), default=(0, 0))
    own = {month_of_partition(name) for name in names if not is_oldest(name)}
    return {month for month in months - own if month >= horizon}


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
                _attach(cursor, f"{_PREFIX}{month[0]:04}m{month[1]:02}", month, _shift(month, 1))


def _horizon(cursor: CursorWrapper) -> Month:
    """Return the first month with a partition of its own, fixed when the stream is made."""
    cursor.execute(
        "SELECT relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace"
        # Its indexes are named after it, and may stand before it.
        f" WHERE relname LIKE '{_OLDEST}%%' AND relkind = 'r' AND nspname = current_schema()"
    )
    if row := cursor.fetchone():
        return month_of_partition(row[0])
    horizon = _shift(_month_of(clock.now()), -HORIZON_MONTHS)
    _attach(cursor, f"{_OLDEST}{horizon[0]:04}m{horizon[1]:02}", None, horizon)
    return horizon


def is_oldest(name: str) -> bool:
    """Return whether a partition is the one for all that is older than the months."""
    return name.startswith(_OLDEST)


def month_of_partition(name: str) -> Month:
    """Return the month in a partition's name: its own, or the first that has one of its own."""
    year, month = name.removeprefix(_OLDEST).removeprefix(_PREFIX).split("m")
    return int(year), int(month)


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
