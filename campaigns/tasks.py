"""What the workers do for campaigns: each task loads, calls one service and returns a word."""

from collections.abc import Callable
from typing import Final
from uuid import UUID

from celery import shared_task

from campaigns.journeys.broadcasts import due_broadcasts, process_broadcast_batch
from campaigns.journeys.date_triggers import schedule_date_batch, versions_to_backfill
from campaigns.journeys.lifecycle import retire_versions, workspaces_with_old_versions
from campaigns.journeys.processor import process_due_enrollments, workspaces_with_due_enrollments
from campaigns.messaging.tasks import deliver, settle_messages, sweep_messages
from campaigns.reporting.counters import update_campaign_counters
from events.processing.bisection import for_each
from events.processing.leases import MESSAGE_SECONDS, acquire_message_lease, release_lease

__all__ = [
    "deliver",
    "process_enrollments",
    "settle_messages",
    "start_due_campaigns",
    "sweep_campaigns",
    "sweep_enrollments",
    "sweep_messages",
]

MAX_SECONDS_PER_WORKSPACE = 5.0
"""How long one workspace may keep a worker before the others have their turn."""
MAX_BATCHES_PER_TASK = 20
"""Chunks of contacts that one task takes before what else waits has its turn."""


ENROLLMENT_LEASE: Final = "steps"
CAMPAIGN_START_LEASE: Final = "beginning"
"""What leases call the work that wake-ups ask for."""


@shared_task
def process_enrollments(workspace_id: str) -> str:
    """Take on a workspace's due enrollments; with more left than a turn takes, queue up again."""
    release_lease(UUID(workspace_id), ENROLLMENT_LEASE)
    done = process_due_enrollments(UUID(workspace_id), at_most_seconds=MAX_SECONDS_PER_WORKSPACE)
    if done == "more" and acquire_message_lease(UUID(workspace_id), ENROLLMENT_LEASE):
        process_enrollments.apply_async(args=(workspace_id,), expires=MESSAGE_SECONDS, retry=False)
    return done


@shared_task
def sweep_enrollments() -> str:
    """Take on what time has made due, and what no wake-up came for."""
    waiting = workspaces_with_due_enrollments()
    for_each(waiting, _process_workspace)
    return "done" if waiting else "nothing"


def _process_workspace(workspace_id: UUID) -> None:
    # A message that has not come by now may be lost, and no other is sent while it is waited for.
    release_lease(workspace_id, ENROLLMENT_LEASE)
    process_due_enrollments(workspace_id, at_most_seconds=MAX_SECONDS_PER_WORKSPACE)


@shared_task
def start_due_campaigns(workspace_id: str | None = None) -> str:
    """Start broadcasts that are due, and put dates on the timetable, of all workspaces: one may have asked for it."""
    if workspace_id is not None:
        release_lease(UUID(workspace_id), CAMPAIGN_START_LEASE)
    return "done" if _start_due() else "nothing"


@shared_task
def sweep_campaigns() -> str:
    """Go on with what a killed process has left, let versions go that no enrollment has any more, and keep the counts."""
    done = 0

    def take(step: Callable[[], int]) -> None:
        nonlocal done
        done += step()

    for_each([_start_due, _retire_versions, update_campaign_counters], take)
    return "done" if done else "nothing"


def _retire_versions() -> int:
    """Let versions go that no enrollment has any more. Returns how many."""
    gone = 0

    def take(workspace_id: UUID) -> None:
        nonlocal gone
        gone += retire_versions(workspace_id)

    for_each(workspaces_with_old_versions(), take)
    return gone


def _start_due() -> int:
    """Go on with the broadcasts that are due, and with dates that are left to plan. Returns how much was done."""
    done = 0

    def take(work: tuple[Callable[[UUID, UUID], int], UUID, UUID]) -> None:
        nonlocal done
        process_some, workspace_id, id_ = work
        for _ in range(MAX_BATCHES_PER_TASK):
            if not (taken := process_some(workspace_id, id_)):
                break
            done += taken

    broadcasts = [(process_broadcast_batch, *work) for work in due_broadcasts()]
    for_each([*broadcasts, *((schedule_date_batch, *work) for work in versions_to_backfill())], take)
    return done
