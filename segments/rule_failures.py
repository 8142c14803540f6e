"""Failures of segment rules: a rule that raises or takes too long is parked with its error."""

from datetime import datetime
from uuid import UUID

from config.db.errors import storable_error
from segments.models import Segment
from segments.plans import RuleVersion


def record_rule_failure(
    workspace_id: UUID, rule_version: RuleVersion, error: Exception, now: datetime
) -> None:
    """Park the segment whose serving rule failed, or fail its build if it was the draft."""
    text = storable_error(error)
    segments = Segment.objects.in_workspace(workspace_id).filter(id=rule_version.segment_id)
    if rule_version.is_serving:
        segments.filter(version=rule_version.version, parked_at=None).update(parked_at=now, error=text)
    else:
        segments.filter(draft_version=rule_version.version).update(build=Segment.Build.FAILED, error=text)
