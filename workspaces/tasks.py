"""What the workers do for access."""

from celery import shared_task

from workspaces.services import forget_expired_tokens


@shared_task
def forget_tokens() -> str:
    """Drop what is kept of JWTs whose time is over."""
    return "done" if forget_expired_tokens() else "nothing"
