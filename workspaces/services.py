"""Create and change workspaces, users, members, API keys and OAuth applications."""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.db import transaction
from django.db.models import Exists, OuterRef
from oauth2_provider.generators import generate_client_secret
from oauth2_provider.models import clear_expired

from config import clock
from config.values.emails import canonical_email
from workspaces.authentication.credentials import hash_secret
from workspaces.authentication.sessions import SessionStore
from workspaces.errors import (
    AccessDenied,
    ApiKeyNotFound,
    ExpiryInPast,
    InvalidEmail,
    InvalidOrigins,
    LastOwner,
    UnknownScopes,
)
from workspaces.models import (
    ApiKey,
    Application,
    BackfillJob,
    Membership,
    Role,
    TokenFamily,
    User,
    Workspace,
)
from workspaces.origins import MOST_ORIGINS, InvalidOrigin, parse_origins
from workspaces.scopes import ALL_SCOPES, unknown_scopes

KEY_PREFIX = "hr_"
_SECRET_BYTES = 32
_VISIBLE_CHARACTERS = 8


@dataclass(frozen=True)
class IssuedKey:
    """An API key and its secret, which is not stored."""

    api_key: ApiKey
    secret: str


@dataclass(frozen=True)
class CreatedApplication:
    """An OAuth client and its secret, which is not stored."""

    application: Application
    client_secret: str


@transaction.atomic
def create_workspace(name: str, *, owner: User | None = None, identity_field: str = "email") -> Workspace:
    """Create a workspace, with `owner` as its first member."""
    workspace = Workspace.objects.create(name=name, identity_field=identity_field)
    if owner is not None:
        add_member(workspace.id, owner, role=Role.OWNER)
    return workspace


def set_allowed_origins(workspace: Workspace, origins: Iterable[object]) -> Workspace:
    """Set the origins whose pages may send events. Raises InvalidOrigins."""
    try:
        allowed = parse_origins(origins)
    except InvalidOrigin as error:
        raise InvalidOrigins(str(error)) from error
    if len(allowed) > MOST_ORIGINS:
        raise InvalidOrigins(f"At most {MOST_ORIGINS} origins")
    workspace.allowed_origins = allowed
    workspace.save(update_fields=["allowed_origins"])
    return workspace


def create_user(
    *, username: str, email: str = "", password: str | None = None, staff: bool = False
) -> tuple[User, str]:
    """Create a user and return it with its password, generated if not given. Raises InvalidEmail."""
    password = password or secrets.token_urlsafe(12)
    user = User(
        username=username,
        email=checked_email(email) if email else "",
        password=make_password(password),
        is_staff=staff,
        is_superuser=staff,
    )
    user.save(force_insert=True)
    return user, password


def checked_email(text: str) -> str:
    """Return the canonical form of a user's e-mail address. Raises InvalidEmail."""
    email = canonical_email(text)
    if email is None:
        raise InvalidEmail
    return email


@transaction.atomic
def add_member(workspace_id: UUID, user: User, *, role: str = Role.VIEWER) -> Membership:
    """Make `user` a member with `role`, or change the role that it has. Raises LastOwner."""
    if role != Role.OWNER:
        _check_owner_remains(workspace_id, user)
    membership, _ = Membership.objects.update_or_create(
        workspace_id=workspace_id, user=user, defaults={"role": role}
    )
    return membership


def is_only_owner(user: User | None) -> bool:
    """Tell whether the user is the only owner of some workspace."""
    if user is None:
        return False
    owners = Membership.objects.filter(role=Role.OWNER)
    other_owners = owners.in_workspace(OuterRef("workspace")).exclude(user=user)
    return owners.filter(~Exists(other_owners), user=user).exists()


def _check_owner_remains(workspace_id: UUID, user: User) -> None:
    """Raise LastOwner if a user is the workspace's only owner."""
    # Of two owners who leave at the same time, each would still see the other.
    Workspace.objects.select_for_update().get(pk=workspace_id)
    owners = Membership.objects.in_workspace(workspace_id).filter(role=Role.OWNER)
    if set(owners.values_list("user_id", flat=True)) == {user.pk}:
        raise LastOwner


def purge_finished_jobs() -> int:
    """Delete jobs that finished more than `BACKFILL_JOB_DAYS` ago. Returns how many."""
    oldest = clock.now() - timedelta(days=settings.BACKFILL_JOB_DAYS)
    deleted, _ = BackfillJob.objects.filter(finished_at__lt=oldest).delete()
    return deleted


def purge_expired_tokens() -> int:
    """Delete expired token families; return how many."""
    deleted, _ = TokenFamily.objects.filter(expires_at__lt=clock.now()).delete()
    return deleted


def purge_ended_sign_ins() -> None:
    """Delete expired browser sessions, OAuth grants and OAuth tokens."""
    SessionStore.clear_expired()
    clear_expired()


def issue_api_key(
    workspace_id: UUID,
    name: str,
    scopes: Iterable[str] = ALL_SCOPES,
    *,
    expires_at: datetime | None = None,
    prefix: str = KEY_PREFIX,
    rate_limit: str = "",
) -> IssuedKey:
    """Issue a key. Raises UnknownScopes or ExpiryInPast."""
    wanted = list(dict.fromkeys(scopes))
    if unknown := unknown_scopes(wanted):
        raise UnknownScopes(unknown)
    if expires_at is not None and expires_at <= clock.now():
        raise ExpiryInPast
    secret = prefix + secrets.token_urlsafe(_SECRET_BYTES)
    api_key = ApiKey.objects.create(
        workspace_id=workspace_id,
        name=name,
        prefix=secret[: len(prefix) + _VISIBLE_CHARACTERS],
        last_four=secret[-4:],
        key_hash=hash_secret(secret),
        scopes=sorted(wanted),
        rate_limit=rate_limit,
        expires_at=expires_at,
    )
    return IssuedKey(api_key, secret)


@transaction.atomic
def revoke_api_key(workspace_id: UUID, key_id: UUID | None, *, within: frozenset[str] = ALL_SCOPES) -> ApiKey:
    """Revoke a key at once; revoking it again changes nothing.

    `within`: the scopes of the user who revokes it. Raises ApiKeyNotFound, or AccessDenied for a key with
    more.
    """
    keys = ApiKey.objects.in_workspace(workspace_id).filter(id__in=[key_id] if key_id else [])
    api_key = keys.select_for_update().first()
    if api_key is None:
        raise ApiKeyNotFound
    if beyond := [scope for scope in api_key.scopes if scope not in within]:
        raise AccessDenied(f"You cannot revoke a key that may do more than you: {', '.join(beyond)}")
    if api_key.revoked_at is None:
        api_key.revoked_at = clock.now()
        api_key.save(update_fields=["revoked_at"])
    return api_key


def create_application(
    workspace_id: UUID,
    name: str,
    scopes: Iterable[str] = ALL_SCOPES,
    *,
    redirect_uris: Iterable[str] = (),
    public: bool = False,
    rate_limit: str = "",
) -> CreatedApplication:
    """Create an OAuth client: for the authorization code with `redirect_uris`, else for client credentials.

    Raises UnknownScopes, or Django's ValidationError for a bad redirect address.
    """
    wanted = list(dict.fromkeys(scopes))
    if unknown := unknown_scopes(wanted):
        raise UnknownScopes(unknown)
    uris = " ".join(redirect_uris)
    client_secret = "" if public else generate_client_secret()
    application = Application(
        workspace_id=workspace_id,
        name=name,
        scopes=sorted(wanted),
        client_type=Application.CLIENT_PUBLIC if public else Application.CLIENT_CONFIDENTIAL,
        authorization_grant_type=(
            Application.GRANT_AUTHORIZATION_CODE if uris else Application.GRANT_CLIENT_CREDENTIALS
        ),
        redirect_uris=uris,
        client_secret=client_secret,
        rate_limit=rate_limit,
    )
    application.full_clean()
    application.save(force_insert=True)
    return CreatedApplication(application, client_secret)
