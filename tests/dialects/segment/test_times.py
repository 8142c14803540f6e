"""When a call happened: by the client's clock, and by ours where that is wrong."""

from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from dialects.segment.clocks import moment_of
from events.models import Event

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def iso(moment):
    return moment.isoformat().replace("+00:00", "Z")


@pytest.mark.parametrize(
    ("said", "original", "sent", "expected"),
    [
        # The clock is right, or nearly.
        (-HOUR, None, timedelta(), (-HOUR, False)),
        (-HOUR, None, timedelta(minutes=-4), (-HOUR, False)),
        (-HOUR, None, None, (-HOUR, False)),
        # It is an hour behind, ahead, a year ahead.
        (-2 * HOUR, None, -HOUR, (-HOUR, True)),
        (timedelta(), None, HOUR, (-HOUR, True)),
        (365 * DAY - HOUR, None, 365 * DAY, (-HOUR, True)),
        # It happened long ago, by a clock that is right, and by one that is not.
        (-400 * DAY, None, timedelta(), (-400 * DAY, False)),
        (-400 * DAY, None, HOUR, (-400 * DAY, False)),
        # It was sent before it happened: it happened just now.
        (-HOUR, None, -2 * HOUR, (timedelta(), True)),
        # It has not happened yet, and nothing says what the clock is.
        (HOUR, None, None, (None, False)),
        # RudderStack: the clock's time is the original one, `timestamp` is stated.
        (None, -2 * HOUR, -HOUR, (-HOUR, True)),
        (-30 * DAY, HOUR, HOUR, (-30 * DAY, False)),
        (None, None, HOUR, (None, False)),
    ],
)
def test_a_wrong_clock_is_corrected(said, original, sent, expected):
    call = {
        "timestamp": None if said is None else iso(NOW + said),
        "originalTimestamp": None if original is None else iso(NOW + original),
    }
    moment, is_estimated = moment_of(call, None if sent is None else NOW + sent, NOW)
    assert (None if moment is None else moment - NOW, is_estimated) == expected


@pytest.mark.parametrize("skew", [timedelta(), HOUR, -HOUR])
def test_a_message_id_is_recorded_once_by_any_clock(send, workspace, skew):
    happened = iso(NOW - timedelta(minutes=10) + skew)
    for seconds in (0, 3):
        with time_machine.travel(NOW + timedelta(seconds=seconds), tick=False):
            sent_at = iso(NOW + timedelta(seconds=seconds) + skew)
            call = {
                "userId": "u1",
                "event": "Paid",
                "messageId": "m1",
                "timestamp": happened,
                "sentAt": sent_at,
            }
            send("track", call)
            send("batch", {"batch": [{**call, "type": "track", "sentAt": None}], "sentAt": sent_at})
    event = Event.objects.get(workspace=workspace, source="api")
    assert event.occurred_at == NOW - timedelta(minutes=10)


def test_another_message_is_another_event(send, workspace):
    for number in (1, 2, "2"):
        send("track", {"userId": "u1", "event": "Paid", "messageId": number, "timestamp": iso(NOW - HOUR)})
    assert Event.objects.filter(workspace=workspace, source="api").count() == 2


def test_without_a_time_it_is_now_and_recorded_once(send, workspace):
    for _ in range(2):
        send("track", {"userId": "u1", "event": "Paid", "messageId": "m1"})
    event = Event.objects.get(workspace=workspace, source="api")
    assert event.occurred_at == event.received_at
