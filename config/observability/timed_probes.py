"""Probe a service that may not answer, in a thread, with a bounded wait."""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

logger = logging.getLogger(__name__)

Seen = TypeVar("Seen")


class TimedProbe(Generic[Seen]):
    """Runs `check` in one thread, however many callers wait for it and however long it takes.

    `otherwise` is the result where no answer came in time, `broken` where the check failed; `name` is for the
    log.
    """

    def __init__(
        self,
        check: Callable[[], Seen],
        otherwise: Seen,
        name: str,
        *,
        broken: Seen,
        fresh_seconds: Callable[[], float],
    ) -> None:
        self._check = check
        self._otherwise = otherwise
        self._broken = broken
        self._name = name
        self._fresh_seconds = fresh_seconds
        self._lock = threading.Lock()
        self._answer: Future[Seen] | None = None
        self._done_at = 0.0

    def start(self) -> None:
        """Start the check unless it is running or its result is fresh."""
        with self._lock:
            answer = self._answer
            if answer is not None and (
                not answer.done() or time.monotonic() - self._done_at < self._fresh_seconds()
            ):
                return
            self._answer = answer = Future()
            thread = threading.Thread(target=self._run, args=[answer], name=self._name, daemon=True)
            try:
                thread.start()
            except RuntimeError:  # no thread can be started
                self._done_at = time.monotonic()
                answer.set_result(self._broken)

    def result(self, deadline: float) -> Seen:
        """Return the answer, or `otherwise` where none came before the deadline (monotonic seconds)."""
        answer = self._answer
        if answer is None:
            return self._otherwise
        try:
            return answer.result(max(deadline - time.monotonic(), 0))
        except TimeoutError:
            return self._otherwise

    def _run(self, answer: Future[Seen]) -> None:
        try:
            found = self._check()
        except Exception as error:  # drivers raise what they like; the service is not there
            logger.warning("%s: %s", self._name, str(error).replace("\n", " "))
            found = self._broken
        self._done_at = time.monotonic()
        answer.set_result(found)
