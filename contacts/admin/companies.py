"""Companies."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import (
    QuerySet,
)
from django.http import HttpRequest

from config import clock
from contacts.models import (
    Company,
    company_name_key,
)
from contacts.search_text import LAST_CHARACTER
from workspaces.staff.forms import WorkspaceModelForm
from workspaces.staff.model_admin import WorkspaceModelAdmin
from workspaces.staff.workspace_choice import workspaces_searched


class CompanyForm(WorkspaceModelForm):
    """A company's name is unique whatever its case and spaces."""

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        self.instance.name_key = company_name_key(cleaned.get("name") or "")
        return cleaned

    def _get_validation_exclusions(self) -> set[str]:
        return super()._get_validation_exclusions() - {"name_key"}


@admin.register(Company)
class CompanyAdmin(WorkspaceModelAdmin):
    resource = "contacts"
    form = CompanyForm
    list_display = ["name", "website", "industry", "size", "created_at"]
    sortable_by = ()
    search_fields = ["name_key"]
    search_help_text = "The beginning of the name."
    fields = [
        *("workspace", "name", "website", "industry", "size", "external_id", "attributes"),
        *("created_at", "updated_at"),
    ]
    readonly_fields = ["created_at", "updated_at"]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Find companies by the beginning of their key: a range of the unique index."""
        start = " ".join(search_term.replace("\x00", "").split()).casefold()
        if not start:
            return queryset, False
        searched = workspaces_searched(request).order_by()
        return queryset.filter(
            workspace__in=searched, name_key__gte=start, name_key__lt=start + LAST_CHARACTER
        ), False

    def save_model(self, request: HttpRequest, obj: Company, form: Any, change: bool) -> None:
        obj.updated_at = clock.now()
        super().save_model(request, obj, form, change)
