"""The rule condition that a contact is in another segment."""

from collections.abc import Collection
from uuid import UUID

from config.db.read_once import is_reading_once, read_once
from config.db.sql import Sql, sql
from segments.models import Segment


def membership(segment_id: UUID) -> tuple[Sql, Sql]:
    """Return the condition that `b` is in a segment by the rule that serves, and when time may change that."""
    version = sql(
        "(SELECT s.version FROM segments_segment s WHERE s.workspace_id = {workspace_id:uuid} AND s.id = {:uuid})",
        segment_id,
    )
    return sql(_MEMBER, version), sql(_NEXT_AT, version)


def known_segments(workspace_id: UUID, segment_ids: Collection[UUID]) -> set[UUID]:
    """Return which of the segments exist in the workspace."""
    if is_reading_once():
        return _all_segments(workspace_id) & set(segment_ids)
    rows = Segment.objects.in_workspace(workspace_id).filter(id__in=segment_ids)
    return set(rows.values_list("id", flat=True))


@read_once
def _all_segments(workspace_id: UUID) -> set[UUID]:
    return set(Segment.objects.in_workspace(workspace_id).values_list("id", flat=True))


# A static segment's rows stay with the contact that was put in; the survivor of a merge is in by them.
_MEMBER = (
    "EXISTS (SELECT 1 FROM segments_membership m WHERE m.workspace_id = {workspace_id:uuid}"
    " AND m.version = {} AND m.contact_id = ANY(b.ids))"
)
_NEXT_AT = (
    "(SELECT d.due_at FROM events_timer d WHERE d.workspace_id = {workspace_id:uuid}"
    " AND d.timer_key = {} AND d.contact_id = b.contact_id AND d.due_at > b.as_of)"
)
