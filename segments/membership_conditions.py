"""The rule condition that a contact is in another segment."""

from collections.abc import Collection
from uuid import UUID

from events.rules.compiler import WORKSPACE
from events.rules.conditions import Sql
from segments.models import Segment

# A static segment's rows stay with the contact that was put in; the survivor of a merge is in by them.
_MEMBER = (
    "EXISTS (SELECT 1 FROM segments_membership m WHERE m.workspace_id = %s"
    " AND m.version = (SELECT s.version FROM segments_segment s WHERE s.workspace_id = %s AND s.id = %s::uuid)"
    " AND m.contact_id = ANY(b.ids))"
)


_NEXT_AT = (
    "(SELECT d.due_at FROM events_timer d WHERE d.workspace_id = %s"
    " AND d.timer_key = (SELECT s.version FROM segments_segment s WHERE s.workspace_id = %s AND s.id = %s::uuid)"
    " AND d.contact_id = b.contact_id AND d.due_at > b.as_of)"
)


def membership(segment_id: UUID) -> tuple[Sql, Sql]:
    """Return the condition that `b` is in a segment by the rule that serves, and when time may change that."""
    parameters = (WORKSPACE, WORKSPACE, segment_id)
    return Sql(_MEMBER, parameters), Sql(_NEXT_AT, parameters)


def known_segments(workspace_id: UUID, segment_ids: Collection[UUID]) -> set[UUID]:
    """Return which of the segments exist in the workspace."""
    rows = Segment.objects.in_workspace(workspace_id).filter(id__in=segment_ids)
    return set(rows.values_list("id", flat=True))
