"""Looks at what may not answer: in a thread of their own, in bounded time for whoever waits."""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

logger = logging.getLogger(__name__)

Seen = TypeVar("Seen")


class TimedProbe(Generic[Seen]):
    """Looks in a thread of its own, however many ask and however long it takes.

    `otherwise` is said where no answer came in time, `broken` where the look failed; `name` is what the log calls it.
    """

    def __init__(
        self,
        look: Callable[[], Seen],
        otherwise: Seen,
        name: str,
        *,
        broken: Seen,
        fresh_seconds: Callable[[], float],
    ) -> None:
        self._look = look
        self._otherwise = otherwise
        self._broken = broken
        self._name = name
        self._fresh_seconds = fresh_seconds
        self._lock = threading.Lock()
        self._answer: Future[Seen] | None = None
        self._done_at = 0.0

    def begin(self) -> None:
        """TimedProbe, unless somebody is looking or did a moment ago."""
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
            except RuntimeError:  # the system gives no more threads
                self._done_at = time.monotonic()
                answer.set_result(self._broken)

    def result(self, deadline: float) -> Seen:
        """Return the answer, or what is said where none came before the deadline on the monotonic clock."""
        answer = self._answer
        if answer is None:
            return self._otherwise
        try:
            return answer.result(max(deadline - time.monotonic(), 0))
        except TimeoutError:
            return self._otherwise

    def _run(self, answer: Future[Seen]) -> None:
        try:
            found = self._look()
        except Exception as error:  # whatever a driver raises, it is not there
            logger.warning("%s: %s", self._name, str(error).replace("\n", " "))
            found = self._broken
        self._done_at = time.monotonic()
        answer.set_result(found)
