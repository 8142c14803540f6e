"""Metrics of the stream and its processing."""

from collections.abc import Sequence
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from config.observability.metrics.counters import SECONDS
from config.observability.metrics.deferred import DeferredMetrics, Durations
from config.observability.metrics.gauges import DatabaseGauge
from config.observability.metrics.process_files import REGISTRY

EVENTS = Counter(
    "headrace_events",
    "Events that were handed in, by what became of them.",
    ["outcome"],
    registry=REGISTRY,
)
GROUP_REQUESTS = Histogram(
    "headrace_group_requests",
    "Requests that were written together.",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
    registry=REGISTRY,
)
GROUP_SECONDS = Histogram(
    "headrace_group_seconds",
    "How long it took to write a group of requests.",
    buckets=SECONDS,
    registry=REGISTRY,
)
WAITING = Gauge(
    "headrace_group_waiting_requests",
    "Requests that wait to be written or are being written, at a moment within the last seconds.",
    registry=REGISTRY,
    multiprocess_mode="livesum",
)
OVERLOADED = Counter(
    "headrace_group_overloaded",
    "Requests that were refused because too many waited.",
    registry=REGISTRY,
)
WAKE_UPS = Counter(
    "headrace_wake_ups",
    "Wake-ups by the work that they are for: sent, or failed where the broker took none.",
    ["work", "outcome"],
    registry=REGISTRY,
)
PASS_SECONDS = Histogram(
    "headrace_effects_pass_seconds",
    "How long the passes took that applied something.",
    buckets=SECONDS,
    registry=REGISTRY,
)
EFFECTS = Counter(
    "headrace_effects_applied",
    "What effects were applied to: events, and decisions that were due.",
    ["kind"],
    registry=REGISTRY,
)

Group = tuple[int, float]
"""Of a group that was written: its requests, and the seconds it took."""


class Groups(DeferredMetrics[Group]):
    """Counts the groups of a process; `waiting` is asked while there is something to count."""

    waiting = staticmethod(lambda: 0)

    def __init__(self) -> None:
        self._requests = Durations(GROUP_REQUESTS)
        self._seconds = Durations(GROUP_SECONDS)
        super().__init__(self._count)

    def _count(self, seen: Sequence[Group]) -> bool:
        self._requests.add(((), float(requests)) for requests, _ in seen if requests)
        self._seconds.add(((), seconds) for requests, seconds in seen if requests)
        waiting = self.waiting()
        WAITING.set(waiting)
        return waiting > 0


groups: Final = Groups()
BEGUN: Final[Group] = (0, 0.0)
"""Stands for a group that is begun: what waits is looked at from now on."""

MOST_COUNTED: Final = 10_000
STORED: Final = (
    DatabaseGauge(
        "headrace_effects_waiting_batches",
        f"Batches of events that wait for their effects; at most {MOST_COUNTED} are counted.",
        f"SELECT NULL, count(*) FROM (SELECT FROM events_eventbatch LIMIT {MOST_COUNTED}) waiting",
    ),
    DatabaseGauge(
        "headrace_effects_lag_seconds",
        "For how long the oldest batch of events has waited for its effects.",
        "SELECT NULL, COALESCE((SELECT extract(epoch FROM now() - created_at) FROM events_eventbatch"
        " ORDER BY id LIMIT 1), 0)",
    ),
    DatabaseGauge(
        "headrace_timers_overdue",
        f"Decisions that time has made due; at most {MOST_COUNTED} are counted.",
        "SELECT NULL, count(*) FROM (SELECT FROM workspaces_workspace w CROSS JOIN LATERAL ("
        " SELECT FROM events_timer WHERE workspace_id = w.id AND due_at <= now() ORDER BY due_at"
        f" LIMIT {MOST_COUNTED}) due LIMIT {MOST_COUNTED}) overdue",
    ),
    DatabaseGauge(
        "headrace_timers_lag_seconds",
        "For how long the oldest of them has been due.",
        "SELECT NULL, COALESCE(extract(epoch FROM now() - min(first.due_at) FILTER (WHERE due_at <= now())), 0)"
        " FROM workspaces_workspace w CROSS JOIN LATERAL ("
        " SELECT due_at FROM events_timer WHERE workspace_id = w.id ORDER BY due_at LIMIT 1) first",
    ),
    DatabaseGauge(
        "headrace_effects_parked",
        f"Effects that failed and were put aside; at most {MOST_COUNTED} are counted.",
        f"SELECT NULL, count(*) FROM (SELECT FROM events_parkedeffect LIMIT {MOST_COUNTED}) parked",
    ),
    DatabaseGauge(
        "headrace_heartbeat_age_seconds",
        "How long ago a worker did what beat had published every half minute: both live, and the broker between.",
        "SELECT NULL, extract(epoch FROM now() - beaten_at) FROM events_heartbeat",
    ),
)
