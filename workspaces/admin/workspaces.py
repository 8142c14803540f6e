"""Workspaces, and the sites whose pages may send events."""

from collections.abc import Collection
from typing import Any
from uuid import UUID

from django import forms
from django.conf import settings
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.module_loading import import_string
from unfold.widgets import (
    UnfoldAdminTextareaWidget,
)

from config.errors import DomainError
from workspaces.admin.base import MembershipInline, PeopleHistoryMixin
from workspaces.models import (
    Workspace,
)
from workspaces.origins import MOST_ORIGINS, InvalidOrigin, parse_origins
from workspaces.staff.forms import StrictModelForm
from workspaces.staff.model_admin import RoleModelAdmin


class OriginsField(forms.CharField):
    """A field for origins, one per line."""

    widget = UnfoldAdminTextareaWidget

    def prepare_value(self, value: Any) -> Any:
        """Join the list into lines."""
        return "\n".join(value) if isinstance(value, list) else value

    def clean(self, value: Any) -> list[str]:
        """Return the list of origins. Raises ValidationError."""
        try:
            origins = parse_origins(super().clean(value).split())
        except InvalidOrigin as error:
            raise forms.ValidationError(str(error)) from error
        if len(origins) > MOST_ORIGINS:
            raise forms.ValidationError(f"At most {MOST_ORIGINS} origins")
        return origins

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Compare as lines."""
        return super().has_changed(self.prepare_value(initial), data)


class WorkspaceForm(StrictModelForm):
    """The editable settings of a workspace."""

    allowed_origins = OriginsField(
        required=False,
        help_text="Sites whose pages may send events from a browser, one a line: https://shop.example",
    )

    class Meta:
        model = Workspace
        fields = ["name", "identity_field", "allowed_origins", "quarantine"]

    def clean_identity_field(self) -> str:
        """Return what names contacts. Raises ValidationError where the workspace cannot have it."""
        name: str = self.cleaned_data["identity_field"]
        try:
            import_string(settings.CHECK_IDENTITY_FIELD)(self.instance.pk, name)
        except DomainError as error:
            raise forms.ValidationError(error.sentence) from error
        return name


@admin.register(Workspace)
class WorkspaceAdmin(PeopleHistoryMixin, RoleModelAdmin):
    """Workspaces: members may view them, administrators change them."""

    resource = "keys"
    workspace_path = "id"
    inlines = [MembershipInline]
    list_display = ["name", "identity_field", "member_count", "created_at"]
    search_fields = ["name", "id"]
    search_help_text = "Name or id"
    form = WorkspaceForm
    readonly_fields = ["id", "created_at"]
    fields = ["name", "identity_field", "allowed_origins", "quarantine", "id", "created_at"]

    def scope_of(self, action: str) -> str | None:
        """Let all members view, administrators change, and superusers add and delete workspaces."""
        scopes: dict[str, str] = {"view": "", "change": f"{self.resource}:write"}
        return scopes.get(action)

    def workspaces_of(self, row: Workspace) -> Collection[UUID]:
        """Return the workspace itself."""
        return [row.pk]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Workspace]:
        """Count the members of all rows in one statement."""
        return super().get_queryset(request).prefetch_related("memberships")

    @admin.display(description="members")
    def member_count(self, workspace: Workspace) -> int:
        """Return the number of members."""
        return len(workspace.memberships.all())
