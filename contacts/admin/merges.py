"""Merges, and undoing them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.db.models import (
    Q,
    QuerySet,
)
from django.http import HttpRequest, HttpResponse
from unfold.contrib.filters.admin import (
    DropdownFilter,
)

from contacts.admin.base import STILL_MOVING, ContactSearchMixin, concerned_contacts, refusals_shown
from contacts.merging.merges import undo_merge
from contacts.models import (
    Contact,
    Merge,
)
from workspaces.staff.confirmation import Question, ask
from workspaces.staff.filters import WorkspaceFilter
from workspaces.staff.model_admin import ReadOnlyAdminMixin, WorkspaceModelAdmin


class StandingFilter(DropdownFilter):  # type: ignore[misc]  # unfold has no types
    """Filter merges by whether they were undone."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("standing", "Standing"), ("undone", "Undone")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Merge]) -> QuerySet[Merge]:
        match self.value():
            case "standing":
                return queryset.filter(undone_at=None)
            case "undone":
                return queryset.exclude(undone_at=None)
            case _:
                return queryset


@admin.register(Merge)
class MergeAdmin(ReadOnlyAdminMixin, ContactSearchMixin, WorkspaceModelAdmin):
    resource = "contacts"
    list_display = ["survivor", "merged", "by", "merged_at", "undone_at", "state"]
    list_select_related = ["survivor", "merged"]
    list_filter = [WorkspaceFilter, StandingFilter]
    sortable_by = ()
    search_fields = ["by"]
    search_help_text = "An id, identifier or name of either contact."
    fields = [
        *("workspace", "survivor", "merged", "restores", "followers"),
        *("by", "merged_at", "undone_at", "state"),
    ]
    actions = ["undo"]

    @admin.display(description="state")
    def state(self, merge: Merge) -> str:
        """Tell whether all has been moved, else how much of it."""
        return merge.status if merge.status == "done" else f"{merge.status}: {merge.progress:.0%}"

    def match(self, contact_ids: Sequence[UUID], text: str) -> Q:
        return Q(survivor__in=contact_ids) | Q(merged__in=contact_ids)

    def has_undo_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "change")

    @admin.action(description="Undo: part the contacts again", permissions=["undo"])
    def undo(self, request: HttpRequest, queryset: QuerySet[Merge]) -> HttpResponse | None:
        """Undo the chosen merges, each by itself, once that was confirmed."""
        if (page := ask(request, self, partial(_undo_question, queryset))) is not None:
            return page
        undone = running = 0
        for merge in queryset.order_by("-merged_at", "-id"):
            with refusals_shown(request):
                running += undo_merge(merge.workspace_id, merge).status == "running"
                undone += 1
        if undone:
            more = STILL_MOVING if running else ""
            messages.success(request, f"{undone} merge{'' if undone == 1 else 's'} undone.{more}")
        return None


def _undo_question(merges: QuerySet[Merge]) -> Question:
    # The columns of the list are not looked up for the sub-select.
    of_merges = Merge.objects.filter(pk__in=merges.order_by().values("pk"))
    merged = Contact.objects.filter(pk__in=of_merges.values("merged"))
    survivors = Contact.objects.filter(pk__in=of_merges.values("survivor"))
    return Question(
        title="Undo merges",
        button="Part them",
        happens=[
            "Each contact has again what it came with, and what the survivor took over from it goes back."
        ],
        concerned=[
            concerned_contacts(merged, note="of their own again"),
            concerned_contacts(survivors, note="that they were part of"),
        ],
    )
