"""Gauges of the database's state, read in one statement when /metrics is requested."""

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, Final

from django.conf import settings
from django.utils.module_loading import import_string
from prometheus_client.core import GaugeMetricFamily, Metric

from config.http import readiness
from config.observability.metrics.gauges import DatabaseGauge
from config.observability.timed_probes import TimedProbe

STATEMENT_SECONDS: Final = 2.0
WAIT_SECONDS: Final = 3.0
"""Most time that a request of /metrics waits for the database to connect and answer."""


CONNECTIONS: Final = (
    DatabaseGauge(
        "headrace_database_connections",
        "Connections to the whole PostgreSQL server, by program as far as one may see them.",
        "SELECT CASE WHEN application_name LIKE 'headrace %' THEN substr(application_name, 10) ELSE 'other' END,"
        " count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' GROUP BY 1",
        "program",
    ),
    DatabaseGauge(
        "headrace_database_connections_limit",
        "How many connections the PostgreSQL server takes.",
        "SELECT NULL, current_setting('max_connections')::int"
        " - current_setting('superuser_reserved_connections')::int",
    ),
)
Rows = Sequence[tuple[str, str | None, float]]


@cache
def database_gauges() -> dict[str, DatabaseGauge]:
    """Return the gauges of `settings.METRICS` and of connections, by name."""
    listed = [gauge for path in settings.METRICS for gauge in import_string(path)]
    return {gauge.name: gauge for gauge in (*CONNECTIONS, *listed)}


def families() -> Iterator[Metric]:
    """Yield the gauges and each part's readiness, within a few seconds, on a connection of its own."""
    deadline = time.monotonic() + WAIT_SECONDS
    _PROBE.start()
    ready_state = readiness.state()
    rows = _PROBE.result(deadline)
    up = GaugeMetricFamily("headrace_database_up", "Whether the figures of the database could be read.")
    up.add_metric([], float(rows is not None))
    yield up
    by_name: dict[str, list[tuple[str | None, float]]] = defaultdict(list)
    for name, label, value in rows or ():
        by_name[name].append((label, value))
    for name, values in by_name.items():
        gauge = database_gauges()[name]
        family = GaugeMetricFamily(name, gauge.documentation, labels=[gauge.label] if gauge.label else [])
        for label, value in values:
            family.add_metric([label or ""] if gauge.label else [], value)
        yield family
    ready = GaugeMetricFamily("headrace_ready", "Whether a part is as /readyz wants it.", labels=["part"])
    for part, answer in ready_state.items():
        ready.add_metric([part], float(answer == readiness.OK))
    yield ready


def _read() -> Rows | None:
    parts = [
        f"SELECT '{gauge.name}', label::text, value::float8 FROM ({gauge.sql}) AS one (label, value)"
        for gauge in database_gauges().values()
    ]
    with readiness.connect(STATEMENT_SECONDS) as connection:
        statement: Any = " UNION ALL ".join(parts)
        rows: Rows = connection.execute(statement).fetchall()
    return rows


_PROBE: Final = TimedProbe[Rows | None](
    _read, None, "figures of the database", broken=None, fresh_seconds=lambda: readiness.FRESH_SECONDS
)
