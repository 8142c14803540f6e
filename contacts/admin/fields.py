"""Contact fields and tags."""

from __future__ import annotations

from django.contrib import admin
from unfold.contrib.filters.admin import (
    ChoicesDropdownFilter,
)

from contacts.models import (
    Field,
    Tag,
)
from workspaces.staff.filters import WorkspaceFilter
from workspaces.staff.model_admin import WorkspaceModelAdmin


@admin.register(Field)
class FieldAdmin(WorkspaceModelAdmin):
    resource = "contacts"
    list_display = ["name", "type", "format", "created_at"]
    list_filter = [WorkspaceFilter, ("type", ChoicesDropdownFilter)]
    search_fields = ["name"]
    fields = ["workspace", "name", "type", "format", "created_at"]
    readonly_fields = ["created_at"]
    # Values are stored by the type: another type would leave them behind.
    fixed_fields = ["workspace", "name", "type"]


@admin.register(Tag)
class TagAdmin(WorkspaceModelAdmin):
    resource = "contacts"
    list_display = ["name"]
    search_fields = ["name"]
    fields = ["workspace", "name"]
