"""Views of the admin that are no list or form of a model."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.contrib.contenttypes.views import shortcut
from django.http import Http404, HttpRequest, HttpResponse

from workspaces.authentication.sign_in import count_password
from workspaces.models import AuditEntry, User
from workspaces.staff.access import get_role_access
from workspaces.staff.permissions import admin_of

RECENT_ACTIONS = 10


def recent_actions(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add the user's recent actions to the dashboard, in workspaces that they still may see."""
    entries = LogEntry.objects.filter(user_id=str(request.user.pk)).select_related("content_type", "user")
    access = get_role_access(request)
    if not access.is_superuser:
        own = AuditEntry.objects.filter(workspace_id__in=access.roles)
        entries = entries.filter(pk__in=own.values("entry_id"))
    return {**context, "admin_log": entries.order_by("-action_time", "-id")[:RECENT_ACTIONS]}


def may_open(label: str, request: HttpRequest) -> bool:
    """Tell whether a user may open a model's list, `contacts_contact` say; for the menu."""
    return bool(admin_of(apps.get_model(label.replace("_", ".", 1))).has_view_permission(request))


def change_own_password(request: HttpRequest) -> HttpResponse:
    """Serve Django's page to change one's password, with rate limits. Raises Throttled."""
    if request.method == "POST" and isinstance(request.user, User):
        count_password(request, request.user)
    answer: HttpResponse = admin.site.password_change(request)
    return answer


def page_of_row(request: HttpRequest, content_type_id: int, object_id: str) -> HttpResponse:
    """Redirect to the public URL of a row that the user may see. Raises Http404."""
    kind = ContentType.objects.filter(pk=content_type_id).first()
    model = kind.model_class() if kind else None
    if model not in admin.site._registry:
        raise Http404
    admin_of(model).get_object(request, object_id)
    answer: HttpResponse = shortcut(request, str(content_type_id), object_id)
    return answer
