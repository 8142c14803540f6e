"""Wake-ups of the workers: coalesced, off the request's path, and never the only hope of an event.

A process publishes at most one wake-up per workspace in `INTERVAL_SECONDS`, from a thread of its own, so that a
broker that refuses or hangs costs a sender nothing. A wake-up that is asked for is published after that moment,
hence after the commit that asked; the sweep wakes what a killed process could not.
"""

import atexit
import logging
import os
import threading
import time
from collections.abc import Callable
from uuid import UUID

logger = logging.getLogger(__name__)

INTERVAL_SECONDS = 0.1
BROKEN_SECONDS = 5.0
"""How long nothing is published after a failure."""
CLOSING_SECONDS = 1.0


class WakeUps:
    """Asks for wake-ups from any thread; one thread publishes them."""

    def __init__(self, publish: Callable[[UUID], None]) -> None:
        self._publish = publish
        self._thread: threading.Thread | None = None
        self._start_afresh()
        os.register_at_fork(after_in_child=self._start_afresh)
        atexit.register(self.close)

    def request(self, workspace_id: UUID) -> None:
        """Have the workspace's effects applied soon. Returns at once and never raises."""
        with self._changed:
            if workspace_id not in self._due:
                self._due[workspace_id] = self._next_turn(workspace_id)
                self._changed.notify()
            if self._thread is None and not self._closing:
                self._thread = threading.Thread(target=self._work, name="wake-ups", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Publish what is due, for at most a second: a command that ends leaves its wake-up behind."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(CLOSING_SECONDS)

    def _start_afresh(self) -> None:
        # Threads do not survive a fork, and a lock may have been held in the parent.
        self._changed = threading.Condition()
        self._due: dict[UUID, float] = {}
        self._last: dict[UUID, float] = {}
        self._broken_until = 0.0
        self._closing = False
        self._thread = None

    def _next_turn(self, workspace_id: UUID) -> float:
        return max(self._last.get(workspace_id, 0.0) + INTERVAL_SECONDS, self._broken_until)

    def _work(self) -> None:
        while (workspace_id := self._take()) is not None:
            try:
                self._publish(workspace_id)
            except Exception as error:  # whatever a broker's client raises
                self._postpone(workspace_id, error)

    def _take(self) -> UUID | None:
        """Wait for the next one due; None when the process ends and nothing is left."""
        with self._changed:
            while True:
                now = time.monotonic()
                workspace_id = min(self._due, key=self._due.__getitem__, default=None)
                if workspace_id is not None and (self._closing or self._due[workspace_id] <= now):
                    del self._due[workspace_id]
                    self._last[workspace_id] = now
                    return workspace_id
                if self._closing:
                    return None
                self._changed.wait(None if workspace_id is None else self._due[workspace_id] - now)

    def _postpone(self, workspace_id: UUID, error: Exception) -> None:
        logger.warning("No wake-up could be published; effects wait: %s", error)
        with self._changed:
            if self._closing:
                return
            self._broken_until = time.monotonic() + BROKEN_SECONDS
            for waiting in (*self._due, workspace_id):
                self._due[waiting] = self._broken_until
