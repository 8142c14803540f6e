"""Moments in a contact's time zone: dates with offsets, yearly dates and times of day."""

from __future__ import annotations

import re
from datetime import MAXYEAR, UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from campaigns.journeys.definition.triggers import DateTrigger
from config.values.datetimes import parse_timestamp

_DAY = timedelta(days=1)


def contact_date_moment(value: object, offset: timedelta, at: time | None, zone: ZoneInfo) -> datetime | None:
    """Return the UTC moment `offset` from a contact's date, None if the value is no date.

    A date without a time begins at midnight in `zone`; `at` is a time of that day. Whole days of the offset are
    calendar days, also across changes of daylight saving time.
    """
    local = _local(value, zone)
    return None if local is None else _moved(local, offset, at, zone)


def occurrence_after(value: object, trigger: DateTrigger, zone: ZoneInfo, after: datetime) -> datetime | None:
    """Return the first moment after `after` at which a date trigger is due for a value, if any."""
    local = _local(value, zone)
    if local is None:
        return None
    if not trigger.is_yearly:
        moment = _moved(local, trigger.offset, trigger.at, zone)
        return moment if moment is not None and moment > after else None
    # Not before the date's own year: a date in 2030 has its first anniversary no earlier.
    first = max((after - trigger.offset).astimezone(zone).year - 1, local.year)
    for year in range(first, min(first + 4, MAXYEAR + 1)):
        moment = _moved(_in_year(local, year), trigger.offset, trigger.at, zone)
        if moment is not None and moment > after:
            return moment
    return None


def next_time_of_day(at: time, zone: ZoneInfo, after: datetime) -> datetime:
    """Return the first moment at or after `after` when it is this time of day in `zone`."""
    day = after.astimezone(zone).date()
    moment = datetime.combine(day, at, zone).astimezone(UTC)
    return moment if moment >= after else datetime.combine(day + _DAY, at, zone).astimezone(UTC)


def _local(value: object, zone: ZoneInfo) -> datetime | None:
    """Parse a date into naive local time of `zone`; one without an offset is local time already."""
    moment = parse_timestamp(value)
    if moment is None:
        return None
    if not _ZONE.search(str(value)):
        return moment.replace(tzinfo=None)
    try:
        return moment.astimezone(zone).replace(tzinfo=None)
    except OverflowError:
        return None


_ZONE = re.compile(r"[Tt ].*(?:[Zz]|[+-]\d\d(?::?\d\d)?)\Z", re.ASCII)


def _in_year(local: datetime, year: int) -> datetime:
    try:
        return local.replace(year=year)
    except ValueError:  # the 29th of February
        return local.replace(year=year, day=28)


def _moved(local: datetime, offset: timedelta, at: time | None, zone: ZoneInfo) -> datetime | None:
    days = timedelta(days=offset.days if offset >= timedelta() else -(-offset).days)
    try:
        local += days
        day = local if at is None else datetime.combine(local.date(), at)
        return day.replace(tzinfo=zone).astimezone(UTC) + (offset - days)
    except OverflowError:
        return None
