"""What a worker process sends with: threads that only wait for receivers, and one that claims for them and records.

A task asks and goes, so a slow receiver keeps a thread of its channel here, and neither the worker nor the database.
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
"""After which the database is left alone until somebody asks."""
RETRY_SECONDS: Final = 1.0
"""When to try again to record what a database that is away could not take."""
GATHER_SECONDS: Final = 0.005
"""How long to wait for more that is done, or asked for: many are recorded and claimed as cheaply as one."""

Work = tuple[UUID, str]
"""A workspace and a channel."""


class Dispatcher:
    """Sends what is ready, of any number of workspaces and channels."""

    _thread: threading.Thread | None

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads or settings.DELIVERY_THREADS
        self._start_afresh()
        os.register_at_fork(after_in_child=self._start_afresh)
        atexit.register(self.close)

    def ask(self, workspace_id: UUID, channel: str) -> None:
        """Have what is ready sent. Returns at once."""
        with self._changed:
            self._asked[workspace_id, channel] = None
            self._news = True
            self._changed.notify()
            if self._thread is None and not self._closing:
                self._thread = threading.Thread(target=self._work, name="dispatcher", daemon=True)
                self._thread.start()

    def stop_claiming(self) -> None:
        """Send nothing but what is claimed already. Returns at once; a signal's handler may call it."""
        with self._changed:
            self._closing = True
            self._news = True
            self._changed.notify()

    def close(self) -> None:
        """Claim nothing more, and record what is under way as far as it is answered in time."""
        self.stop_claiming()
        with self._changed:
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(settings.DELIVERY_GRACE_SECONDS)

    def _start_afresh(self) -> None:
        # Threads do not survive a fork, and a lock may have been held in the parent.
        self._changed = threading.Condition()
        self._asked: dict[Work, None] = {}
        self._done: list[tuple[Work, Attempt]] = []
        self._under_way: Counter[Work] = Counter()
        self._senders: dict[str, ThreadPoolExecutor] = {}
        self._thread = None
        self._news = False
        self._closing = False

    def _work(self) -> None:
        """Record and hand out, until the process ends."""
        while True:
            is_over = self._closing and not self._under_way.total() and not self._done
            if is_over:
                connections.close_all()
                return
            self._wait()
            try:
                self._record()
                self._hand_out()
            except Exception as error:
                # Whatever it was: without this thread nothing would be sent any more.
                logger.warning("Deliveries wait: %s", error, exc_info=not isinstance(error, OperationalError))
                connections.close_all()
                time.sleep(RETRY_SECONDS)
                self._tell(lambda: None)

    def _wait(self) -> None:
        with self._changed:
            if not self._news and not self._changed.wait(IDLE_SECONDS):
                connections.close_all()
                self._changed.wait_for(lambda: self._news)
        time.sleep(GATHER_SECONDS)
        with self._changed:
            self._news = False

    def _record(self) -> None:
        """Record what was answered; a place is free, and a host, so its channel is looked at again."""
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
                self._asked[work] = None

    def _hand_out(self) -> None:
        """Claim as many as there are free threads, one workspace and channel after the other."""
        with self._changed:
            asked = [] if self._closing else list(self._asked)
        for work in asked:
            if is_local(work[1]):
                self._deliver_here(work)
                continue
            if not (free := self._free(work)):
                # Whoever is done asks for it again.
                continue
            with self._changed:
                self._asked.pop(work, None)
            try:
                claimed = claim_messages(*work, at_most=free)
            except Exception:
                self._tell(partial(self._asked.setdefault, work))
                raise
            for one in claimed:
                self._send(work, one)
            if claimed:
                # There may be more: of other hosts, or for which there is room by now.
                self._tell(partial(self._asked.setdefault, work))

    def _deliver_here(self, work: Work) -> None:
        """Deliver some where nobody is waited for, and ask again if there may be more."""
        with self._changed:
            self._asked.pop(work, None)
        try:
            is_more = deliver_locally(*work) > 0
        except Exception:
            self._tell(partial(self._asked.setdefault, work))
            raise
        if is_more:
            self._tell(partial(self._asked.setdefault, work))

    def _free(self, work: Work) -> int:
        """Return how many threads are free for a workspace: none has more than three quarters of its channel's."""
        of_channel = sum(count for (_, channel), count in self._under_way.items() if channel == work[1])
        most = max(self._threads * 3 // 4, 1)
        return max(min(self._threads - of_channel, most - self._under_way[work]), 0)

    def _send(self, work: Work, claimed: Claimed) -> None:
        channel = work[1]
        if channel not in self._senders:
            self._senders[channel] = ThreadPoolExecutor(self._threads, thread_name_prefix=f"send-{channel}")
        self._under_way[work] += 1
        future = self._senders[channel].submit(_send_apart, claimed)
        future.add_done_callback(partial(self._take_back, work))

    def _take_back(self, work: Work, future: Future[Attempt]) -> None:
        self._tell(lambda: self._done.append((work, future.result())))

    def _tell(self, change: Callable[[], object]) -> None:
        with self._changed:
            change()
            self._news = True
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
        # It becomes unknown in time, and is settled as such.
        logger.exception("What became of message %s could not be recorded", attempt.claimed.message.pk)


def _send_apart(claimed: Claimed) -> Attempt:
    """Send in a thread of its own, and leave no connection behind where a channel wrote a row."""
    try:
        return send(claimed)
    finally:
        with suppress(DatabaseError):
            connections.close_all()
