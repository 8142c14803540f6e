"""When tasks of events are due: SQL scalars for `settings.SCHEDULE`."""

from django.conf import settings

SWEEP_SECONDS = 5
"""How long a batch waits for its wake-up before it is looked after without one."""


def timers() -> str:
    """When the next timer is due."""
    return """
        SELECT min(next.due_at) FROM workspaces_workspace w CROSS JOIN LATERAL (
            SELECT due_at FROM events_timer WHERE workspace_id = w.id ORDER BY due_at LIMIT 1
        ) next
    """


def forgotten_batches() -> str:
    """When the oldest batch has waited too long for its effects."""
    return f"""
        SELECT created_at + interval '{SWEEP_SECONDS} s' FROM events_eventbatch ORDER BY id LIMIT 1
    """


def old_idempotency_keys() -> str:
    """When the next Idempotency-Key expires."""
    days = settings.IDEMPOTENCY_KEY_DAYS
    return f"SELECT min(created_at) + interval '{days} days' FROM events_idempotencykey"


def old_refused_events() -> str:
    """When the oldest refused event is to go."""
    days = settings.QUARANTINE_DAYS
    return f"SELECT min(received_at) + interval '{days} days' FROM events_refusedevent"
