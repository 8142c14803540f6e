"""Merge two contacts that are one person, and undo merges in any order.

Merges that stand are a forest: each says what was merged into what, and whoever is merged points to the root of
its tree. No fact of theirs moves; only gaps of the survivor's own row are filled, and remembered by the merge. What
is derived from facts, and kept by contact, follows: see `reassignment`.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.db.models import Q

from config import clock
from config.db.statements import execute
from config.errors import TryAgain
from config.ids import parse_uuid
from contacts.errors import AlreadyMerged, ContactNotFound, MergeCycle, MergeNotFound, MergeUndone, SelfMerge
from contacts.identifiers import normalize_all
from contacts.identity.lookup import find, ids_of, lock_persons
from contacts.identity.writes import WriteConflict
from contacts.merging.reassignment import Reassignment, check_no_merge_in_progress, reassign_or_defer
from contacts.models import Contact, Merge
from contacts.profiles.state import differ
from contacts.signals import (
    ContactChange,
    Kind,
    contacts_changed,
    contacts_reassigned,
    reassigning_contacts,
)
from workspaces.models import Workspace

_ATTEMPTS: Final = 20
_ROWS_PER_BATCH: Final = 100
"""Rows that a statement writes, each of which has parameters of its own: there is room for 65,535."""
# A fact of a contact's own row: the column and, in `attributes`, the key.
_Fact = tuple[str, str]
_NAMES: Final[tuple[_Fact, ...]] = (("first_name", ""), ("last_name", ""))


def merge_contacts(
    workspace_id: UUID,
    survivor: Contact,
    merged: Contact,
    *,
    by: str = "",
    check: Callable[[], None] = lambda: None,
) -> Merge:
    """Merge `merged`, with what was merged into it, into `survivor`, or into what that was merged into.

    `check` may raise what forbids it, once nobody else can change the two. With very many rows to move the merge is
    `running` then, and the background does the rest. Raises SelfMerge, AlreadyMerged, MergeCycle, MergeInProgress,
    ContactNotFound; TryAgain if others win every race.
    """
    if survivor.id == merged.id:
        raise SelfMerge
    return _retry_on_conflict(lambda: _merge(workspace_id, survivor.id, merged.id, by, check))


def undo_merge(workspace_id: UUID, merge: Merge) -> Merge:
    """Undo a merge: each contact keeps what else was merged into it.

    What came with the merged contact is its own again, as if there had been no merge; what was told of the
    survivor meanwhile stays with the survivor. With very many rows to move it is `running` then, as a merge is.
    Raises MergeNotFound, MergeUndone, MergeInProgress, TryAgain.
    """
    return _retry_on_conflict(lambda: _undo(workspace_id, merge.id))


def find_merged_contact(workspace: Workspace, text: str) -> Contact:
    """Return the contact itself (merged or not) by its id or an identifier. Raises ContactNotFound."""
    contact_id = parse_uuid(text)
    identity = normalize_all([(workspace.identity_field, text)])
    found = find(workspace.id, [contact_id] if contact_id else (), identity)
    holders = [*found.by_id, *(found.owners.get(key, holder) for key, holder in found.by_identifier.items())]
    contact = Contact.objects.in_workspace(workspace.id).filter(id__in=holders[:1]).first()
    if contact is None:
        raise ContactNotFound
    return contact


def find_merge(workspace_id: UUID, merge_id: UUID | None) -> Merge:
    """Return a merge of the workspace. Raises MergeNotFound."""
    merge = Merge.objects.in_workspace(workspace_id).filter(id=merge_id).first() if merge_id else None
    if merge is None:
        raise MergeNotFound
    return merge


def merges_of(workspace_id: UUID, contact: Contact) -> list[Merge]:
    """Return a person's merges, undone ones too, newest first."""
    ids = ids_of(workspace_id, contact.id)
    of_person = Merge.objects.in_workspace(workspace_id).filter(Q(survivor__in=ids) | Q(merged__in=ids))
    return list(of_person.order_by("-merged_at", "-id"))


def _retry_on_conflict(attempt: Callable[[], Merge]) -> Merge:
    for _ in range(_ATTEMPTS):
        try:
            with transaction.atomic():
                return attempt()
        except WriteConflict:
            continue
    raise TryAgain


def _merge(
    workspace_id: UUID, survivor_id: UUID, merged_id: UUID, by: str, check: Callable[[], None]
) -> Merge:
    roots = find(workspace_id, [survivor_id, merged_id]).by_id
    if len(roots) < 2:
        raise ContactNotFound
    root = roots[survivor_id]
    if root == merged_id:
        raise MergeCycle
    if roots[merged_id] != merged_id:
        raise AlreadyMerged(roots[merged_id])
    _hold(workspace_id, {root, merged_id}, {root, merged_id})
    check_no_merge_in_progress(workspace_id, {root, merged_id})
    check()
    person = _MergeGroup(workspace_id, [root, merged_id])
    followers = [contact.id for contact in person.contacts.values() if contact.merged_into_id == merged_id]
    merge = Merge(
        workspace_id=workspace_id, survivor_id=root, merged_id=merged_id, followers=followers, by=by
    )
    taken = person.fill(merge)
    person.point([merged_id, *followers], root)
    person.save()
    # The row, before what is told of it; what follows from it is noted there.
    merge.save()
    _publish(merge, "merged", [(root, {}, taken)])
    _reassign_rows(merge, [merged_id, *followers], root_before=merged_id, root_now=root)
    return merge


def _undo(workspace_id: UUID, merge_id: UUID) -> Merge:
    merge = Merge.objects.in_workspace(workspace_id).filter(id=merge_id).first()
    if merge is None:
        raise MergeNotFound
    if merge.undone_at is not None:
        raise MergeUndone
    root = find(workspace_id, [merge.merged_id]).by_id.get(merge.merged_id, merge.merged_id)
    if root == merge.merged_id:
        raise WriteConflict
    _hold(workspace_id, {root}, {root, merge.merged_id})
    check_no_merge_in_progress(workspace_id, {root})
    person = _MergeGroup(workspace_id, [root])
    merge = person.merge_of(merge.merged_id, merge_id)
    given_back = person.part(merge)
    moved = person.tree_of(merge.merged_id)
    person.point(moved[1:], merge.merged_id)
    person.point(moved[:1], None)
    person.save()
    for ids in (moved, person.tree_of(root)):
        _ensure_primaries(workspace_id, ids, list(person.contacts))
    _publish(merge, "unmerged", [(root, given_back, {}), (merge.merged_id, {}, {})])
    _reassign_rows(merge, moved, root_before=root, root_now=merge.merged_id)
    return merge


def _hold(workspace_id: UUID, roots: set[UUID], contact_ids: set[UUID]) -> None:
    """Lock the lanes and then all contacts of both persons until the end of the transaction."""
    reassigning_contacts.send(sender=Merge, workspace_id=workspace_id, contact_ids=contact_ids)
    locked = lock_persons(workspace_id, roots)
    if {contact_id for contact_id, merged_into in locked.items() if merged_into is None} != roots:
        raise WriteConflict


class _MergeGroup:
    """All contacts of the persons concerned; their survivors must be locked."""

    def __init__(self, workspace_id: UUID, roots: list[UUID]) -> None:
        self.workspace_id = workspace_id
        of_person = Contact.objects.in_workspace(workspace_id).filter(
            Q(id__in=roots) | Q(merged_into__in=roots)
        )
        self.contacts = {contact.id: contact for contact in of_person.order_by("id")}
        standing = Merge.objects.in_workspace(workspace_id).filter(
            merged__in=list(self.contacts), undone_at=None
        )
        self.merges = {merge.merged_id: merge for merge in standing.order_by("merged_at", "id")}
        self.changed: dict[UUID, Contact] = {}
        self.amended: dict[UUID, Merge] = {}

    def merge_of(self, contact_id: UUID, merge_id: UUID) -> Merge:
        """Return the merge as it is under the lock. Raises MergeUndone."""
        merge = self.merges.get(contact_id)
        if merge is None or merge.id != merge_id:
            raise MergeUndone
        return merge

    def tree_of(self, contact_id: UUID) -> list[UUID]:
        """Return a contact, then all that is merged into it by merges that stand."""
        merged_into: dict[UUID, list[UUID]] = defaultdict(list)
        for merged, merge in self.merges.items():
            merged_into[merge.survivor_id].append(merged)
        tree = [contact_id]
        for contact_id in tree:
            tree += merged_into[contact_id]
        return tree

    def fill(self, merge: Merge, only: Iterable[_Fact] | None = None) -> dict[str, Any]:
        """Fill in what the survivor lacks from the merged contact; returns what was taken over."""
        survivor, merged = self.contacts[merge.survivor_id], self.contacts[merge.merged_id]
        wanted = None if only is None else set(only)
        taken = {
            fact: value
            for fact, value in _facts(merged)
            if _value(survivor, fact) is None and (wanted is None or fact in wanted)
        }
        for fact, value in taken.items():
            self._set(survivor, fact, value)
        merge.restores = _written({**_read(merge.restores), **taken})
        if taken:
            self.amended[merge.id] = merge
        return _written(taken)

    def part(self, merge: Merge) -> dict[str, Any]:
        """Remove a merge; what survivors took over by it is restored, all the way up.

        What has been changed since is the survivor's own. A gap that opens is filled by the other merges.
        """
        del self.merges[merge.merged_id]
        merge.undone_at = clock.now()
        self.amended[merge.id] = merge
        given_back = self._restore_values(merge, _read(merge.restores))
        emptied = list(given_back)
        node = merge.survivor_id
        while emptied:
            self._refill(node, emptied)
            above = self.merges.get(node)
            if above is None:
                break
            taken = _read(above.restores)
            passed_on = {fact: taken[fact] for fact in emptied if fact in taken}
            emptied = list(self._restore_values(above, passed_on))
            above.restores = _written({fact: taken[fact] for fact in taken if fact not in emptied})
            self.amended[above.id] = above
            node = above.survivor_id
        return _written(given_back)

    def point(self, contact_ids: Iterable[UUID], survivor_id: UUID | None) -> None:
        """Set the survivors of contacts."""
        for contact_id in contact_ids:
            contact = self.changed[contact_id] = self.contacts[contact_id]
            contact.merged_into_id = survivor_id

    def save(self) -> None:
        """Write what has changed, in two statements for each some hundred rows."""
        now = clock.now()
        contacts = [self.changed[contact_id] for contact_id in sorted(self.changed)]
        for contact in contacts:
            contact.updated_at = now
        Contact.objects.in_workspace(self.workspace_id).bulk_update(
            contacts,
            ["first_name", "last_name", "attributes", "merged_into", "updated_at"],
            batch_size=_ROWS_PER_BATCH,
        )
        amended = [merge for merge in self.amended.values() if not merge._state.adding]
        Merge.objects.in_workspace(self.workspace_id).bulk_update(
            amended, ["restores", "undone_at"], batch_size=_ROWS_PER_BATCH
        )

    def _refill(self, survivor_id: UUID, facts: Iterable[_Fact]) -> None:
        for merge in [merge for merge in self.merges.values() if merge.survivor_id == survivor_id]:
            self.fill(merge, only=facts)

    def _restore_values(self, merge: Merge, taken: dict[_Fact, Any]) -> dict[_Fact, Any]:
        survivor = self.contacts[merge.survivor_id]
        unchanged = {
            fact: value for fact, value in taken.items() if not differ(_value(survivor, fact), value)
        }
        for fact in unchanged:
            self._set(survivor, fact, None)
        return unchanged

    def _set(self, contact: Contact, fact: _Fact, value: Any) -> None:
        column, key = fact
        if column != "attributes":
            setattr(contact, column, value or "")
        elif value is None:
            contact.attributes.pop(key, None)
        else:
            contact.attributes[key] = value
        self.changed[contact.id] = contact


def _facts(contact: Contact) -> Iterator[tuple[_Fact, Any]]:
    for fact in (*_NAMES, *(("attributes", key) for key in contact.attributes)):
        if (value := _value(contact, fact)) is not None:
            yield fact, value


def _value(contact: Contact, fact: _Fact) -> Any:
    column, key = fact
    return contact.attributes.get(key) if column == "attributes" else getattr(contact, column) or None


def _read(restores: dict[str, Any]) -> dict[_Fact, Any]:
    """Return what a merge remembers, fact by fact."""
    names = {fact: restores[fact[0]] for fact in _NAMES if fact[0] in restores}
    return {**names, **{("attributes", key): value for key, value in restores.get("attributes", {}).items()}}


def _written(facts: dict[_Fact, Any]) -> dict[str, Any]:
    """Return facts as a merge, and a ContactChange, spells them."""
    written: dict[str, Any] = defaultdict(dict)
    for (column, key), value in facts.items():
        if column == "attributes":
            written[column][key] = value
        else:
            written[column] = value
    return dict(written)


def _ensure_primaries(workspace_id: UUID, contact_ids: list[UUID], before: list[UUID]) -> None:
    """Make the oldest identifier of a kind the primary one, where the person's primary one has gone elsewhere.

    `before`: all that the person was. One that had none of a kind, because it was taken away, gets none.
    """
    execute(_ENSURE_PRIMARIES, {"workspace": workspace_id, "ids": contact_ids, "before": before})


def _publish(merge: Merge, kind: Kind, values: Iterable[tuple[UUID, dict[str, Any], dict[str, Any]]]) -> None:
    ids = {
        "merge_id": str(merge.id),
        "survivor_id": str(merge.survivor_id),
        "merged_id": str(merge.merged_id),
    }
    changes = [ContactChange(contact_id, kind, old, {**new, **ids}) for contact_id, old, new in values]
    contacts_changed.send(sender=Contact, workspace_id=merge.workspace_id, changes=changes)


def _reassign_rows(merge: Merge, moved: list[UUID], *, root_before: UUID, root_now: UUID) -> None:
    contacts_reassigned.send(
        sender=Merge,
        workspace_id=merge.workspace_id,
        moved=moved,
        old_survivor=root_before,
        new_survivor=root_now,
    )
    reassign_or_defer(merge, Reassignment(merge.workspace_id, tuple(moved), root_before, root_now))
    merge.save(update_fields=[*Merge.progress_fields, "total"])


_ENSURE_PRIMARIES: Final = """
UPDATE contacts_identifier SET is_primary = true
WHERE workspace_id = %(workspace)s AND id IN (
    SELECT DISTINCT ON (i.kind) i.id
    FROM contacts_identifier i
    WHERE i.workspace_id = %(workspace)s AND i.contact_id = ANY(%(ids)s::uuid[]) AND NOT EXISTS (
        SELECT FROM contacts_identifier known
        WHERE known.workspace_id = %(workspace)s AND known.contact_id = ANY(%(ids)s::uuid[])
            AND known.kind = i.kind AND known.is_primary
    ) AND EXISTS (
        SELECT FROM contacts_identifier known
        WHERE known.workspace_id = %(workspace)s AND known.contact_id = ANY(%(before)s::uuid[])
            AND known.kind = i.kind AND known.is_primary
    )
    ORDER BY i.kind, array_position(%(ids)s::uuid[], i.contact_id), i.id
)
"""
