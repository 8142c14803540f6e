"""What the workers do for campaigns: each task loads, calls one service and returns a word."""

from collections.abc import Callable
from typing import Final
from uuid import UUID

from celery import shared_task

from campaigns.delivery_tasks import deliver, settle_messages, sweep_messages
from campaigns.services.broadcasting import due_broadcasts, take_broadcast
from campaigns.services.campaigns import retire_versions, workspaces_with_campaigns
from campaigns.services.dating import schedule_dates, versions_with_dates
from campaigns.services.stepping import run_due, workspaces_with_due_runs
from campaigns.services.tallying import tally_campaigns
from events.services import for_each
from events.services.leases import MESSAGE_SECONDS, lease_to_message, return_lease

__all__ = [
    "begin_campaigns",
    "deliver",
    "run_steps",
    "settle_messages",
    "sweep_campaigns",
    "sweep_messages",
    "sweep_runs",
]

TURN_SECONDS = 5.0
"""How long one workspace may keep a worker before the others have their turn."""
SLICE_CHUNKS = 20
"""Chunks of contacts that one task takes before what else waits has its turn."""


STEPS: Final = "steps"
BEGINNING: Final = "beginning"
"""What leases call the work that wake-ups ask for."""


@shared_task
def run_steps(workspace_id: str) -> str:
    """Take on a workspace's due runs; with more left than a turn takes, queue up again."""
    return_lease(UUID(workspace_id), STEPS)
    done = run_due(UUID(workspace_id), at_most_seconds=TURN_SECONDS)
    if done == "more" and lease_to_message(UUID(workspace_id), STEPS):
        run_steps.apply_async(args=(workspace_id,), expires=MESSAGE_SECONDS, retry=False)
    return done


@shared_task
def sweep_runs() -> str:
    """Take on what time has made due, and what no wake-up came for."""
    waiting = workspaces_with_due_runs()
    for_each(waiting, _run_due)
    return "done" if waiting else "nothing"


def _run_due(workspace_id: UUID) -> None:
    # A message that has not come by now may be lost, and no other is sent while it is waited for.
    return_lease(workspace_id, STEPS)
    run_due(workspace_id, at_most_seconds=TURN_SECONDS)


@shared_task
def begin_campaigns(workspace_id: str | None = None) -> str:
    """Start broadcasts that are due, and put dates on the timetable, of all workspaces: one may have asked for it."""
    if workspace_id is not None:
        return_lease(UUID(workspace_id), BEGINNING)
    return "done" if _begin() else "nothing"


@shared_task
def sweep_campaigns() -> str:
    """Go on with what a killed process has left, let versions go that no run has any more, and keep the counts."""
    done = 0

    def take(step: Callable[[], int]) -> None:
        nonlocal done
        done += step()

    for_each([_begin, _retire, tally_campaigns], take)
    return "done" if done else "nothing"


def _retire() -> int:
    """Let versions go that no run has any more. Returns how many."""
    gone = 0

    def take(workspace_id: UUID) -> None:
        nonlocal gone
        gone += retire_versions(workspace_id)

    for_each(workspaces_with_campaigns(), take)
    return gone


def _begin() -> int:
    """Go on with the broadcasts that are due, and with dates that are left to plan. Returns how much was done."""
    done = 0

    def take(one: tuple[Callable[[UUID, UUID], int], UUID, UUID]) -> None:
        nonlocal done
        take_some, workspace_id, id_ = one
        for _ in range(SLICE_CHUNKS):
            if not (taken := take_some(workspace_id, id_)):
                break
            done += taken

    broadcasts = [(take_broadcast, *one) for one in due_broadcasts()]
    for_each([*broadcasts, *((schedule_dates, *one) for one in versions_with_dates())], take)
    return done
