"""What the workers do for access."""

from celery import shared_task

from workspaces import services


@shared_task
def forget_tokens() -> str:
    """Drop what is kept of JWTs whose time is over."""
    return "done" if services.purge_expired_tokens() else "nothing"


@shared_task
def purge_ended_sign_ins() -> str:
    """Drop sessions of browsers, and grants and tokens of OAuth clients, whose time is over."""
    services.purge_ended_sign_ins()
    return "done"
