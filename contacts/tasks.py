"""What the background does for contacts."""

from celery import shared_task

from contacts import services

TURN_SECONDS = 5.0
"""How long a worker is kept from its other work."""


@shared_task
def settle_erasures() -> str:
    """Remove what was under way when its person was erased."""
    return "done" if services.settle_erasures() else "nothing"


@shared_task
def continue_erasures() -> str:
    """Go on removing what erased persons have left; with more left than a turn takes, queue up again."""
    done = services.continue_erasures(at_most_seconds=TURN_SECONDS)
    if done == "more":
        continue_erasures.apply_async(retry=False)
    return done


@shared_task
def continue_merges() -> str:
    """Go on moving what merged and parted contacts have; with more left than a turn takes, queue up again."""
    done = services.continue_merges(at_most_seconds=TURN_SECONDS)
    if done == "more":
        continue_merges.apply_async(retry=False)
    return done
