"""Who was erased, known only to whom names them again: keyed hashes of identifiers."""

import hmac
from collections.abc import Collection
from uuid import UUID

from django.conf import settings
from django.db import connection

from contacts.models import ErasedIdentifier
from contacts.services.identifiers import Identification


def add_tombstones(workspace_id: UUID, identifiers: Collection[Identification]) -> None:
    """Keep identifiers from being stored again."""
    ErasedIdentifier.objects.bulk_create(
        [
            ErasedIdentifier(workspace_id=workspace_id, digest=_digest(workspace_id, one))
            for one in identifiers
        ],
        ignore_conflicts=True,
    )


def lift_tombstones(workspace_id: UUID, identifiers: Collection[Identification]) -> int:
    """Let identifiers be stored again, because the person wishes so. Returns how many could not be before."""
    digests = [_digest(workspace_id, one) for one in identifiers]
    lifted, _ = ErasedIdentifier.objects.filter(workspace_id=workspace_id, digest__in=digests).delete()
    return lifted


def erased_among(workspace_id: UUID, identifiers: Collection[Identification]) -> set[Identification]:
    """Return those of normalised identifiers that an erased person had, in one statement."""
    by_digest = digests_of(workspace_id, identifiers)
    if not by_digest:
        return set()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT digest FROM contacts_erasedidentifier WHERE workspace_id = %s AND digest = ANY(%s)",
            [workspace_id, list(by_digest)],
        )
        return {by_digest[bytes(digest)] for (digest,) in cursor.fetchall()}


def digests_of(workspace_id: UUID, identifiers: Collection[Identification]) -> dict[bytes, Identification]:
    """Return normalised identifiers by the hash that they would have if their person was erased."""
    return {_digest(workspace_id, one): one for one in identifiers}


def _digest(workspace_id: UUID, identifier: Identification) -> bytes:
    # The workspace too: what one tenant erased tells another nothing.
    message = b"\x00".join((workspace_id.bytes, *(part.encode() for part in identifier)))
    return hmac.digest(settings.ERASURE_KEY.encode(), message, "sha256")
