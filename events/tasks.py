"""What the workers do: each task loads, calls one service and returns a word."""

from uuid import UUID

from celery import shared_task

from events import services
from events.partitions import make_partitions as make_partitions_ahead
from events.services.idempotency import forget_old_keys

TURN_SECONDS = 5.0
"""How long one workspace may keep a worker before the others have their turn."""


@shared_task
def apply_effects(workspace_id: str) -> str:
    """Apply the effects that a workspace waits for; with more left than a turn takes, queue up again."""
    done = services.apply_effects(UUID(workspace_id), at_most_seconds=TURN_SECONDS)
    if done == "more":
        apply_effects.apply_async(args=(workspace_id,), retry=False)
    return done


@shared_task
def sweep_batches() -> str:
    """Apply what no wake-up came for: a killed process or a broken broker may have swallowed it."""
    waiting = services.workspaces_with_open_batches()
    for workspace_id in waiting:
        services.apply_effects(workspace_id, at_most_seconds=TURN_SECONDS)
    return "done" if waiting else "nothing"


@shared_task
def make_partitions() -> str:
    """Keep a year of the stream's partitions ready."""
    make_partitions_ahead()
    return "done"


@shared_task
def forget_idempotency_keys() -> str:
    """Drop the keys whose time is over."""
    return "done" if forget_old_keys() else "nothing"
