"""When a call happened, by a client's clock that may be wrong."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from config.values.datetimes import parse_timestamp
from events.id_bounds import CLOCK_TOLERANCE

MAX_DELAY = timedelta(days=365)
"""How long before it was sent something may have happened, by a clock that is wrong."""

Moment = tuple[datetime | None, bool]
"""A time, None for now, and whether it is another than the client said."""


def moment_of(call: Mapping[str, Any], sent_at: datetime | None, received_at: datetime) -> Moment:
    """Return when a call happened: `receivedAt - (sentAt - timestamp)`, where the clock is wrong.

    A clock that is off by less than CLOCK_TOLERANCE is right: what remains is the way of the request, and the time
    as sent names the event when it is sent again. With an `originalTimestamp` beside it, which RudderStack's clients
    send, `timestamp` is none of the clock's.
    """
    said, original = parse_timestamp(call.get("timestamp")), parse_timestamp(call.get("originalTimestamp"))
    moment = said or original
    if moment is None:
        return None, False
    is_of_clock = said is None or original is None
    if is_of_clock and sent_at is not None and abs(received_at - sent_at) > CLOCK_TOLERANCE:
        delay = max(sent_at - moment, timedelta())
        if delay <= MAX_DELAY:
            return received_at - delay, True
    # What has not happened yet is taken for what happens now.
    return (None, False) if moment > received_at + CLOCK_TOLERANCE else (moment, False)
