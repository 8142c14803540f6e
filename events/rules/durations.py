"""Durations ("7d") and times ("2026-01-31", "now", "-7d") as rules write them."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from config.values.datetimes import is_timestamp, parse_timestamp

__all__ = ["LONGEST", "Offset", "is_timestamp", "parse_duration", "parse_moment"]

LONGEST = timedelta(days=3660)
_DURATION = re.compile(r"([+-]?)(\d{1,7})([smhdw])", re.ASCII)
_UNITS = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}


@dataclass(frozen=True, slots=True)
class Offset:
    """A time relative to now: now plus `length`, which may be negative."""

    length: timedelta


def parse_duration(text: object) -> timedelta | None:
    """Return the length that `text` spells ("7d", "24h", "-30d", "+3d"), None if it spells none."""
    match = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        return None
    sign, number, unit = match.groups()
    length = int(number) * _UNITS[unit]
    if length > LONGEST:
        return None
    return -length if sign == "-" else length


def parse_moment(text: object) -> datetime | Offset | None:
    """Return the moment of an ISO 8601 date or date-time (UTC if it names no zone), "now", "-7d" or "+3d"."""
    if not isinstance(text, str):
        return None
    if text == "now":
        return Offset(timedelta())
    if text[:1] in ("+", "-"):
        length = parse_duration(text)
        return None if length is None else Offset(length)
    return parse_timestamp(text)
