"""A consumer of PGMQ's queue waits for a notification, and does next to nothing meanwhile."""

import contextlib
import logging
import os
import signal
import threading
import time
import uuid

import psycopg
import pytest
from django.db import connection as django_connection
from kombu import Consumer, Queue

from config.celery import app
from config.runtime import broker

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def queue():
    """Name a queue that is not there."""
    name = f"waits_{uuid.uuid4().hex[:12]}"
    yield name
    with psycopg.connect(broker.django_conninfo()) as connection:
        connection.execute("SELECT pgmq.drop_queue(%s)", [name])


@pytest.fixture
def heard():
    return []


@pytest.fixture
def consuming(queue, heard):
    """Consume it; what comes is heard and acknowledged."""

    def hear(body, message):
        heard.append(body)
        message.ack()

    before = signal.set_wakeup_fd(-1)
    with (
        app.connection_for_read() as connection,
        Consumer(connection.default_channel, [Queue(queue)], callbacks=[hear], accept=["json"]),
    ):
        yield connection
    signal.set_wakeup_fd(before)


def publish(queue, word):
    with app.connection_for_write() as connection, connection.Producer() as producer:
        producer.publish(word, routing_key=queue, serializer="json")


def drain_until_empty(connection):
    with contextlib.suppress(TimeoutError):
        while True:
            connection.drain_events(timeout=0.01)


def test_while_nothing_comes_it_reads_every_few_seconds_only(consuming, monkeypatch):
    drain_until_empty(consuming)
    now = time.monotonic()
    reads = []
    uses = []
    receive = broker.Channel._receive_messages
    lend = broker.Line.connection

    def wait(line, seconds):
        nonlocal now
        now += seconds
        return True

    monkeypatch.setattr(broker.time, "monotonic", lambda: now)
    monkeypatch.setattr(broker.Line, "wait", wait)
    monkeypatch.setattr(
        broker.Channel,
        "_receive_messages",
        lambda *args, **options: reads.append(now) or receive(*args, **options),
    )
    monkeypatch.setattr(broker.Line, "connection", lambda line: uses.append(now) or lend(line))
    django_connection.ensure_connection()
    end = now + 60
    while now < end:
        assert consuming.connected  # as a worker asks each time
        with pytest.raises(TimeoutError):
            consuming.drain_events(timeout=2)
    assert len(uses) == len(reads)
    assert 10 <= len(reads) <= 60 / broker.READ_SECONDS + 1
    # Nor is there a connection that nobody uses.
    assert django_connection.connection is None


def test_a_message_wakes_it(consuming, queue, heard, monkeypatch):
    """Nothing else would, for a long time."""
    monkeypatch.setattr(broker, "READ_SECONDS", 3600)
    drain_until_empty(consuming)
    for word in ("first", "second"):
        publisher = threading.Timer(0.1, publish, [queue, word])
        publisher.start()
        consuming.drain_events(timeout=60)
        publisher.join()
    assert heard == ["first", "second"]


def test_what_the_server_told_during_another_statement_is_not_waited_for(
    consuming, queue, heard, monkeypatch
):
    monkeypatch.setattr(broker, "READ_SECONDS", 3600)
    drain_until_empty(consuming)
    publish(queue, "early")
    with consuming.transport.line.connection() as connection:
        connection.execute("SELECT 1")
    consuming.drain_events(timeout=60)
    assert heard == ["early"]


def test_a_signal_ends_the_wait(consuming, monkeypatch):
    monkeypatch.setattr(broker, "READ_SECONDS", 3600)
    drain_until_empty(consuming)
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    killer = threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGUSR1])
    try:
        killer.start()
        begun_at = time.monotonic()
        with pytest.raises(TimeoutError):
            consuming.drain_events(timeout=600)
        assert time.monotonic() - begun_at < 60
    finally:
        killer.join()
        signal.signal(signal.SIGUSR1, before)


def test_a_line_that_was_cut_is_made_anew_and_listens(consuming, queue, heard, monkeypatch):
    monkeypatch.setattr(broker, "READ_SECONDS", 3600)
    drain_until_empty(consuming)
    with consuming.transport.line.connection() as connection:
        ours = connection.info.backend_pid
    with psycopg.connect(broker.django_conninfo(), autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 10000)", [ours])
    drain_until_empty(consuming)
    publisher = threading.Timer(0.1, publish, [queue, "after"])
    publisher.start()
    consuming.drain_events(timeout=60)
    publisher.join()
    assert heard == ["after"]


def test_a_consumer_that_has_all_it_may_have_looks_again_soon(consuming, queue, monkeypatch):
    """What it acknowledges elsewhere makes room, and nobody notifies it of that."""
    monkeypatch.setattr(broker, "READ_SECONDS", 3600)
    drain_until_empty(consuming)
    qos = consuming.default_channel.qos
    monkeypatch.setattr(qos, "can_consume", lambda: False)
    publish(queue, "one")
    drain_until_empty(consuming)
    monkeypatch.undo()
    consuming.drain_events(timeout=60)


@pytest.mark.parametrize("answer", ["ack_log_error", "reject_log_error"])
def test_a_message_whose_answer_was_lost_with_the_line_keeps_nobody_from_the_next(queue, answer):
    heard = []

    def hear(body, message):
        heard.append(body)
        if body == "first":
            line = message.channel.connection.line._connected()
            with psycopg.connect(broker.django_conninfo(), autocommit=True) as other:
                other.execute("SELECT pg_terminate_backend(%s, 5000)", [line.info.backend_pid])
        getattr(message, answer)(logging.getLogger("test"), (psycopg.Error,))

    before = signal.set_wakeup_fd(-1)
    with (
        app.connection_for_read() as connection,
        Consumer(connection.default_channel, [Queue(queue)], callbacks=[hear], accept=["json"]) as consumer,
    ):
        consumer.qos(prefetch_count=1)  # as a worker has it
        publish(queue, "first")
        publish(queue, "second")
        for _ in range(4):
            drain_until_empty(connection)
    signal.set_wakeup_fd(before)
    assert heard[:2] == ["first", "second"]
