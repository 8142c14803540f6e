"""Bounds on event ids for times: which ids (UUIDv7) the events of a time can have.

An id carries the time as its sender told it, so that a repeat comes to the same id. A sender's clock may be ahead;
such an event happened at its receipt. So an id's time is that of its event, or up to the tolerance later.
"""

from datetime import datetime, timedelta
from uuid import UUID

from config.ids import first_id_at

CLOCK_TOLERANCE = timedelta(minutes=5)
"""How far a clock may be ahead of another: a sender's of ours, one process's of another's."""
_MILLISECOND = timedelta(milliseconds=1)


# Both bound a search, so that it passes over the months outside. What is in it, `occurred_at` alone decides.


def first_id_of_events(since: datetime) -> UUID:
    """Return the smallest id that an event at or after a time can have."""
    return first_id_at(since)


def end_id_of_events(until: datetime) -> UUID:
    """Return an id greater than any that an event at or before a time can have."""
    return first_id_at(until + CLOCK_TOLERANCE + _MILLISECOND)


def known_until(now: datetime) -> datetime:
    """Return the time up to which stored events count as happened by now.

    Nothing is recorded before it has happened. What seems to lie ahead was recorded by a process whose clock is,
    or by this one before its clock was set back.
    """
    return now + CLOCK_TOLERANCE


def in_milliseconds(moment: datetime) -> datetime:
    """Truncate a time to milliseconds, the precision of ids and answers."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
