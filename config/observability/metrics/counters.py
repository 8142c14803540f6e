"""Metrics of requests, database connections, tasks and processes."""

import os
import time
from collections import Counter as Counts
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

from prometheus_client import Counter, Gauge, Histogram

from config.observability.metrics import PROGRAM
from config.observability.metrics.deferred import DeferredMetrics, Durations
from config.observability.metrics.process_files import REGISTRY, remove_ended_files

SECONDS: Final = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

REQUESTS = Counter(
    "headrace_requests",
    "Requests answered, by wire format (page and probe: what is none) and class of the status.",
    ["dialect", "status"],
    registry=REGISTRY,
)
REQUEST_SECONDS = Histogram(
    "headrace_request_seconds",
    "From a request's last byte to its answer.",
    ["dialect"],
    buckets=SECONDS,
    registry=REGISTRY,
)
CONNECTION_SLOTS = Gauge(
    "headrace_web_connections_slots",
    "Database connections that web processes lend to requests.",
    registry=REGISTRY,
    multiprocess_mode="livesum",
)
CONNECTIONS_IN_USE = Gauge(
    "headrace_web_connections_lent",
    "How many of them are lent, at a moment within the last seconds.",
    registry=REGISTRY,
    multiprocess_mode="livesum",
)
CONNECTIONS_WAITING = Gauge(
    "headrace_web_connections_waiting_requests",
    "Requests that wait for one of them, at the same moment.",
    registry=REGISTRY,
    multiprocess_mode="livesum",
)
CONNECTION_WAITS = Counter(
    "headrace_web_connection_waits",
    "Requests that had to wait for a connection, and those of them and of others that were refused (503).",
    ["outcome"],
    registry=REGISTRY,
)
TASKS = Counter(
    "headrace_tasks",
    "Tasks that workers ended, by how.",
    ["task", "outcome"],
    registry=REGISTRY,
)
TASK_SECONDS = Histogram(
    "headrace_task_seconds",
    "How long tasks took.",
    ["task"],
    buckets=SECONDS,
    registry=REGISTRY,
)
BEAT_TICK = Gauge(
    "headrace_beat_tick_timestamp_seconds",
    "When beat last looked at what is due.",
    registry=REGISTRY,
    multiprocess_mode="livemax",
)
STARTED = Gauge(
    "headrace_process_started_timestamp_seconds",
    "When a process began.",
    ["program"],
    registry=REGISTRY,
    multiprocess_mode="liveall",
)

Request = tuple[str, int, float]
"""A request that was answered: dialect, status, seconds."""


class Connections(NamedTuple):
    """Numbers of a process's connection pool."""

    slots: int = 0
    lent: int = 0
    awaited: int = 0
    waits: int = 0
    """Requests that had to wait so far; `refusals`: that were refused."""
    refusals: int = 0


class Requests(DeferredMetrics[Request]):
    """Counts the requests of a process, and samples `connections` while some are in use."""

    connections: Callable[[], Connections] = staticmethod(Connections)
    _exported: Connections

    def __init__(self) -> None:
        self._seconds = Durations(REQUEST_SECONDS)
        super().__init__(self._count)

    def _count(self, seen: Sequence[Request]) -> bool:
        for (dialect, status), count in Counts(
            (dialect, status // 100) for dialect, status, _ in seen
        ).items():
            REQUESTS.labels(dialect, f"{status}xx").inc(count)
        self._seconds.add(((dialect,), seconds) for dialect, _, seconds in seen)
        now = self.connections()
        CONNECTION_SLOTS.set(now.slots)
        CONNECTIONS_IN_USE.set(now.lent)
        CONNECTIONS_WAITING.set(now.awaited)
        for outcome, number, before in (
            ("waited", now.waits, self._exported.waits),
            ("refused", now.refusals, self._exported.refusals),
        ):
            if number > before:
                CONNECTION_WAITS.labels(outcome).inc(number - before)
        self._exported = now
        return now.lent > 0

    def _start_afresh(self) -> None:
        super()._start_afresh()
        self._exported = Connections()


requests: Final = Requests()


@cache
def dialect_of(view: type[Any]) -> str:
    """Return the wire format of an API view: the package in `dialects`, else `native`."""
    app, _, below = view.__module__.partition(".")
    return below.partition(".")[0] if app == "dialects" else "native"


def count_task(task: str, outcome: str, seconds: float) -> None:
    """Count a task that ended."""
    TASKS.labels(task, outcome).inc()
    TASK_SECONDS.labels(task).observe(seconds)


def _announce() -> None:
    remove_ended_files()
    STARTED.labels(PROGRAM).set(time.time())


if PROGRAM != "command":
    _announce()
    os.register_at_fork(after_in_child=_announce)
