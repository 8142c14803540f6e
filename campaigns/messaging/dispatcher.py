"""Dispatcher of a worker process: threads that send messages, and one that claims for them and records the outcomes.

A task only asks for a dispatch, so a slow receiver blocks a sending thread, but neither the worker nor the database.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Final
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, InterfaceError, OperationalError, connections

from campaigns.messaging.delivery import (
    Attempt,
    Claimed,
    claim_messages,
    deliver_locally,
    is_local,
    record_attempts,
    send,
)
from config.db.errors import classify_database_error

logger = logging.getLogger(__name__)

IDLE_SECONDS: Final = 5.0
"""After which database connections are closed until a dispatch is asked for."""
RETRY_SECONDS: Final = 1.0
"""Pause before recording is tried again after a database error."""
GATHER_SECONDS: Final = 0.005
"""How long to gather attempts and requests: many are recorded and claimed as cheaply as one."""

Work = tuple[UUID, str]
"""Workspace id and channel."""


class Dispatcher:
    """Sends messages that are due, of any number of workspaces and channels."""

    _thread: threading.Thread | None

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads or settings.DELIVERY_THREADS
        self._reset()
        os.register_at_fork(after_in_child=self._reset)
        atexit.register(self.close)

    def dispatch(self, workspace_id: UUID, channel: str) -> None:
        """Ask for a channel's due messages to be sent. Returns at once."""
        with self._changed:
            self._pending[workspace_id, channel] = None
            self._has_changed = True
            self._changed.notify()
            if self._thread is None and not self._closing:
                self._thread = threading.Thread(target=self._work, name="dispatcher", daemon=True)
                self._thread.start()

    def stop_claiming(self) -> None:
        """Finish what is claimed, claim nothing more. Returns at once; a signal handler may call it."""
        with self._changed:
            self._closing = True
            self._has_changed = True
            self._changed.notify()

    def close(self) -> None:
        """Claim nothing more, and wait DELIVERY_GRACE_SECONDS for what is under way."""
        self.stop_claiming()
        with self._changed:
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(settings.DELIVERY_GRACE_SECONDS)

    def _reset(self) -> None:
        # Threads do not survive a fork, and a lock may have been held in the parent.
        self._changed = threading.Condition()
        self._pending: dict[Work, None] = {}
        self._done: list[tuple[Work, Attempt]] = []
        self._under_way: Counter[Work] = Counter()
        self._senders: dict[str, ThreadPoolExecutor] = {}
        self._thread = None
        self._has_changed = False
        self._closing = False

    def _work(self) -> None:
        """Record attempts and claim messages until the dispatcher is closed."""
        while True:
            is_over = self._closing and not self._under_way.total() and not self._done
            if is_over:
                connections.close_all()
                return
            self._wait()
            try:
                self._record()
                self._claim_and_send()
            except Exception as error:
                # Whatever it was: without this thread nothing would be sent any more.
                logger.warning("Deliveries wait: %s", error, exc_info=not isinstance(error, OperationalError))
                connections.close_all()
                time.sleep(RETRY_SECONDS)
                self._notify(lambda: None)

    def _wait(self) -> None:
        with self._changed:
            if not self._has_changed and not self._changed.wait(IDLE_SECONDS):
                connections.close_all()
                self._changed.wait_for(lambda: self._has_changed)
        time.sleep(GATHER_SECONDS)
        with self._changed:
            self._has_changed = False

    def _record(self) -> None:
        """Record finished attempts; their threads and hosts are free, so their channels are pending again."""
        with self._changed:
            done, self._done = self._done, []
        try:
            _record_all(done)
        except (DatabaseError, InterfaceError):
            # What was recorded already is not ours any more, so it may come again.
            with self._changed:
                self._done = [*done, *self._done]
            raise
        with self._changed:
            for work, _ in done:
                self._under_way[work] -= 1
                self._pending[work] = None

    def _claim_and_send(self) -> None:
        """Claim as many messages as there are free threads, one workspace and channel after the other."""
        with self._changed:
            pending = [] if self._closing else list(self._pending)
        for work in pending:
            if is_local(work[1]):
                self._deliver_locally(work)
                continue
            if not (free := self._free_threads(work)):
                # Whoever is done asks for it again.
                continue
            with self._changed:
                self._pending.pop(work, None)
            try:
                claimed = claim_messages(*work, at_most=free)
            except Exception:
                self._notify(partial(self._pending.setdefault, work))
                raise
            for message in claimed:
                self._send(work, message)
            if claimed:
                # There may be more: of other hosts, or for which there is room by now.
                self._notify(partial(self._pending.setdefault, work))

    def _deliver_locally(self, work: Work) -> None:
        """Deliver a batch into the local inbox, and look again if there may be more."""
        with self._changed:
            self._pending.pop(work, None)
        try:
            may_be_more = deliver_locally(*work) > 0
        except Exception:
            self._notify(partial(self._pending.setdefault, work))
            raise
        if may_be_more:
            self._notify(partial(self._pending.setdefault, work))

    def _free_threads(self, work: Work) -> int:
        """Return how many threads are free for a workspace: each may use three quarters of its channel's."""
        of_channel = sum(count for (_, channel), count in self._under_way.items() if channel == work[1])
        most = max(self._threads * 3 // 4, 1)
        return max(min(self._threads - of_channel, most - self._under_way[work]), 0)

    def _send(self, work: Work, claimed: Claimed) -> None:
        channel = work[1]
        if channel not in self._senders:
            self._senders[channel] = ThreadPoolExecutor(self._threads, thread_name_prefix=f"send-{channel}")
        self._under_way[work] += 1
        future = self._senders[channel].submit(_send_in_thread, claimed)
        future.add_done_callback(partial(self._collect, work))

    def _collect(self, work: Work, future: Future[Attempt]) -> None:
        self._notify(lambda: self._done.append((work, future.result())))

    def _notify(self, change: Callable[[], object]) -> None:
        with self._changed:
            change()
            self._has_changed = True
            self._changed.notify()


def _record_all(done: Sequence[tuple[Work, Attempt]]) -> None:
    by_workspace: dict[UUID, list[Attempt]] = defaultdict(list)
    for (workspace_id, _), attempt in done:
        by_workspace[workspace_id].append(attempt)
    for workspace_id, attempts in by_workspace.items():
        try:
            record_attempts(workspace_id, attempts)
        except Exception as error:
            if classify_database_error(error) is not None:
                raise
            logger.exception("Deliveries are recorded one by one")
            for attempt in attempts:
                _record_one(workspace_id, attempt)


def _record_one(workspace_id: UUID, attempt: Attempt) -> None:
    try:
        record_attempts(workspace_id, [attempt])
    except Exception as error:
        if classify_database_error(error) is not None:
            raise
        # It becomes unknown in time, and is resolved then.
        logger.exception("What became of message %s could not be recorded", attempt.claimed.message.pk)


def _send_in_thread(claimed: Claimed) -> Attempt:
    """Send a message, and close the connections of this thread: a channel may have written a row."""
    try:
        return send(claimed)
    finally:
        with suppress(DatabaseError):
            connections.close_all()
