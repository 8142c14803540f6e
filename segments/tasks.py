"""Background tasks of segments: each loads, calls one service and returns a word."""

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from celery import shared_task

from segments import build
from segments.schedule import IDLE_SECONDS

SLICE_SECONDS = 0.5
"""Seconds that a task may keep a worker."""


@shared_task
def process_segment(workspace_id: str, segment_id: str) -> str:
    """Send a task for each lane to build or publish of a segment."""
    building, announcing = build.unfinished_lanes(UUID(workspace_id), UUID(segment_id))
    for task, lanes in ((build_segment_lane, building), (publish_segment_lane, announcing)):
        for lane in lanes:
            task.apply_async(args=(workspace_id, segment_id, lane), retry=False)
    return "done" if building or announcing else "nothing"


@shared_task
def build_segment_lane(workspace_id: str, segment_id: str, lane: int, after: str | None = None) -> str:
    """Build a segment's draft for some of a lane's contacts; with more left, queue up again."""
    return _process_lane(build.build_lane, build_segment_lane, workspace_id, segment_id, lane, after)


@shared_task
def publish_segment_lane(workspace_id: str, segment_id: str, lane: int, after: str | None = None) -> str:
    """Publish a promoted draft's changes for some of a lane's contacts; with more left, queue up again."""
    return _process_lane(build.publish_lane, publish_segment_lane, workspace_id, segment_id, lane, after)


def _process_lane(
    process: Callable[..., tuple[str, UUID | None]],
    task: Any,
    workspace_id: str,
    segment_id: str,
    lane: int,
    after: str | None,
) -> str:
    word, last = process(
        UUID(workspace_id),
        UUID(segment_id),
        lane,
        after=UUID(after) if after else None,
        at_most_seconds=SLICE_SECONDS,
    )
    if word == "more":
        task.apply_async(args=(workspace_id, segment_id, lane, str(last)), retry=False)
    return word


@shared_task
def purge_versions(workspace_id: str, versions: Sequence[str]) -> str:
    """Delete the rows of deleted versions."""
    return (
        "done"
        if build.purge_stale_rows(UUID(workspace_id), [UUID(version) for version in versions])
        else "nothing"
    )


@shared_task
def sweep_segments() -> str:
    """Take up builds and publications without progress: a message was lost, or a worker killed."""
    waiting = build.unfinished_segments(idle_seconds=IDLE_SECONDS)
    for workspace_id, segment_id in waiting:
        process_segment(str(workspace_id), str(segment_id))
    return "done" if waiting else "nothing"


@shared_task
def sweep_stale_rows() -> str:
    """Delete rows of deleted versions and segments for which no message came."""
    rows = [build.purge_stale_rows(workspace_id) for workspace_id in build.workspaces_with_segments()]
    return "done" if any(rows) else "nothing"
