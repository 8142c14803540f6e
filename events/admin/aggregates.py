"""Aggregates, and what contacts have of them."""

from __future__ import annotations

from django.contrib import admin
from django.utils.safestring import SafeString

from contacts.admin import ContactSearchMixin
from events.admin.base import contact_link
from events.aggregates.registry import ALL_LANES
from events.models import (
    Aggregate,
    ContactAggregate,
)
from workspaces.staff.model_admin import (
    ReadOnlyAdminMixin,
    WorkspaceModelAdmin,
)


@admin.register(Aggregate)
class AggregateAdmin(ReadOnlyAdminMixin, WorkspaceModelAdmin):
    resource = "events"
    list_display = ["event_name", "property", "filters", "is_built", "created_at"]
    sortable_by = ()
    search_fields = ["event_name"]

    @admin.display(description="built", boolean=True)
    def is_built(self, aggregate: Aggregate) -> bool:
        return aggregate.lanes_built == ALL_LANES


@admin.register(ContactAggregate)
class ContactAggregateAdmin(ContactSearchMixin, ReadOnlyAdminMixin, WorkspaceModelAdmin):
    resource = "events"
    list_display = ["count", "contact_link", "aggregate_id", "total", "first_at", "last_at"]
    sortable_by = ()
    ordering = ["workspace_id", "contact_id", "aggregate_id"]
    search_fields = ["contact_id"]
    search_help_text = "A contact's id, identifier or name."

    @admin.display(description="contact")
    def contact_link(self, aggregate: ContactAggregate) -> SafeString:
        return contact_link(aggregate.contact_id)
