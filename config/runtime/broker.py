"""Celery's embedded broker: kombu's PGMQ transport over the database that Django uses."""

import contextlib
import os
import select
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from queue import Empty
from typing import Any, LiteralString

import psycopg
from django.conf import settings
from django.db import connections
from kombu.transport import pgmq as kombu_pgmq
from pgmq import PGMQueue
from pgmq.install import get_embedded_install_sql
from psycopg import sql
from psycopg.conninfo import make_conninfo

from config.db.backend.connection import BoundedConnection
from config.db.timeouts import Timeouts

# kombu silences it around each call, which in a process with threads does not always hold.
warnings.filterwarnings("ignore", message=r"list_queues\(\) now returns", category=UserWarning)

SET_UP_LOCK = 0x68656164  # any number that nothing else uses
READ_SECONDS = 5.0
"""Longest time between reads, for messages of killed workers and lost notifications."""
IDLE_SECONDS = 5.0
"""Idle time after which a consumer closes its thread's database connection until a message comes."""
CONNECT_SECONDS = 2
"""Time limit for connecting, unless DATABASE_URL has another."""
FULL_SECONDS = 0.1
"""Pause of a consumer that has as many messages as it may."""
NOT_FOR_LIBPQ = {"context", "cursor_factory", "prepare_threshold", "autocommit", "row_factory"}


# `to_regclass` may answer from a stale cache; a query of the catalogue does not.
_TABLES: LiteralString = """
SELECT count(*) FROM pg_class
WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'pgmq') AND relname = ANY(%s)
"""
_IS_NOTIFYING: LiteralString = """
SELECT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = format('pgmq.%%I', %s::text)::regclass AND tgname = 'notify')
"""
# PGMQ's own trigger skips notifications shortly after another one, but its receiver may have read the queue
# before this message was committed. It also updates a row each time.
_NOTIFY: LiteralString = """
CREATE OR REPLACE FUNCTION pgmq.headrace_notify() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('pgmq.' || TG_TABLE_NAME || '.INSERT', '');
    RETURN NULL;
END $$
"""


class Line:
    """A transport's single connection, in autocommit, with its notifications.

    PGMQ's client takes it for a pool. A lost connection is reopened at the next use.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._connection: psycopg.Connection[Any] | None = None
        self._channels: set[str] = set()
        self._waiter: int | None = None
        self._wake_up: tuple[int, int] | None = None

    @contextlib.contextmanager
    def connection(self) -> Iterator[psycopg.Connection[Any]]:
        """Yield the connection, as a pool does."""
        with self._lock:
            yield self._connected()
        if self._wake_up is not None and threading.get_ident() != self._waiter:
            # Notifications may have been read along with answers: waiting for the socket would miss them.
            _write(self._wake_up[1])

    def listen(self, channel: str) -> None:
        """Let `wait` end at notifications of this channel, and at signals."""
        with self._lock:
            self._connected().execute(_listen_to(channel))
            self._channels.add(channel)
            if self._wake_up is None:
                self._wake_up = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
                self._waiter = threading.get_ident()
                if threading.current_thread() is threading.main_thread():
                    signal.set_wakeup_fd(self._wake_up[1], warn_on_full_buffer=False)

    def take_notes(self) -> bool:
        """Tell whether a notification came since the last call, or may have, as the connection was lost."""
        try:
            with self._lock:
                connection = self._connected()
                # Notifications already read from the socket, and those that psycopg kept or finds there.
                is_notified = connection.pgconn.notifies() is not None
                return bool(list(connection.notifies(timeout=0))) or is_notified
        except psycopg.Error:
            self._drop()
            return True

    def wait(self, seconds: float) -> bool:
        """Wait for a notification or the end of time; return false if a signal came."""
        line, pipe = self._connected().fileno(), self._wake_up[0] if self._wake_up is not None else None
        descriptors = [line] if pipe is None else [line, pipe]
        ready = select.select(descriptors, [], [], max(seconds, 0))[0]
        if pipe not in ready:
            return True
        os.read(pipe, 4096)
        return False

    def close(self) -> None:
        """Close the connection and the pipe."""
        with self._lock:
            self._drop()
            self._channels.clear()
            if self._wake_up is not None:
                if threading.current_thread() is threading.main_thread():
                    signal.set_wakeup_fd(-1)
                for descriptor in self._wake_up:
                    os.close(descriptor)
                self._wake_up = None

    def _connected(self) -> psycopg.Connection[Any]:
        if self._connection is not None:
            # Notice cheaply that the server closed the connection.
            with contextlib.suppress(psycopg.Error):
                self._connection.pgconn.consume_input()
            if self._connection.closed:
                self._drop()
        if self._connection is None:
            connection = connect()
            for channel in self._channels:
                connection.execute(_listen_to(channel))
            self._connection = connection
        return self._connection

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _listen_to(channel: str) -> sql.Composed:
    return sql.SQL("LISTEN {}").format(sql.Identifier(channel))


def _write(descriptor: int) -> None:
    with contextlib.suppress(OSError):  # a full pipe wakes the reader, too
        os.write(descriptor, b"\0")


class Channel(kombu_pgmq.Channel):
    """A channel that sets a queue up once for all processes; only consumers listen."""

    def _new_queue(self, queue: str, **_: Any) -> None:
        with self.pgmq.pool.connection() as connection:  # type: ignore[union-attr]  # the transport gives it one
            set_up(connection, self._queue_name(queue))

    def _maybe_enable_notify(self, queue: str, queue_name: str | None = None) -> None:
        # The base class rebuilds the queue's trigger under an exclusive lock, in each process: two of them
        # can deadlock.
        self._new_queue(queue)
        self.connection.line.listen(f"pgmq.q_{self._queue_name(queue)}.INSERT")  # type: ignore[attr-defined]  # ours

    def basic_ack(self, delivery_tag: str, multiple: bool = False) -> None:
        """Acknowledge a message; where the database is away, count it as done all the same.

        It is delivered again after its visibility time-out. Otherwise a consumer with a prefetch of 1 would
        never get another message.
        """
        try:
            super().basic_ack(delivery_tag, multiple)  # type: ignore[no-untyped-call]  # kombu
        except psycopg.Error:
            self.qos.ack(delivery_tag)
            raise

    def basic_reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Reject a message, with the same tolerance as `basic_ack`."""
        try:
            super().basic_reject(delivery_tag, requeue)  # type: ignore[no-untyped-call]  # kombu
        except psycopg.Error:
            self.qos.ack(delivery_tag)
            raise

    def _get_bulk(self, queue: str, *arguments: Any, **options: Any) -> None:
        self.connection.read_at = time.monotonic()  # type: ignore[attr-defined]  # ours
        super()._get_bulk(queue, *arguments, **options)  # type: ignore[no-untyped-call]  # kombu


class Transport(kombu_pgmq.Transport):
    """PGMQ in Django's database: consumers read when notified, and every few seconds."""

    Channel = Channel

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)  # type: ignore[no-untyped-call]  # kombu
        self.line = Line()
        self.read_at = self._next_read = self._busy_at = 0.0

    def _create_pgmq_client(self) -> PGMQueue:
        with self.line.connection() as connection:
            install(connection)
        return PGMQueue(
            pool=self.line,  # type: ignore[arg-type]  # as much of one as it needs
            conn_string="unused",
            vt=self.client.transport_options["visibility_timeout"],  # type: ignore[union-attr, index]  # it has both
            init_extension=False,
        )

    def drain_events(self, connection: Any, timeout: float | None = None) -> None:  # type: ignore[override]  # its bases disagree
        """Deliver messages. Raises TimeoutError when time is up, and after a signal."""
        deadline = time.monotonic() + (timeout or READ_SECONDS)
        while True:
            if (self.line.take_notes() or time.monotonic() >= self._next_read) and self._read():
                return
            seconds = min(deadline, self._next_read) - time.monotonic()
            if time.monotonic() >= deadline or not self.line.wait(seconds):
                raise TimeoutError

    def _read(self) -> bool:
        """Deliver waiting messages, and set the time of the next read without a notification."""
        begun_at = time.monotonic()
        try:
            self.cycle.get(self._deliver, timeout=0)  # type: ignore[union-attr]  # it has one
        except Empty:
            if begun_at > self._busy_at + IDLE_SECONDS:
                connections.close_all()
            self._next_read = begun_at + (READ_SECONDS if self.read_at >= begun_at else FULL_SECONDS)
            return False
        # A solo worker has finished the delivered tasks by now.
        self._next_read = self._busy_at = time.monotonic()
        return True

    def verify_connection(self, connection: Any) -> bool:
        """Return true: a lost connection is reopened at its next use. Kombu asks before every wait."""
        return True

    def close_connection(self, connection: Any) -> None:
        super().close_connection(connection)
        self.line.close()


def django_conninfo() -> str:
    """Return libpq's connection string of Django's database; starts the embedded server."""
    parameters = connections["default"].get_connection_params()
    usable = {name: value for name, value in parameters.items() if name not in NOT_FOR_LIBPQ}
    # Messages only announce rows that are committed: their own commit need not wait for the disk.
    options = f"{usable['options']} {_timeouts().options} -c synchronous_commit=off"
    connect_timeout = settings.DATABASES["default"]["OPTIONS"].get("connect_timeout", CONNECT_SECONDS)
    return make_conninfo(**{**usable, "connect_timeout": connect_timeout, "options": options})


def connect() -> BoundedConnection:
    """Return a new connection to Django's database."""
    line = BoundedConnection.connect(django_conninfo(), autocommit=True)
    line.silence_seconds = _timeouts().silence_seconds
    return line


def _timeouts() -> Timeouts:
    limits: Timeouts = settings.TIMEOUTS["web" if settings.IN_WEB else "effects"]
    return limits


def is_in_database() -> bool:
    """Tell whether the broker is PGMQ in Django's database."""
    return str(settings.CELERY_BROKER_URL).startswith("pgmq:")


def set_up_queue(connection: psycopg.Connection[Any]) -> None:
    """Create the task queue of the settings if missing."""
    set_up(connection, settings.CELERY_TASK_DEFAULT_QUEUE.translate(kombu_pgmq.CHARS_REPLACE_TABLE))


def set_up(connection: psycopg.Connection[Any], queue: str) -> None:
    """Create PGMQ's schema, a queue and its notifications if missing, in a transaction of its own.

    If all exist it takes two look-ups and no lock; otherwise one of the processes creates them.
    """
    with connection.transaction():
        if _is_set_up(connection, queue):
            return
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [SET_UP_LOCK])
        if _is_set_up(connection, queue):
            return
        install(connection)
        connection.execute("SELECT pgmq.create(%s)", [queue])
        connection.execute(_NOTIFY)
        connection.execute(
            sql.SQL(
                "CREATE OR REPLACE TRIGGER notify AFTER INSERT ON {} FOR EACH STATEMENT"
                " EXECUTE FUNCTION pgmq.headrace_notify()"
            ).format(sql.Identifier("pgmq", f"q_{queue}"))
        )


def install(connection: psycopg.Connection[Any]) -> None:
    """Create PGMQ's schema if missing."""
    with connection.transaction():
        if _has_tables(connection, "meta"):
            return
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [SET_UP_LOCK])
        if not _has_tables(connection, "meta"):
            connection.execute(get_embedded_install_sql().encode())


def _is_set_up(connection: psycopg.Connection[Any], queue: str) -> bool:
    if not _has_tables(connection, "meta", f"q_{queue}"):
        return False
    return connection.execute(_IS_NOTIFYING, [f"q_{queue}"]).fetchone() == (True,)


def _has_tables(connection: psycopg.Connection[Any], *names: str) -> bool:
    return connection.execute(_TABLES, [list(names)]).fetchone() == (len(names),)
