"""Backfills: resumable work in batches, one transaction each; rows store the cursor and the progress."""

import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from time import monotonic, sleep
from typing import Any, ClassVar, Final, Generic, TypeVar

from django.db import close_old_connections, models, transaction
from django.db.models import F

from config import clock
from config.db.errors import storable_error
from config.db.fields import JSONField

logger = logging.getLogger(__name__)

BATCH_ROWS: Final = 2_000
"""Rows of one transaction: few enough that others wait for its locks for less than a second."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What one batch did: `cursor` (JSON) is where the next one goes on, None where nothing is left."""

    cursor: Any
    done: int = 0
    # Rows that were refused or failed, with a line for each that somebody should read.
    failed: int = 0
    lines: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)


class BackfillRow(models.Model):
    """How far resumable work has come: the base of tables whose rows are jobs."""

    progress_fields: ClassVar[tuple[str, ...]] = (
        *("cursor", "done", "failed", "error", "progressed_at", "finished_at"),
    )
    """Columns that a batch changes."""

    cursor = JSONField(null=True, editable=False)
    """Where the next batch goes on; None at the end."""
    done = models.PositiveBigIntegerField(default=0, db_default=0, editable=False)
    total = models.PositiveBigIntegerField(null=True, editable=False)
    """About how many rows there are; None: unknown."""
    failed = models.PositiveBigIntegerField(default=0, db_default=0, editable=False)
    error = models.TextField(default="", db_default="", blank=True, editable=False)
    """Why the last batch failed; it comes again."""
    progressed_at = models.DateTimeField(null=True, editable=False)
    finished_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        abstract = True

    @property
    def status(self) -> str:
        """`running` as long as something is left, then `done`."""
        return "running" if self.finished_at is None else "done"

    @property
    def progress(self) -> float:
        """Which part is done, from 0 to 1; 1 only at the end."""
        if self.finished_at is not None:
            return 1.0
        return min(self.done / self.total, 0.99) if self.total else 0.0

    def begin(self, cursor: Any) -> None:
        """Begin anew at a cursor; None: there is nothing to do. The caller saves it."""
        self.cursor, self.done, self.total, self.failed, self.error = cursor, 0, None, 0, ""
        self.progressed_at = clock.now()
        self.finished_at = self.progressed_at if cursor is None else None

    def record(self, batch: Batch) -> None:
        """Add what a batch did; to be saved in its transaction."""
        self.cursor, self.error, self.progressed_at = batch.cursor, "", clock.now()
        self.done += batch.done
        self.failed += batch.failed
        if batch.cursor is None:
            self.finished_at = self.progressed_at

    def save_progress(self) -> None:
        """Save what a batch changed, and no other column."""
        self.save(update_fields=self.progress_fields)


Row = TypeVar("Row", bound=BackfillRow)
Item = TypeVar("Item")


class Backfill(Generic[Row]):
    """A kind of resumable work: which rows are its jobs, and what one batch of a job does.

    `rows` are the unfinished jobs. `process_batch` is given the locked row. `hold` opens the transaction and takes
    what comes before the row's lock, lanes say; where what it depends on (`held_for`) has changed meanwhile, the
    batch begins anew. `total` counts about how many rows a job has, once. Nothing is held for `pause_seconds`
    between two batches. With `skip_locked` a job that another process works on is left to it.
    """

    def __init__(
        self,
        rows: Callable[[], Any],
        process_batch: Callable[[Row], Batch],
        *,
        hold: Callable[[Row], AbstractContextManager[object]] | None = None,
        held_for: Callable[[Row], object] = bool,
        total: Callable[[Row], int] | None = None,
        pause_seconds: float = 0.0,
        skip_locked: bool = False,
    ) -> None:
        self._rows, self._process_batch, self._total = rows, process_batch, total
        self._hold, self._held_for = hold or (lambda row: transaction.atomic()), held_for
        self._pause_seconds, self._skip_locked = pause_seconds, skip_locked

    def run(self, row: Row, *, at_most_seconds: float | None = None) -> bool:
        """Work on a job, batch by batch. Returns whether it ended in time; raises what a batch raises."""
        return self._run(row, _deadline(at_most_seconds))

    def run_all(self, *, at_most_seconds: float | None = None) -> str:
        """Work on all jobs, the one that rested longest first. Returns "done", "nothing" or "more".

        One that fails notes its error and does not stop the rest; the first error is raised at the end.
        """
        deadline = _deadline(at_most_seconds)
        words = ["nothing"]

        def work(row: Row) -> None:
            if words[-1] != "more":
                words.append("done" if self._run(row, deadline) else "more")

        def note(row: Row, error: Exception) -> None:
            self._row(row).update(error=storable_error(error), progressed_at=clock.now())

        rows = list(self._rows().order_by(F("progressed_at").asc(nulls_first=True)))
        for_each(rows, work, on_error=note)
        return words[-1]

    def _run(self, row: Row, deadline: float) -> bool:
        seen = self._row(row).first()
        if seen is not None and seen.total is None and self._total is not None:
            self._row(row).update(total=self._total(seen), progressed_at=clock.now())
        while self._take_batch(row):
            if monotonic() > deadline:
                return False
            sleep(self._pause_seconds)
        return True

    def _take_batch(self, row: Row) -> bool:
        """Process a batch and store where the next goes on. Returns whether there may be more."""
        if (seen := self._row(row).first()) is None:
            return False
        with self._hold(seen):
            locked = self._row(row).select_for_update(skip_locked=self._skip_locked, of=("self",)).first()
            if locked is None:
                return False
            if self._held_for(locked) == self._held_for(seen):
                locked.record(self._process_batch(locked))
                locked.save_progress()
            return locked.finished_at is None

    def _row(self, row: Row) -> Any:
        return self._rows().in_workspace(row.workspace_id).filter(pk=row.pk)  # type: ignore[attr-defined]  # a tenant's


def for_each(
    items: Iterable[Item],
    do: Callable[[Item], object],
    on_error: Callable[[Item, Exception], object] = lambda item, error: None,
) -> None:
    """Call a function for each item; one that fails holds up no other. Raises the last error in the end."""
    failure: Exception | None = None
    for item in items:
        try:
            do(item)
        except Exception as error:
            logger.warning("%s is left for the next time: %r", item, error)
            failure = error
            # What broke the connection, too, is not the next one's fault.
            close_old_connections()
            on_error(item, error)
    if failure is not None:
        raise failure


def _deadline(at_most_seconds: float | None) -> float:
    """Return the deadline (monotonic seconds), that many seconds from now; None: infinite."""
    return float("inf") if at_most_seconds is None else monotonic() + at_most_seconds
