"""Celery tasks of contacts: import uploaded files; what is left to do after erasures."""

from typing import Final
from uuid import UUID

from celery import shared_task

from contacts.erasure import erasures
from contacts.imports import uploads

SLICE_SECONDS: Final = 1.0
"""How long an import may keep a worker from its other work, but for the batch that it is at."""


@shared_task
def continue_uploads(workspace_id: str) -> str:
    """Import a slice of a workspace's uploaded files; with more left, queue up again."""
    word = uploads.continue_uploads(UUID(workspace_id), at_most_seconds=SLICE_SECONDS)
    if word == "more":
        continue_uploads.apply_async(args=(workspace_id,), retry=False)
    return word


@shared_task
def continue_idle_uploads() -> str:
    """Go on with uploaded files that nobody is at: their worker was killed, or their wake-up lost."""
    idle = uploads.idle_workspaces()
    for workspace_id in idle:
        continue_uploads.apply_async(args=(str(workspace_id),), retry=False)
    return "done" if idle else "nothing"


@shared_task
def purge_uploads() -> str:
    """Delete uploaded files that are kept long enough, and those of no import."""
    return "done" if uploads.purge_uploads() else "nothing"


@shared_task
def resolve_erasures() -> str:
    """Remove what was under way when its person was erased."""
    return "done" if erasures.resolve_erasures() else "nothing"
