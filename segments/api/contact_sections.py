"""What a contact's answer has of its segments."""

from typing import Any

from contacts.models import Contact
from segments.api.serializers import ActiveSegmentSerializer
from segments.memberships import segments_of
from workspaces.models import Workspace


def active_segments(workspace: Workspace, contact: Contact) -> list[Any]:
    """Return the segments that a contact is in, and since when, by name."""
    rows = [
        {"id": segment.id, "name": segment.name, "since": since}
        for segment, since in segments_of(workspace.id, contact.id)
    ]
    return list(ActiveSegmentSerializer(rows, many=True).data)
