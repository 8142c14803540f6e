"""Event definitions and their properties."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from unfold.contrib.filters.admin import DropdownFilter

from config import clock
from events.models import (
    EventDefinition,
    EventProperty,
)
from events.stream.definitions import delete_definition
from workspaces.staff.filters import WorkspaceFilter
from workspaces.staff.inlines import WorkspaceInline
from workspaces.staff.model_admin import (
    ServiceDeleteMixin,
    WorkspaceModelAdmin,
)


class EventPropertyInline(WorkspaceInline):
    model = EventProperty
    fields = ["name", "type", "description", "suggested_values", "is_declared", "is_locked", "position"]


class DeletedFilter(DropdownFilter):  # type: ignore[misc]  # unfold has no types
    """Definitions in use, or those deleted."""

    title = "state"
    parameter_name = "state"
    all_option = ("", "In use")

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("deleted", "Deleted"), ("declared", "Declared"), ("seen", "Merely seen")]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[EventDefinition]
    ) -> QuerySet[EventDefinition]:
        match self.value():
            case "deleted":
                return queryset.exclude(deleted_at=None)
            case "declared":
                return queryset.filter(deleted_at=None, is_declared=True)
            case "seen":
                return queryset.filter(deleted_at=None, is_declared=False)
            case _:
                return queryset.filter(deleted_at=None)


@admin.register(EventDefinition)
class EventDefinitionAdmin(ServiceDeleteMixin, WorkspaceModelAdmin):
    resource = "definitions"
    list_display = ["name", "description", "is_declared", "property_count", "updated_at"]
    list_filter = [WorkspaceFilter, DeletedFilter]
    search_fields = ["name"]
    ordering = ["name", "id"]
    fields = [
        "workspace",
        "name",
        "description",
        "is_declared",
        "late_after_hours",
        "created_at",
        "updated_at",
        "deleted_at",
    ]
    readonly_fields = ["created_at", "updated_at", "deleted_at"]
    # Events keep the name that they came with.
    fixed_fields = ["workspace", "name"]
    inlines = [EventPropertyInline]

    def get_queryset(self, request: HttpRequest) -> QuerySet[EventDefinition]:
        rows: QuerySet[EventDefinition] = super().get_queryset(request)
        return rows.annotate(properties_counted=Count("properties"))

    @admin.display(description="properties", ordering="properties_counted")
    def property_count(self, definition: Any) -> int:
        return definition.properties_counted  # type: ignore[no-any-return]  # an annotation

    def save_model(self, request: HttpRequest, obj: EventDefinition, form: Any, change: bool) -> None:
        obj.updated_at = clock.now()
        super().save_model(request, obj, form, change)

    def delete_model(self, request: HttpRequest, obj: EventDefinition) -> None:
        delete_definition(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[EventDefinition]) -> None:
        for definition in queryset.filter(deleted_at=None):
            delete_definition(definition)


@admin.register(EventProperty)
class EventPropertyAdmin(WorkspaceModelAdmin):
    resource = "definitions"
    list_display = ["name", "definition", "type", "is_declared", "is_locked"]
    list_select_related = ["definition"]
    search_fields = ["name", "definition__name"]
    autocomplete_fields = ["workspace", "definition"]
    fixed_fields = ["workspace", "definition", "name"]
