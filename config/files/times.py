"""Times of rows: ISO 8601, Unix seconds and milliseconds, or a format that is named."""

import re
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Final

from config.files.errors import RowRefused
from config.values.datetimes import parse_timestamp

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS: Final = {"unix": 1_000_000, "unix-ms": 1_000, "unix-us": 1}
"""Microseconds of a unit."""
# As many digits as times from 2001 to 2286 have.
_UNIX: Final = re.compile(r"(\d{10})(?:\.\d+)?|(\d{13})(?:\.\d+)?|(\d{16})(?:\.\d+)?", re.ASCII)
_NUMBER: Final = re.compile(r"([+-]?)(\d{1,20})(?:\.(\d*))?", re.ASCII)
_FRACTION_DIGITS: Final = 9
_AMBIGUOUS: Final = re.compile(r"\d{1,2}([./-])\d{1,2}\1(?:\d{4}|\d\d)\b.*", re.ASCII)


def parse_time(value: Any, column: str, format: str = "", zone: tzinfo = UTC) -> datetime:
    """Return a time, aware. `format`: iso, unix, unix-ms, unix-us or one of strptime; without one it is recognised.

    `zone` is that of times that name none. Raises RowRefused with the cause.
    """
    # As nearly all files have it.
    is_usual = type(value) is str and not format and zone is UTC and value[4:5] == "-"
    if is_usual and (moment := parse_timestamp(value)) is not None:
        return moment
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=zone)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise RowRefused(f"{column} must be a time")
    text = value.strip() if isinstance(value, str) else repr(value)
    try:
        if format in _UNITS:
            return _EPOCH + timedelta(microseconds=_microseconds(text, _UNITS[format]))
        if format and format != "iso":
            read = datetime.strptime(text, format)  # noqa: DTZ007  (the zone follows)
            return read if read.tzinfo else read.replace(tzinfo=zone)
        found = _UNIX.fullmatch(text) if not format else None
    except (ValueError, OverflowError, re.error) as error:
        raise RowRefused(f"{column}: {text[:100]!r} is no time of the format {format}") from error
    if found is not None:
        unit = "unix" if found[1] else "unix-ms" if found[2] else "unix-us"
        return _EPOCH + timedelta(microseconds=_microseconds(text, _UNITS[unit]))
    if (moment := _iso(text, zone)) is not None:
        return moment
    if _AMBIGUOUS.fullmatch(text):
        raise RowRefused(
            f"{column}: {text[:100]!r} may name the day or the month first:"
            " a map has to say which, as in format: '%d/%m/%Y'"
        )
    raise RowRefused(
        f"{column}: {text[:100]!r} is no time of ISO 8601, nor Unix seconds or milliseconds:"
        " a map can name its format"
    )


def _microseconds(text: str, unit: int) -> int:
    """Return a number of units in microseconds, cut to these. Raises ValueError."""
    if (found := _NUMBER.fullmatch(text)) is None:
        raise ValueError(text)
    sign, whole, fraction = found.groups(default="")
    parts = int(fraction[:_FRACTION_DIGITS].ljust(_FRACTION_DIGITS, "0"))
    number = int(whole) * unit + parts * unit // 10**_FRACTION_DIGITS
    return -number if sign == "-" else number


def _iso(text: str, zone: tzinfo) -> datetime | None:
    # As BigQuery has it.
    text = f"{text[:-4]}Z" if text.endswith(" UTC") else text
    moment = parse_timestamp(text)
    if moment is None or zone is UTC or _has_zone(text):
        return moment
    return moment.replace(tzinfo=zone)


def _has_zone(text: str) -> bool:
    return re.search(r"(?:[Zz]|[+-]\d\d(?::?\d\d)?)$", text[10:]) is not None
