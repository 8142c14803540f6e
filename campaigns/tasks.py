"""Celery tasks of campaigns. Each returns "done", "nothing" or "more"."""

from collections.abc import Callable
from uuid import UUID

from celery import shared_task

from campaigns.journeys.broadcasts import BROADCASTS
from campaigns.journeys.processor import process_due_enrollments, workspaces_with_due_enrollments
from campaigns.journeys.versions import retire_versions, workspaces_with_old_versions
from campaigns.messaging.tasks import deliver, deliver_all_due_messages, resolve_abandoned_messages
from campaigns.rehearsal.rehearsals import run_waiting
from campaigns.reporting.counters import update_campaign_counters
from campaigns.wake_ups import campaign_wake_ups, enrollment_wake_ups
from config.db.backfill import for_each
from events.processing.leases import acquire_message_lease, release_lease

__all__ = [
    "deliver",
    "deliver_all_due_messages",
    "process_all_due_enrollments",
    "process_due_broadcasts",
    "process_enrollments",
    "resolve_abandoned_messages",
    "retire_versions_and_update_counters",
    "run_rehearsals",
]

MAX_SECONDS = 5.0
"""Time that a task spends on one workspace, or on broadcasts, before it yields to others."""


@shared_task
def process_enrollments(workspace_id: str) -> str:
    """Process a workspace's due enrollments; enqueue itself again if more are left."""
    release_lease(UUID(workspace_id), enrollment_wake_ups.lease)
    done = process_due_enrollments(UUID(workspace_id), at_most_seconds=MAX_SECONDS)
    if done == "more" and acquire_message_lease(UUID(workspace_id), enrollment_wake_ups.lease):
        enrollment_wake_ups.publish(UUID(workspace_id))
    return done


@shared_task
def process_all_due_enrollments() -> str:
    """Process due enrollments of all workspaces, those included whose wake-up was lost."""
    waiting = workspaces_with_due_enrollments()
    for_each(waiting, _process_workspace)
    return "done" if waiting else "nothing"


def _process_workspace(workspace_id: UUID) -> None:
    # Its wake-up may be lost, and while its lease stands, no other is sent.
    release_lease(workspace_id, enrollment_wake_ups.lease)
    process_due_enrollments(workspace_id, at_most_seconds=MAX_SECONDS)


@shared_task
def process_due_broadcasts(workspace_id: str | None = None) -> str:
    """Process due broadcasts of all workspaces; beat comes again for what is left.

    `workspace_id`: whose wake-up this is.
    """
    if workspace_id is not None:
        release_lease(UUID(workspace_id), campaign_wake_ups.lease)
    return BROADCASTS.run_all(at_most_seconds=MAX_SECONDS)


@shared_task
def retire_versions_and_update_counters() -> str:
    """Retire versions and update counters."""
    done = 0

    def take(step: Callable[[], int]) -> None:
        nonlocal done
        done += step()

    for_each([_retire_versions, update_campaign_counters], take)
    return "done" if done else "nothing"


def _retire_versions() -> int:
    """Retire unused versions of all workspaces. Returns how many."""
    gone = 0

    def take(workspace_id: UUID) -> None:
        nonlocal gone
        gone += retire_versions(workspace_id)

    for_each(workspaces_with_old_versions(), take)
    return gone


@shared_task
def run_rehearsals() -> str:
    """Run the rehearsals that are ordered, and those whose process died."""
    return "done" if run_waiting() else "nothing"
