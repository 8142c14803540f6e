"""Celery tasks: delete expired tokens and sessions."""

from celery import shared_task

from workspaces import services


@shared_task
def forget_tokens() -> str:
    """Delete expired token families."""
    return "done" if services.purge_expired_tokens() else "nothing"


@shared_task
def purge_ended_sign_ins() -> str:
    """Delete expired browser sessions, OAuth grants and OAuth tokens."""
    services.purge_ended_sign_ins()
    return "done"
