"""Resumable background work in batches, one transaction each; rows store the progress."""

import logging
from collections.abc import Callable, Iterable
from time import monotonic
from typing import TypeVar

from django.db import close_old_connections, transaction

logger = logging.getLogger(__name__)

BATCH_ROWS = 2_000
"""Rows of one transaction: few enough that others wait for its locks for less than a second."""

_Row = TypeVar("_Row")


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
