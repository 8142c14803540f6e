"""The set-up of PGMQ's queue, by many processes at once."""

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from kombu import Queue

from config.celery import app
from config.runtime import broker

pytestmark = pytest.mark.django_db(transaction=True)
WORKERS = 4
ROUNDS = 5


@pytest.fixture
def queue():
    """Name a queue that is not there."""
    name = f"race_{uuid.uuid4().hex[:12]}"
    yield name
    with psycopg.connect(broker.django_conninfo()) as connection:
        connection.execute("SELECT pgmq.drop_queue(%s)", [name])


def set_up_at_once(queue: str) -> None:
    barrier = threading.Barrier(WORKERS)

    def set_up() -> None:
        with psycopg.connect(broker.django_conninfo(), autocommit=True) as connection:
            barrier.wait(30)
            broker.set_up(connection, queue)

    with ThreadPoolExecutor(WORKERS) as pool:
        for done in [pool.submit(set_up) for _ in range(WORKERS)]:
            done.result()


def notifies(queue: str) -> bool:
    with psycopg.connect(broker.django_conninfo(), autocommit=True) as connection:
        connection.execute(f'LISTEN "pgmq.q_{queue}.INSERT"')
        connection.execute("SELECT pgmq.send(%s, '{}')", [queue])
        return any(True for _ in connection.notifies(timeout=5, stop_after=1))


def test_with_nothing_there(queue):
    for _ in range(ROUNDS):
        with psycopg.connect(broker.django_conninfo()) as connection:
            connection.execute("DROP SCHEMA IF EXISTS pgmq CASCADE")
        set_up_at_once(queue)
    assert notifies(queue)


def test_with_a_queue_that_notifies_nobody(queue):
    set_up_at_once(queue)
    for _ in range(ROUNDS):
        with psycopg.connect(broker.django_conninfo()) as connection:
            connection.execute(f"DROP TRIGGER notify ON pgmq.q_{queue}")
        set_up_at_once(queue)
    assert notifies(queue)


def test_of_two_messages_at_once_each_is_told_of(queue):
    """Who heard of the first may have read the queue before the second was committed."""
    set_up_at_once(queue)
    with (
        psycopg.connect(broker.django_conninfo(), autocommit=True) as listener,
        psycopg.connect(broker.django_conninfo()) as first,
        psycopg.connect(broker.django_conninfo()) as second,
    ):
        listener.execute(f'LISTEN "pgmq.q_{queue}.INSERT"')
        for sender in (first, second):
            sender.execute("SELECT pgmq.send(%s, '{}')", [queue])
        for sender in (first, second):
            sender.commit()
            assert any(True for _ in listener.notifies(timeout=5, stop_after=1))


def test_what_is_there_is_found_without_a_lock(queue):
    set_up_at_once(queue)
    with (
        psycopg.connect(broker.django_conninfo(), autocommit=True) as other,
        psycopg.connect(broker.django_conninfo()) as holder,
    ):
        holder.execute(f"LOCK TABLE pgmq.q_{queue} IN ROW EXCLUSIVE MODE")
        holder.execute("SELECT pg_advisory_xact_lock(%s)", [broker.SET_UP_LOCK])
        other.execute("SET lock_timeout = '2s'")
        broker.set_up(other, queue)


def test_a_channel_declares_a_queue_that_notifies(queue):
    with app.connection_for_write() as connection:
        for _ in range(2):
            Queue(queue)(connection.default_channel).declare()
    assert notifies(queue)
