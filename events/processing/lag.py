"""Processing lag: how far the effects are behind the events."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from config.db.statements import fetch_one
from events.models import ParkedEffect

COUNTED_AT_MOST = 100_000


@dataclass(frozen=True, slots=True)
class Lag:
    """What waits for the workers at a moment. Counts end at COUNTED_AT_MOST (100,000)."""

    at: datetime
    waiting_batches: int
    waiting_since: datetime | None
    overdue: int
    overdue_since: datetime | None
    parked: int

    @property
    def seconds(self) -> float:
        """Return how many seconds the oldest item has waited, 0 if none waits."""
        since = [moment for moment in (self.waiting_since, self.overdue_since) if moment is not None]
        return max((self.at - min(since)).total_seconds(), 0.0) if since else 0.0


def processing_lag(workspace_id: UUID, now: datetime) -> Lag:
    """Return a workspace's lag: open batches, due timers and parked effects."""
    batches, waiting_since = fetch_one(
        "SELECT count(*), min(created_at) FROM ("
        " SELECT created_at FROM events_eventbatch WHERE workspace_id = %s LIMIT %s) waiting",
        [workspace_id, COUNTED_AT_MOST],
    )
    overdue, overdue_since = fetch_one(
        "SELECT count(*), min(due_at) FROM (SELECT due_at FROM events_timer"
        " WHERE workspace_id = %s AND due_at <= %s ORDER BY due_at LIMIT %s) overdue",
        [workspace_id, now, COUNTED_AT_MOST],
    )
    parked = ParkedEffect.objects.in_workspace(workspace_id).count()
    return Lag(now, batches, waiting_since, overdue, overdue_since, parked)
