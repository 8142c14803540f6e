"""Celery tasks of contacts: unfinished erasures and merges."""

from celery import shared_task

from contacts.erasure import erasures
from contacts.merging import reassignment

TURN_SECONDS = 5.0
"""How long a worker is kept from its other work."""


@shared_task
def resolve_erasures() -> str:
    """Remove what was under way when its person was erased."""
    return "done" if erasures.resolve_erasures() else "nothing"


@shared_task
def continue_erasures() -> str:
    """Go on removing what erased persons have left; with more left than a turn takes, queue up again."""
    done = erasures.continue_erasures(at_most_seconds=TURN_SECONDS)
    if done == "more":
        continue_erasures.apply_async(retry=False)
    return done


@shared_task
def continue_merges() -> str:
    """Go on moving what merged and parted contacts have; with more left than a turn takes, queue up again."""
    done = reassignment.continue_merges(at_most_seconds=TURN_SECONDS)
    if done == "more":
        continue_merges.apply_async(retry=False)
    return done
