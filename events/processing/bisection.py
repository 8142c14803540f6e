"""Bisect a failing batch, so that only the items that fail are parked."""

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from django.db import close_old_connections, connection, transaction
from django.db.utils import InterfaceError

from config.db.errors import Fault, classify_database_error, is_unattributable

logger = logging.getLogger(__name__)
Item = TypeVar("Item")


def bisect_failures(
    items: Sequence[Item],
    run: Callable[[Sequence[Item]], None],
    park_item: Callable[[Item, Exception], None],
) -> None:
    """Call a function over all items in a savepoint; when that fails, halve them until the failing ones are found.

    What passes by itself (a deadlock, a lost connection) is raised instead: the whole transaction comes again. Of a
    statement that took too long nobody can say whether it was the item or the database, so it is tried once more.
    """
    if not items:
        return
    error = _failure(items, run)
    if error is None:
        return
    if len(items) > 1:
        middle = len(items) // 2
        bisect_failures(items[:middle], run, park_item)
        bisect_failures(items[middle:], run, park_item)
        return
    if classify_database_error(error) is Fault.STATEMENT_TIMEOUT:
        error = _failure(items, run)
    if error is not None:
        park_item(items[0], error)


def _failure(items: Sequence[Item], run: Callable[[Sequence[Item]], None]) -> Exception | None:
    """Call a function in a savepoint and return its error. Raises errors that pass by themselves (lock,
    connection).
    """
    try:
        with transaction.atomic():
            run(items)
    except Exception as error:
        if _is_transient(error):
            raise
        return error
    return None


def for_each(items: Iterable[Item], do: Callable[[Item], object]) -> None:
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
    if failure is not None:
        raise failure


def _is_transient(error: Exception) -> bool:
    return isinstance(error, InterfaceError) or is_unattributable(error) or not connection.is_usable()
