"""System checks that no page of the admin shows another workspace's rows."""

from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import get_fields_from_path
from django.core.checks import CheckMessage, Error

from workspaces.staff.filters import OwnChoicesFilter, WorkspaceFilter
from workspaces.staff.model_admin import RoleModelAdmin, WorkspaceModelAdmin
from workspaces.staff.permissions import RolePermissionMixin


def check_admin(**_: Any) -> list[CheckMessage]:
    """Report admin pages that do not check the role in the workspace of their rows."""
    return [
        Error(fault, hint=hint, obj=type(model_admin), id=f"headrace.{number}")
        for model_admin in admin.site._registry.values()
        for check in (_base, _inlines, _lists, _filters, _actions)
        for number, fault, hint in check(model_admin)
    ]


_Errors = Iterator[tuple[str, str, str]]


def _base(model_admin: Any) -> _Errors:
    if not isinstance(model_admin, RoleModelAdmin):
        yield "E011", "It is no RoleModelAdmin.", "Only that narrows rows to what the user may see."
    elif not hasattr(model_admin, "resource"):
        yield (
            "E012",
            "It has no `resource`.",
            "Name what the API's scopes call it; None: for superusers alone.",
        )


def _inlines(model_admin: Any) -> _Errors:
    for inline in model_admin.inlines:
        if not issubclass(inline, RolePermissionMixin):
            yield "E013", f"{inline.__name__} is no RoleInline.", "Only that asks for the role."


def _lists(model_admin: Any) -> _Errors:
    if isinstance(model_admin, WorkspaceModelAdmin) and WorkspaceFilter not in model_admin.list_filter:
        yield (
            "E014",
            "Its list has no WorkspaceFilter.",
            "Actions are allowed by the role in the one that is shown.",
        )


def _filters(model_admin: Any) -> _Errors:
    for listed in model_admin.list_filter:
        path, kind = listed if isinstance(listed, tuple) else (listed, None)
        if not isinstance(path, str) or (kind is not None and issubclass(kind, OwnChoicesFilter)):
            continue
        if get_fields_from_path(model_admin.model, path)[-1].is_relation:
            yield "E015", f"The filter {path} offers everybody's rows.", "Use OwnChoicesFilter."


def _actions(model_admin: Any) -> _Errors:
    for action, name, _ in model_admin._get_base_actions():
        if not getattr(action, "allowed_permissions", ()):
            yield "E016", f"The action {name} asks for no permission.", "Say permissions=[…]."
