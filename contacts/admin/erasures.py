"""Receipts of erasures, and the tombstones of erased identifiers."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import (
    Q,
    QuerySet,
)
from django.http import HttpRequest, HttpResponse

from config.ids import parse_uuid
from contacts.admin.base import BUILT_IN_KINDS
from contacts.identifiers import normalize_identifier
from contacts.models import (
    ErasedIdentifier,
    Erasure,
)
from contacts.tombstones import digests_of
from workspaces.staff.confirmation import AffectedRows, Question, ask
from workspaces.staff.filters import WorkspaceFilter
from workspaces.staff.model_admin import ReadOnlyAdminMixin, WorkspaceModelAdmin
from workspaces.staff.workspace_choice import workspaces_searched


@admin.register(ErasedIdentifier)
class ErasedIdentifierAdmin(ReadOnlyAdminMixin, WorkspaceModelAdmin):
    """What erased persons were known by: nobody can read it, but who knows an identifier can ask for it."""

    resource = "contacts"
    list_display = ["__str__", "erased_at"]
    list_filter = [WorkspaceFilter]
    sortable_by = ()
    ordering = ["-id"]
    search_fields = ["id"]
    search_help_text = "A whole e-mail address, phone number or other identifier."
    fields = ["workspace", "erased_at"]
    actions = ["lift"]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Find the rows that this identifier would have, of whatever kind it is."""
        if not search_term.strip():
            return queryset, False
        workspaces = list(workspaces_searched(request))
        kinds = {*BUILT_IN_KINDS, *(workspace.identity_field for workspace in workspaces)}
        keys = [(kind, value) for kind in kinds if (value := normalize_identifier(kind, search_term))]
        digests = [digest for workspace in workspaces for digest in digests_of(workspace.pk, keys)]
        return queryset.filter(digest__in=digests), False

    def has_lift_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "delete")

    @admin.action(description="Let them be stored again", permissions=["lift"])
    def lift(self, request: HttpRequest, queryset: QuerySet[ErasedIdentifier]) -> HttpResponse | None:
        """Let the chosen identifiers be stored again, because the persons wish so, once that was confirmed."""
        question = Question(
            title="Let erased identifiers be stored again",
            button="Let them be stored",
            happens=["Whoever comes in with one of these identifiers is stored as anybody is."],
            concerned=[AffectedRows(queryset.count(), "identifier")],
            is_final=True,
        )
        if (page := ask(request, self, lambda: question)) is not None:
            return page
        lifted, _ = queryset.delete()
        messages.success(request, f"{lifted} identifier{'' if lifted == 1 else 's'} may be stored again.")
        return None


@admin.register(Erasure)
class ErasureAdmin(ReadOnlyAdminMixin, WorkspaceModelAdmin):
    resource = "contacts"
    list_display = ["erased_at", "status", "rows", "by", "settled_at"]
    list_filter = [WorkspaceFilter]
    sortable_by = ()
    ordering = ["-erased_at"]
    search_fields = ["id"]
    search_help_text = "The id of a receipt, or of a contact that was."
    fields = ["workspace", "status", "contact_ids", "removed", "by", "erased_at", "finished_at", "settled_at"]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Find a receipt by its id, or by that of a contact."""
        if not search_term.strip():
            return queryset, False
        wanted = parse_uuid(search_term.strip())
        return queryset.filter(
            Q(id=wanted) | Q(contact_ids__contains=[wanted])
        ) if wanted else queryset.none(), False

    @admin.display(description="rows removed")
    def rows(self, erasure: Erasure) -> int:
        return sum(erasure.removed.values())
