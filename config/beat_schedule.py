"""The tasks that beat publishes, by name, and when.

`next_due` names a function that makes SQL for the time at which there is work, null for none. Without `every`
the task is published at that time; with `every`, beat checks that often, in seconds, and publishes if work is
due. With `every` alone it publishes each time.
"""

from typing import Any

from config.environment import env

SCHEDULE: dict[str, dict[str, Any]] = {
    "timers": {"task": "events.tasks.wake_due", "next_due": "events.schedule.timers"},
    "enrollments": {
        "task": "campaigns.tasks.sweep_enrollments",
        "next_due": "campaigns.schedule.enrollments",
    },
    "broadcasts": {
        "task": "campaigns.tasks.start_due_campaigns",
        "next_due": "campaigns.schedule.broadcasts",
    },
    "messages": {
        "task": "campaigns.messaging.tasks.sweep_messages",
        "next_due": "campaigns.schedule.messages",
    },
    "forgotten batches": {
        "task": "events.tasks.sweep_batches",
        "next_due": "events.schedule.forgotten_batches",
        "every": 5,
    },
    "campaigns": {
        "task": "campaigns.tasks.sweep_campaigns",
        "next_due": "campaigns.schedule.upkeep",
        "every": 15,
    },
    "rehearsals": {
        "task": "campaigns.tasks.run_rehearsals",
        "next_due": "campaigns.schedule.unfinished_rehearsals",
        "every": 30,
    },
    "abandoned messages": {
        "task": "campaigns.messaging.tasks.resolve_abandoned_messages",
        "next_due": "campaigns.schedule.abandoned_messages",
        "every": 15,
    },
    "idle backfills": {
        "task": "workspaces.tasks.sweep_backfills",
        "next_due": "workspaces.schedule.idle_backfills",
        "every": 15,
    },
    "unsettled erasures": {
        "task": "contacts.tasks.resolve_erasures",
        "next_due": "contacts.schedule.unsettled_erasures",
        "every": 60,
    },
    "old idempotency keys": {
        "task": "events.tasks.purge_idempotency_keys",
        "next_due": "events.schedule.old_idempotency_keys",
        "every": 3600,
    },
    "old refused events": {
        "task": "events.tasks.purge_refused_events",
        "next_due": "events.schedule.old_refused_events",
        "every": 3600,
    },
    "heartbeat": {"task": "events.tasks.record_worker_heartbeat", "every": env("HEARTBEAT_SECONDS")},
    "expired tokens": {
        "task": "workspaces.tasks.forget_tokens",
        "next_due": "workspaces.schedule.expired_tokens",
        "every": 3600,
    },
    "ended sign-ins": {
        "task": "workspaces.tasks.purge_ended_sign_ins",
        "next_due": "workspaces.schedule.ended_sign_ins",
        "every": 3600,
    },
    "stale rows": {"task": "segments.tasks.sweep_stale_rows", "every": 3600},
    "partitions": {"task": "events.tasks.make_partitions", "every": 24 * 3600},
}
