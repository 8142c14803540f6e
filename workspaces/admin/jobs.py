"""Background work in the admin: jobs over many rows, with their progress."""

from django.contrib import admin

from workspaces.models import (
    BackfillJob,
)
from workspaces.staff.model_admin import ReadOnlyAdminMixin, WorkspaceModelAdmin


@admin.register(BackfillJob)
class BackfillJobAdmin(ReadOnlyAdminMixin, WorkspaceModelAdmin):
    """Work over many rows: how far it has come."""

    resource = "keys"
    list_display = ["started_at", "kind", "workspace", "status", "done", "total", "failed", "finished_at"]
    list_select_related = ["workspace"]
    sortable_by = ()
    ordering = ["-started_at"]
    search_fields = ["kind"]
    search_help_text = "What kind of work"
    fields = [
        *("workspace", "kind", "part", "status", "done", "total", "failed", "counts", "error"),
        *("started_at", "progressed_at", "finished_at"),
    ]
