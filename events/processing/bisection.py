"""Bisect a failing batch, so that only the items that fail are parked."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from django.db import connection, transaction
from django.db.utils import InterfaceError

from config.db.errors import Fault, classify_database_error, is_unattributable

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


def _is_transient(error: Exception) -> bool:
    return isinstance(error, InterfaceError) or is_unattributable(error) or not connection.is_usable()
