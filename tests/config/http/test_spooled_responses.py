"""Large answers: written to a file first, and so many at once."""

from threading import BoundedSemaphore

import pytest
from django.core.signals import request_finished
from django.db import close_old_connections

from config.errors import Overloaded
from config.http import spooled_responses
from config.http.spooled_responses import SpooledResponse, spooled

LARGE = b"x" * (spooled_responses.WHOLE_BYTES + 1)


@pytest.fixture(autouse=True)
def slots(monkeypatch):
    slots = BoundedSemaphore(2)
    monkeypatch.setattr(spooled_responses, "_slots", slots)
    # As in a web process: see config.wsgi.
    request_finished.disconnect(close_old_connections)
    yield slots
    request_finished.connect(close_old_connections)


def write_large(write):
    write(LARGE)


def test_what_fits_is_whole():
    answer = spooled(lambda write: write(b"{") and write(b"}"))
    assert (answer.content, answer["Content-Type"]) == (b"{}", "application/json")


def test_what_does_not_is_streamed_in_parts():
    answer = spooled(write_large)
    assert isinstance(answer, SpooledResponse)
    parts = list(answer.streaming_content)
    assert (b"".join(parts), answer["Content-Length"]) == (LARGE, str(len(LARGE)))
    assert max(map(len, parts)) <= 1 << 16
    answer.close()


def test_so_many_are_under_way_at_once():
    one, two = spooled(write_large), spooled(write_large)
    with pytest.raises(Overloaded):
        spooled(write_large)
    # Closing it again gives no other slot away.
    one.close()
    one.close()
    three = spooled(write_large)
    with pytest.raises(Overloaded):
        spooled(write_large)
    for answer in (two, three):
        answer.close()


def test_an_answer_that_nobody_closes_gives_its_slot_back(slots):
    for _ in range(3):
        answer = spooled(write_large)
        answer.__del__()
    assert slots.acquire(blocking=False)


def test_what_fails_gives_its_slot_back():
    def fail(write):
        write(LARGE)
        raise ValueError

    for _ in range(3):
        with pytest.raises(ValueError):
            spooled(fail)
    assert spooled(lambda write: write(b"{}")).content == b"{}"
