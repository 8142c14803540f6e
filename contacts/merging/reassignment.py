"""Reassign rows of other apps after a merge or its undo: at once if few, else in batches in the background.

Each app says in its `REASSIGNED_ROWS` what it moves; the settings list them. Few rows move in the transaction of the
merge. Many are left to the background, some a transaction, and the merge tells how far that has come.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.utils.module_loading import import_string

from config.db.backfill import BATCH_ROWS, Backfill, Batch
from contacts.errors import MergeInProgress
from contacts.models import Merge
from contacts.signals import reassigning_contacts

MOST_AT_ONCE: Final = 5_000
"""Rows that move in the transaction of the merge itself."""
PAUSE_SECONDS: Final = 0.15
"""Between two chunks nothing is held for so long: longer than a runner takes to look at a lane again."""


@dataclass(frozen=True, slots=True)
class Reassignment:
    """Contacts whose survivor was `old` and now is `new`; one of both is among them."""

    workspace_id: UUID
    moved: tuple[UUID, ...]
    old: UUID
    new: UUID


@dataclass(frozen=True, slots=True)
class ReassignedRows:
    """How an app reassigns its rows; listed in `settings.REASSIGNED_ROWS`.

    `count` tells how many rows that concerns, up to a limit, `total` about how many of them `move_some` will tell of.
    `move` moves them all; `move_some` about so many, given what it left the last time, {} at first: the contacts'
    lanes are held then.
    """

    count: Callable[[Reassignment, int], int]
    total: Callable[[Reassignment], int]
    move: Callable[[Reassignment], None]
    move_some: Callable[[Reassignment, dict[str, Any], int], Batch]


def reassign_or_defer(merge: Merge, reassignment: Reassignment) -> None:
    """Reassign rows at once, or record in the merge (not saved yet) what is left to the background."""
    many: dict[str, dict[str, Any]] = {}
    for path in settings.REASSIGNED_ROWS:
        data: ReassignedRows = import_string(path)
        rows = data.count(reassignment, MOST_AT_ONCE + 1)
        if rows > MOST_AT_ONCE:
            many[path] = {}
        else:
            data.move(reassignment)
    cursor = {
        "moved": [str(contact_id) for contact_id in reassignment.moved],
        "old": str(reassignment.old),
        "new": str(reassignment.new),
        "left": many,
    }
    merge.begin(cursor if many else None)


def check_no_merge_in_progress(
    workspace_id: UUID, contact_ids: Collection[UUID], *, undone_only: bool = False
) -> None:
    """Raise MergeInProgress while rows of these survivors are being reassigned; lock them for a lasting answer."""
    for merge in Merge.objects.in_workspace(workspace_id).unfinished():
        reassignment = _reassignment_of(merge)
        if undone_only and merge.undone_at is None:
            continue
        if not {reassignment.old, reassignment.new}.isdisjoint(contact_ids):
            raise MergeInProgress(merge.id)


def under_way(workspace_id: UUID) -> set[UUID]:
    """Return the contacts, survivors included, whose rows are being reassigned."""
    found: set[UUID] = set()
    for merge in Merge.objects.in_workspace(workspace_id).unfinished():
        reassignment = _reassignment_of(merge)
        found |= {reassignment.old, reassignment.new, *reassignment.moved}
    return found


def finish_merge(merge: Merge, *, at_most_seconds: float | None = None) -> bool:
    """Reassign what is left of a merge or its undo. Returns whether it finished in time."""
    is_done = MERGES.run(merge, at_most_seconds=at_most_seconds)
    merge.refresh_from_db()
    return is_done


@contextmanager
def _hold_lanes(merge: Merge) -> Iterator[None]:
    """Hold the lanes before the merge's row, as everybody does: only then is it certain how far others have come."""
    reassignment = _reassignment_of(merge)
    with transaction.atomic():
        reassigning_contacts.send(
            sender=Merge,
            workspace_id=merge.workspace_id,
            contact_ids={reassignment.old, reassignment.new},
        )
        yield


def _move_batch(merge: Merge) -> Batch:
    """Reassign a batch of rows of the first app that has some left."""
    left: dict[str, dict[str, Any]] = merge.cursor["left"]
    path, state = next(iter(left.items()))
    data: ReassignedRows = import_string(path)
    moved = data.move_some(_reassignment_of(merge), state, BATCH_ROWS)
    if moved.cursor is None:
        del left[path]
    else:
        left[path] = moved.cursor
    return Batch(merge.cursor if left else None, done=moved.done)


def _count_rows(merge: Merge) -> int:
    reassignment = _reassignment_of(merge)
    return sum(import_string(path).total(reassignment) for path in merge.cursor["left"])


def _reassignment_of(merge: Merge) -> Reassignment:
    known = merge.cursor
    return Reassignment(
        merge.workspace_id,
        tuple(UUID(contact_id) for contact_id in known["moved"]),
        UUID(known["old"]),
        UUID(known["new"]),
    )


MERGES: Final = Backfill(
    Merge.objects.unfinished,
    _move_batch,
    hold=_hold_lanes,
    held_for=_reassignment_of,
    total=_count_rows,
    pause_seconds=PAUSE_SECONDS,
)
"""Unfinished merges and undoes."""
