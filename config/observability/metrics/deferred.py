"""Collect frequent observations, and let a thread add them to the metrics a second later.

Updating a metric takes a twentieth of a send's time; appending an observation a hundredth of that.
"""

import atexit
import logging
import os
import threading
from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Generic, TypeVar

from prometheus_client import Histogram

logger = logging.getLogger(__name__)

SECONDS: Final = 1.0
MOST_WAITING: Final = 100_000
Seen = TypeVar("Seen")


class DeferredMetrics(Generic[Seen]):
    """A queue of observations from any thread, which a thread passes to `write` in batches.

    `write` returns whether it wants to be called again without new observations.
    """

    def __init__(self, write: Callable[[Sequence[Seen]], bool | None]) -> None:
        self._write = write
        self._start_afresh()
        os.register_at_fork(after_in_child=self._start_afresh)
        atexit.register(self.flush)

    def add(self, seen: Seen) -> None:
        """Add an observation. Returns at once and never raises."""
        self._seen.append(seen)
        if not self._is_awake:
            self._wake()

    def flush(self) -> bool:
        """Write the observations so far."""
        seen = [self._seen.popleft() for _ in range(len(self._seen))]
        try:
            return bool(self._write(seen))
        except Exception:  # metrics must not fail a request
            logger.exception("Figures are lost")
            return False

    def _start_afresh(self) -> None:
        # Threads do not survive a fork.
        self._seen: deque[Seen] = deque(maxlen=MOST_WAITING)
        self._is_awake = False
        self._lock = threading.Lock()
        self._wanted = threading.Event()
        self._thread: threading.Thread | None = None

    def _wake(self) -> None:
        with self._lock:
            self._is_awake = True
            self._wanted.set()
            if self._thread is None:
                thread = threading.Thread(target=self._work, name="figures", daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # no thread can be started; the next observation tries again
                    self._is_awake = False
                else:
                    self._thread = thread

    def _work(self) -> None:
        pause = threading.Event()
        while True:
            self._wanted.wait()
            pause.wait(SECONDS)
            if self.flush():
                continue
            self._wanted.clear()
            self._is_awake = False
            if self._seen:  # added while this thread still counted as running
                self._is_awake = True
                self._wanted.set()


class Durations:
    """A histogram that takes many durations at once, by the values of its labels."""

    def __init__(self, histogram: Histogram) -> None:
        self._histogram = histogram
        self._bounds = histogram._upper_bounds

    def add(self, durations: Iterable[tuple[tuple[str, ...], float]]) -> None:
        """Count durations, in seconds."""
        sums: dict[tuple[str, ...], float] = defaultdict(float)
        counts: dict[tuple[tuple[str, ...], int], int] = defaultdict(int)
        for labels, seconds in durations:
            sums[labels] += seconds
            counts[labels, bisect_left(self._bounds, seconds)] += 1
        for labels, seconds in sums.items():
            self._child(labels)._sum.inc(seconds)
        for (labels, place), count in counts.items():
            self._child(labels)._buckets[place].inc(count)

    def _child(self, labels: tuple[str, ...]) -> Any:
        return self._histogram.labels(*labels) if labels else self._histogram
