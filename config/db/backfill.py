"""Resumable background work in chunks, a transaction each; rows keep how far it has come."""

import logging
from collections.abc import Callable, Iterable
from time import monotonic
from typing import TypeVar

from django.db import close_old_connections, transaction

logger = logging.getLogger(__name__)

BATCH_ROWS = 2_000
"""Rows that one transaction moves, so that whoever waits for it waits for a part of a second."""

_Row = TypeVar("_Row")


def deadline_in(at_most_seconds: float | None) -> float:
    """Return the monotonic moment until which somebody goes on; None: for ever."""
    return float("inf") if at_most_seconds is None else monotonic() + at_most_seconds


def process_batches(
    take_step: Callable[[], bool], deadline: float, *, between: Callable[[], None] | None = None
) -> bool:
    """Take steps, each in a transaction, until there is none left. Returns whether that was in time.

    `between` is called after a step, with nothing held.
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
    """Finish rows, one after the other. Returns "done", "nothing", or "more" where `finish` says that time is up.

    One that fails holds up no other; the first failure is raised in the end.
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
            # What broke the connection, too, is not the next one's fault.
            close_old_connections()
    if failure is not None:
        raise failure
    return word
