"""Rules that fail or take too long: set aside with their error, and skipped from then on."""

from datetime import datetime
from uuid import UUID

from segments.models import Segment
from segments.services.plans import Ruling

_LONGEST_ERROR = 10_000


def set_ruling_aside(workspace_id: UUID, ruling: Ruling, error: Exception, now: datetime) -> None:
    """Park the segment whose serving rule failed, or fail its build if it was the draft."""
    # PostgreSQL takes no NUL in a text, and an error may quote one.
    text = f"{type(error).__name__}: {error}".replace("\x00", "")[:_LONGEST_ERROR]
    segments = Segment.objects.in_workspace(workspace_id).filter(id=ruling.segment_id)
    if ruling.is_serving:
        segments.filter(version=ruling.version, parked_at=None).update(parked_at=now, error=text)
    else:
        segments.filter(draft_version=ruling.version).update(build=Segment.Build.FAILED, error=text)
