"""The audit log, and what staff did."""

from collections.abc import Collection
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.db.models import QuerySet
from unfold.contrib.filters.admin import ChoicesDropdownFilter

from workspaces.admin.base import audited_in
from workspaces.models import (
    AuditEntry,
)
from workspaces.staff.model_admin import ReadOnlyAdminMixin, RoleModelAdmin


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdminMixin, RoleModelAdmin):
    """Affected workspaces of log entries."""

    resource = None
    list_display = ["entry", "workspace"]
    list_select_related = ["entry", "workspace"]
    ordering = ["-id"]


@admin.register(LogEntry)
class LogEntryAdmin(ReadOnlyAdminMixin, RoleModelAdmin):
    """The audit log: changes by staff, newest first."""

    resource = "keys"
    list_display = ["action_time", "user", "action", "content_type", "object_repr", "change"]
    list_filter = [("action_flag", ChoicesDropdownFilter)]
    list_select_related = ["user", "content_type"]
    sortable_by = ()
    search_fields = ["object_id__exact", "user__username"]
    search_help_text = "The whole id of what was changed, or who changed it."
    fields = ["action_time", "user", "action", "content_type", "object_id", "object_repr", "change"]
    ordering = ["-action_time", "-id"]

    def workspaces_of(self, row: LogEntry) -> Collection[UUID]:
        """Return the workspaces that an entry affects."""
        return list(AuditEntry.objects.filter(entry=row).values_list("workspace_id", flat=True))

    def in_workspaces(self, rows: QuerySet[LogEntry], workspaces: Collection[UUID]) -> QuerySet[LogEntry]:
        """Filter entries by affected workspaces."""
        return audited_in(rows, workspaces)

    @admin.display(description="action")
    def action(self, entry: LogEntry) -> str:
        """Return whether something was added, changed or deleted."""
        return str(entry.get_action_flag_display())

    @admin.display(description="what")
    def change(self, entry: LogEntry) -> str:
        """Return what was changed, in words."""
        return entry.get_change_message()
