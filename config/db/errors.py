"""Classify database errors by SQLSTATE, and turn any error into text that a row can hold."""

from enum import StrEnum
from typing import Final

import psycopg
from django.db import DatabaseError, InterfaceError, OperationalError

MAX_ERROR_LENGTH: Final = 10_000
"""Longest error text that a row stores, in characters."""


class Fault(StrEnum):
    """A temporary reason why the database failed: the same statement may succeed later."""

    NO_SPACE = "no space"
    READ_ONLY = "read-only"
    TOO_MANY_CONNECTIONS = "too many connections"
    STARTING = "starting or stopping"
    LOCK_TIMEOUT = "lock timeout"
    STATEMENT_TIMEOUT = "statement timeout"
    CONFLICT = "conflict"
    LOST = "connection lost"
    OUT_OF_RESOURCES = "out of resources"
    SYSTEM = "system error"


_BY_STATE = {
    "25006": Fault.READ_ONLY,  # read_only_sql_transaction
    "25P03": Fault.LOST,  # idle_in_transaction_session_timeout
    "25P04": Fault.LOST,  # transaction_timeout
    "40001": Fault.CONFLICT,  # serialization_failure
    "40003": Fault.LOST,  # statement_completion_unknown
    "40P01": Fault.CONFLICT,  # deadlock_detected
    "53100": Fault.NO_SPACE,  # disk_full
    "53300": Fault.TOO_MANY_CONNECTIONS,
    "55006": Fault.CONFLICT,  # object_in_use
    "55P03": Fault.LOCK_TIMEOUT,  # lock_not_available
    "57014": Fault.STATEMENT_TIMEOUT,  # query_canceled
    "57P01": Fault.LOST,  # admin_shutdown
    "57P02": Fault.LOST,  # crash_shutdown
    "57P03": Fault.STARTING,  # cannot_connect_now
    "57P05": Fault.LOST,  # idle_session_timeout
}
_BY_CLASS = {
    "08": Fault.LOST,  # connection exception
    "53": Fault.OUT_OF_RESOURCES,  # insufficient resources; 53400: a limit of the configuration
    "57": Fault.STARTING,  # operator intervention
    "58": Fault.SYSTEM,  # system error, as an I/O error
}
# Refused connections have no SQLSTATE in libpq. Messages in other languages count as `LOST`.
_BY_WORDS = (
    ("too many clients", Fault.TOO_MANY_CONNECTIONS),
    ("too many connections", Fault.TOO_MANY_CONNECTIONS),
    ("remaining connection slots", Fault.TOO_MANY_CONNECTIONS),
    ("is starting up", Fault.STARTING),
    ("is shutting down", Fault.STARTING),
    ("not yet accepting connections", Fault.STARTING),
    ("No space left on device", Fault.NO_SPACE),
    ("session is read-only", Fault.READ_ONLY),  # by target_session_attrs
)
_PASSING = frozenset(Fault) - {Fault.STATEMENT_TIMEOUT}


def classify_database_error(error: BaseException | None) -> Fault | None:
    """Return the temporary reason for an error; None: the statement is at fault, or not the database."""
    if error is None:
        return None
    if not isinstance(error, psycopg.Error):
        if not isinstance(error, DatabaseError | InterfaceError):
            return None
        if error.__cause__ is None:
            return Fault.LOST if isinstance(error, OperationalError | InterfaceError) else None
        return classify_database_error(error.__cause__)
    if error.sqlstate:
        return _BY_STATE.get(error.sqlstate, _BY_CLASS.get(error.sqlstate[:2]))
    if not isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return None
    text = str(error)
    return next((fault for words, fault in _BY_WORDS if words in text), Fault.LOST)


def is_unattributable(error: BaseException) -> bool:
    """Tell whether an error is temporary whatever the statement; a slow statement may be slow by itself."""
    return classify_database_error(error) in _PASSING


def storable_text(value: object, max_length: int | None = None) -> str:
    """Return a value as text that PostgreSQL accepts: no NUL or lone surrogate, at most `max_length` long."""
    return str(value).replace("\x00", "").encode(errors="replace").decode()[:max_length]


def storable_error(error: BaseException, max_length: int = MAX_ERROR_LENGTH) -> str:
    """Return an error's class and message as text for a row: an error may quote what PostgreSQL refuses."""
    return storable_text(f"{type(error).__name__}: {error}", max_length)
