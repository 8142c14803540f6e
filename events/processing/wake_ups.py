"""Wake-ups: publish a task for a workspace that has work, at most one at a time, off the path of the request.

A process asks at most once in `INTERVAL_SECONDS` for a workspace, from a thread of its own, so that a broker that
refuses or hangs costs a sender nothing. It asks after the commit that wants it, and publishes where nobody has the
lease (`events.processing.leases`); the sweep wakes what a killed process could not.
"""

import atexit
import logging
import os
import threading
import time
from contextlib import suppress
from contextvars import Context, copy_context
from functools import partial
from typing import Final
from uuid import UUID

from django.db import Error, connections, transaction

from config.runtime import background
from events.metrics import WAKE_UPS
from events.processing import leases
from events.processing.leases import MESSAGE_SECONDS

logger = logging.getLogger(__name__)

INTERVAL_SECONDS: Final = 0.1
BROKEN_SECONDS: Final = 5.0
"""How long nothing is published after a failure."""
CLOSING_SECONDS: Final = 1.0
IDLE_SECONDS: Final = 5.0
"""After which the database is left alone until somebody asks."""


class WakeUps:
    """Wake-ups of one kind of work; thread-safe. At most one per workspace is under way.

    `lease`: the work's name for leases and metrics. `task`: the Celery task that gets the workspace's id, and then
    the `arguments`.
    """

    def __init__(self, lease: str, task: str, *arguments: str) -> None:
        self.lease = lease
        self.task = task
        self.arguments = arguments

    def wake(self, workspace_id: UUID) -> None:
        """Request a wake-up after the commit. Never raises: a sweep finds the work if no message arrives."""
        transaction.on_commit(partial(self.request, workspace_id), robust=True)

    def request(self, workspace_id: UUID) -> None:
        """Request a wake-up now. Returns at once and never raises."""
        _publisher.request(self, workspace_id)

    def publish(self, workspace_id: UUID) -> None:
        """Send the task to the broker, lease or not. Raises whatever the broker's client raises."""
        background.publish(self.task, str(workspace_id), *self.arguments, expires_seconds=MESSAGE_SECONDS)


Wanted = tuple[WakeUps, UUID]


class _Publisher:
    """The thread that publishes, one in a process."""

    _thread: threading.Thread | None

    def __init__(self) -> None:
        self._start_afresh()
        os.register_at_fork(after_in_child=self._start_afresh)
        atexit.register(self.close)

    def request(self, wake_ups: WakeUps, workspace_id: UUID) -> None:
        wanted = wake_ups, workspace_id
        with self._changed:
            if wanted not in self._due:
                self._due[wanted] = self._next_turn(wanted)
                self._contexts[wanted] = copy_context()
                self._changed.notify()
            if self._thread is None and not self._closing:
                self._thread = threading.Thread(target=self._work, name="wake-ups", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Publish what is left, for at most a second, as the process ends."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(CLOSING_SECONDS)

    def _start_afresh(self) -> None:
        # Threads do not survive a fork, and a lock may have been held in the parent.
        self._changed = threading.Condition()
        self._due: dict[Wanted, float] = {}
        # Of whoever asked first: the request's id and its trace.
        self._contexts: dict[Wanted, Context] = {}
        self._last: dict[Wanted, float] = {}
        self._broken_until = 0.0
        self._closing = False
        self._thread = None

    def _next_turn(self, wanted: Wanted) -> float:
        return max(self._last.get(wanted, 0.0) + INTERVAL_SECONDS, self._broken_until)

    def _work(self) -> None:
        while (wanted := self._take()) is not None:
            try:
                context = self._contexts.pop(wanted, None) or copy_context()
                context.run(_send, *wanted)
            except Exception as error:  # whatever a broker's client raises
                self._postpone(wanted, error)
        connections.close_all()

    def _take(self) -> Wanted | None:
        """Wait for the next one due; None when the process ends and nothing is left."""
        idle_since: float | None = time.monotonic()
        with self._changed:
            while True:
                now = time.monotonic()
                wanted = min(self._due, key=self._due.__getitem__, default=None)
                if wanted is not None and (self._closing or self._due[wanted] <= now):
                    del self._due[wanted]
                    self._last[wanted] = now
                    return wanted
                if self._closing:
                    return None
                if wanted is not None:
                    self._changed.wait(self._due[wanted] - now)
                elif idle_since is None:
                    self._changed.wait()
                elif now < idle_since + IDLE_SECONDS:
                    self._changed.wait(idle_since + IDLE_SECONDS - now)
                else:
                    idle_since = None
                    self._last.clear()
                    connections.close_all()

    def _postpone(self, wanted: Wanted, error: Exception) -> None:
        logger.warning("No wake-up could be published; its work waits: %s", error)
        connections.close_all()
        with self._changed:
            if self._closing:
                return
            self._broken_until = time.monotonic() + BROKEN_SECONDS
            for waiting in (*self._due, wanted):
                self._due[waiting] = self._broken_until


def _send(wake_ups: WakeUps, workspace_id: UUID) -> None:
    """Publish a wake-up if the lease is free. Raises whatever the database or the broker's client raises."""
    if not leases.acquire_message_lease(workspace_id, wake_ups.lease):
        return
    try:
        wake_ups.publish(workspace_id)
        WAKE_UPS.labels(wake_ups.lease, "sent").inc()
    except Exception:
        WAKE_UPS.labels(wake_ups.lease, "failed").inc()
        # It may have been sent all the same: then its runner has the lease by now, or takes one.
        with suppress(Error):
            leases.release_lease(workspace_id, wake_ups.lease)
        raise


_publisher = _Publisher()
