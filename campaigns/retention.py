"""Retention: decisions about events that are deleted go with them."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from campaigns.models import Decision


def delete_decisions(
    workspace_id: UUID, event_ids: Sequence[UUID], deletes_points: bool
) -> Mapping[str, int]:
    """Delete the decisions about events that led to no enrollment; an enrollment's stay as long as it does."""
    decisions = Decision.objects.in_workspace(workspace_id).filter(event_id__in=event_ids, enrollment_id=None)
    return {"decisions": decisions._raw_delete(decisions.db)}
