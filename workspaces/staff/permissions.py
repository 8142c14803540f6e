"""Permissions in the admin, by the role in each workspace."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, ClassVar
from uuid import UUID

from django.contrib import admin
from django.db import models
from django.http import HttpRequest
from unfold.widgets import UnfoldAdminSelectWidget

from workspaces.models import Workspace
from workspaces.staff.access import get_role_access, permission_name
from workspaces.staff.workspace_choice import chosen_workspace


class RolePermissionMixin:
    """Restrict rows and actions to workspaces in which the user's role allows them.

    `resource` is the name in scopes: `contacts:read` is needed to view, `contacts:write` to add, change and
    delete. None: for superusers only. `workspace_path` is the look-up from a row to its workspace.
    """

    resource: ClassVar[str | None]
    workspace_path = "workspace_id"
    model: Any
    admin_site: Any

    def scope_of(self, action: str) -> str | None:
        """Return the scope that an action (view, add, change, delete) needs; None: superusers only."""
        if self.resource is None:
            return None
        return f"{self.resource}:{'read' if action == 'view' else 'write'}"

    def workspaces_for(self, request: HttpRequest, action: str) -> list[UUID] | None:
        """Return the workspaces where the user may do an action, by name; None: everywhere."""
        access = get_role_access(request)
        if access.is_superuser:
            return None
        scope = self.scope_of(action)
        # A permission to change includes viewing.
        actions = ("view", "change") if action == "view" else (action,)
        return (
            []
            if scope is None
            else access.workspaces(scope, [permission_name(name, self.model) for name in actions])
        )

    def workspaces_of(self, row: Any) -> Collection[UUID]:
        """Return the workspaces that a row is in."""
        *steps, last = self.workspace_path.split("__")
        for step in steps:
            row = getattr(row, step, None)
        found = getattr(row, last if last.endswith("_id") else f"{last}_id", None)
        return [found] if found else []

    def may(self, request: HttpRequest, action: str, row: Any = None) -> bool:
        """Tell whether the user may do an action to a row; without a row, to any row of the list."""
        where = self.workspaces_for(request, action)
        if where is None:
            return True
        if row is not None:
            return not set(where).isdisjoint(self.workspaces_of(row))
        if getattr(request, "listing", None) is self and self.is_listed_by_workspace(request):
            return chosen_workspace(request) in where
        return bool(where)

    def is_listed_by_workspace(self, request: HttpRequest) -> bool:
        """Tell whether lists show the rows of one workspace only."""
        return False

    def restrict_queryset(self, request: HttpRequest, rows: models.QuerySet[Any]) -> models.QuerySet[Any]:
        """Filter rows by what the user may see."""
        where = self.workspaces_for(request, "view")
        if where is None:
            return rows
        return self.in_workspaces(rows, where) if where else rows.none()

    def in_workspaces(self, rows: models.QuerySet[Any], workspaces: Collection[UUID]) -> models.QuerySet[Any]:
        """Filter rows by workspaces."""
        return rows.filter(**{f"{self.workspace_path}__in": workspaces})

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Any]:
        """Return the rows that the user may see."""
        return self.restrict_queryset(request, super().get_queryset(request))  # type: ignore[misc]  # a mixin

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "view") or self.may(request, "add")

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.may(request, "view", obj)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.may(request, "add", obj)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.may(request, "change", obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.may(request, "delete", obj)

    def formfield_for_foreignkey(
        self, db_field: models.ForeignKey[Any, Any], request: HttpRequest, **kwargs: Any
    ) -> Any:
        """Offer members only related rows that they may see, and workspaces where they may add."""
        if not get_role_access(request).is_superuser and "queryset" not in kwargs:
            related = db_field.remote_field.model
            kwargs["queryset"] = self.choices_of(request, related)
            if related is Workspace:
                # Members have few workspaces: a select is enough.
                kwargs["widget"] = UnfoldAdminSelectWidget()
        return super().formfield_for_foreignkey(db_field, request, **kwargs)  # type: ignore[misc]  # a mixin

    def choices_of(self, request: HttpRequest, related: type[models.Model]) -> models.QuerySet[Any]:
        """Return the related rows that a member may choose."""
        if related is Workspace:
            return Workspace.objects.filter(pk__in=self.workspaces_for(request, "add") or ())
        rows = related._default_manager.all()
        return (
            admin_of(related).restrict_queryset(request, rows)
            if related in admin.site._registry
            else rows.none()
        )


def admin_of(model: type[models.Model]) -> Any:
    """Return the ModelAdmin of a model, which checks permissions on its rows."""
    return admin.site.get_model_admin(model)
