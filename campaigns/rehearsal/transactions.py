"""One transaction for all that happens at a moment of a rehearsal.

Live, each pass and each batch of steps is a transaction, with savepoints around what may fail. Nobody else sees the
temporary tables of a rehearsal, and hardly anything fails: so their BEGIN, COMMIT and SAVEPOINT, every third round
trip to the database, are left out until something is to be rolled back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from django.db import connection

_Result = TypeVar("_Result")


class _RolledBack(BaseException):
    """A transaction or savepoint was to be rolled back that was never made; no `except Exception` stops it."""


def in_one_transaction(function: Callable[[], _Result]) -> _Result:
    """Call a function in one transaction, in which Django's own transactions and savepoints are none.

    If one of these is to be rolled back, all is, and the function is called again with real ones; so it must change
    nothing but the database.
    """
    driver = connection.connection
    try:
        with _pretended():
            driver.autocommit = False
            try:
                result = function()
                driver.commit()
            except BaseException:
                driver.rollback()
                raise
            finally:
                driver.autocommit = True
    except (_RolledBack, Exception):
        connection.needs_rollback = False
        return function()
    return result


@contextmanager
def _pretended() -> Iterator[None]:
    for name, replacement in _REPLACEMENTS.items():
        setattr(connection, name, replacement)
    try:
        yield
    finally:
        for name in _REPLACEMENTS:
            delattr(connection, name)


def _do_nothing(*_: object) -> None:
    """Leave it to the one transaction."""


def _roll_back(*_: object) -> None:
    raise _RolledBack


_REPLACEMENTS: Final = {
    "_set_autocommit": _do_nothing,
    "_commit": _do_nothing,
    "_rollback": _roll_back,
    "_savepoint": _do_nothing,
    "_savepoint_commit": _do_nothing,
    "_savepoint_rollback": _roll_back,
}
