"""Who is in a segment, and who was."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import F, QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from contacts.admin import ContactRowMixin
from segments.admin.base import SegmentFilter, ServingSegmentFilter, segment_link, why_link
from segments.models import Membership, MembershipPeriod
from workspaces.staff.columns import utc_column
from workspaces.staff.filters import WorkspaceFilter
from workspaces.staff.model_admin import ReadOnlyAdminMixin, WorkspaceModelAdmin


class OfSegmentAdmin(ContactRowMixin, ReadOnlyAdminMixin, WorkspaceModelAdmin):
    """Rows of a contact in a segment."""

    resource = "segments"
    sortable_by = ()
    search_fields = ["contact_id"]
    search_help_text = "A contact's id, identifier or name."

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Add the segments, in the same statement."""
        return super().get_queryset(request).select_related("segment")

    @admin.display(description="segment")
    def segment_label(self, row: Any) -> SafeString:
        return segment_link(row.segment)

    @admin.display(description="reasons")
    def why(self, row: Any) -> SafeString:
        return why_link(row.segment_id, row.contact_id)


@admin.register(Membership)
class MembershipAdmin(OfSegmentAdmin):
    list_display = ["since_utc", "contact_label", "segment_label", "why"]
    list_filter = [WorkspaceFilter, ServingSegmentFilter]
    # The order of the index that finds them, so that a page costs no more than its rows.
    ordering = ["version", "contact_id"]
    fields = ["workspace", "segment_label", "contact_label", "since_utc", "why"]
    readonly_fields = ["segment_label", "contact_label", "since_utc", "why"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Membership]:
        """Leave out those by rules that do not serve: yet, or any more."""
        rows: Any = super().get_queryset(request)
        serving: QuerySet[Membership] = rows.filter(version=F("segment__version")).with_entry()
        return serving

    since_utc = utc_column("entered_at", "since (UTC)")


@admin.register(MembershipPeriod)
class MembershipPeriodAdmin(OfSegmentAdmin):
    list_display = ["entered_utc", "left_utc", "contact_label", "segment_label", "why"]
    list_filter = [WorkspaceFilter, SegmentFilter]
    ordering = ["-entered_at", "-id"]
    fields = ["workspace", "segment_label", "contact_label", "entered_utc", "left_utc", "why"]
    readonly_fields = ["segment_label", "contact_label", "entered_utc", "left_utc", "why"]

    entered_utc = utc_column("entered_at", "entered (UTC)")

    @admin.display(description="left (UTC)", empty_value="still in it")
    def left_utc(self, row: MembershipPeriod) -> str | None:
        return f"{row.left_at:%Y-%m-%d %H:%M:%S}" if row.left_at else None
