"""Connections that do not wait for ever for a server that accepts and stays silent."""

import contextlib
import time
from typing import Any

import psycopg
from psycopg import errors

_INTERVAL_SECONDS = 0.1
_CANCEL_SECONDS = 1.0


class DatabaseTimeout(psycopg.OperationalError):
    """The server has not answered a statement, though it should have ended it by now; the connection is closed."""


class BoundedConnection(psycopg.Connection[Any]):
    """A connection to the database, bounded by the client, too.

    The server's own time-outs end a statement that takes long. They do not strike where the server is stopped, or
    something between has swallowed what was sent: who waits then closes the connection.
    """

    silence_seconds: float | None = None
    """After which a statement that is not answered never will be."""
    deadline: float | None = None
    """On the monotonic clock, until which whoever has borrowed the connection may wait."""
    waits = 0
    """How often something was sent and waited for."""

    def wait(self, gen: Any, interval: float = _INTERVAL_SECONDS, timeout: float | None = None) -> Any:
        """Wait for the server's answer. Raises DatabaseTimeout."""
        self.waits += 1
        if timeout is not None:
            return super().wait(gen, interval, timeout)
        limit = self.silence_seconds
        if self.deadline is not None:
            left = max(self.deadline - time.monotonic(), 0.001)
            limit = left if limit is None or left < limit else limit
        try:
            return super().wait(gen, interval, limit)
        except errors._WaitTimeout:
            # What it does is of no use to anybody now; a silent one does not hear that either.
            with contextlib.suppress(psycopg.Error):
                self.cancel_safe(timeout=_CANCEL_SECONDS)
            self.pgconn.finish()
            raise DatabaseTimeout(f"the server did not answer in {limit:.1f} s: connection closed") from None
