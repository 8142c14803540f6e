"""All of Headrace over a PostgreSQL, a Redis and a RabbitMQ that it did not start itself."""

import signal
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psutil
import psycopg
import pytest

from tests.config.runtime.test_supervisor import wait_for
from tests.proof.system import WORKER, Client, Senders, System, check_once, child_of, lives
from tests.servers.conftest import Broker

OUTAGE_SECONDS = 6
PAUSE_SECONDS = 1.5
VISIT = "visit"
# A worker looks for a lost broker every 2, 4, 6 ... seconds.
CATCH_UP_SECONDS = 30


class ServerSystem(System):
    """A Headrace whose database is elsewhere."""

    def __init__(self, home: Path, database: str, broker_settings: dict[str, str]) -> None:
        self.database = database
        super().__init__(home, DATABASE_URL=database, **broker_settings)

    def connect(self) -> psycopg.Connection:
        """Open a connection to the database."""
        return psycopg.connect(self.database)

    def socket_directory(self) -> str:
        """Return the home: no server of its own has a socket."""
        return str(self.home)

    def end_connections(self) -> None:
        """Break every connection to the database, as its restart does."""
        with self.connect() as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )


@pytest.fixture
def system(tmp_path: Path, database: str, broker: Broker) -> Iterator[ServerSystem]:
    yield from running(ServerSystem(tmp_path / "home", database, broker.settings))


@pytest.fixture
def brokerless(tmp_path: Path, database: str) -> Iterator[ServerSystem]:
    """Run with the queue in the same PostgreSQL."""
    yield from running(ServerSystem(tmp_path / "home", database, {"CELERY_BROKER_URL": "pgmq://localhost"}))


def running(system: ServerSystem) -> Iterator[ServerSystem]:
    yield system
    if system.process.poll() is None:
        system.stop(signal.SIGTERM)
    wait_for(lambda: not system.remains(), 15)


def test_no_database_of_its_own_is_started(system: ServerSystem) -> None:
    assert "postgres" not in {path.name for path in system.home.iterdir()}
    assert system.stop() < 5
    assert system.process.returncode == 0
    assert system.remains() == []


def test_a_wake_up_moves_the_score_before_any_sweep_could(system: ServerSystem) -> None:
    check_wake_ups(system)


def test_every_acknowledged_event_is_scored_once_whatever_is_killed(system: ServerSystem) -> None:
    check_kills(system)


def test_without_a_broker_the_same_postgresql_is_the_queue(brokerless: ServerSystem) -> None:
    check_kills(brokerless)
    check_wake_ups(brokerless)


@pytest.mark.parametrize("outage", ["refused", "silent", "forgetful"])
def test_sends_do_not_wait_for_a_lost_broker_and_effects_catch_up(
    outage: str, system: ServerSystem, broker: Broker
) -> None:
    contacts = system.prepare(20)
    with Senders(system, contacts, count=2) as senders:
        time.sleep(2)
        broker.relay.hush() if outage == "silent" else broker.relay.cut()
        if outage == "forgetful":
            broker.forget()
        time.sleep(OUTAGE_SECONDS)
        assert system.rows("SELECT count(*) FROM events_eventbatch") > [(0,)]
        broker.relay.heal()
        time.sleep(2)
    times = [seconds for client in senders.clients for seconds in client.times]
    assert sum(client.retries for client in senders.clients) == 0
    assert statistics.median(times) < 0.1
    assert max(times) < 1
    system.wait_for_effects(CATCH_UP_SECONDS)
    check_once(system, senders)

    check_wake_ups(system)


def check_kills(system: ServerSystem) -> None:
    """Prove that every acknowledged event is scored once while processes and connections are broken."""
    killings: list[Callable[[], psutil.Process]] = [
        lambda: system.child(WORKER),
        lambda: child_of(system, "granian"),
        lambda: system.child(WORKER),
        lambda: system.child("config.runtime.beat beat"),
        lambda: system.child("granian"),
        lambda: system.child(WORKER),
    ]
    with Senders(system, system.prepare(24), count=4) as senders:
        for find in killings:
            time.sleep(PAUSE_SECONDS)
            victim = find()
            victim.kill()
            wait_for(lambda victim=victim: not lives(victim), 10)
        time.sleep(PAUSE_SECONDS)
        system.end_connections()
        time.sleep(2 * PAUSE_SECONDS)
    system.wait_for_effects(60)
    assert len(senders.acknowledged) > 200
    check_once(system, senders)


def check_wake_ups(system: ServerSystem) -> None:
    """Prove that a score moves sooner than the sweep, every five seconds, would move it."""
    with closing(Client(system)) as client:
        client.post("scoring-rules", {"name": "Visit", "eventType": VISIT, "delta": 1})
        contact = client.post("contacts", {"email": "late@example.com"})["id"]
        delays = [delay_of_score(system, client, contact, points) for points in range(1, 16)]
    assert statistics.median(delays) < 1, delays


def delay_of_score(system: ServerSystem, client: Client, contact: str, points: int) -> float:
    """Send an event; return how many seconds later the score counts it."""
    client.post("events", {"type": VISIT, "contactId": contact})
    began = time.monotonic()
    score = f"SELECT points::int FROM contacts_contactscore WHERE contact_id = '{contact}'"
    wait_for(lambda: system.rows(score) == [(points,)], 20)
    return time.monotonic() - began
