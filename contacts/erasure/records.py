"""Export erasures and apply them again, so that a restored backup brings no erased person back.

A record names nobody: an erasure has the ids that its contacts had, a tombstone the keyed hash of an identifier. The
first record tells by which keys, without telling them.
"""

import hmac
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.conf import settings

from config import clock
from contacts.erasure.erasures import erase_person
from contacts.errors import ContactNotFound, ForeignErasureKey
from contacts.identity.lookup import find, ids_of
from contacts.merging.reassignment import MERGES
from contacts.models import Contact, ErasedIdentifier, Erasure, Identifier
from contacts.tombstones import erased_among
from workspaces.models import Workspace

Record = Mapping[str, Any]
"""JSON values; `kind` is `keys`, `erasure` or `tombstone`."""
CHUNK: Final = 1_000


@dataclass(slots=True)
class Reapplied:
    """What it took to have everybody gone again."""

    records: int = 0
    tombstones: int = 0
    erased: int = 0
    # Contacts of an erased person that are one with others in this database: whom to erase somebody has to say.
    undecided: list[UUID] = field(default_factory=list)


def erasure_records() -> Iterator[Record]:
    """Yield all erasures and tombstones of all workspaces, the marks of the keys first."""
    yield {"kind": "keys", "marks": _marks_of_keys()}
    for erasure in Erasure.objects.order_by("erased_at").iterator(CHUNK):
        yield {
            "kind": "erasure",
            "workspaceId": str(erasure.workspace_id),
            "id": str(erasure.id),
            "contactIds": [str(contact_id) for contact_id in erasure.contact_ids],
            "removed": erasure.removed,
            "by": erasure.by,
            "erasedAt": erasure.erased_at.isoformat(),
        }
    for tombstone in ErasedIdentifier.objects.order_by("id").iterator(CHUNK):
        yield {
            "kind": "tombstone",
            "workspaceId": str(tombstone.workspace_id),
            "digest": bytes(tombstone.digest).hex(),
            "erasedAt": tombstone.erased_at.isoformat(),
        }


def reapply_erasures(records: Iterable[Record]) -> Reapplied:
    """Erase again, in a database from before, whoever the records say was erased; safe to run twice.

    Workspaces that the database does not have are passed over. Raises ForeignErasureKey where the records were made
    under a key that is neither ERASURE_KEY nor a former one, or do not say under which: nobody would be recognised.
    """
    # Nobody is erased while what it earned is being parted from another one's.
    MERGES.run_all()
    records = iter(records)
    first = next(records, {})
    if first.get("kind") != "keys" or not set(first["marks"]) <= set(_marks_of_keys()):
        raise ForeignErasureKey
    workspaces = {str(workspace.id): workspace for workspace in Workspace.objects.all()}
    done = Reapplied()
    named: dict[UUID, set[UUID]] = {}
    for record in records:
        done.records += 1
        workspace = workspaces.get(record["workspaceId"])
        if workspace is None:
            continue
        if record["kind"] == "erasure":
            contact_ids = {UUID(contact_id) for contact_id in record["contactIds"]}
            named.setdefault(workspace.id, set()).update(contact_ids)
            _restore_receipt(workspace.id, record)
        else:
            done.tombstones += _restore_tombstone(workspace.id, record)
    for workspace in workspaces.values():
        _erase_named(workspace.id, named.get(workspace.id, set()), done)
        _erase_known(workspace.id, done)
    return done


def _restore_receipt(workspace_id: UUID, record: Record) -> None:
    """Have a receipt be found under its id again; what is removed now has receipts of its own."""
    Erasure.objects.bulk_create(
        [
            Erasure(
                id=UUID(record["id"]),
                workspace_id=workspace_id,
                contact_ids=[UUID(contact_id) for contact_id in record["contactIds"]],
                removed=record["removed"],
                by=record["by"],
                erased_at=datetime.fromisoformat(record["erasedAt"]),
                finished_at=clock.now(),
            )
        ],
        ignore_conflicts=True,
    )


def _restore_tombstone(workspace_id: UUID, record: Record) -> int:
    digest = bytes.fromhex(record["digest"])
    if ErasedIdentifier.objects.in_workspace(workspace_id).filter(digest=digest).exists():
        return 0
    erased_at = datetime.fromisoformat(record["erasedAt"])
    rows = [ErasedIdentifier(workspace_id=workspace_id, digest=digest, erased_at=erased_at)]
    ErasedIdentifier.objects.bulk_create(rows, ignore_conflicts=True)
    return 1


def _erase_named(workspace_id: UUID, contact_ids: set[UUID], done: Reapplied) -> None:
    """Erase those whom receipts name by the ids of their contacts."""
    present = Contact.objects.in_workspace(workspace_id).filter(id__in=contact_ids)
    for contact_id in list(present.values_list("id", flat=True)):
        root = find(workspace_id, [contact_id]).by_id.get(contact_id)
        if root is None:
            continue  # with another one, a moment ago
        if not set(ids_of(workspace_id, root)) <= contact_ids:
            done.undecided.append(contact_id)
            continue
        _erase(workspace_id, root, done)


def _erase_known(workspace_id: UUID, done: Reapplied) -> None:
    """Erase those who are known by an identifier that has a tombstone: no such contact could be there otherwise."""
    last = UUID(int=0)
    rows = Identifier.objects.in_workspace(workspace_id).order_by("id")
    while chunk := list(rows.filter(id__gt=last).values_list("id", "kind", "value", "contact_id")[:CHUNK]):
        last = chunk[-1][0]
        erased = erased_among(workspace_id, {(kind, value) for _, kind, value, _ in chunk})
        for contact_id in dict.fromkeys(owner for _, kind, value, owner in chunk if (kind, value) in erased):
            root = find(workspace_id, [contact_id]).by_id.get(contact_id)
            if root is not None and contact_id not in done.undecided:
                _erase(workspace_id, root, done)


def _erase(workspace_id: UUID, contact_id: UUID, done: Reapplied) -> None:
    contact = Contact.objects.in_workspace(workspace_id).filter(id=contact_id).first()
    if contact is None:
        return
    try:
        erase_person(workspace_id, contact, by="reapply_erasures")
    except ContactNotFound:
        return
    done.erased += 1


def _marks_of_keys() -> list[str]:
    keys = (settings.ERASURE_KEY, *settings.ERASURE_KEY_FALLBACKS)
    return [hmac.digest(key.encode(), b"which key this is", "sha256").hex() for key in keys]
