"""Normalise identifiers that were stored in another form; contacts that turn out to be one person are merged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.utils import parseaddr
from typing import Final
from uuid import UUID

from django.db import transaction

from contacts.identifiers import Identification, normalize_identifier
from contacts.identity.lookup import find
from contacts.merging.merges import merge_contacts
from contacts.merging.reassignment import finish_merge
from contacts.models import Contact, Identifier, Merge
from contacts.tombstones import erased_among

_BATCH_ROWS: Final = 5_000


@dataclass(slots=True)
class NormalizationResult:
    """Counts of identifiers that were normalised, merged, or could not be."""

    respelled: int = 0
    # A second spelling of what the person has.
    dropped: int = 0
    merged: int = 0
    # Each with the id of its contact.
    unreadable: list[tuple[UUID, str, str]] = field(default_factory=list)
    # What an erased person is known by: the contact came in by another spelling of it.
    erased: list[tuple[UUID, str, str]] = field(default_factory=list)


def normalized_value_of(kind: str, value: str) -> str | None:
    """Return the canonical form of a stored identifier, None if it has none."""
    if (normalized := normalize_identifier(kind, value)) is not None or kind != Identifier.EMAIL:
        return normalized
    # Names, angle brackets and comments were taken for parts of the address; of several nobody knows which is meant.
    return normalize_identifier(kind, parseaddr(value)[1]) if value.count("@") == 1 else None


def normalize_identifiers(
    workspace_id: UUID,
    *,
    by: str = "",
    is_dry: bool = False,
    on_progress: Callable[[int], None] = lambda count: None,
) -> NormalizationResult:
    """Normalise a workspace's identifiers, each in its own transaction; safe to run again.

    Contacts that had spellings of one identifier are merged, into the one that has it in its form, else the oldest.
    `is_dry` changes nothing, and returns what would be. `on_progress` is told how many were looked at.
    """
    done = NormalizationResult()
    # Of a dry run: who would have what by then.
    seen: dict[Identification, UUID] = {}
    for row in _unnormalized_identifiers(workspace_id, on_progress):
        meant = normalized_value_of(row.kind, row.value)
        if meant is None:
            done.unreadable.append((row.contact_id, row.kind, row.value))
        elif erased_among(workspace_id, [(row.kind, meant)]):
            done.erased.append((row.contact_id, row.kind, row.value))
        else:
            with transaction.atomic():
                merge = _normalize(
                    workspace_id, row, (row.kind, meant), done, by=by, seen=seen if is_dry else None
                )
            if merge is not None:
                # The next spelling may be of the same person.
                finish_merge(merge)
    return done


def _unnormalized_identifiers(workspace_id: UUID, on_progress: Callable[[int], None]) -> Iterator[Identifier]:
    rows = Identifier.objects.in_workspace(workspace_id).order_by("id")
    last = None
    count = 0
    while chunk := list(rows.filter(id__gt=last)[:_BATCH_ROWS] if last else rows[:_BATCH_ROWS]):
        yield from (row for row in chunk if normalize_identifier(row.kind, row.value) != row.value)
        last = chunk[-1].id
        count += len(chunk)
        on_progress(count)


def _normalize(
    workspace_id: UUID,
    row: Identifier,
    key: Identification,
    done: NormalizationResult,
    *,
    by: str,
    seen: dict[Identification, UUID] | None,
) -> Merge | None:
    """Normalise one identifier. Returns the merge if that made two contacts one person."""
    holder = Identifier.objects.in_workspace(workspace_id).filter(kind=key[0], value=key[1]).first()
    holder_id = holder.contact_id if holder else (seen or {}).get(key)
    if holder_id is None:
        done.respelled += 1
        if seen is None:
            Identifier.objects.in_workspace(workspace_id).filter(pk=row.pk).update(value=key[1])
        else:
            seen[key] = row.contact_id
        return None
    roots = find(workspace_id, [holder_id, row.contact_id]).by_id
    if roots[holder_id] == roots[row.contact_id]:
        done.dropped += 1
    else:
        done.merged += 1
    if seen is not None or holder is None:
        return None
    merge = None
    if roots[holder_id] != roots[row.contact_id]:
        contacts = Contact.objects.in_workspace(workspace_id).in_bulk(roots.values())
        merge = merge_contacts(
            workspace_id, contacts[roots[holder_id]], contacts[roots[row.contact_id]], by=by
        )
    _drop(row, holder)
    return merge


def _drop(row: Identifier, holder: Identifier) -> None:
    """Delete a second spelling; what the contact itself has in its form is the primary one in its place."""
    Identifier.objects.in_workspace(row.workspace_id).filter(pk=row.pk).delete()
    if row.is_primary and holder.contact_id == row.contact_id:
        Identifier.objects.in_workspace(row.workspace_id).filter(pk=holder.pk).update(is_primary=True)
