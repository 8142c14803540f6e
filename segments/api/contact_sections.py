"""What a contact's answer has of its segments."""

from typing import Any
from uuid import UUID

from contacts.models import Contact
from segments.api.serializers import ActiveSegmentSerializer
from segments.memberships import segments_of


def active_segments(workspace_id: UUID, contact: Contact) -> list[Any]:
    """Return the segments that a contact is in, and since when, by name."""
    rows = [
        {"id": segment.id, "name": segment.name, "since": since}
        for segment, since in segments_of(workspace_id, contact.id)
    ]
    return list(ActiveSegmentSerializer(rows, many=True).data)
