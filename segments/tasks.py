"""Background tasks of segments: each loads, calls one service and returns a word."""

from collections.abc import Sequence
from uuid import UUID

from celery import shared_task

from segments import build


@shared_task
def purge_versions(workspace_id: str, versions: Sequence[str]) -> str:
    """Delete the rows of deleted versions."""
    return (
        "done"
        if build.purge_stale_rows(UUID(workspace_id), [UUID(version) for version in versions])
        else "nothing"
    )


@shared_task
def purge_all_stale_rows() -> str:
    """Delete rows of deleted versions and segments for which no message came."""
    rows = [build.purge_stale_rows(workspace_id) for workspace_id in build.workspaces_with_segments()]
    return "done" if any(rows) else "nothing"
