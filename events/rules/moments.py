"""Durations and moments as rules spell them."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

LONGEST = timedelta(days=3660)
_DURATION = re.compile(r"([+-]?)(\d{1,7})([smhdw])", re.ASCII)
# The same that the database's events_moment reads.
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:?\d\d)?)?", re.ASCII)
_UNITS = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}


@dataclass(frozen=True, slots=True)
class Offset:
    """A moment that goes with the clock: now plus `length`, which may be negative."""

    length: timedelta


def read_duration(text: object) -> timedelta | None:
    """Return the length that `text` spells ("7d", "24h", "-30d", "+3d"), None if it spells none."""
    match = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        return None
    sign, number, unit = match.groups()
    length = int(number) * _UNITS[unit]
    if length > LONGEST:
        return None
    return -length if sign == "-" else length


def read_moment(text: object) -> datetime | Offset | None:
    """Return the moment of an ISO 8601 date or date-time (UTC if it names no zone), "now", "-7d" or "+3d"."""
    if not isinstance(text, str):
        return None
    if text == "now":
        return Offset(timedelta())
    if text[:1] in ("+", "-"):
        length = read_duration(text)
        return None if length is None else Offset(length)
    return _read_absolute(text)


def spells_moment(value: object) -> bool:
    """Tell whether a value is a date or a date-time as people and systems exchange them: `2026-01-31T12:00:00Z`."""
    return isinstance(value, str) and _MOMENT.fullmatch(value) is not None and read_moment(value) is not None


def _read_absolute(text: str) -> datetime | None:
    try:
        if len(text) == 10:
            return datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC)
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
