"""What the pages of users and of workspaces share: members, and a history that is the workspace's."""

from collections.abc import Collection
from typing import Any
from uuid import UUID

from django import forms
from django.contrib.admin.models import LogEntry
from django.db.models import QuerySet
from django.http import HttpRequest

from workspaces.errors import LastOwner
from workspaces.models import (
    AuditEntry,
    Membership,
    Role,
    User,
    Workspace,
)
from workspaces.staff.access import RoleAccess, get_role_access
from workspaces.staff.forms import StrictModelForm
from workspaces.staff.inlines import RoleInline, StrictInlineFormSet
from workspaces.staff.permissions import admin_of


class MembershipFormSet(StrictInlineFormSet):
    """Members: no role above the user's own is granted or revoked, and an owner remains."""

    access: RoleAccess

    def clean(self) -> None:
        """Check the resulting members of each workspace. Raises ValidationError."""
        super().clean()
        if any(self.errors):
            return
        left, kept = set(), set()
        for form in self.forms:
            is_gone = form in self.deleted_forms
            if not is_gone and not form.has_changed():
                continue
            before = Membership.objects.filter(pk=form.instance.pk).first()
            after = None if is_gone else form.instance
            self._refuse_higher(before, after)
            if before is not None and before.role == Role.OWNER:
                left.add((before.workspace_id, before.pk))
            if after is not None and after.role == Role.OWNER:
                kept.add(after.workspace_id)
        for workspace_id in {workspace_id for workspace_id, _ in left} - kept:
            # Of two owners who leave at the same time, each would still see the other.
            Workspace.objects.select_for_update().get(pk=workspace_id)
            owners = Membership.objects.in_workspace(workspace_id).filter(role=Role.OWNER)
            if not owners.exclude(pk__in=[pk for _, pk in left]).exists():
                raise forms.ValidationError(LastOwner().sentence)

    def _refuse_higher(self, *states: Membership | None) -> None:
        """Refuse granting or revoking a role above the user's own."""
        for membership in states:
            if membership is not None and not self.access.outranks(membership.workspace_id, membership.role):
                raise forms.ValidationError(f"Your role does not let you give or take that of {membership}.")


class MembershipInline(RoleInline):
    """Members of a workspace, or memberships of a user, in workspaces that the viewer administers."""

    resource = "keys"
    model = Membership
    form = StrictModelForm
    formset = MembershipFormSet
    extra = 0
    hide_title = True
    autocomplete_fields = ["user", "workspace"]

    def scope_of(self, action: str) -> str:
        """Return the scope to manage members."""
        return f"{self.resource}:{'read' if action == 'view' else 'write'}"

    def workspaces_of(self, row: User | Workspace) -> Collection[UUID]:
        """Return the page's workspace, or the workspaces of the page's user."""
        return [row.pk] if isinstance(row, Workspace) else workspaces_of_user(row)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Membership]:
        """Select users and workspaces along with the rows."""
        return super().get_queryset(request).select_related("user", "workspace")

    def get_formset(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> Any:
        """Give the formset the viewer's access."""
        formset = super().get_formset(request, obj, **kwargs)
        formset.access = get_role_access(request)
        return formset


def workspaces_of_user(user: User) -> list[UUID]:
    """Return the workspaces of a user."""
    return list(Membership.objects.filter(user=user).values_list("workspace_id", flat=True))


class PeopleHistoryMixin:
    """Show of a history only entries of workspaces whose members the viewer may see."""

    def get_paginator(self, request: HttpRequest, queryset: Any, *args: Any, **kwargs: Any) -> Any:
        if (
            queryset.model is LogEntry
            and (where := admin_of(User).workspaces_for(request, "view")) is not None
        ):
            queryset = audited_in(queryset, where)
        return super().get_paginator(request, queryset, *args, **kwargs)  # type: ignore[misc]  # a mixin


def audited_in(entries: QuerySet[LogEntry], workspaces: Collection[UUID]) -> QuerySet[LogEntry]:
    """Filter log entries by affected workspaces."""
    own = AuditEntry.objects.filter(workspace_id__in=workspaces)
    return entries.filter(pk__in=own.values("entry_id"))
