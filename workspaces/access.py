"""Credentials of requests, and the check of their access to a workspace."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal, NoReturn
from uuid import UUID

from rest_framework.exceptions import NotAuthenticated
from rest_framework.request import Request

from config.ids import parse_uuid
from workspaces.errors import AccessDenied, WorkspaceNotFound
from workspaces.models import ROLE_SCOPES, Membership, User, Workspace
from workspaces.scopes import ALL_SCOPES, missing_scopes

PAGE_SCOPES = frozenset({"events:write"})
CredentialKind = Literal["api_key", "session", "jwt", "oauth"]


@dataclass(frozen=True, slots=True)
class Credential:
    """What authenticated a request: `request.auth`.

    `key` names the credential to the rate limiter. A session is bound to no workspace until `require_access`.
    """

    kind: CredentialKind
    key: str
    workspace_id: UUID | None = None
    scopes: frozenset[str] = frozenset()
    user_id: UUID | None = None
    rate_limit: str = ""
    expires_at: datetime | None = None
    """Expiry of an API key or OAuth token."""
    workspace: Workspace | None = field(default=None, compare=False, repr=False)
    resources: tuple[str, ...] = ()
    """URLs that an OAuth token is restricted to (RFC 8707); empty: all."""
    secret_hash: bytes = field(default=b"", repr=False)
    """SHA-256 by which a writing transaction verifies the key or token; empty for sessions and JWTs."""

    @property
    def is_public(self) -> bool:
        """Whether it is an API key for pages, where anyone can read it: it only records events."""
        return self.kind == "api_key" and self.scopes == PAGE_SCOPES


def require_access(request: Request, workspace_id: str | UUID | None, scope: str | None) -> Workspace:
    """Return the workspace if the request's credential has `scope` there: one or several, by spaces.

    Without `workspace_id` it is the credential's own, or the only one of a session's user. Other workspaces
    are not revealed: the error is the same whether one exists or not.

    Raises NotAuthenticated, AccessDenied, or WorkspaceNotFound (superusers only).
    """
    credential = request.auth
    if not isinstance(credential, Credential):
        raise NotAuthenticated
    if credential.workspace is None:
        credential = _bound_session(request.user, credential, workspace_id)
        request.auth = credential
    elif workspace_id not in (None, str(credential.workspace_id)) and (
        parse_uuid(workspace_id) != credential.workspace_id
    ):
        _refuse_other_workspace(request.user, workspace_id)
    if credential.workspace is None:
        raise AccessDenied
    if scope is not None and scope not in credential.scopes:  # not a single scope that it has
        require_scopes(credential, scope)
    return credential.workspace


def require_scopes(credential: object, scopes: str) -> None:
    """Raise AccessDenied, which names the missing ones, unless a credential has all scopes."""
    own = credential.scopes if isinstance(credential, Credential) else frozenset()
    if missing := missing_scopes(scopes, own):
        raise AccessDenied(scope=" ".join(missing))


def scopes_of_member(user: User, role: str | None) -> frozenset[str]:
    """Return the scopes of a user with `role` (None: not a member); superusers have all."""
    if user.is_superuser:
        return ALL_SCOPES
    return ROLE_SCOPES.get(role or "", frozenset())


def _bound_session(user: object, credential: Credential, workspace_id: str | UUID | None) -> Credential:
    if not isinstance(user, User):
        raise AccessDenied
    membership = _membership(user, workspace_id)
    if membership is not None:
        workspace, role = membership.workspace, membership.role
    elif user.is_superuser and workspace_id is not None:
        workspace, role = _workspace_of_superuser(workspace_id), None
    else:
        raise AccessDenied
    scopes = scopes_of_member(user, role)
    return replace(credential, workspace_id=workspace.id, workspace=workspace, scopes=scopes)


def _membership(user: User, workspace_id: str | UUID | None) -> Membership | None:
    memberships = Membership.objects.filter(user=user).select_related("workspace")
    if workspace_id is not None:
        identifier = parse_uuid(workspace_id)
        return memberships.in_workspace(identifier).first() if identifier else None
    found = list(memberships[:2])
    return found[0] if len(found) == 1 else None


def _workspace_of_superuser(workspace_id: str | UUID) -> Workspace:
    identifier = parse_uuid(workspace_id)
    workspace = Workspace.objects.filter(id=identifier).first() if identifier else None
    if workspace is None:
        raise WorkspaceNotFound
    return workspace


def _refuse_other_workspace(user: object, workspace_id: str | UUID) -> NoReturn:
    if isinstance(user, User) and user.is_superuser:
        _workspace_of_superuser(workspace_id)
    raise AccessDenied
