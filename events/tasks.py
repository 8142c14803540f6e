"""What the workers do: each task loads, calls one service and returns a word."""

from uuid import UUID

from celery import shared_task

from events import services
from events.partitions import make_partitions as make_partitions_ahead
from events.services.idempotency import forget_old_keys

TURN_SECONDS = 5.0
"""How long one workspace may keep a worker before the others have their turn."""
HELD_SECONDS = 0.1
"""When to look again at lanes that another worker had."""


@shared_task
def apply_effects(workspace_id: str) -> str:
    """Apply the effects that a workspace waits for; with more left than a turn takes, queue up again."""
    done = services.answer_wake_up(UUID(workspace_id), at_most_seconds=TURN_SECONDS)
    if done == "more":
        apply_effects.apply_async(args=(workspace_id,), retry=False)
    elif done == "held":
        # Who holds a lane may have looked at it before this wake-up's event came.
        apply_effects.apply_async(args=(workspace_id,), countdown=HELD_SECONDS, retry=False)
    return done


@shared_task
def sweep_batches() -> str:
    """Apply what no wake-up came for: a killed process or a broken broker may have swallowed it."""
    waiting = services.workspaces_with_open_batches()
    for workspace_id in waiting:
        services.answer_wake_up(workspace_id, at_most_seconds=TURN_SECONDS)
    return "done" if waiting else "nothing"


@shared_task
def wake_due() -> str:
    """Decide again what time alone has changed; the clock of windows, offsets and decay."""
    waiting = services.workspaces_with_due()
    for workspace_id in waiting:
        services.answer_wake_up(workspace_id, at_most_seconds=TURN_SECONDS)
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
