"""How a request says who it is: API key, OAuth token, JWT or session."""

import hashlib
import json
from typing import Any, NoReturn

from django.contrib.auth.models import AnonymousUser
from django.db import connection
from oauth2_provider.oauth2_validators import validate_resource_as_url_prefix
from rest_framework.authentication import BaseAuthentication
from rest_framework.authentication import SessionAuthentication as DRFSessionAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from config import clock
from workspaces.access import Credential, scopes_of_member
from workspaces.models import ROLE_SCOPES, User, Workspace
from workspaces.scopes import from_oauth
from workspaces.services import hash_secret, note_key_use
from workspaces.tokens import WorkspaceAccessToken, decode, member_of

_MAX_SECRET_LENGTH = 512
_MAX_JWT_LENGTH = 4096
_PAGE_SCOPES = frozenset({"events:write"})
# One for all: a key stands for a workspace, not for a person.
_NO_ONE = AnonymousUser()

QUERY_KEY = "key"
"""The parameter of an address that may be an API key."""

Authenticated = tuple[Any, Credential]


class BearerAuthentication(BaseAuthentication):
    """`Authorization: Bearer …` with an API key, an OAuth token or a JWT."""

    def authenticate(self, request: Request) -> Authenticated | None:
        """Return the user (none for a key) and the credential; None without a bearer header."""
        header: str = request.META.get("HTTP_AUTHORIZATION", "")
        scheme, _, secret = header.partition(" ")
        if scheme.lower() != "bearer":
            return None
        return self.authenticate_secret(request, secret.strip())

    def authenticate_secret(self, request: Request, secret: str) -> Authenticated:
        """Return whom `secret` authenticates. Raises AuthenticationFailed."""
        if looks_like_jwt(secret):
            return authenticate_jwt(secret)
        return authenticate_key(secret) or authenticate_oauth(request, secret) or refuse()

    def authenticate_header(self, request: Request) -> str:
        """Make an unauthenticated answer a 401."""
        return 'Bearer realm="api"'


class ApiKeyAuthentication(BearerAuthentication):
    """`Authorization: Bearer …` with an API key only."""

    def authenticate_secret(self, request: Request, secret: str) -> Authenticated:
        """Return the key's credential. Raises AuthenticationFailed."""
        return authenticate_key(secret) or refuse()


class JWTAuthentication(BearerAuthentication):
    """`Authorization: Bearer …` with a JWT only."""

    def authenticate_secret(self, request: Request, secret: str) -> Authenticated:
        """Return the token's user and credential. Raises AuthenticationFailed."""
        return authenticate_jwt(secret)


class OAuthAuthentication(BearerAuthentication):
    """`Authorization: Bearer …` with an OAuth access token only."""

    def authenticate_secret(self, request: Request, secret: str) -> Authenticated:
        """Return the token's user and credential. Raises AuthenticationFailed."""
        return authenticate_oauth(request, secret) or refuse()


class QueryKeyAuthentication(BaseAuthentication):
    """`?key=…` with an API key, for GET only: what is in an address ends up in logs."""

    def authenticate(self, request: Request) -> Authenticated | None:
        """Return the key's credential; None without the parameter."""
        secret = request.GET.get(QUERY_KEY)
        if secret is None or request.method != "GET":
            return None
        return authenticate_key(secret) or refuse()

    def authenticate_header(self, request: Request) -> str:
        """Make an unauthenticated answer a 401."""
        return 'Bearer realm="api"'


class PageKeyAuthentication(BaseAuthentication):
    """`?key=…` on a POST from a page of one of the workspace's origins: `sendBeacon` has no headers.

    Anybody can read such a key, so it counts only if it can do nothing but record events.
    """

    def authenticate(self, request: Request) -> Authenticated | None:
        """Return the key's credential; None without the parameter. Raises AuthenticationFailed."""
        secret = request.GET.get("key")
        if secret is None or request.method != "POST":
            return None
        user, credential = authenticate_key(secret) or refuse()
        origins = credential.workspace.allowed_origins if credential.workspace else []
        if credential.scopes != _PAGE_SCOPES or request.META.get("HTTP_ORIGIN", "").lower() not in origins:
            refuse()
        return user, credential

    def authenticate_header(self, request: Request) -> str:
        """Make an unauthenticated answer a 401."""
        return 'Bearer realm="api"'


class SessionAuthentication(DRFSessionAuthentication):
    """Django's session cookie, with its CSRF token on writes."""

    def authenticate(self, request: Request) -> Authenticated | None:
        """Return the signed-in user and a credential that no workspace is bound to yet."""
        answer = super().authenticate(request)
        if answer is None:
            return None
        user = answer[0]
        return user, Credential(kind="session", key=f"user:{user.pk}", user_id=user.pk)

    def authenticate_header(self, request: Request) -> str:
        """Make an unauthenticated answer a 401."""
        return 'Bearer realm="api"'


def looks_like_jwt(secret: str) -> bool:
    """Tell a JWT from the other bearer secrets, cheaply."""
    return secret.startswith("eyJ") and secret.count(".") == 2


def authenticate_key(secret: str) -> Authenticated | None:
    """Return the credential of an API key, None if there is no such key, or no longer."""
    if not _is_plausible(secret, _MAX_SECRET_LENGTH):
        return None
    now = clock.now()
    row = _row(_FIND_KEY, [hash_secret(secret), now])
    if row is None:
        return None
    key_id, scopes, rate_limit, last_used_at, *columns = row
    note_key_use(key_id, last_used_at, now)
    workspace = _workspace(columns)
    return _NO_ONE, Credential(
        kind="api_key",
        key=f"key:{key_id}",
        workspace_id=workspace.id,
        scopes=frozenset(scopes),
        rate_limit=rate_limit,
        workspace=workspace,
    )


def authenticate_oauth(request: Request, secret: str) -> Authenticated | None:
    """Return whom an OAuth access token stands for: its application, or a member who authorized that."""
    if not _is_plausible(secret, _MAX_SECRET_LENGTH):
        return None
    row = _row(_FIND_OAUTH_TOKEN, [hashlib.sha256(secret.encode()).hexdigest(), clock.now()])
    if row is None:
        return None
    scope, resource, user_id, role, application_id, allowed, rate_limit, *columns = row
    if not _is_meant_for(request, json.loads(resource)):
        return None
    workspace = _workspace(columns)
    scopes = from_oauth(scope) & frozenset(allowed)
    user: User | AnonymousUser = _NO_ONE
    if user_id is not None:
        user = User.objects.get(id=user_id)
        scopes &= ROLE_SCOPES[role]
    return user, Credential(
        kind="oauth",
        key=f"oauth:{application_id}",
        workspace_id=workspace.id,
        scopes=scopes,
        user_id=user_id,
        rate_limit=rate_limit,
        workspace=workspace,
    )


def authenticate_jwt(secret: str) -> Authenticated:
    """Return the member whom a JWT names, as that member is now. Raises AuthenticationFailed."""
    if not _is_plausible(secret, _MAX_JWT_LENGTH):
        refuse()
    token = decode(WorkspaceAccessToken, secret)
    member = member_of(token) if token is not None else None
    if member is None:
        return refuse()
    return member.user, Credential(
        kind="jwt",
        key=f"user:{member.user.id}",
        workspace_id=member.workspace.id,
        scopes=scopes_of_member(member.user, member.role),
        user_id=member.user.id,
        workspace=member.workspace,
    )


def refuse() -> NoReturn:
    """Answer a secret that authenticates nobody."""
    raise AuthenticationFailed


def _is_meant_for(request: Request, resources: list[str]) -> bool:
    return not resources or bool(validate_resource_as_url_prefix(request.build_absolute_uri(), resources))


def _is_plausible(secret: str, longest: int) -> bool:
    return 0 < len(secret) <= longest and secret.isascii()


def _row(statement: str, parameters: list[Any]) -> tuple[Any, ...] | None:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        row: tuple[Any, ...] | None = cursor.fetchone()
    return row


def _workspace(columns: list[Any]) -> Workspace:
    return Workspace.from_db(connection.alias, _WORKSPACE_FIELDS, columns)


_WORKSPACE_FIELDS = ["id", "name", "identity_field", "allowed_origins", "created_at"]
_FIND_KEY = """
    SELECT k.id, k.scopes, k.rate_limit, k.last_used_at, w.id, w.name, w.identity_field,
           w.allowed_origins, w.created_at
    FROM workspaces_apikey k JOIN workspaces_workspace w ON w.id = k.workspace_id
    WHERE k.key_hash = %s AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > %s)
"""
# A token that a user authorized dies with the user's membership.
_FIND_OAUTH_TOKEN = """
    SELECT t.scope, t.resource::text, t.user_id, m.role, a.id, a.scopes, a.rate_limit,
           w.id, w.name, w.identity_field, w.allowed_origins, w.created_at
    FROM oauth2_provider_accesstoken t
    JOIN workspaces_application a ON a.id = t.application_id
    JOIN workspaces_workspace w ON w.id = a.workspace_id
    LEFT JOIN workspaces_user u ON u.id = t.user_id AND u.is_active
    LEFT JOIN workspaces_membership m ON m.workspace_id = a.workspace_id AND m.user_id = u.id
    WHERE t.token_checksum = %s AND t.expires > %s AND (t.user_id IS NULL OR m.id IS NOT NULL)
"""  # noqa: S105
