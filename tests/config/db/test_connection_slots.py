"""Connections are lent to requests that use the database, and to no others."""

import os
import signal
import threading
import time
from contextlib import contextmanager

import pytest
from django.db import OperationalError, connection, connections, transaction

from config.db import connection_slots
from config.db.connection_slots import ConnectionPool
from config.errors import Overloaded
from config.observability.metrics.counters import Connections
from tests.config.runtime.test_supervisor import wait_for


@pytest.fixture
def pool(monkeypatch):
    monkeypatch.setattr(connections, "create_connection", connections.create_connection)
    pool = ConnectionPool(1)
    yield pool
    pool.close()


def in_thread(work):
    """Run `work` in a thread of its own, as a request is, and return what it returns."""
    result = []
    thread = threading.Thread(target=lambda: result.append(work()))
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    return result[0]


@contextmanager
def request_of(pool):
    pool.begin()
    try:
        yield
    finally:
        pool.end()


def ask():
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return cursor.fetchone()[0]


@pytest.mark.django_db(transaction=True)
def test_a_request_that_asks_for_nothing_takes_no_connection(pool):
    inside, leave = threading.Event(), threading.Event()

    def idle():
        with request_of(pool):
            inside.set()
            leave.wait(10)
        return True

    def busy():
        with request_of(pool):
            return ask()

    waiting = threading.Thread(target=idle)
    waiting.start()
    assert inside.wait(10)
    assert in_thread(busy)
    leave.set()
    waiting.join(10)


@pytest.mark.django_db(transaction=True)
def test_the_connection_is_lent_again_and_again(pool):
    def request():
        with request_of(pool):
            return ask()

    first = in_thread(request)
    assert in_thread(request) == first


@pytest.mark.django_db(transaction=True)
def test_who_waits_gives_the_connection_back(pool):
    def request():
        with request_of(pool):
            first = ask()
            connection_slots.release_connection()
            # The only connection there is serves another meanwhile.
            assert in_thread(other) == first
            return ask() == first

    def other():
        with request_of(pool):
            return ask()

    assert in_thread(request)


@pytest.mark.django_db(transaction=True)
def test_a_connection_that_was_cut_while_it_idled_is_not_lent(pool, monkeypatch):
    monkeypatch.setattr(connection_slots, "_IDLE_SECONDS", 0.0)

    def request():
        with request_of(pool):
            return ask()

    cut = in_thread(request)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [cut])
    assert in_thread(request) != cut


def test_outside_requests_connections_are_django_s_own(pool):
    assert in_thread(lambda: hasattr(connection_slots._thread, "borrowed")) is False


class Requests:
    """Requests that each hold a connection until they are told to go."""

    def __init__(self, pool):
        self.pool = pool
        self.threads = []
        self.go = threading.Event()
        self.served = []

    def begin(self, *, workspace=None, route=None, is_ingest=False):
        """Begin one; it is served at once, or waits."""
        thread = threading.Thread(target=self._run, args=[workspace, route, is_ingest])
        thread.start()
        self.threads.append(thread)

    def wait_until_served(self, count):
        deadline = time.monotonic() + 10
        while len(self.served) < count:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def _run(self, workspace, route, is_ingest):
        with request_of(self.pool):
            connection_slots.is_for(route, is_ingest=is_ingest)
            if workspace is not None:
                connection_slots.belongs_to(workspace)
            try:
                ask()
                self.served.append(workspace)
                self.go.wait(10)
            except Overloaded:
                self.served.append("refused")


@pytest.fixture
def requests_of():
    made = []

    def begin(pool):
        made.append(Requests(pool))
        return made[-1]

    yield begin
    for requests in made:
        requests.go.set()
        for thread in requests.threads:
            thread.join(20)


@pytest.fixture
def lender_of(monkeypatch):
    monkeypatch.setattr(connections, "create_connection", connections.create_connection)
    made = []

    def make(size, **options):
        made.append(ConnectionPool(size, **options))
        return made[-1]

    yield make
    for pool in made:
        pool.close()


@pytest.mark.django_db(transaction=True)
def test_no_workspace_holds_more_than_its_share(lender_of, requests_of):
    requests = requests_of(lender_of(4, share=2, wait_seconds=0.5))
    for _ in range(5):
        requests.begin(workspace="ada")
    requests.wait_until_served(2)
    requests.begin(workspace="bob")
    requests.begin(workspace="bob")
    requests.wait_until_served(4)
    assert sorted(requests.served) == ["ada", "ada", "bob", "bob"]
    requests.wait_until_served(7)
    assert requests.served.count("refused") == 3


@pytest.mark.django_db(transaction=True)
def test_whose_share_is_full_gives_back_what_the_credential_was_read_by(lender_of):
    pool = lender_of(2, share=1, wait_seconds=0.1)

    def second():
        with request_of(pool):
            ask()  # who is it?
            connection_slots.belongs_to("ada")
            assert len(pool._free) == 1
            with pytest.raises(Overloaded):
                ask()
        return True

    with request_of(pool):
        connection_slots.belongs_to("ada")
        assert in_thread(lambda: first_holds(pool, second))


def first_holds(pool, second):
    with request_of(pool):
        connection_slots.belongs_to("ada")
        ask()
        return in_thread(second)


@pytest.mark.django_db(transaction=True)
def test_no_route_holds_all(lender_of, requests_of):
    requests = requests_of(lender_of(3, wait_seconds=10))
    for place in range(6):
        requests.begin(workspace=f"tenant {place}", route="rules")
    requests.wait_until_served(2)
    requests.begin(workspace="other", route="contacts")
    requests.wait_until_served(3)
    assert "other" in requests.served


@pytest.mark.django_db(transaction=True)
def test_requests_that_record_events_have_connections_that_no_other_takes(lender_of, requests_of):
    requests = requests_of(lender_of(2, ingest=1, wait_seconds=0.2))
    for _ in range(4):
        requests.begin()
    requests.wait_until_served(4)
    assert requests.served.count("refused") == 2
    requests.begin(workspace="ada", is_ingest=True)
    requests.wait_until_served(5)
    assert requests.served[-1] == "ada"


@pytest.mark.django_db(transaction=True)
def test_a_workspace_has_a_share_of_the_requests(lender_of):
    pool = lender_of(1, most_of_workspace=1)

    def another():
        with request_of(pool), pytest.raises(Overloaded):
            connection_slots.belongs_to("ada")
        with request_of(pool):
            connection_slots.belongs_to("bob")
        return True

    def request():
        with request_of(pool):
            connection_slots.belongs_to("ada")
            return in_thread(another)

    assert in_thread(request)
    assert in_thread(request)
    assert not pool._present


@pytest.mark.django_db(transaction=True)
def test_past_a_bound_nobody_waits(lender_of, requests_of):
    requests = requests_of(lender_of(1, wait_seconds=10, most_waiting=1))
    requests.begin(workspace="first")
    requests.wait_until_served(1)
    for _ in range(3):
        requests.begin()
    requests.wait_until_served(3)
    assert requests.served == ["first", "refused", "refused"]


@pytest.mark.django_db(transaction=True)
def test_its_state_is_told(lender_of, requests_of):
    pool = lender_of(1, ingest=1, wait_seconds=10, most_waiting=1)
    requests = requests_of(pool)
    assert pool.state() == Connections(slots=2)
    requests.begin()
    requests.wait_until_served(1)
    requests.begin()
    wait_for(lambda: pool.waiting == 1, 10)
    requests.begin()
    requests.wait_until_served(2)
    assert pool.state() == Connections(slots=2, lent=1, awaited=1, waits=1, refusals=1)
    requests.go.set()
    requests.wait_until_served(3)
    wait_for(lambda: pool.state() == Connections(slots=2, waits=1, refusals=1), 10)
    pool._wait_seconds = 0.0
    impatient = requests_of(pool)
    for count in (1, 2):
        impatient.begin()
        impatient.wait_until_served(count)
    assert impatient.served[1] == "refused"
    assert pool.state().refusals == 2


@pytest.mark.django_db(transaction=True)
def test_who_waited_is_served_in_turn(lender_of, requests_of):
    pool = lender_of(1, wait_seconds=10)
    requests = requests_of(pool)
    requests.begin(workspace="first")
    requests.wait_until_served(1)
    for place in range(3):
        requests.begin(workspace=f"{place}")
        wait_for(lambda place=place: pool.waiting == place + 1, 10)
    requests.go.set()
    requests.wait_until_served(4)
    assert requests.served == ["first", "0", "1", "2"]
    assert pool.waiting == 0


@pytest.mark.django_db(transaction=True)
def test_a_request_asks_nothing_past_its_deadline(lender_of):
    pool = lender_of(1, request_seconds=0.5)

    def request():
        with request_of(pool), connection.cursor() as cursor:
            began = time.monotonic()
            with pytest.raises(OperationalError, match="did not answer"):
                cursor.execute("SELECT pg_sleep(20)")
            return time.monotonic() - began

    assert in_thread(request) < 5
    # The connection is another's from now on.
    assert in_thread(lambda: bool(request_and_ask(pool)))
    # And the statement is cancelled, not only left alone.
    with connection.cursor() as cursor:
        wait_for(lambda: not sleepers(cursor), 10)


def request_and_ask(pool):
    with request_of(pool):
        return ask()


def sleepers(cursor):
    cursor.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT pg_sleep%%'"
    )
    return cursor.fetchone()[0]


@pytest.mark.django_db(transaction=True)
def test_only_what_has_done_nothing_may_be_done_again(pool):
    def request(*, asks_before):
        checkout = pool.begin()
        try:
            if asks_before:
                ask()
            else:
                connection.ensure_connection()
            assert not checkout.is_lost()
            backend = connection.connection.info.backend_pid
            assert in_thread(lambda: cut(backend))
            with pytest.raises(OperationalError):
                ask()
            return checkout.is_lost(), checkout.is_untouched_by_database()
        finally:
            pool.end()

    def cut(backend):
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s)", [backend])
        connection.close()
        return True

    assert in_thread(lambda: request(asks_before=False)) == (True, True)
    assert in_thread(lambda: request(asks_before=True)) == (True, False)


@pytest.mark.django_db(transaction=True)
def test_a_connection_that_broke_in_a_transaction_is_lost_though_django_has_another(pool):
    @transaction.atomic
    def break_off():
        ask()
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    def request():
        checkout = pool.begin()
        try:
            with pytest.raises(OperationalError):
                break_off()
            return connection.connection is not None, checkout.is_lost(), checkout.has_committed
        finally:
            pool.end()

    assert in_thread(request) == (True, True, False)
    assert in_thread(request) == (True, True, False)


@pytest.mark.django_db(transaction=True)
def test_what_has_asked_for_its_commit_is_not_taken_for_a_reader(pool):
    def request(*, writes):
        checkout = pool.begin()
        try:
            ask()
            if writes:
                with transaction.atomic():
                    ask()
            return checkout.has_committed
        finally:
            pool.end()

    assert in_thread(lambda: [request(writes=True), request(writes=False)]) == [True, False]


@pytest.mark.django_db(transaction=True)
def test_a_transaction_that_was_left_open_is_nobody_else_s(pool):
    def request():
        with request_of(pool):
            left_open.__enter__()
            return ask()

    left_open = transaction.atomic()
    first = in_thread(request)
    for _ in range(2):
        assert in_thread(lambda: request_and_ask(pool)) != first
    assert len(pool._free) == 1
    assert not pool._held


@pytest.mark.django_db(transaction=True)
def test_a_connection_whose_test_fails_is_not_lost(pool, monkeypatch):
    def request():
        with request_of(pool):
            for _ in range(2):
                with pytest.raises(SystemExit):
                    ask()
        return True

    assert in_thread(lambda: request_and_ask(pool))
    monkeypatch.setattr(connection_slots, "_IDLE_SECONDS", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(type(connections["default"]), "is_usable", lambda self: sys_exit())
        assert in_thread(request)
    assert in_thread(lambda: request_and_ask(pool))


def sys_exit():
    raise SystemExit


@pytest.mark.django_db(transaction=True)
def test_a_connection_that_does_not_answer_its_test_is_left(pool, monkeypatch):
    first = in_thread(lambda: request_and_ask(pool))
    monkeypatch.setattr(connection_slots, "_IDLE_SECONDS", 0.0)
    monkeypatch.setattr(connection_slots, "_TEST_SECONDS", 0.2)
    os.kill(first, signal.SIGSTOP)
    try:
        assert in_thread(lambda: request_and_ask(pool)) != first
    finally:
        os.kill(first, signal.SIGCONT)


@pytest.mark.django_db(transaction=True)
def test_nothing_is_kept_of_workspaces_that_are_gone(lender_of):
    pool = lender_of(2)

    def requests():
        for place in range(20):
            with request_of(pool):
                connection_slots.is_for(f"route {place}")
                connection_slots.belongs_to(f"workspace {place}")
                ask()
        return True

    assert in_thread(requests)
    assert (pool._held, pool._present) == ({}, {})
