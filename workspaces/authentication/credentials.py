"""Look up and verify API keys and OAuth tokens, many in one statement."""

import hashlib
import json
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection

from config import clock
from config.db.statements import execute, fetch_all
from workspaces.access import Credential
from workspaces.models import ROLE_SCOPES, Workspace
from workspaces.scopes import from_oauth


def hash_secret(secret: str) -> bytes:
    """Return the SHA-256 of a secret, which is stored in its place."""
    return hashlib.sha256(secret.encode()).digest()


def key_credentials(hashes: Collection[bytes]) -> dict[bytes, tuple[Credential, datetime | None]]:
    """Return the credentials of valid API keys by hash, each with the time of its last use."""
    found = {}
    for key_hash, key_id, scopes, rate_limit, expires_at, last_used_at, *workspace in _rows(_KEYS, hashes):
        row = _workspace(workspace)
        credential = Credential(
            kind="api_key",
            key=f"key:{key_id}",
            workspace_id=row.id,
            scopes=frozenset(scopes),
            rate_limit=rate_limit,
            expires_at=expires_at,
            workspace=row,
            secret_hash=bytes(key_hash),
        )
        found[credential.secret_hash] = credential, last_used_at
    return found


def oauth_credentials(hashes: Collection[bytes]) -> dict[bytes, Credential]:
    """Return the credentials of valid OAuth tokens by hash."""
    found = {}
    for row in _rows(_OAUTH_TOKENS, [token_hash.hex() for token_hash in hashes]):
        checksum, scope, resource, expires, user_id, role, application_id, allowed, rate_limit, *workspace = (
            row
        )
        tenant = _workspace(workspace)
        scopes = from_oauth(scope) & frozenset(allowed)
        credential = Credential(
            kind="oauth",
            key=f"oauth:{application_id}",
            workspace_id=tenant.id,
            scopes=scopes if user_id is None else scopes & ROLE_SCOPES[role],
            user_id=user_id,
            rate_limit=rate_limit,
            expires_at=expires,
            workspace=tenant,
            resources=tuple(json.loads(resource)),
            secret_hash=bytes.fromhex(checksum),
        )
        found[credential.secret_hash] = credential
    return found


def changed_credentials(credentials: Iterable[Credential], scope: str) -> set[bytes]:
    """Return the hashes of keys and tokens that no longer have `scope` in an unchanged workspace.

    For the transaction that writes on their behalf: since they were looked up they may have been revoked.
    """
    wanted = {each.secret_hash: each for each in credentials if each.secret_hash}
    keys = [key for key, each in wanted.items() if each.kind == "api_key"]
    tokens = [key for key, each in wanted.items() if each.kind == "oauth"]
    current = {key: found[0] for key, found in key_credentials(keys).items()} if keys else {}
    if tokens:
        current |= oauth_credentials(tokens)
    return {
        key for key, credential in wanted.items() if not _is_still_valid(current.get(key), credential, scope)
    }


def _is_still_valid(now: Credential | None, before: Credential, scope: str) -> bool:
    return now is not None and scope in now.scopes and _facts(now.workspace) == _facts(before.workspace)


def _facts(workspace: Workspace | None) -> list[Any]:
    return [getattr(workspace, name) for name in _WORKSPACE_FIELDS]


def _workspace(columns: list[Any]) -> Workspace:
    return Workspace.from_db(connection.alias, _WORKSPACE_FIELDS, columns)


def _rows(statement: str, secrets: Collection[Any]) -> list[tuple[Any, ...]]:
    return fetch_all(statement, [list(secrets), clock.now()])


_WORKSPACE_FIELDS = ["id", "name", "identity_field", "allowed_origins", "created_at"]
_KEYS = """
    SELECT k.key_hash, k.id, k.scopes, k.rate_limit, k.expires_at, k.last_used_at,
        w.id, w.name, w.identity_field, w.allowed_origins, w.created_at
    FROM workspaces_apikey k JOIN workspaces_workspace w ON w.id = k.workspace_id
    WHERE k.key_hash = ANY(%s) AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > %s)
"""
# A token that a user authorized ends with the user's membership.
_OAUTH_TOKENS = """
    SELECT t.token_checksum, t.scope, t.resource::text, t.expires, t.user_id, m.role, a.id, a.scopes, a.rate_limit,
        w.id, w.name, w.identity_field, w.allowed_origins, w.created_at
    FROM oauth2_provider_accesstoken t
    JOIN workspaces_application a ON a.id = t.application_id
    JOIN workspaces_workspace w ON w.id = a.workspace_id
    LEFT JOIN workspaces_user u ON u.id = t.user_id AND u.is_active
    LEFT JOIN workspaces_membership m ON m.workspace_id = a.workspace_id AND m.user_id = u.id
    WHERE t.token_checksum = ANY(%s) AND t.expires > %s AND (t.user_id IS NULL OR m.id IS NOT NULL)
"""


_LAST_USED_RESOLUTION = timedelta(minutes=1)


def record_key_use(key_id: UUID, last_used_at: datetime | None, at: datetime) -> None:
    """Record the use of a key, at most once a minute and without waiting for a lock."""
    if last_used_at is not None and at - last_used_at < _LAST_USED_RESOLUTION:
        return
    execute(_RECORD_KEY_USE, [at, key_id, at - _LAST_USED_RESOLUTION])


# Concurrent requests with one key: all but the first skip the locked row.
_RECORD_KEY_USE = """
    UPDATE workspaces_apikey SET last_used_at = %s
    WHERE id = (
        SELECT id FROM workspaces_apikey
        WHERE id = %s AND (last_used_at IS NULL OR last_used_at <= %s)
        FOR NO KEY UPDATE SKIP LOCKED
    )
"""
