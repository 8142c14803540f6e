"""The heartbeat of the background: beat, broker and a worker have handled a task."""

from datetime import datetime

from django.db.models.functions import Now

from config.db.statements import execute
from events.models import Heartbeat


def record_heartbeat() -> None:
    """Record by the database's clock that a task came through from beat by the broker to a worker."""
    # What is lost by a crash is worth no wait for the disk.
    execute(
        "INSERT INTO events_heartbeat (id, beaten_at)"
        " SELECT 1, now() FROM set_config('synchronous_commit', 'off', true)"
        " ON CONFLICT (id) DO UPDATE SET beaten_at = excluded.beaten_at"
    )


def heartbeat_age() -> float | None:
    """Return the seconds since the last heartbeat, None before the first."""
    found = Heartbeat.objects.annotate(now=Now()).values_list("beaten_at", "now").first()
    return _seconds(*found) if found is not None else None


def _seconds(beaten_at: datetime, now: datetime) -> float:
    return (now - beaten_at).total_seconds()
