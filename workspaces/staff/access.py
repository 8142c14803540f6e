"""Access of staff to each workspace by role, as in the API."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from django.contrib.auth import get_permission_codename
from django.db.models import Model
from django.http import HttpRequest

from workspaces.access import scopes_of_member
from workspaces.models import ROLE_SCOPES, Membership, Role, User
from workspaces.scopes import ALL_SCOPES

_RANKS: Final = (Role.VIEWER, Role.EDITOR, Role.ADMIN, Role.OWNER)


@dataclass(frozen=True, slots=True)
class RoleAccess:
    """A user's roles and permissions; superusers may do everything.

    `permissions` are Django's, of the user and groups. They only narrow a role, for those who have any, and
    only in the admin: in the API the role alone counts.
    """

    is_superuser: bool = False
    roles: dict[UUID, str] = field(default_factory=dict)
    """The role in each workspace, ordered by the workspaces' names."""
    names: dict[UUID, str] = field(default_factory=dict)
    scopes: dict[UUID, frozenset[str]] = field(default_factory=dict)
    permissions: frozenset[str] = frozenset()
    _found: dict[tuple[str, frozenset[str]], list[UUID]] = field(default_factory=dict)

    def workspaces(self, scope: str, permissions: Collection[str]) -> list[UUID]:
        """Return the workspaces where the role has `scope` (empty: any role) and a permission allows it."""
        asked = (scope, frozenset(permissions))
        if asked not in self._found:
            self._found[asked] = [
                workspace_id for workspace_id in self.roles if self._allows(workspace_id, *asked)
            ]
        return self._found[asked]

    def outranks(self, workspace_id: UUID, role: str) -> bool:
        """Tell whether the user may grant and revoke `role` there: none above their own."""
        if self.is_superuser:
            return True
        own = self.roles.get(workspace_id)
        if own is None or _rank(own) < _rank(role):
            return False
        return self.scopes[workspace_id] >= ROLE_SCOPES.get(role, ALL_SCOPES)

    def scopes_in(self, workspace_id: UUID, everything: frozenset[str]) -> frozenset[str]:
        """Return the scopes of the user's role in a workspace; `everything` for a superuser."""
        return everything if self.is_superuser else self.scopes.get(workspace_id, frozenset())

    def _allows(self, workspace_id: UUID, scope: str, permissions: frozenset[str]) -> bool:
        if scope and scope not in self.scopes[workspace_id]:
            return False
        return not self.permissions or not self.permissions.isdisjoint(permissions)


def get_role_access(request: HttpRequest) -> RoleAccess:
    """Return the access of a request's user, read once per request."""
    found: RoleAccess | None = getattr(request, "_staff_access", None)
    if found is None:
        found = _read(request.user)
        request._staff_access = found  # type: ignore[attr-defined]  # kept for the length of the request
    return found


def permission_name(action: str, model: type[Model]) -> str:
    """Return Django's name of a permission, such as `contacts.view_contact`."""
    return f"{model._meta.app_label}.{get_permission_codename(action, model._meta)}"


def _read(user: object) -> RoleAccess:
    if not isinstance(user, User) or not (user.is_active and user.is_staff):
        return RoleAccess()
    if user.is_superuser:
        return RoleAccess(is_superuser=True)
    memberships = Membership.objects.filter(user=user).order_by("workspace__name", "workspace_id")
    rows = list(memberships.values_list("workspace_id", "workspace__name", "role"))
    return RoleAccess(
        roles={workspace_id: role for workspace_id, _, role in rows},
        names={workspace_id: name for workspace_id, name, _ in rows},
        scopes={workspace_id: scopes_of_member(user, role) for workspace_id, _, role in rows},
        permissions=frozenset(user.get_all_permissions()),
    )


def _rank(role: str) -> int:
    return _RANKS.index(Role(role)) if role in _RANKS else len(_RANKS)
