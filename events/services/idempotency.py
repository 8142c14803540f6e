"""Idempotency-Key: the first answer to a request, given again."""

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.db import connection

from config import clock, ids
from events.errors import IdempotencyConflict, InvalidIdempotencyKey
from events.models import IdempotencyKey

_MAX_KEY = 255


@dataclass(frozen=True, slots=True)
class Answer:
    """A response as it was sent: status, and the body's bytes."""

    status: int
    body: bytes


def request_hash(method: str, path: str, body: bytes) -> bytes:
    """Return what two requests must share to be the same one."""
    return hashlib.sha256(b"\x00".join((method.encode(), path.encode(), body))).digest()


def is_key(text: str) -> bool:
    """Whether a text can be a key."""
    return 0 < len(text) <= _MAX_KEY and text.isprintable()


def claim_key(workspace_id: UUID, key: str, digest: bytes) -> Answer | None:
    """Claim the key for this request, in the caller's transaction, or return the answer of the first one.

    Whoever comes second waits for the first to commit. Raises IdempotencyConflict when that was another request.
    """
    if not is_key(key):
        raise InvalidIdempotencyKey
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO events_idempotencykey (id, workspace_id, key, request_hash, status, body, created_at)"
            " VALUES (%s, %s, %s, %s, 0, '', %s) ON CONFLICT (workspace_id, key) DO NOTHING",
            [ids.uuid7(), workspace_id, key, digest, clock.now()],
        )
        if cursor.rowcount:
            return None
        cursor.execute(
            "SELECT request_hash, status, body FROM events_idempotencykey WHERE workspace_id = %s AND key = %s",
            [workspace_id, key],
        )
        first_digest, status, body = cursor.fetchone()
    if bytes(first_digest) != digest:
        raise IdempotencyConflict
    return Answer(status, bytes(body))


def keep_answer(workspace_id: UUID, key: str, answer: Answer) -> None:
    """Store the answer of the request that claimed the key."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE events_idempotencykey SET status = %s, body = %s WHERE workspace_id = %s AND key = %s",
            [answer.status, answer.body, workspace_id, key],
        )


def release_key(workspace_id: UUID, key: str) -> None:
    """Forget a key that was claimed in this transaction: its request was refused."""
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM events_idempotencykey WHERE workspace_id = %s AND key = %s", [workspace_id, key]
        )


def forget_old_keys() -> int:
    """Delete the keys older than `settings.IDEMPOTENCY_KEY_DAYS`. Returns how many."""
    oldest = clock.now() - timedelta(days=settings.IDEMPOTENCY_KEY_DAYS)
    deleted, _ = IdempotencyKey.objects.filter(created_at__lt=oldest).delete()
    return deleted
