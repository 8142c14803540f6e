"""Rules that fail or take too long: parked with their error, and skipped from then on."""

from datetime import datetime
from uuid import UUID

from segments.models import Segment
from segments.plans import RuleVersion

_LONGEST_ERROR = 10_000


def park_rule_version(workspace_id: UUID, rule_version: RuleVersion, error: Exception, now: datetime) -> None:
    """Park the segment whose serving rule failed, or fail its build if it was the draft."""
    # PostgreSQL takes no NUL in a text, and an error may quote one.
    text = f"{type(error).__name__}: {error}".replace("\x00", "")[:_LONGEST_ERROR]
    segments = Segment.objects.in_workspace(workspace_id).filter(id=rule_version.segment_id)
    if rule_version.is_serving:
        segments.filter(version=rule_version.version, parked_at=None).update(parked_at=now, error=text)
    else:
        segments.filter(draft_version=rule_version.version).update(build=Segment.Build.FAILED, error=text)
