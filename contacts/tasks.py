"""What the background does for contacts."""

from celery import shared_task

from contacts import services


@shared_task
def settle_erasures() -> str:
    """Remove what was under way when its person was erased."""
    return "done" if services.settle_erasures() else "nothing"
