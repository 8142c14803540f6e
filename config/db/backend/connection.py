"""Connections with a client-side limit on waiting for a silent server."""

import contextlib
import time
from typing import Any

import psycopg
from psycopg import errors

_INTERVAL_SECONDS = 0.1
_CANCEL_SECONDS = 1.0


class DatabaseTimeout(psycopg.OperationalError):
    """The server did not answer within its own time limit and a grace; the connection is closed."""


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that the client closes when the server stays silent.

    The server's time-outs end slow statements, but not where the server is stopped or the network lost a
    packet.
    """

    silence_seconds: float | None = None
    """Seconds after which a silent server is given up; None: never."""
    deadline: float | None = None
    """Time (monotonic seconds) up to which the request may wait for an answer."""
    keeps_plans = False
    """Whether all its statements are planned once: see `config.db.plans.kept_plans`."""
    waits = 0
    """Number of answers waited for."""

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
            # The statement's result is of no use any more; a silent server ignores the cancellation, too.
            with contextlib.suppress(psycopg.Error):
                self.cancel_safe(timeout=_CANCEL_SECONDS)
            self.pgconn.finish()
            raise DatabaseTimeout(f"the server did not answer in {limit:.1f} s: connection closed") from None
