"""What the lists of segments and of contacts can be narrowed by."""

from typing import Any
from uuid import UUID

import django_filters
from django.db.models import QuerySet

from config.ids import NO_ID, parse_uuid
from contacts.models import Contact
from segments.models import Membership, Segment
from workspaces.api.filters import StrictBooleanFilter

_BUILDS = [(choice.value.upper(), choice.label) for choice in Segment.Build]


class SegmentFilterSet(django_filters.FilterSet):  # type: ignore[misc]  # it has no types
    """Segments by name, kind, and how they do."""

    name = django_filters.CharFilter(lookup_expr="icontains", max_length=255, help_text="part of the name")
    evaluation = django_filters.ChoiceFilter(choices=Segment.Evaluation.choices)
    build = django_filters.ChoiceFilter(
        choices=_BUILDS, method="filter_build", help_text="state of the build"
    )
    parked = StrictBooleanFilter(
        field_name="parked_at", lookup_expr="isnull", exclude=True, help_text="whether it failed and waits"
    )

    class Meta:
        model = Segment
        fields: list[str] = []

    def filter_build(self, segments: QuerySet[Segment], name: str, state: str) -> QuerySet[Segment]:
        """Leave the segments whose build is in a state."""
        return segments.filter(build=state.lower())


class ContactsInSegment(django_filters.CharFilter):  # type: ignore[misc]  # it has no types
    """The contacts that are in a segment; none for an id that is no segment's."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(help_text="only contacts in this segment", **kwargs)

    def filter(self, contacts: QuerySet[Contact], value: str | None) -> QuerySet[Contact]:
        """Leave the members by what serves."""
        return contacts_in_segment(self.parent.workspace_id, contacts, value) if value else contacts


def contacts_in_segment(workspace_id: UUID, contacts: QuerySet[Contact], text: str) -> QuerySet[Contact]:
    """Leave the members of a segment by what serves; none for an id that is no segment's."""
    segments = Segment.objects.in_workspace(workspace_id)
    segment = segments.filter(id=parse_uuid(text) or NO_ID).only("version", "evaluation").first()
    if segment is None:
        return contacts.none()
    members = Membership.objects.in_workspace(workspace_id).filter(version=segment.version)
    ids = members.values("contact_id")
    if segment.evaluation == Segment.Evaluation.STATIC:
        # Whoever was put in by hand stays so when merged into another, who is in by that.
        merged = Contact.objects.in_workspace(workspace_id).exclude(merged_into=None)
        ids = ids.union(merged.filter(id__in=ids).values("merged_into_id"), all=True)
    return contacts.filter(id__in=ids)
