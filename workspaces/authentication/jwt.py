"""JWTs: issued for one user and workspace, and checked against the membership at each request."""

import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, TypeVar
from uuid import UUID

from django.utils.crypto import constant_time_compare
from jwt import PyJWTError
from rest_framework_simplejwt.backends import TokenBackend
from rest_framework_simplejwt.exceptions import TokenBackendError, TokenBackendExpiredToken, TokenError
from rest_framework_simplejwt.tokens import AccessToken, RefreshToken, Token

from config.ids import parse_uuid
from config.secret_keys import derived_keys
from workspaces.errors import AccessDenied, InvalidToken, WorkspaceRequired
from workspaces.models import Membership, TokenFamily, User, Workspace

logger = logging.getLogger(__name__)

_PURPOSE = "jwt"
_ALGORITHM = "HS256"
_ID_CLAIM = "jti"
_WORKSPACE_CLAIM = "workspace"
_FAMILY_CLAIM = "family"
# Depends on the password: changing it ends the user's tokens.
_PASSWORD_CLAIM = "password_state"  # noqa: S105
_PASSWORD_STATE_LENGTH = 16


class _RotatedKeys(TokenBackend):
    """Sign with the current key; verify with former keys, too."""

    def __init__(self, key: str, *former: str) -> None:
        super().__init__(_ALGORITHM, key)
        self._former = [TokenBackend(_ALGORITHM, key) for key in former]

    def decode(self, token: Any, verify: bool = True) -> dict[str, Any]:
        """Return a token's claims. Raises TokenBackendError."""
        try:
            return super().decode(token, verify)
        except TokenBackendExpiredToken:
            raise
        except TokenBackendError:
            for backend in self._former:
                with suppress(TokenBackendError):
                    return backend.decode(token, verify)
            raise


class _SignedByUs:
    def get_token_backend(self) -> TokenBackend:
        return _backend(*derived_keys(_PURPOSE))


class WorkspaceAccessToken(_SignedByUs, AccessToken):
    """A short-lived JWT that opens one workspace."""


class WorkspaceRefreshToken(_SignedByUs, RefreshToken):  # type: ignore[misc]  # the library's bases differ
    """A JWT that is exchanged for new access tokens."""

    access_token_class = WorkspaceAccessToken


@dataclass(frozen=True)
class Member:
    """A user in a workspace; `role` is None for a superuser who is not a member."""

    user: User
    workspace: Workspace
    role: str | None


@dataclass(frozen=True)
class TokenPair:
    """An access token and its refresh token."""

    access: str
    refresh: str
    workspace: Workspace


def issue_tokens(user: User, workspace_id: str | None = None) -> TokenPair:
    """Return tokens for the named workspace, or the user's only one.

    Raises WorkspaceRequired or AccessDenied.
    """
    workspace = _named_workspace(user, workspace_id) if workspace_id else _only_workspace(user)
    refresh = _refresh_token(user, workspace.id)
    family = TokenFamily.objects.create(user=user, refresh_id=refresh[_ID_CLAIM], expires_at=_expiry(refresh))
    return _pair(refresh, family.pk, workspace)


def refresh_tokens(refresh_token: str) -> TokenPair:
    """Return new tokens for a refresh token, which is valid once. Raises InvalidToken.

    Reuse means that it was stolen, so all tokens of its family are revoked.
    """
    token = decode(WorkspaceRefreshToken, refresh_token)
    member = member_of(token) if token is not None else None
    if token is None or member is None:
        raise InvalidToken
    refresh = _refresh_token(member.user, member.workspace.id)
    family = TokenFamily.objects.filter(pk=token[_FAMILY_CLAIM])
    # Of two concurrent requests one matches the row.
    is_good = family.filter(refresh_id=token[_ID_CLAIM]).update(
        refresh_id=refresh[_ID_CLAIM], expires_at=_expiry(refresh)
    )
    if not is_good:
        family.delete()
        logger.warning("A refresh token was used again; its family is revoked: user %s", member.user.pk)
        raise InvalidToken
    return _pair(refresh, token[_FAMILY_CLAIM], member.workspace)


def revoke_tokens(access_token: str) -> None:
    """End the family of an access token; an invalid token does nothing."""
    token = decode(WorkspaceAccessToken, access_token)
    if token is not None and member_of(token) is not None:
        TokenFamily.objects.filter(pk=token[_FAMILY_CLAIM]).delete()


def _refresh_token(user: User, workspace_id: UUID) -> RefreshToken:
    refresh = WorkspaceRefreshToken.for_user(user)
    refresh[_WORKSPACE_CLAIM] = str(workspace_id)
    refresh[_PASSWORD_CLAIM] = next(_password_states(user))
    return refresh


def _pair(refresh: RefreshToken, family_id: object, workspace: Workspace) -> TokenPair:
    refresh[_FAMILY_CLAIM] = str(family_id)
    return TokenPair(access=str(refresh.access_token), refresh=str(refresh), workspace=workspace)


def _expiry(token: Token) -> datetime:
    return datetime.fromtimestamp(token["exp"], UTC)


_TokenT = TypeVar("_TokenT", bound=Token)


def decode(kind: type[_TokenT], text: str) -> _TokenT | None:
    """Return the verified token, else None."""
    try:
        # The library's annotation says Token, but its code takes the encoded text.
        return kind(text)  # type: ignore[arg-type]
    except (TokenError, PyJWTError, ValueError, TypeError, OverflowError, RecursionError):
        return None


def member_of(token: Token) -> Member | None:
    """Return the current member whom a token names; None if membership or password changed."""
    user_id, workspace_id = parse_uuid(token.get("user_id")), parse_uuid(token.get(_WORKSPACE_CLAIM))
    family_id = parse_uuid(token.get(_FAMILY_CLAIM))
    if user_id is None or workspace_id is None or family_id is None:
        return None
    member = _member(user_id, workspace_id, has_family=family_id)
    if member is None or not member.user.is_active:
        return None
    claimed = str(token.get(_PASSWORD_CLAIM))
    if not any(constant_time_compare(claimed, state) for state in _password_states(member.user)):
        return None
    return member


def _member(user_id: UUID, workspace_id: UUID, *, has_family: UUID | None = None) -> Member | None:
    """Return the user's membership, in one statement; None also where the token family has ended."""
    families = {} if has_family is None else {"token_families": has_family}
    membership = (
        Membership.objects.in_workspace(workspace_id)
        .filter(user_id=user_id)
        .filter(**{f"user__{name}": value for name, value in families.items()})
        .select_related("user", "workspace")
        .first()
    )
    if membership is not None:
        return Member(membership.user, membership.workspace, membership.role)
    user = User.objects.filter(id=user_id, is_superuser=True, **families).first()
    workspace = Workspace.objects.filter(id=workspace_id).first() if user else None
    return Member(user, workspace, None) if user and workspace else None


def _named_workspace(user: User, workspace_id: str) -> Workspace:
    identifier = parse_uuid(workspace_id)
    member = _member(user.id, identifier) if identifier else None
    if member is None:
        raise AccessDenied
    return member.workspace


def _only_workspace(user: User) -> Workspace:
    memberships = list(Membership.objects.filter(user=user).select_related("workspace")[:2])
    if len(memberships) != 1:
        raise WorkspaceRequired
    return memberships[0].workspace


def _password_states(user: User) -> Iterator[str]:
    """Yield hashes of the user's password hash, under the current and former secret keys."""
    yield user.get_session_auth_hash()[:_PASSWORD_STATE_LENGTH]
    for former in user.get_session_auth_fallback_hash():
        yield former[:_PASSWORD_STATE_LENGTH]


@lru_cache(maxsize=16)
def _backend(*keys: str) -> TokenBackend:
    return _RotatedKeys(*keys)
