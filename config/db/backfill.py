"""Resumable background work in batches, one transaction each; rows store the progress."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final, TypeVar

from django.db import close_old_connections, models, transaction

from config import clock
from config.db.fields import JSONField

logger = logging.getLogger(__name__)

BATCH_ROWS = 2_000
"""Rows of one transaction: few enough that others wait for its locks for less than a second."""

_Row = TypeVar("_Row")


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

    cursor = JSONField(null=True, editable=False)
    """Where the next batch goes on; None at the beginning and at the end."""
    done = models.PositiveBigIntegerField(default=0, db_default=0, editable=False)
    total = models.PositiveBigIntegerField(null=True, editable=False)
    """About how many rows there are; None: unknown."""
    failed = models.PositiveBigIntegerField(default=0, db_default=0, editable=False)
    counts = JSONField(default=dict, editable=False)
    error = models.TextField(default="", db_default="", blank=True, editable=False)
    """Why the last batch failed; it comes again."""
    progressed_at = models.DateTimeField(null=True, editable=False)
    finished_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        abstract = True

    @property
    def status(self) -> str:
        """`running`, `failed` (and tried again) or `done`."""
        if self.finished_at is not None:
            return "done"
        return "failed" if self.error else "running"

    @property
    def progress(self) -> float:
        """Which part is done, from 0 to 1; 1 only at the end."""
        if self.finished_at is not None:
            return 1.0
        return min(self.done / self.total, 0.99) if self.total else 0.0

    def record(self, batch: Batch) -> None:
        """Add what a batch did; to be saved in its transaction."""
        self.cursor, self.error, self.progressed_at = batch.cursor, "", clock.now()
        self.done += batch.done
        self.failed += batch.failed
        self.counts = dict(Counter(self.counts) + Counter(batch.counts))
        if batch.cursor is None:
            self.finished_at = self.progressed_at

    def save_progress(self) -> None:
        """Save what `record` changes, and no other column."""
        self.save(update_fields=PROGRESS_FIELDS)


PROGRESS_FIELDS: Final = ("cursor", "done", "failed", "counts", "error", "progressed_at", "finished_at")


def deadline_in(at_most_seconds: float | None) -> float:
    """Return the deadline (monotonic seconds), that many seconds from now; None: infinite."""
    return float("inf") if at_most_seconds is None else monotonic() + at_most_seconds


def process_batches(
    take_step: Callable[[], bool], deadline: float, *, between: Callable[[], None] | None = None
) -> bool:
    """Run steps, each in a transaction, until none is left; return whether they ended before the deadline.

    `between` is called after each step, outside a transaction.
    """
    while True:
        with transaction.atomic():
            if not take_step():
                return True
        if monotonic() > deadline:
            return False
        if between:
            between()


def process_all(rows: Iterable[_Row], finish: Callable[[_Row], bool]) -> str:
    """Finish rows one by one; return "done", "nothing", or "more" where `finish` ran out of time.

    A row that fails does not stop the rest; the first error is raised at the end.
    """
    word, failure = "nothing", None
    for row in rows:
        try:
            if not finish(row):
                word = "more"
                break
            word = "done"
        except Exception as error:
            logger.warning("%s is left for the next time: %r", row, error)
            failure = failure or error
            # A broken connection must not fail the next row.
            close_old_connections()
    if failure is not None:
        raise failure
    return word
