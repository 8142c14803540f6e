"""The database backend `config.db.backend`."""

import threading
import time
from typing import TYPE_CHECKING, Any

import psycopg
from django.conf import settings
from django.db.backends.postgresql import base

from config.db.backend.connection import BoundedConnection
from config.db.timeouts import Timeouts, Work

if TYPE_CHECKING:
    _Wrapper = base.DatabaseWrapper
else:
    _Wrapper = object


class Bounded(_Wrapper):
    """A wrapper whose connections have the time limits of their kind of work."""

    work: Work | None = None
    """The kind of work of this wrapper's connections; None: that of the process, see `settings.DATABASES`."""
    deadline: float | None = None
    """Time (monotonic seconds) up to which the request that uses this may wait for an answer."""
    line: BoundedConnection | None = None
    """The last connection made, possibly closed by now."""
    checkout: Any = None
    """The checkout of the request that uses this, if any."""

    @property
    def timeouts(self) -> Timeouts:
        """Return the time limits of the next connection."""
        limits: Timeouts = settings.TIMEOUTS[self.work or self.settings_dict["WORK"]]
        return limits

    def get_connection_params(self) -> dict[str, Any]:
        return self.timeouts.bounded(super().get_connection_params())

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        self.line = None
        # Whoever makes it: tracing may wrap `connect`.
        line = _outage.connect(lambda: super(Bounded, self).get_new_connection(conn_params))
        line.__class__ = BoundedConnection
        line.silence_seconds = self.timeouts.silence_seconds
        line.deadline = self.deadline
        self.line = line
        if self.checkout is not None and self.checkout.line is None:
            self.checkout.line = line
        return line

    def init_connection_state(self) -> None:
        super().init_connection_state()
        if self.line is not None:
            # Count only its user's statements from here on.
            self.line.waits = 0

    def _commit(self) -> None:
        if self.checkout is not None:
            self.checkout.has_committed = True
        super()._commit()  # type: ignore[misc]  # the stubs leave it out


class _Outage:
    """Retry connecting while a server restarts; fail at once in a longer outage."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._began: float | None = None

    def connect(self, connect: Any) -> Any:
        while True:
            try:
                line = connect()
            except psycopg.errors.ConnectionTimeout:
                # It has waited for the server already.
                self._note_failure()
                raise
            except psycopg.OperationalError:
                if not settings.IN_WEB or self._note_failure() > PATIENCE_SECONDS:
                    raise
                time.sleep(_PAUSE_SECONDS)
            else:
                self._began = None
                return line

    def _note_failure(self) -> float:
        """Return the seconds since connections began to fail."""
        with self._lock:
            now = time.monotonic()
            if self._began is None:
                self._began = now
            return now - self._began


PATIENCE_SECONDS = 3.0
"""Time for which a web process retries a database that refuses connections: it may be starting."""
_PAUSE_SECONDS = 0.1
_outage = _Outage()


class DatabaseWrapper(Bounded, base.DatabaseWrapper):
    """PostgreSQL at the address of `DATABASE_URL`."""
