"""Links, filters and the state of segments."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import DropdownFilter

from config.ids import parse_uuid
from contacts.admin import concerned_contacts
from contacts.models import Contact
from segments.build import progress_of
from segments.models import Membership, Segment
from workspaces.staff.confirmation import AffectedRows
from workspaces.staff.links import anchor, link
from workspaces.staff.workspace_choice import chosen_workspace

SEGMENT_CHOICES = 200


def segment_link(segment: Segment) -> SafeString:
    return link("segments_segment_change", segment.pk, segment.name)


def why_link(segment_id: UUID, contact_id: UUID, text: str = "Why") -> SafeString:
    url = reverse("admin:segments_segment_explanation", args=[segment_id, contact_id])
    return anchor(url, text)


def concerned_members(workspace_id: UUID, segment_id: UUID) -> AffectedRows:
    """Return how many are in a segment by what serves, and the first of them with their e-mail addresses."""
    segment = Segment.objects.in_workspace(workspace_id).filter(pk=segment_id).first()
    if segment is None:
        return AffectedRows(0, "contact")
    members = Membership.objects.in_workspace(workspace_id).filter(version=segment.version)
    contacts = Contact.objects.in_workspace(workspace_id).filter(pk__in=members.values("contact_id"))
    return concerned_contacts(contacts, note=f"in {segment} now")


def state_of(segment: Segment) -> str:
    """Return how a segment does, in words."""
    if segment.is_static:
        return "filled by hand"
    progress = progress_of(segment)
    serving = "serves" if segment.published_at else "never published"
    if segment.parked_at:
        serving = "parked"
    match progress.state:
        case Segment.Build.RUNNING:
            return f"{serving}, {progress.fraction:.0%} built ({progress.judged:,} of {progress.total:,})"
        case Segment.Build.DONE:
            return f"{serving}, a draft waits to be published"
        case Segment.Build.FAILED:
            return f"{serving}, a build failed"
        case _:
            return f"{serving}, telling who entered and left" if progress.is_publishing else serving


# Members -----------------------------------------------------------------------------------------------------


class SegmentFilter(DropdownFilter):  # type: ignore[misc]  # unfold has no types
    """One segment of the workspace that is shown."""

    shows = (Segment,)
    title = "segment"
    parameter_name = "segment"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        segments = Segment.objects.in_workspace(chosen_workspace(request))
        choices = dict(segments.order_by("name").values_list("pk", "name")[:SEGMENT_CHOICES])
        chosen = parse_uuid(self.value())
        if chosen is not None and chosen not in choices:
            choices.update(segments.filter(pk=chosen).values_list("pk", "name"))
        return [(str(pk), name) for pk, name in choices.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = parse_uuid(self.value())
        return queryset if chosen is None else queryset.filter(**self.of_segment(request, chosen))

    def of_segment(self, request: HttpRequest, segment_id: UUID) -> dict[str, Any]:
        """Return what a row of the segment fulfils, so that an index finds it."""
        return {"segment_id": segment_id}


class MemberFilter(SegmentFilter):
    """Contacts that are in a segment by what serves: see `settings.ADMIN_CONTACT_FILTERS`."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = parse_uuid(self.value())
        if chosen is None:
            return queryset
        workspace_id = chosen_workspace(request)
        segment = Segment.objects.in_workspace(workspace_id).filter(pk=chosen).first()
        if segment is None:
            return queryset.none()
        members = Membership.objects.in_workspace(workspace_id).filter(version=segment.version)
        return queryset.filter(pk__in=members.values("contact_id"))


class ServingSegmentFilter(SegmentFilter):
    """Who is in a segment by what serves: memberships are indexed by the rule's version."""

    def of_segment(self, request: HttpRequest, segment_id: UUID) -> dict[str, Any]:
        segments = Segment.objects.in_workspace(chosen_workspace(request)).filter(pk=segment_id)
        return {"version": segments.values_list("version", flat=True).first()}
