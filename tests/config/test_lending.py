"""Connections are lent to requests that use the database, and to no others."""

import threading

import pytest
from django.db import connection, connections

from config import lending
from config.lending import ConnectionLender


@pytest.fixture
def lender(monkeypatch):
    monkeypatch.setattr(connections, "create_connection", connections.create_connection)
    lender = ConnectionLender(1)
    yield lender
    lender.close()


def in_thread(work):
    """Run `work` in a thread of its own, as a request is, and return what it returns."""
    result = []
    thread = threading.Thread(target=lambda: result.append(work()))
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    return result[0]


def ask():
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return cursor.fetchone()[0]


@pytest.mark.django_db(transaction=True)
def test_a_request_that_asks_for_nothing_takes_no_connection(lender):
    inside, leave = threading.Event(), threading.Event()

    def idle():
        with lender.request():
            inside.set()
            leave.wait(10)
        return True

    def busy():
        with lender.request():
            return ask()

    waiting = threading.Thread(target=idle)
    waiting.start()
    assert inside.wait(10)
    assert in_thread(busy)
    leave.set()
    waiting.join(10)


@pytest.mark.django_db(transaction=True)
def test_the_connection_is_lent_again_and_again(lender):
    def request():
        with lender.request():
            return ask()

    first = in_thread(request)
    assert in_thread(request) == first


@pytest.mark.django_db(transaction=True)
def test_who_waits_gives_the_connection_back(lender):
    def request():
        with lender.request():
            first = ask()
            lending.give_back()
            # The only connection there is serves another meanwhile.
            assert in_thread(other) == first
            return ask() == first

    def other():
        with lender.request():
            return ask()

    assert in_thread(request)


@pytest.mark.django_db(transaction=True)
def test_a_connection_that_was_cut_while_it_idled_is_not_lent(lender, monkeypatch):
    monkeypatch.setattr(lending, "_IDLE_SECONDS", 0.0)

    def request():
        with lender.request():
            return ask()

    cut = in_thread(request)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [cut])
    assert in_thread(request) != cut


def test_outside_requests_connections_are_django_s_own(lender):
    assert in_thread(lambda: hasattr(lending._thread, "borrowed")) is False
