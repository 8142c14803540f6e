"""Imports of contacts and events."""

from __future__ import annotations

from django.contrib import admin
from unfold.contrib.filters.admin import (
    ChoicesDropdownFilter,
)

from contacts.models import Import, RefusedRow
from workspaces.staff.filters import WorkspaceFilter
from workspaces.staff.model_admin import ReadOnlyAdminMixin, WorkspaceModelAdmin


@admin.register(Import)
class ImportAdmin(ReadOnlyAdminMixin, WorkspaceModelAdmin):
    """Files of contacts and events: how far each has come, and what became of its rows."""

    resource = "contacts"
    list_display = [
        *("started_at", "name", "kind", "status", "progress", "row_count", "recorded", "known", "refused"),
        "finished_at",
    ]
    list_filter = [WorkspaceFilter, ("kind", ChoicesDropdownFilter), ("status", ChoicesDropdownFilter)]
    sortable_by = ()
    search_fields = ["name"]
    search_help_text = "The file's name"
    fields = [
        *("workspace", "kind", "name", "status", "progress", "row_count", "recorded", "known", "refused"),
        *(
            "refused_file",
            "error",
            "effects",
            "mapping",
            "options",
            "position",
            "line",
            "size",
            "fingerprint",
        ),
        *("started_at", "updated_at", "finished_at"),
    ]

    @admin.display(description="progress")
    def progress(self, run: Import) -> str | None:
        """Return the part of the file that is decided."""
        return None if run.progress is None else f"{run.progress:.0%}"

    @admin.display(description="rows")
    def row_count(self, run: Import) -> int:
        """Return how many rows are decided."""
        return run.rows


@admin.register(RefusedRow)
class RefusedRowAdmin(ReadOnlyAdminMixin, WorkspaceModelAdmin):
    """Rows of uploaded files that were not taken; the page of an import has them as a file."""

    resource = "contacts"
    list_display = ["run", "line", "cause"]
    list_select_related = ["run"]
    sortable_by = ()
    search_fields = ["cause"]
    search_help_text = "The cause"
    fields = ["workspace", "run", "line", "cause", "content"]
