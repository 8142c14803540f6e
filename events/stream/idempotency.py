"""Store Idempotency-Keys with the first answers to their requests."""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.db import connection

from config import clock, ids
from config.db.statements import execute
from events.errors import IdempotencyConflict, InvalidIdempotencyKey
from events.models import IdempotencyKey

_MAX_KEY = 255


@dataclass(frozen=True, slots=True)
class Answer:
    """A response as it was sent: status, and the body's bytes."""

    status: int
    body: bytes
    is_replay: bool = False


def request_hash(method: str, path: str, body: bytes, readable: str) -> bytes:
    """Hash what makes two requests the same one; `readable`: the scopes by which they may read."""
    return hashlib.sha256(b"\x00".join((method.encode(), path.encode(), readable.encode(), body))).digest()


def is_key(text: str) -> bool:
    """Whether a text can be a key."""
    return 0 < len(text) <= _MAX_KEY and text.isprintable()


@dataclass(frozen=True, slots=True)
class Claim:
    """A request's Idempotency-Key, and the hash of what the request asks for."""

    key: str
    digest: bytes

    def __post_init__(self) -> None:
        if not is_key(self.key):
            raise InvalidIdempotencyKey


def claim_keys(workspace_id: UUID, claims: Collection[Claim]) -> dict[str, Answer | IdempotencyConflict]:
    """Claim keys in the caller's transaction. Returns by key the answers of keys that were claimed before.

    Whoever comes second waits for the first to commit, and has its answer, or a conflict if that was another
    request.
    """
    wanted = sorted(claims, key=lambda claim: claim.key)
    keys = [claim.key for claim in wanted]
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO events_idempotencykey (id, workspace_id, key, request_hash, status, body, created_at)"
            " SELECT new.id, %s, new.key, new.digest, 0, '', %s"
            " FROM unnest(%s::uuid[], %s::text[], %s::bytea[]) AS new (id, key, digest) ORDER BY new.key"
            " ON CONFLICT (workspace_id, key) DO NOTHING RETURNING key",
            [
                workspace_id,
                clock.now(),
                [ids.uuid7() for _ in wanted],
                keys,
                [claim.digest for claim in wanted],
            ],
        )
        claimed = {key for (key,) in cursor.fetchall()}
        if len(claimed) == len(wanted):
            return {}
        cursor.execute(
            "SELECT key, request_hash, status, body FROM events_idempotencykey"
            " WHERE workspace_id = %s AND key = ANY(%s)",
            [workspace_id, [key for key in keys if key not in claimed]],
        )
        first = {key: (bytes(digest), status, bytes(body)) for key, digest, status, body in cursor.fetchall()}
    return {
        claim.key: _given_before(claim, *first[claim.key]) for claim in wanted if claim.key not in claimed
    }


def _given_before(claim: Claim, digest: bytes, status: int, body: bytes) -> Answer | IdempotencyConflict:
    return Answer(status, body, is_replay=True) if digest == claim.digest else IdempotencyConflict()


def store_answers(workspace_id: UUID, answers: Mapping[str, Answer]) -> None:
    """Store the answers of the requests that claimed these keys."""
    execute(
        "UPDATE events_idempotencykey k SET status = new.status, body = new.body"
        " FROM unnest(%s::text[], %s::smallint[], %s::bytea[]) AS new (key, status, body)"
        " WHERE k.workspace_id = %s AND k.key = new.key",
        [
            list(answers),
            [answer.status for answer in answers.values()],
            [answer.body for answer in answers.values()],
            workspace_id,
        ],
    )


def release_keys(workspace_id: UUID, keys: Collection[str]) -> None:
    """Release keys that this transaction claimed: a refused request leaves none."""
    IdempotencyKey.objects.in_workspace(workspace_id).filter(key__in=keys).delete()


def purge_old_keys() -> int:
    """Delete the keys older than `settings.IDEMPOTENCY_KEY_DAYS`. Returns how many."""
    oldest = clock.now() - timedelta(days=settings.IDEMPOTENCY_KEY_DAYS)
    deleted, _ = IdempotencyKey.objects.filter(created_at__lt=oldest).delete()
    return deleted
