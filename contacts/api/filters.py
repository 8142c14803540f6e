"""What the list of contacts can be narrowed and sorted by."""

from typing import Any
from uuid import UUID

import django_filters
from django.db.models import Exists, OuterRef, Q, QuerySet
from rest_framework.exceptions import ValidationError

from config.ids import parse_uuid
from contacts.models import Contact, ContactTag, Identifier

# What a client may sort by; `id` is the order of creation and settles ties.
SORTS = {
    "createdAt": "id",
    "updatedAt": "updated_at",
    "firstName": "first_name",
    "lastName": "last_name",
    "email": "sort_email",
    "score": "sort_score",
}
_MAX_WORDS = 8


class ContactFilterSet(django_filters.FilterSet):  # type: ignore[misc]  # it has no types
    """Search by words, and the contacts with a tag."""

    search = django_filters.CharFilter(
        method="filter_search", max_length=200, help_text="part of a name or of an identifier"
    )
    tagId = django_filters.CharFilter(method="filter_tag", help_text="only contacts with this tag")
    segmentId = django_filters.CharFilter(method="filter_segment", help_text="comes with segments")

    class Meta:
        model = Contact
        fields: list[str] = []

    def filter_search(self, contacts: QuerySet[Contact], name: str, text: str) -> QuerySet[Contact]:
        """Leave the contacts in whose names or identifiers every word occurs."""
        words = text.split()
        if len(words) > _MAX_WORDS:
            raise ValidationError({name: [f"At most {_MAX_WORDS} words."]})
        for word in words:
            known_by = Identifier.objects.filter(
                workspace_id=OuterRef("workspace_id"), contact_id=OuterRef("id"), value__icontains=word
            )
            contacts = contacts.filter(
                Q(first_name__icontains=word) | Q(last_name__icontains=word) | Q(Exists(known_by))
            )
        return contacts

    def filter_tag(self, contacts: QuerySet[Contact], name: str, text: str) -> QuerySet[Contact]:
        """Leave the contacts with a tag; none for an id that is no tag's."""
        tag_id = parse_uuid(text)
        return contacts.filter(Exists(_tagged(tag_id))) if tag_id else contacts.none()

    def filter_segment(self, contacts: QuerySet[Contact], name: str, text: str) -> QuerySet[Contact]:
        """Refuse, until there are segments: the whole list would be a wrong answer."""
        raise ValidationError({name: ["There are no segments yet."]})


def _tagged(tag_id: UUID) -> QuerySet[ContactTag, Any]:
    return ContactTag.objects.filter(
        workspace_id=OuterRef("workspace_id"), contact_id=OuterRef("id"), tag_id=tag_id
    )
