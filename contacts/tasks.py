"""Celery tasks of contacts: what is left to do after erasures."""

from celery import shared_task

from contacts.erasure import erasures


@shared_task
def resolve_erasures() -> str:
    """Remove what was under way when its person was erased."""
    return "done" if erasures.resolve_erasures() else "nothing"
