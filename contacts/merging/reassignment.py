"""Reassign rows of other apps after a merge or its undo: at once if few, else in batches in the background.

Each app says in its `REASSIGNED_ROWS` what it moves; the settings list them. Few rows move in the transaction of the
merge. Many are left to the background, some a transaction, and the merge tells how far that has come.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from time import sleep
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.db.models import F
from django.utils.module_loading import import_string

from config import clock
from config.db.backfill import BATCH_ROWS, deadline_in, process_all, process_batches
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
class Batch:
    """How far a reassignment is after a batch of rows."""

    state: dict[str, Any] | None
    rows: int = 0


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
    merge.unfinished, merge.rows_moved, merge.rows_total, merge.progressed_at = None, 0, 0, None
    if many:
        merge.unfinished = {
            "moved": [str(contact_id) for contact_id in reassignment.moved],
            "old": str(reassignment.old),
            "new": str(reassignment.new),
            "left": many,
        }
        merge.progressed_at = clock.now()


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
    is_done = _finish(merge, deadline_in(at_most_seconds))
    merge.refresh_from_db()
    return is_done


def continue_merges(*, at_most_seconds: float | None = None) -> str:
    """Continue unfinished merges and undoes. Returns "done", "nothing" or "more"."""
    deadline = deadline_in(at_most_seconds)
    # One that fails is noted as worked on all the same, so that others have their turn before it comes again.
    begun = list(Merge.objects.unfinished().order_by("progressed_at"))
    return process_all(begun, lambda merge: _finish(merge, deadline))


def _finish(merge: Merge, deadline: float) -> bool:
    unfinished = Merge.objects.in_workspace(merge.workspace_id).unfinished().filter(id=merge.id)
    if not unfinished.update(progressed_at=clock.now()):
        return True
    if merge.unfinished is not None and not merge.rows_total:
        reassignment = _reassignment_of(merge)
        total = sum(import_string(path).total(reassignment) for path in merge.unfinished["left"])
        unfinished.update(rows_total=total)
    return process_batches(partial(_take_step, merge), deadline, between=partial(sleep, PAUSE_SECONDS))


def _take_step(merge: Merge) -> bool:
    """Reassign a batch and record the progress; with nothing left, finish the merge. Returns whether there
    was anything.
    """
    unfinished = Merge.objects.in_workspace(merge.workspace_id).unfinished().filter(id=merge.id)
    if (row := unfinished.first()) is None:
        return False
    # The lanes first, as everybody does; only then is it certain how far the others have come.
    reassignment = _reassignment_of(row)
    reassigning_contacts.send(
        sender=Merge, workspace_id=merge.workspace_id, contact_ids={reassignment.old, reassignment.new}
    )
    row = unfinished.select_for_update().first()
    if row is None or _reassignment_of(row) != reassignment:
        return row is not None
    left: dict[str, dict[str, Any]] = row.unfinished["left"]
    for path, state in left.items():
        data: ReassignedRows = import_string(path)
        turn = data.move_some(reassignment, state, BATCH_ROWS)
        if turn.state is None:
            del left[path]
        else:
            left[path] = turn.state
        unfinished.update(
            unfinished=row.unfinished if left else None,
            rows_moved=F("rows_moved") + turn.rows,
            progressed_at=clock.now(),
        )
        return bool(left)
    return False


def _reassignment_of(merge: Merge) -> Reassignment:
    known = merge.unfinished
    return Reassignment(
        merge.workspace_id,
        tuple(UUID(contact_id) for contact_id in known["moved"]),
        UUID(known["old"]),
        UUID(known["new"]),
    )
