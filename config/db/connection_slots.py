"""The pool of database connections of a web process, which requests check out while they use the database.

There are more threads than connections: most threads wait for bodies or for a group commit. A request checks
a connection out at its first statement, and releases it before it waits for anything.

Neither a workspace nor a route can hold all connections, so that one that waits for locks does not block the
rest; some are reserved for ingest requests. Without a free connection a request waits, briefly and in a
bounded queue.
"""

import threading
import time
from collections import deque
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from config.errors import Overloaded
from config.observability.metrics.counters import Connections

_ALIAS = "default"
_IDLE_SECONDS = 5.0
"""Idle time after which a connection is tested before use: the database may have restarted."""
_TEST_SECONDS = 5.0
"""Most time to wait for the answer to that test."""
PAGES = "pages"
"""All pages together count as one workspace."""


class ConnectionCheckout:
    """One request's use of the pool; `route` and `workspace` each have a limited share of the connections."""

    # Defaults as class attributes: they cost nothing per request.
    route: Hashable = None
    workspace: Hashable = None
    key: tuple[Hashable, bool] | None = None
    """Workspace and kind under which the request is counted."""
    is_ingest = False
    connection: Any = None
    is_reserved = False
    held: tuple[Hashable, ...] = ()
    borrowings = 0
    deadline: float | None = None
    line: Any = None
    waits = 0
    has_committed = False
    """Whether a COMMIT was sent, whatever became of it."""

    def is_lost(self) -> bool:
        """Tell whether the last connection broke, or could not be made."""
        if self.connection is None:
            return False
        line = self.connection.connection
        return line is None or line.closed or (self.line is not None and line is not self.line)

    def is_over(self) -> bool:
        """Tell whether the request's time with the database is over."""
        return self.deadline is not None and time.monotonic() >= self.deadline

    def is_untouched_by_database(self) -> bool:
        """Tell whether the database answered nothing: the first statement met a lost connection."""
        made = getattr(self.connection, "line", None)
        waits = self.line.waits - self.waits if self.line is not None else 0
        if made is not None and made is not self.line:
            waits += made.waits
        return self.borrowings == 1 and waits <= 1 and not self.has_committed


class ConnectionPool:
    """A fixed number of connections for the threads that handle requests.

    `size` connections are for all requests, `ingest` more only for those that record events. A workspace
    holds at most `share` of the former, a route all but one. A request waits at most `wait_seconds`, among
    `most_waiting` requests, and keeps no connection beyond `request_seconds` after its first. A workspace has
    at most `most_of_workspace` ingest requests at a time, and as many of any other kind.
    """

    def __init__(
        self,
        size: int,
        *,
        ingest: int = 0,
        share: int = 0,
        wait_seconds: float = 5.0,
        most_waiting: int = 1_000,
        most_of_workspace: int = 1_000,
        request_seconds: float = 0,
    ) -> None:
        self._make = connections.create_connection
        self._lock = threading.Lock()
        # Last in, first out: its statements are prepared, and unneeded connections stay closed.
        self._free = [self._new() for _ in range(size)]
        self._reserved = [self._new() for _ in range(ingest)]
        self._share = share or size
        self._share_of_route = max(size - 1, 1)
        # Keys are removed at 0: there are many workspaces.
        self._held: dict[Hashable, int] = {}
        self._present: dict[tuple[Hashable, bool], int] = {}
        self._most_of_workspace = most_of_workspace
        self._waiting: deque[_Waiter] = deque()
        self._wait_seconds = wait_seconds
        self._most_waiting = most_waiting
        self._request_seconds = request_seconds
        self._slots = size + ingest
        self._waits = self._refusals = 0
        # Django calls this for a thread without a connection.
        connections.create_connection = self._create  # type: ignore[method-assign]

    def begin(self, *, deadline: float | None = None) -> ConnectionCheckout:
        """Open this thread's checkout until `end`; `deadline` is that of a request that is repeated."""
        checkout = _thread.checkout = ConnectionCheckout()
        if deadline is not None:
            checkout.deadline = deadline
        _thread.pool = self
        return checkout

    def end(self) -> None:
        """Close this thread's checkout and return its connection to the pool."""
        checkout: ConnectionCheckout = _thread.checkout
        if checkout.connection is not None:
            if checkout.connection.in_atomic_block:
                # A transaction that was left open must not continue in another request.
                checkout.connection.close()
                checkout.connection, _ = self._new()
            self.release_connection()
        key = checkout.key
        if key is not None:
            with self._lock:
                self._present[key] -= 1
                if not self._present[key]:
                    del self._present[key]
        _thread.pool = _thread.checkout = None

    def release_connection(self) -> None:
        """Return this thread's connection to the pool; its next statement checks one out again.

        Inside a transaction nothing happens.
        """
        checkout: ConnectionCheckout = _thread.checkout
        if checkout.connection is not None and not checkout.connection.in_atomic_block:
            del connections[_ALIAS]
            self._return(checkout)

    def _return(self, checkout: ConnectionCheckout) -> None:
        connection = checkout.connection
        checkout.connection = checkout.line = connection.checkout = None
        if connection.line is not None:
            connection.line.deadline = None
        with self._lock:
            for key in checkout.held:
                self._held[key] -= 1
                if not self._held[key]:
                    del self._held[key]
            (self._reserved if checkout.is_reserved else self._free).append((connection, time.monotonic()))
            self._serve_waiters()
        checkout.held = ()

    def belongs_to(self, workspace: Hashable) -> None:
        """Assign the request to its workspace, once; beyond the workspace's share its connection is released.

        Raises Overloaded where the workspace has as many requests as it may.
        """
        checkout: ConnectionCheckout = _thread.checkout
        key = (workspace, checkout.is_ingest)
        with self._lock:
            checkout.workspace = workspace
            if workspace is not PAGES:
                present = self._present.get(key, 0)
                if present >= self._most_of_workspace:
                    raise Overloaded
                self._present[key] = present + 1
                checkout.key = key
            if checkout.connection is None or checkout.is_reserved:
                return
            held = self._held.get(workspace, 0)
            if held < self._share or checkout.connection.in_atomic_block:
                self._held[workspace] = held + 1
                checkout.held = (*checkout.held, workspace)
                return
        self.release_connection()

    def close(self) -> None:
        """Close the connections that are not checked out."""
        with self._lock:
            free, self._free[:], self._reserved[:] = [*self._free, *self._reserved], [], []
        for connection, _ in free:
            connection.close()

    @property
    def waiting(self) -> int:
        """Return the number of requests that wait for a connection."""
        return len(self._waiting)

    def state(self) -> Connections:
        """Return the numbers of connections, of those in use, and of waits and refusals."""
        with self._lock:
            lent = self._slots - len(self._free) - len(self._reserved)
            return Connections(self._slots, lent, len(self._waiting), self._waits, self._refusals)

    def _new(self) -> tuple[BaseDatabaseWrapper, float]:
        connection = self._make(_ALIAS)
        connection.inc_thread_sharing()
        return connection, time.monotonic()

    def _create(self, alias: str) -> Any:
        if alias != _ALIAS or _thread.pool is not self:
            return self._make(alias)
        return self._borrowed(_thread.checkout)

    def _borrowed(self, checkout: ConnectionCheckout) -> Any:
        if self._request_seconds and checkout.deadline is None:
            checkout.deadline = time.monotonic() + self._request_seconds
        connection, used_at = self._taken(checkout)
        checkout.connection = connection
        checkout.borrowings += 1
        try:
            line = self._checked_line(connection, used_at)
        except BaseException:
            self._return(checkout)
            raise
        checkout.line = line
        if line is None:
            connection.line = None
        else:
            line.deadline = checkout.deadline
            checkout.waits = line.waits
        connection.deadline, connection.checkout = checkout.deadline, checkout
        return connection

    def _checked_line(self, connection: Any, used_at: float) -> Any:
        """Return the driver's connection if it is sound; None: a new one is to be made."""
        if connection.connection is None:
            return None
        now = time.monotonic()
        connection.connection.deadline = now + _TEST_SECONDS
        connection.close_if_unusable_or_obsolete()
        if now - used_at > _IDLE_SECONDS and connection.connection is not None and not connection.is_usable():
            connection.close()
        return connection.connection

    def _taken(self, checkout: ConnectionCheckout) -> tuple[Any, float]:
        with self._lock:
            taken = self._take(checkout)
            if taken is not None:
                return taken
            if len(self._waiting) >= self._most_waiting:
                self._refusals += 1
                raise Overloaded
            self._waits += 1
            waiter = _Waiter(checkout)
            self._waiting.append(waiter)
        seconds = self._wait_seconds
        if checkout.deadline is not None:
            seconds = max(min(seconds, checkout.deadline - time.monotonic()), 0)
        waiter.is_served.wait(seconds)
        with self._lock:
            if waiter.taken is None:
                self._waiting.remove(waiter)
                self._refusals += 1
                raise Overloaded
            return waiter.taken

    def _take(self, checkout: ConnectionCheckout) -> tuple[Any, float] | None:
        """Take a free connection that the request may have, else None. The caller holds the lock."""
        if checkout.is_ingest and self._reserved:
            checkout.is_reserved = True
            return self._reserved.pop()
        held = self._held
        if not self._free or (
            checkout.route is not None and held.get(checkout.route, 0) >= self._share_of_route
        ):
            return None
        if checkout.workspace is not None and held.get(checkout.workspace, 0) >= self._share:
            return None
        checkout.is_reserved = False
        checkout.held = tuple([key for key in (checkout.route, checkout.workspace) if key is not None])
        for key in checkout.held:
            held[key] = held.get(key, 0) + 1
        return self._free.pop()

    def _serve_waiters(self) -> None:
        """Give free connections to the first waiters that may have them. The caller holds the lock."""
        for waiter in list(self._waiting):
            waiter.taken = self._take(waiter.checkout)
            if waiter.taken is not None:
                self._waiting.remove(waiter)
                waiter.is_served.set()
            elif not self._free and not self._reserved:
                return


class _Waiter:
    """A request that waits for a connection."""

    __slots__ = ("checkout", "is_served", "taken")

    def __init__(self, checkout: ConnectionCheckout) -> None:
        self.checkout = checkout
        self.taken: tuple[Any, float] | None = None
        self.is_served = threading.Event()


def release_connection() -> None:
    """Release this thread's connection before it waits; outside a web request it does nothing."""
    if _thread.pool is not None:
        _thread.pool.release_connection()


@contextmanager
def away_from_database() -> Iterator[None]:
    """Hold no connection while this thread waits for its client; the request's time counts anew from then on."""
    release_connection()
    yield
    restart_time()


def restart_time() -> None:
    """Count the time that a request may take from its next statement on; not inside a transaction."""
    release_connection()
    checkout = _thread.checkout
    if checkout is not None and checkout.connection is None:
        checkout.deadline = None


def is_for(route: Hashable, *, is_ingest: bool = False) -> None:
    """Set the route of this thread's request; outside a web request it does nothing."""
    checkout = _thread.checkout
    if checkout is not None:
        checkout.route = route
        checkout.is_ingest = is_ingest


def belongs_to(workspace: Hashable) -> None:
    """Set the workspace of this thread's request; outside a web request it does nothing."""
    if _thread.pool is not None:
        _thread.pool.belongs_to(workspace)


class _Thread(threading.local):
    """The pool and checkout of a thread that handles a request."""

    pool: ConnectionPool | None = None
    checkout: Any = None


_thread = _Thread()
