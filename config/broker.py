"""Celery's embedded broker: kombu's PGMQ transport over the database that Django uses."""

import warnings
from typing import Any

import psycopg
from django.db import connections
from kombu.transport import pgmq as kombu_pgmq
from pgmq import PGMQueue
from pgmq.install import get_embedded_install_sql
from psycopg.conninfo import make_conninfo
from psycopg_pool import ConnectionPool

# kombu silences it around each call, which in a process with threads does not always hold.
warnings.filterwarnings("ignore", message=r"list_queues\(\) now returns", category=UserWarning)

INSTALL_LOCK = 0x68656164  # any number that nothing else uses
LONGEST_WAIT_SECONDS = 0.5
NOT_FOR_LIBPQ = {"context", "cursor_factory", "prepare_threshold", "autocommit", "row_factory"}


class Channel(kombu_pgmq.Channel):
    """A channel of which only consumers listen for notifications."""

    def _maybe_enable_notify(self, queue: str, queue_name: str | None = None) -> None:
        # The parent calls it with a name for every queue that a publisher declares, too: that would keep a
        # listening connection in each, and rebuild the trigger under an exclusive lock.
        if queue_name is None:
            super()._maybe_enable_notify(queue)  # type: ignore[no-untyped-call]  # kombu


class Transport(kombu_pgmq.Transport):
    """PGMQ in Django's database, its SQL installed at the first use."""

    Channel = Channel

    def _create_pgmq_client(self) -> PGMQueue:
        options: dict[str, Any] = self.client.transport_options  # type: ignore[union-attr, assignment]  # it has both
        conninfo = django_conninfo()
        install(conninfo)
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


def install(conninfo: str) -> None:
    """Create PGMQ's schema unless it is there."""
    with psycopg.connect(conninfo) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [INSTALL_LOCK])
        found = connection.execute("SELECT to_regclass('pgmq.meta')").fetchone()
        if found == (None,):
            connection.execute(get_embedded_install_sql().encode())


def _connection_class() -> type[psycopg.Connection[Any]]:
    return getattr(connections["default"], "connection_class", psycopg.Connection)
