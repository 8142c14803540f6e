"""The runner: a worker's thread that applies effects of workspaces, and polls each while events keep coming.

The task that a message starts applies what waits, at once; from then on a thread looks again at every workspace that
the process has, one after the other, each at most some ten times a second. So a busy workspace costs no message, few
passes with many events each, and keeps no worker from its other tasks. What is more than a pass can do goes back to
the queue, for whoever is free, and so does a workspace whose turn comes late.
"""

import atexit
import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from uuid import UUID, uuid4

from django.db import OperationalError, connections

from config.db.workloads import use_in_thread
from events.metrics import WAKE_UPS
from events.processing import leases, passes
from events.processing.wake_ups import WakeUps

logger = logging.getLogger(__name__)

TASK: Final = "effects"
wake_ups: Final = WakeUps(TASK, "events.tasks.apply_effects")
TURN_SECONDS: Final = 1.0
"""How long a task works off one workspace before the others have their turn."""
PACE_SECONDS: Final = 0.1
"""From the beginning of a pass to the next one, where nothing is left over."""
LATE_SECONDS: Final = 0.5
"""By how much a workspace's turn may be late before it goes back to the queue."""
RENEWAL_SECONDS: Final = 3.0
CLOSING_SECONDS: Final = 3.0
IDLE_SECONDS: Final = 5.0
"""After which the database is left alone until a wake-up comes."""


@dataclass(slots=True)
class _WatchedWorkspace:
    """A workspace that this process polls: when it is next, and when its lease was renewed (monotonic seconds)."""

    due: float
    renewed: float


class Runner:
    """Applies effects of workspaces; `publish` sends a wake-up to the queue."""

    _thread: threading.Thread | None

    def __init__(self, publish: Callable[[UUID], None]) -> None:
        self._publish = publish
        self._start_afresh()
        os.register_at_fork(after_in_child=self._start_afresh)
        atexit.register(self.close)

    def answer(self, workspace_id: UUID) -> str:
        """Apply the effects of a workspace, then go on polling it.

        More than a pass can do is for every worker that is free: it goes back to the queue at once, and this one does
        what it can in its turn. Returns "taken" where a runner has it already, "more" if it was that much, "held"
        where others had lanes of it, else "done" or "nothing".
        """
        began = time.monotonic()
        # The lease first: where this runner stays already, it stood for the message, and nobody else would end it.
        if not leases.acquire_runner_lease(workspace_id, TASK, self._holder) or workspace_id in self._stays:
            return "taken"
        try:
            word = passes.process_wake_up(workspace_id, at_most_seconds=0)
        except BaseException:
            self._give_up(workspace_id)
            raise
        if word == "more":
            self._hand_over(workspace_id)
            passes.process_wake_up(workspace_id, at_most_seconds=TURN_SECONDS)
        else:
            self.stay(workspace_id, began)
        return word

    def sweep(self, workspace_id: UUID) -> str:
        """Apply effects whose wake-up may have been lost; also if another runner has the lease, for it may
        be gone.
        """
        word = self.answer(workspace_id)
        if word == "taken":
            return passes.process_wake_up(workspace_id, at_most_seconds=TURN_SECONDS)
        return word

    def stay(self, workspace_id: UUID, began: float) -> None:
        """Poll the workspace from one interval after `began` on, until nothing comes any more."""
        with self._changed:
            if not self._closing:
                self._stays[workspace_id] = _WatchedWorkspace(due=began + PACE_SECONDS, renewed=began)
                self._changed.notify()
                if self._thread is None:
                    self._thread = threading.Thread(target=self._work, name="runner", daemon=True)
                    self._thread.start()
                return
        self._hand_over(workspace_id)

    def leave(self, workspace_id: UUID) -> bool:
        """Release the lease, unless work has come meanwhile. Returns whether to go on polling.

        Whoever committed work while the lease stood published nothing; the look after it was given back finds it.
        """
        with self._changed:
            self._stays.pop(workspace_id, None)
        leases.release_lease(workspace_id, TASK, self._holder)
        word = passes.process_wake_up(workspace_id, at_most_seconds=0)
        return word != "nothing" and leases.acquire_runner_lease(workspace_id, TASK, self._holder)

    def stop(self) -> None:
        """Hand all workspaces over. Returns at once; safe in a signal handler."""
        with self._changed:
            self._closing = True
            self._changed.notify()

    def close(self) -> None:
        """Hand all workspaces over and wait for it, as long as a pass may take."""
        self.stop()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(CLOSING_SECONDS)

    def _start_afresh(self) -> None:
        # Threads do not survive a fork, and a lock may have been held in the parent.
        self._changed = threading.Condition()
        self._holder = uuid4()
        self._stays: dict[UUID, _WatchedWorkspace] = {}
        self._closing = False
        self._thread = None

    def _work(self) -> None:
        use_in_thread("effects")
        while (workspace_id := self._take()) is not None:
            try:
                self._look(workspace_id)
            except Exception as error:
                # Whatever it was: without this thread nobody would look any more. The sweep comes.
                logger.warning("Effects wait: %s", error, exc_info=not isinstance(error, OperationalError))
                self._give_up(workspace_id)
                connections.close_all()
        connections.close_all()

    def _take(self) -> UUID | None:
        """Wait for the next workspace that is due; None when the process ends."""
        with self._changed:
            while True:
                now = time.monotonic()
                workspace_id = min(
                    self._stays, key=lambda workspace: self._stays[workspace].due, default=None
                )
                if workspace_id is None:
                    if self._closing:
                        return None
                    if not self._changed.wait(IDLE_SECONDS):
                        connections.close_all()
                        self._changed.wait_for(lambda: self._stays or self._closing)
                elif self._closing or self._stays[workspace_id].due <= now:
                    return workspace_id
                else:
                    self._changed.wait(self._stays[workspace_id].due - now)

    def _look(self, workspace_id: UUID) -> None:
        """Make a pass over the workspace and schedule the next."""
        began = time.monotonic()
        stay = self._stays[workspace_id]
        is_late = began > stay.due + LATE_SECONDS and len(self._stays) > 1
        if is_late or self._closing:
            self._hand_over(workspace_id)
            return
        if began > stay.renewed + RENEWAL_SECONDS:
            if not leases.acquire_runner_lease(workspace_id, TASK, self._holder):
                with self._changed:
                    del self._stays[workspace_id]
                return
            stay.renewed = began
        word = passes.process_wake_up(workspace_id, at_most_seconds=0)
        if word == "more":
            self._hand_over(workspace_id)
        elif word != "nothing":
            stay.due = began + PACE_SECONDS
        elif self.leave(workspace_id):
            self.stay(workspace_id, began)

    def _hand_over(self, workspace_id: UUID) -> None:
        """Publish a wake-up for the workspace and release it."""
        with self._changed:
            self._stays.pop(workspace_id, None)
        if not leases.hand_over_lease(workspace_id, TASK, self._holder):
            return
        try:
            self._publish(workspace_id)
            WAKE_UPS.labels(TASK, "sent").inc()
        except Exception as error:  # whatever a broker's client raises
            WAKE_UPS.labels(TASK, "failed").inc()
            logger.warning("No wake-up could be published; effects wait: %s", error)
            leases.release_lease(workspace_id, TASK)

    def _give_up(self, workspace_id: UUID) -> None:
        with self._changed:
            self._stays.pop(workspace_id, None)
        # Whatever it is this time: it expires.
        with suppress(Exception):
            leases.release_lease(workspace_id, TASK, self._holder)
