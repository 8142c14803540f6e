"""Holding a draft against every contact, lane by lane in the background, and telling what its swap changed."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from segments.models import Segment


@dataclass(frozen=True, slots=True)
class BuildProgress:
    """How far a build is; `state` is a Segment.Build, `is_announcing`: swapped, entries and exits being told."""

    state: str
    judged: int
    total: int
    # 0 to 1; a build with nothing to do is done.
    fraction: float
    started_at: datetime | None
    is_announcing: bool
    publishes: bool


def progress_of(segment: Segment) -> BuildProgress:
    """Return how far the segment's build is, from its row alone."""
    raise NotImplementedError


def build_lane(
    workspace_id: UUID,
    segment_id: UUID,
    lane: int,
    *,
    after: UUID | None = None,
    at_most_seconds: float | None = None,
) -> tuple[str, UUID | None]:
    """Judge a lane's contacts by the draft. Returns "done", "nothing", "held" or "more" with where to go on.

    The last lane that is done publishes the draft, or marks it as built.
    """
    raise NotImplementedError


def announce_lane(
    workspace_id: UUID,
    segment_id: UUID,
    lane: int,
    *,
    after: UUID | None = None,
    at_most_seconds: float | None = None,
) -> tuple[str, UUID | None]:
    """Bring a lane's stays, and the stream, in line with who is in the published segment. Returns as build_lane."""
    raise NotImplementedError


def run_build(workspace_id: UUID, segment_id: UUID) -> str:
    """Build and announce all that is left, here and now: for commands and tests. Returns "done" or "nothing"."""
    raise NotImplementedError


def unfinished_segments() -> list[tuple[UUID, UUID]]:
    """Return (workspace, segment) of all that are being built or announced."""
    raise NotImplementedError


def forget_stale_rows(workspace_id: UUID) -> int:
    """Delete, in chunks, what versions and segments that are gone have left behind. Returns the rows."""
    raise NotImplementedError
