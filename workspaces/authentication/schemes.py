"""DRF authentication classes: API key, OAuth token, JWT, session."""

import time
from base64 import b64decode
from collections.abc import Sequence
from typing import Any, NoReturn
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from oauth2_provider.oauth2_validators import validate_resource_as_url_prefix
from rest_framework.authentication import BaseAuthentication
from rest_framework.authentication import SessionAuthentication as DRFSessionAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from config import clock
from workspaces.access import Credential, scopes_of_member
from workspaces.authentication.credentials import (
    hash_secret,
    key_credentials,
    oauth_credentials,
    record_key_use,
)
from workspaces.authentication.jwt import WorkspaceAccessToken, decode, member_of
from workspaces.authentication.sessions import open_session
from workspaces.models import User

_MAX_SECRET_LENGTH = 512
_MAX_JWT_LENGTH = 4096
# An API key stands for a workspace, not for a person.
_NO_ONE = AnonymousUser()

QUERY_KEY = "key"
"""Query parameter that may carry an API key."""

Authenticated = tuple[Any, Credential]

_CACHE_SIZE = 10_000
_remembered: dict[bytes, tuple[float, Authenticated]] = {}
"""By hash of the secret: expiry (monotonic seconds) and the authenticated user and credential."""
_NOT_KNOWN = (0.0, None)


class BearerAuthentication(BaseAuthentication):
    """`Authorization: Bearer …` with an API key, an OAuth token or a JWT.

    A subclass that `remembers` caches secrets that may write events for CREDENTIAL_CACHE_SECONDS, for POSTs
    only: the writing transaction then has to verify the credential (see `changed_credentials`).
    """

    def __init__(self, *, remembers: bool = False) -> None:
        self.remembers = remembers

    def authenticate(self, request: Request) -> Authenticated | None:
        """Return user and credential; None without a bearer header."""
        header: str = request.META.get("HTTP_AUTHORIZATION", "")
        scheme, _, secret = header.partition(" ")
        if scheme.lower() != "bearer":
            return None
        return self.authenticate_secret(request, secret.strip())

    def authenticate_secret(self, request: Request, secret: str) -> Authenticated:
        """Return user and credential of a secret. Raises AuthenticationFailed."""
        if looks_like_jwt(secret):
            return authenticate_jwt(secret)
        if self.remembers and request.method == "POST" and settings.CREDENTIAL_CACHE_SECONDS:
            return _cached_or_looked_up(request, secret)
        return _looked_up(request, secret)

    def authenticate_header(self, request: Request) -> str:
        """Return the WWW-Authenticate header, which makes the response a 401."""
        return 'Bearer realm="api"'


def _looked_up(request: Request, secret: str) -> Authenticated:
    return authenticate_key(secret) or authenticate_oauth(request, secret) or refuse()


def _cached_or_looked_up(request: Request, secret: str) -> Authenticated:
    secret_hash = hash_secret(secret)
    until, known = _remembered.get(secret_hash, _NOT_KNOWN)
    if known is not None and until > time.monotonic() and _is_meant_for(request, known[1].resources):
        return known
    answer = _looked_up(request, secret)
    # Credentials without the scope are not cached: a newly granted scope counts at once.
    if "events:write" in answer[1].scopes:
        if len(_remembered) >= _CACHE_SIZE:
            _remembered.clear()
        _remembered[secret_hash] = time.monotonic() + settings.CREDENTIAL_CACHE_SECONDS, answer
    return answer


def evict_credential(credential: Credential) -> None:
    """Remove a credential from the cache."""
    _remembered.pop(credential.secret_hash, None)


class BasicKeyAuthentication(BearerAuthentication):
    """`Authorization: Basic …` with an API key as the name and no password, as several vendors have it."""

    def authenticate(self, request: Request) -> Authenticated | None:
        """Return user and credential; None without a basic header. Raises AuthenticationFailed."""
        header: str = request.META.get("HTTP_AUTHORIZATION", "")
        scheme, _, encoded = header.partition(" ")
        if scheme.lower() != "basic":
            return None
        return self.authenticate_secret(request, _basic_name(encoded.strip()))


def _basic_name(encoded: str) -> str:
    """Return the name of a basic header; empty where it is not encoded as one."""
    try:
        return b64decode(encoded, validate=True).decode().partition(":")[0].strip()
    except ValueError:
        return ""


class QueryKeyAuthentication(BaseAuthentication):
    """`?key=…` with an API key, for GET only: URLs end up in logs."""

    def authenticate(self, request: Request) -> Authenticated | None:
        """Return the key's credential; None without the parameter."""
        secret = request.GET.get(QUERY_KEY)
        if secret is None or request.method != "GET":
            return None
        return authenticate_key(secret) or refuse()

    def authenticate_header(self, request: Request) -> str:
        """Return the WWW-Authenticate header, which makes the response a 401."""
        return 'Bearer realm="api"'


class PageKeyAuthentication(BaseAuthentication):
    """`?key=…` on a POST from one of the workspace's origins: `sendBeacon` cannot send headers.

    Anyone can read such a key on the page, so it must have no scope but to record events.
    """

    def authenticate(self, request: Request) -> Authenticated | None:
        """Return the key's credential; None without the parameter. Raises AuthenticationFailed."""
        secret = request.GET.get("key")
        if secret is None or request.method != "POST":
            return None
        user, credential = authenticate_key(secret) or refuse()
        origins = credential.workspace.allowed_origins if credential.workspace else []
        if not credential.is_public or request.META.get("HTTP_ORIGIN", "").lower() not in origins:
            refuse()
        return user, credential

    def authenticate_header(self, request: Request) -> str:
        """Return the WWW-Authenticate header, which makes the response a 401."""
        return 'Bearer realm="api"'


class SessionAuthentication(DRFSessionAuthentication):
    """Django's session cookie, with its CSRF token on writes."""

    def authenticate(self, request: Request) -> Authenticated | None:
        """Return the signed-in user and a credential without a workspace yet."""
        open_session(request._request)
        answer = super().authenticate(request)
        if answer is None:
            return None
        user = answer[0]
        return user, Credential(kind="session", key=f"user:{user.pk}", user_id=user.pk)

    def authenticate_header(self, request: Request) -> str:
        """Return the WWW-Authenticate header, which makes the response a 401."""
        return 'Bearer realm="api"'


def looks_like_jwt(secret: str) -> bool:
    """Tell a JWT from other bearer secrets by its form."""
    return secret.startswith("eyJ") and secret.count(".") == 2


def authenticate_key(secret: str) -> Authenticated | None:
    """Return the credential of a valid API key, else None."""
    if not _is_plausible(secret, _MAX_SECRET_LENGTH):
        return None
    key_hash = hash_secret(secret)
    found = key_credentials([key_hash]).get(key_hash)
    if found is None:
        return None
    credential, last_used_at = found
    record_key_use(UUID(credential.key.removeprefix("key:")), last_used_at, clock.now())
    return _NO_ONE, credential


def authenticate_oauth(request: Request, secret: str) -> Authenticated | None:
    """Return an OAuth token's application, or the member who authorized it, with the credential."""
    if not _is_plausible(secret, _MAX_SECRET_LENGTH):
        return None
    token_hash = hash_secret(secret)
    credential = oauth_credentials([token_hash]).get(token_hash)
    if credential is None or not _is_meant_for(request, credential.resources):
        return None
    user: Any = _NO_ONE if credential.user_id is None else User.objects.get(id=credential.user_id)
    return user, credential


def authenticate_jwt(secret: str) -> Authenticated:
    """Return the member whom a JWT names, with current role. Raises AuthenticationFailed."""
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
    """Raise AuthenticationFailed for an invalid secret."""
    raise AuthenticationFailed


def _is_meant_for(request: Request, resources: Sequence[str]) -> bool:
    return not resources or bool(
        validate_resource_as_url_prefix(request.build_absolute_uri(), list(resources))
    )


def _is_plausible(secret: str, longest: int) -> bool:
    return 0 < len(secret) <= longest and secret.isascii()
