"""Celery tasks: go on with backfills; delete old jobs, expired tokens and sessions."""

from typing import Any
from uuid import UUID

from celery import shared_task
from django.conf import settings
from django.utils.module_loading import import_string

from config.db.backfill import Backfill, for_each
from workspaces import services
from workspaces.models import BackfillJob

TURN_SECONDS = 5.0
"""How long a worker is kept from its other work."""
SLICE_SECONDS = 0.5
"""How long a job that workers share may keep one of them."""


@shared_task
def continue_backfill(path: str) -> str:
    """Go on with a kind of resumable work; with more left than a turn takes, queue up again.

    `path`: of its Backfill, a key of `settings.BACKFILLS`.
    """
    backfill: Backfill[Any] = import_string(path)
    word = backfill.run_all(at_most_seconds=TURN_SECONDS)
    if word == "more":
        continue_backfill.apply_async(args=(path,), retry=False)
    return word


@shared_task
def continue_jobs(path: str, workspace_id: str, subject: str) -> str:
    """Share out the unfinished jobs of one subject among the workers."""
    jobs = BackfillJob.objects.in_workspace(UUID(workspace_id))
    ids = list(jobs.filter(kind=path, subject=subject, finished_at=None).values_list("id", flat=True))
    for job_id in ids:
        continue_job.apply_async(args=(path, workspace_id, str(job_id)), retry=False)
    return "done" if ids else "nothing"


@shared_task
def continue_job(path: str, workspace_id: str, job_id: str) -> str:
    """Go on with one job; with more left than a slice takes, queue up again."""
    job = BackfillJob.objects.in_workspace(UUID(workspace_id)).filter(id=job_id, finished_at=None).first()
    if job is None:
        return "nothing"
    if import_string(path).run(job, at_most_seconds=SLICE_SECONDS):
        return "done"
    continue_job.apply_async(args=(path, workspace_id, job_id), retry=False)
    return "more"


@shared_task
def continue_all_backfills() -> str:
    """Go on with jobs of every kind, those included whose wake-up was lost."""
    words = []
    for_each(settings.BACKFILLS, lambda path: words.append(continue_backfill(path)))
    return "nothing" if set(words) <= {"nothing"} else "done"


@shared_task
def purge_finished_jobs() -> str:
    """Delete jobs that finished long ago."""
    return "done" if services.purge_finished_jobs() else "nothing"


@shared_task
def purge_expired_tokens() -> str:
    """Delete expired token families."""
    return "done" if services.purge_expired_tokens() else "nothing"


@shared_task
def purge_ended_sign_ins() -> str:
    """Delete expired browser sessions, OAuth grants and OAuth tokens."""
    services.purge_ended_sign_ins()
    return "done"
