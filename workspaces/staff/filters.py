"""Filters of admin lists: by workspace, by related row, by failure."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.http import HttpRequest
from unfold.contrib.filters.admin import AutocompleteSelectFilter, DropdownFilter

from workspaces.models import Workspace
from workspaces.staff.access import get_role_access
from workspaces.staff.permissions import admin_of
from workspaces.staff.workspace_choice import WORKSPACE_PARAMETER, chosen_workspace, workspaces_shown

WORKSPACE_CHOICES = 200
"""Most workspaces that a superuser is offered."""


class OwnChoicesFilter(AutocompleteSelectFilter):  # type: ignore[misc]  # unfold has no types
    """Filter by a related row, among those that the user may see; the names of no other are shown."""

    def choices(self, changelist: Any) -> Any:
        for choice in super().choices(changelist):
            for field in choice["form"].fields.values():
                field.queryset = admin_of(field.queryset.model).restrict_queryset(
                    self.request, field.queryset.all()
                )
            yield choice


class WorkspaceFilter(DropdownFilter):  # type: ignore[misc]  # unfold has no types
    """Show the rows of one workspace: every index starts with it."""

    title = "workspace"
    parameter_name = WORKSPACE_PARAMETER
    all_option = None

    def __init__(self, request: HttpRequest, params: Any, model: Any, model_admin: Any) -> None:
        self.workspace_id = chosen_workspace(request)
        self.workspace_path = model_admin.workspace_path
        super().__init__(request, params, model, model_admin)

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        if (seen := workspaces_shown(request)) is not None:
            names = get_role_access(request).names
            return [(str(pk), names[pk]) for pk in seen]
        choices = dict(Workspace.objects.values_list("pk", "name")[:WORKSPACE_CHOICES])
        if self.workspace_id not in choices:
            choices.update(Workspace.objects.filter(pk=self.workspace_id).values_list("pk", "name"))
        return [(str(pk), name) for pk, name in choices.items()]

    def value(self) -> str:
        return str(self.workspace_id)

    @property
    def shown(self) -> str:
        """Return the name of the workspace whose rows are listed."""
        names: dict[str, str] = dict(self.lookup_choices)
        return names.get(self.value(), "none")

    def queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> models.QuerySet[Any]:
        return queryset.filter(**{self.workspace_path: self.workspace_id})


class ParkedFilter(DropdownFilter):  # type: ignore[misc]  # unfold has no types
    """Filter by whether a row failed and is parked."""

    title = "failure"
    parameter_name = "parked"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Parked"), ("no", "Not parked")]

    def queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> models.QuerySet[Any]:
        if self.value() not in ("yes", "no"):
            return queryset
        return queryset.filter(parked_at__isnull=self.value() == "no")
