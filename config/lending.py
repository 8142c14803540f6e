"""Database connections of a web process, lent to a request for as long as it uses the database.

The server has more threads than there are connections: most only wait, for bodies or for a group's commit. A request
borrows a connection when it first asks for one, and whoever is about to wait gives it back.
"""

import queue
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

_ALIAS = "default"
_IDLE_SECONDS = 5.0
"""After which a connection is tested before it is lent: the database may have been restarted."""


class ConnectionLender:
    """Lends a fixed number of connections to the threads that handle requests."""

    def __init__(self, size: int) -> None:
        # The last one used comes first: its statements are prepared, and the others may stay unconnected.
        self._free: queue.LifoQueue[tuple[BaseDatabaseWrapper, float]] = queue.LifoQueue()
        self._make = connections.create_connection
        for _ in range(size):
            connection = self._make(_ALIAS)
            connection.inc_thread_sharing()
            self._free.put((connection, time.monotonic()))
        # Django asks it for the connection of a thread that has none.
        connections.create_connection = self._create  # type: ignore[method-assign]

    @contextmanager
    def request(self) -> Iterator[None]:
        """Let this thread borrow while it handles a request."""
        _thread.lender = self
        try:
            yield
        finally:
            self.give_back()
            _thread.lender = None

    def give_back(self) -> None:
        """Return the connection that this thread has borrowed, if any; the next use borrows again.

        Inside a transaction nothing happens.
        """
        connection: BaseDatabaseWrapper | None = getattr(_thread, "borrowed", None)
        if connection is not None and not connection.in_atomic_block:
            _thread.borrowed = None
            del connections[_ALIAS]
            self._free.put((connection, time.monotonic()))

    def close(self) -> None:
        """Close the connections that nobody has borrowed."""
        while not self._free.empty():
            self._free.get()[0].close()

    def _create(self, alias: str) -> BaseDatabaseWrapper:
        if alias != _ALIAS or getattr(_thread, "lender", None) is not self:
            connection: BaseDatabaseWrapper = self._make(alias)
            return connection
        connection, used_at = self._free.get()
        connection.close_if_unusable_or_obsolete()
        has_idled = time.monotonic() - used_at > _IDLE_SECONDS
        if has_idled and connection.connection is not None and not connection.is_usable():
            connection.close()
        _thread.borrowed = connection
        return connection


def give_back() -> None:
    """Return this thread's connection before it waits for others; outside a web request nothing happens."""
    lender: ConnectionLender | None = getattr(_thread, "lender", None)
    if lender is not None:
        lender.give_back()


_thread = threading.local()
