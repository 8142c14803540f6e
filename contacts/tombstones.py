"""Tombstones: keyed hashes of erased persons' identifiers, by which they are recognised and refused."""

import hmac
from collections.abc import Collection
from contextlib import suppress
from uuid import UUID

import idna
from django.conf import settings

from config import clock
from config.db.statements import execute, fetch_all
from config.ids import uuid7
from contacts.identifiers import Identification
from contacts.models import ErasedIdentifier, Identifier


def add_tombstones(workspace_id: UUID, identifiers: Collection[Identification]) -> None:
    """Add tombstones for identifiers, so that they are not stored again."""
    digests = [_digest(workspace_id, identifier, settings.ERASURE_KEY) for identifier in identifiers]
    # Arrays: a person may have any number, and a statement has room for 65,535 parameters.
    execute(
        "INSERT INTO contacts_erasedidentifier (id, workspace_id, digest, erased_at)"
        " SELECT new.id, %s, new.digest, %s FROM unnest(%s::uuid[], %s::bytea[]) AS new (id, digest)"
        " ON CONFLICT DO NOTHING",
        [workspace_id, clock.now(), [uuid7() for _ in digests], digests],
    )


def delete_tombstones(workspace_id: UUID, identifiers: Collection[Identification]) -> int:
    """Delete tombstones, so that identifiers may be stored again. Returns how many there were."""
    digests = list(digests_of(workspace_id, identifiers))
    lifted, _ = ErasedIdentifier.objects.in_workspace(workspace_id).filter(digest__in=digests).delete()
    return lifted


def erased_among(workspace_id: UUID, identifiers: Collection[Identification]) -> set[Identification]:
    """Return which normalised identifiers have a tombstone, in one statement."""
    by_digest = digests_of(workspace_id, identifiers)
    if not by_digest:
        return set()
    rows = fetch_all(
        "SELECT digest FROM contacts_erasedidentifier WHERE workspace_id = %s AND digest = ANY(%s)",
        [workspace_id, list(by_digest)],
    )
    return {by_digest[bytes(digest)] for (digest,) in rows}


def digests_of(workspace_id: UUID, identifiers: Collection[Identification]) -> dict[bytes, Identification]:
    """Return normalised identifiers by their keyed hashes."""
    return {
        _digest(workspace_id, spelled, key): identifier
        for identifier in identifiers
        for spelled in (identifier, *_previously_normalized(*identifier))
        for key in (settings.ERASURE_KEY, *settings.ERASURE_KEY_FALLBACKS)
    }


def _previously_normalized(kind: str, value: str) -> list[Identification]:
    """Return how an identifier may have been stored before it had one form: of a hash nobody reads which it was."""
    if kind == Identifier.EMAIL and "@xn--" in value.replace(".xn--", "@xn--"):
        local, _, domain = value.rpartition("@")
        with suppress(idna.IDNAError):
            return [(kind, f"{local}@{idna.decode(domain)}")]
    if kind == Identifier.PHONE and value.startswith("+"):
        return [(kind, f"00{value[1:]}")]
    return []


def _digest(workspace_id: UUID, identifier: Identification, key: str) -> bytes:
    # The workspace too: what one tenant erased tells another nothing.
    message = b"\x00".join((workspace_id.bytes, *(part.encode() for part in identifier)))
    return hmac.digest(key.encode(), message, "sha256")
