"""The workspace whose rows an admin list shows."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db import models
from django.http import HttpRequest

from config.ids import parse_uuid
from workspaces.models import Workspace
from workspaces.staff.access import get_role_access

WORKSPACE_PARAMETER = "workspace"
_SESSION_KEY = "admin_workspace"
_NO_WORKSPACE = UUID(int=0)


def chosen_workspace(request: HttpRequest) -> UUID:
    """Return the workspace that lists show: that of the request, else the last one chosen, else the first.

    Members get only workspaces in which their role may view the list's rows.
    """
    asked, remembered = (
        parse_uuid(text) for text in (request.GET.get(WORKSPACE_PARAMETER), request.session.get(_SESSION_KEY))
    )
    seen = workspaces_shown(request)
    if asked and (seen is None or asked in seen):
        if asked != remembered:
            request.session[_SESSION_KEY] = str(asked)
        return asked
    if remembered and (seen is None or remembered in seen):
        return remembered
    if seen is not None:
        return seen[0] if seen else _NO_WORKSPACE
    return Workspace.objects.values_list("pk", flat=True).first() or _NO_WORKSPACE


def workspaces_shown(request: HttpRequest) -> list[UUID] | None:
    """Return the workspaces that a member may choose for the requested list; None: all."""
    if get_role_access(request).is_superuser:
        return None
    listing: Any = getattr(request, "listing", None)
    return listing.workspaces_for(request, "view") if listing else list(get_role_access(request).roles)


def workspaces_searched(request: HttpRequest) -> models.QuerySet[Workspace]:
    """Return the workspaces to search: a list's own, or for choices of a form all that the user may see."""
    match = request.resolver_match
    if match and (match.url_name or "").endswith("_changelist"):
        return Workspace.objects.filter(pk=chosen_workspace(request))
    access = get_role_access(request)
    return Workspace.objects.all() if access.is_superuser else Workspace.objects.filter(pk__in=access.roles)
