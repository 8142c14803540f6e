"""The tasks that beat publishes, by what each does, and when.

`next_due` names a function that makes SQL for the time at which there is work, null for none. Without `every`
the task is published at that time; with `every`, beat checks that often, in seconds, and publishes if work is
due. With `every` alone it publishes each time.
"""

from typing import Any, Final

from config.environment import env

# Those that processes notify beat of (config.runtime.beat_notifications).
PROCESS_DUE_TIMERS: Final = "process due timers"
PROCESS_DUE_ENROLLMENTS: Final = "process due enrollments"
PROCESS_DUE_BROADCASTS: Final = "process due broadcasts"
DELIVER_DUE_MESSAGES: Final = "deliver due messages"

SCHEDULE: dict[str, dict[str, Any]] = {
    PROCESS_DUE_TIMERS: {"task": "events.tasks.process_due_timers", "next_due": "events.schedule.timers"},
    PROCESS_DUE_ENROLLMENTS: {
        "task": "campaigns.tasks.process_all_due_enrollments",
        "next_due": "campaigns.schedule.enrollments",
    },
    PROCESS_DUE_BROADCASTS: {
        "task": "campaigns.tasks.process_due_broadcasts",
        "next_due": "campaigns.schedule.broadcasts",
    },
    DELIVER_DUE_MESSAGES: {
        "task": "campaigns.messaging.tasks.deliver_all_due_messages",
        "next_due": "campaigns.schedule.messages",
    },
    "apply overlooked effects": {
        "task": "events.tasks.apply_overlooked_effects",
        "next_due": "events.schedule.forgotten_batches",
        "every": 5,
    },
    "retire versions and update counters": {
        "task": "campaigns.tasks.retire_versions_and_update_counters",
        "next_due": "campaigns.schedule.old_versions_and_counters",
        "every": 15,
    },
    "run rehearsals": {
        "task": "campaigns.tasks.run_rehearsals",
        "next_due": "campaigns.schedule.unfinished_rehearsals",
        "every": 5,
    },
    "resolve abandoned messages": {
        "task": "campaigns.messaging.tasks.resolve_abandoned_messages",
        "next_due": "campaigns.schedule.abandoned_messages",
        "every": 15,
    },
    "continue idle backfills": {
        "task": "workspaces.tasks.continue_all_backfills",
        "next_due": "workspaces.schedule.idle_backfills",
        "every": 15,
    },
    "continue idle uploads": {
        "task": "contacts.tasks.continue_idle_uploads",
        "next_due": "contacts.schedule.idle_uploads",
        "every": 15,
    },
    "purge old uploads": {"task": "contacts.tasks.purge_uploads", "every": 3600},
    "remove late data of erased persons": {
        "task": "contacts.tasks.resolve_erasures",
        "next_due": "contacts.schedule.unsettled_erasures",
        "every": 60,
    },
    "purge expired idempotency keys": {
        "task": "events.tasks.purge_idempotency_keys",
        "next_due": "events.schedule.old_idempotency_keys",
        "every": 3600,
    },
    "purge old refused events": {
        "task": "events.tasks.purge_refused_events",
        "next_due": "events.schedule.old_refused_events",
        "every": 3600,
    },
    "purge finished jobs": {
        "task": "workspaces.tasks.purge_finished_jobs",
        "next_due": "workspaces.schedule.old_jobs",
        "every": 3600,
    },
    "record worker heartbeat": {
        "task": "events.tasks.record_worker_heartbeat",
        "every": env("HEARTBEAT_SECONDS"),
    },
    "purge expired tokens": {
        "task": "workspaces.tasks.purge_expired_tokens",
        "next_due": "workspaces.schedule.expired_tokens",
        "every": 3600,
    },
    "purge ended sign-ins": {
        "task": "workspaces.tasks.purge_ended_sign_ins",
        "next_due": "workspaces.schedule.ended_sign_ins",
        "every": 3600,
    },
    "purge rows of deleted segments": {"task": "segments.tasks.purge_all_stale_rows", "every": 3600},
    "create partitions ahead": {"task": "events.tasks.make_partitions", "every": 24 * 3600},
}
