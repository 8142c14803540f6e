"""What every program counts: requests, tasks, and the programs themselves."""

import os
import time
from collections import Counter as Counts
from collections.abc import Sequence
from functools import cache
from typing import Any, Final

from prometheus_client import Counter, Gauge, Histogram

from config.metrics import PROGRAM
from config.metrics.files import REGISTRY, tidy
from config.metrics.later import Durations, Later

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
"""Of a request that was answered: its wire format, the status, the seconds it took."""
_request_seconds = Durations(REQUEST_SECONDS)


def _write_requests(seen: Sequence[Request]) -> None:
    for (dialect, status), count in Counts((dialect, status // 100) for dialect, status, _ in seen).items():
        REQUESTS.labels(dialect, f"{status}xx").inc(count)
    _request_seconds.add(((dialect,), seconds) for dialect, _, seconds in seen)


requests: Final = Later[Request](_write_requests)


@cache
def dialect_of(view: type[Any]) -> str:
    """Return the wire format of an API's view: its folder's name, `native` for our own."""
    _, _, below = view.__module__.partition(".dialects.")
    return below.partition(".")[0] or "native"


def count_task(task: str, outcome: str, seconds: float) -> None:
    """Count a task that ended."""
    TASKS.labels(task, outcome).inc()
    TASK_SECONDS.labels(task).observe(seconds)


def _announce() -> None:
    tidy()
    STARTED.labels(PROGRAM).set(time.time())


if PROGRAM != "command":
    _announce()
    os.register_at_fork(after_in_child=_announce)
