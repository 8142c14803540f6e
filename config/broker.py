"""Celery's embedded broker: kombu's PGMQ transport over the database that Django uses."""

import warnings
from typing import Any, LiteralString

import psycopg
from django.conf import settings
from django.db import connections
from kombu.transport import pgmq as kombu_pgmq
from pgmq import PGMQueue
from pgmq.install import get_embedded_install_sql
from psycopg.conninfo import make_conninfo
from psycopg_pool import ConnectionPool

# kombu silences it around each call, which in a process with threads does not always hold.
warnings.filterwarnings("ignore", message=r"list_queues\(\) now returns", category=UserWarning)

SET_UP_LOCK = 0x68656164  # any number that nothing else uses
LONGEST_WAIT_SECONDS = 0.5
NOT_FOR_LIBPQ = {"context", "cursor_factory", "prepare_threshold", "autocommit", "row_factory"}


# `to_regclass` may answer from a cache that does not know yet what another process just made; a table does not.
_TABLES: LiteralString = """
SELECT count(*) FROM pg_class
WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'pgmq') AND relname = ANY(%s)
"""
_IS_NOTIFYING: LiteralString = """
SELECT EXISTS (
    SELECT FROM pg_trigger
    WHERE tgrelid = format('pgmq.%%I', 'q_' || %(queue)s::text)::regclass
      AND tgname = 'trigger_notify_queue_insert_listeners'
) AND EXISTS (
    SELECT FROM pgmq.notify_insert_throttle
    WHERE queue_name = %(queue)s AND throttle_interval_ms = %(interval)s
)
"""


class Channel(kombu_pgmq.Channel):
    """A channel that sets a queue up once for all processes, and of which only consumers listen."""

    def _new_queue(self, queue: str, **_: Any) -> None:
        with self.pgmq.pool.connection() as connection:  # type: ignore[union-attr]  # the transport gives it one
            set_up(connection, self._queue_name(queue), self.notify_throttle_interval_ms)

    def _maybe_enable_notify(self, queue: str, queue_name: str | None = None) -> None:
        # What the parent does here each process would do anew: it rebuilds the queue's trigger under an exclusive
        # lock, and two of them fail on each other.
        self._new_queue(queue)
        self.connection._register_notify_queue(self._queue_name(queue))  # type: ignore[attr-defined]  # kombu's own


class Transport(kombu_pgmq.Transport):
    """PGMQ in Django's database."""

    Channel = Channel

    def _create_pgmq_client(self) -> PGMQueue:
        options: dict[str, Any] = self.client.transport_options  # type: ignore[union-attr, assignment]  # it has both
        conninfo = django_conninfo()
        with psycopg.connect(conninfo) as connection:
            install(connection)
        return PGMQueue(
            pool=ConnectionPool(
                conninfo,
                connection_class=_connection_class(),
                min_size=1,
                max_size=options["pool_size"],
                timeout=options["pool_timeout"],
                open=True,
                check=ConnectionPool.check_connection,
            ),
            conn_string=conninfo,
            vt=options["visibility_timeout"],
            init_extension=False,
        )

    def drain_events(self, connection: Any, timeout: float | None = None) -> None:  # type: ignore[override]  # its bases disagree
        # A worker looks between two calls whether it was told to stop; its own two seconds are too long for that.
        shorter = min(timeout or LONGEST_WAIT_SECONDS, LONGEST_WAIT_SECONDS)
        super().drain_events(connection, shorter)  # type: ignore[no-untyped-call]  # kombu

    def _get_notify_waiter(self) -> Any:
        if self._notify_waiter is None:
            self._notify_waiter = kombu_pgmq._NotifyWaiter(django_conninfo())
        return self._notify_waiter

    def close_connection(self, connection: Any) -> None:
        pool = self._pgmq_client.pool if self._pgmq_client else None
        super().close_connection(connection)
        if pool is not None:  # ours, so the client leaves it open
            pool.close()


def django_conninfo() -> str:
    """Return where Django's database is, for libpq; this starts the embedded server."""
    parameters = connections["default"].get_connection_params()
    usable = {name: value for name, value in parameters.items() if name not in NOT_FOR_LIBPQ}
    # A message is a wake-up for a row that is safe already: its own commit need not wait for the disk.
    options = f"{usable.get('options', '')} -c synchronous_commit=off".strip()
    return make_conninfo(**{"connect_timeout": 2, **usable, "options": options})


def is_in_database() -> bool:
    """Tell whether the broker is the one that is embedded."""
    return str(settings.CELERY_BROKER_URL).startswith("pgmq:")


def set_up_queue(connection: psycopg.Connection[Any]) -> None:
    """Make sure of the queue that tasks go through, as the settings have it."""
    queue = settings.CELERY_TASK_DEFAULT_QUEUE.translate(kombu_pgmq.CHARS_REPLACE_TABLE)
    options: dict[str, Any] = settings.CELERY_BROKER_TRANSPORT_OPTIONS
    set_up(connection, queue, options["notify_throttle_interval_ms"])


def set_up(connection: psycopg.Connection[Any], queue: str, notify_interval_milliseconds: int) -> None:
    """Make sure of PGMQ's schema, of a queue and of its notifications, in a transaction of its own.

    What is there already costs two look-ups and no lock; of many processes that find something missing one makes it.
    """
    with connection.transaction():
        if _is_set_up(connection, queue, notify_interval_milliseconds):
            return
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [SET_UP_LOCK])
        if _is_set_up(connection, queue, notify_interval_milliseconds):
            return
        install(connection)
        connection.execute("SELECT pgmq.create(%s)", [queue])
        connection.execute("SELECT pgmq.enable_notify_insert(%s, %s)", [queue, notify_interval_milliseconds])


def install(connection: psycopg.Connection[Any]) -> None:
    """Make sure of PGMQ's schema."""
    with connection.transaction():
        if _has_tables(connection, "meta"):
            return
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [SET_UP_LOCK])
        if not _has_tables(connection, "meta"):
            connection.execute(get_embedded_install_sql().encode())


def _is_set_up(connection: psycopg.Connection[Any], queue: str, interval: int) -> bool:
    if not _has_tables(connection, "meta", f"q_{queue}"):
        return False
    # A crash of the server empties the table of intervals, without which nothing is notified.
    return connection.execute(_IS_NOTIFYING, {"queue": queue, "interval": interval}).fetchone() == (True,)


def _has_tables(connection: psycopg.Connection[Any], *names: str) -> bool:
    return connection.execute(_TABLES, [list(names)]).fetchone() == (len(names),)


def _connection_class() -> type[psycopg.Connection[Any]]:
    return getattr(connections["default"], "connection_class", psycopg.Connection)
