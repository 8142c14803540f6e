"""Prometheus metrics of campaigns and messages."""

from collections import Counter as Counts
from collections.abc import Iterable
from functools import partial
from typing import Final

from django.db import transaction
from prometheus_client import Counter, Histogram

from config.observability.metrics.counters import SECONDS
from config.observability.metrics.gauges import DatabaseGauge
from config.observability.metrics.process_files import REGISTRY

DELIVERIES = Counter(
    "headrace_deliveries",
    "Attempts to send a message, by channel and by what became of it.",
    ["channel", "outcome"],
    registry=REGISTRY,
)
MESSAGES = Counter(
    "headrace_messages",
    "Messages by what was noted of them in the end: sent, or the reason for which one was not.",
    ["outcome"],
    registry=REGISTRY,
)
DELIVERY_SECONDS = Histogram(
    "headrace_delivery_seconds",
    "How long a receiver took.",
    ["channel"],
    buckets=SECONDS,
    registry=REGISTRY,
)


def count_messages(outcomes: Iterable[str]) -> None:
    """Count final outcomes of messages, after the commit."""
    if counts := Counts(outcomes):
        transaction.on_commit(partial(_count, counts), robust=True)


def _count(counts: Counts[str]) -> None:
    for outcome, count in counts.items():
        MESSAGES.labels(outcome).inc(count)


MOST_COUNTED: Final = 10_000
_READY: Final = (
    "workspaces_workspace w CROSS JOIN (VALUES ('EMAIL'), ('WEBHOOK'), ('TELEGRAM')) c (channel)"
    " CROSS JOIN LATERAL (SELECT send_at FROM campaigns_message WHERE workspace_id = w.id"
    " AND channel = c.channel AND status = 'QUEUED' AND send_at <= now()"
)
STORED: Final = (
    DatabaseGauge(
        "headrace_runs_due",
        f"Runs whose next step is due; at most {MOST_COUNTED} are counted.",
        "SELECT NULL, count(*) FROM (SELECT FROM campaigns_campaign c CROSS JOIN LATERAL ("
        " SELECT FROM campaigns_enrollment WHERE workspace_id = c.workspace_id AND campaign_id = c.id"
        f" AND status = 'open' AND wake_at <= now() ORDER BY wake_at LIMIT {MOST_COUNTED}) run"
        f" WHERE c.status IN ('DRAFT', 'ACTIVE', 'COMPLETED') LIMIT {MOST_COUNTED}) due",
    ),
    DatabaseGauge(
        "headrace_runs_lag_seconds",
        "For how long the oldest of them has been due.",
        "SELECT NULL, COALESCE(extract(epoch FROM now() - min(wake_at) FILTER (WHERE wake_at <= now())), 0)"
        " FROM campaigns_campaign c CROSS JOIN LATERAL ("
        " SELECT wake_at FROM campaigns_enrollment WHERE workspace_id = c.workspace_id AND campaign_id = c.id"
        " AND status = 'open' AND wake_at IS NOT NULL ORDER BY wake_at LIMIT 1) run"
        " WHERE c.status IN ('DRAFT', 'ACTIVE', 'COMPLETED')",
    ),
    DatabaseGauge(
        "headrace_messages_ready",
        f"Messages that may leave, by channel; at most {MOST_COUNTED} are counted of a workspace.",
        f"SELECT c.channel, count(*) FROM {_READY} ORDER BY priority DESC, send_at LIMIT {MOST_COUNTED}) ready"
        " GROUP BY c.channel",
        "channel",
    ),
    DatabaseGauge(
        "headrace_messages_sending",
        "Messages that workers have in hand.",
        "SELECT NULL, count(*) FROM workspaces_workspace w CROSS JOIN LATERAL (SELECT FROM campaigns_message"
        f" WHERE workspace_id = w.id AND status = 'SENDING' LIMIT {MOST_COUNTED}) sending",
    ),
    DatabaseGauge(
        "headrace_campaigns_parked",
        "Campaigns that failed and start nothing.",
        "SELECT NULL, count(*) FROM campaigns_campaign WHERE parked_at IS NOT NULL",
    ),
)
