"""Sections of campaigns and messages in the answer about a contact (setting CONTACT_ANSWER_SECTIONS)."""

from typing import Any, Final
from uuid import UUID

from campaigns.api.serializers.enrollments import RecentEnrollmentSerializer
from campaigns.api.serializers.messages import RecentMessageSerializer
from campaigns.models import Enrollment, Message
from contacts.identity.lookup import ids_of
from contacts.models import Contact

_ROWS: Final = 50


def recent_enrollments(workspace_id: UUID, contact: Contact) -> list[Any]:
    """Return the latest enrollments of a contact, and of those merged into it."""
    enrollments = (
        Enrollment.objects.in_workspace(workspace_id)
        .filter(contact_id__in=ids_of(workspace_id, contact.id))
        .select_related("campaign")
        .order_by("-id")
    )
    return list(RecentEnrollmentSerializer(enrollments[:_ROWS], many=True).data)


def recent_messages(workspace_id: UUID, contact: Contact) -> list[Any]:
    """Return the latest messages to a contact, and to those merged into it."""
    messages = (
        Message.objects.in_workspace(workspace_id)
        .filter(contact_id__in=ids_of(workspace_id, contact.id))
        .order_by("-id")
    )
    return list(RecentMessageSerializer(messages[:_ROWS], many=True).data)
