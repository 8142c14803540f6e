"""Merge contacts that a sender says are one person, as far as it is believed."""

from uuid import UUID

from django.db.models import Q

from contacts.errors import AlreadyMerged, ContactNotFound, MergeCycle
from contacts.identity.lookup import ids_of
from contacts.merging.merges import merge_contacts
from contacts.models import Contact, Identifier, Merge
from contacts.references import MergeScope


def merge_same_person(
    workspace_id: UUID, survivor_id: UUID, other_id: UUID, *, scope: MergeScope, by: str = ""
) -> bool:
    """Merge a contact into `survivor_id`, if `scope` goes so far. Returns whether that was done.

    Two that were merged and parted again stay apart: whoever undid it knew better. Raises MergeInProgress, and
    TryAgain if others win every race.
    """
    contacts = Contact.objects.in_workspace(workspace_id).in_bulk([survivor_id, other_id])
    if len(contacts) < 2:
        return False

    def check() -> None:
        if not _covers(workspace_id, scope, survivor_id, other_id) or _were_parted(
            workspace_id, ids_of(workspace_id, survivor_id), ids_of(workspace_id, other_id)
        ):
            raise _NotTheSame

    try:
        # First without locks: most of those who stay apart do so for good.
        check()
        merge_contacts(workspace_id, contacts[survivor_id], contacts[other_id], by=by, check=check)
    except (_NotTheSame, AlreadyMerged, MergeCycle, ContactNotFound):
        # Or somebody else was first.
        return False
    return True


class _NotTheSame(Exception):
    """The sender is not believed so far."""


def _covers(workspace_id: UUID, scope: MergeScope, survivor_id: UUID, other_id: UUID) -> bool:
    if scope is MergeScope.ANYBODY:
        return True
    kinds = _kinds_of(workspace_id, other_id)
    if scope is MergeScope.UNNAMED:
        return Identifier.EXTERNAL_ID not in kinds
    return kinds == {Identifier.ANONYMOUS_ID} and Identifier.EXTERNAL_ID in _kinds_of(
        workspace_id, survivor_id
    )


def _were_parted(workspace_id: UUID, one_person: list[UUID], other_person: list[UUID]) -> bool:
    undone = Merge.objects.in_workspace(workspace_id).exclude(undone_at=None)
    return undone.filter(
        Q(survivor__in=one_person, merged__in=other_person)
        | Q(survivor__in=other_person, merged__in=one_person)
    ).exists()


def _kinds_of(workspace_id: UUID, contact_id: UUID) -> set[str]:
    own = Identifier.objects.in_workspace(workspace_id).filter(
        contact_id__in=ids_of(workspace_id, contact_id)
    )
    return set(own.values_list("kind", flat=True))
