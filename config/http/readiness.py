"""Readiness of database, migrations and broker, checked within a time limit."""

import logging
import time
from collections.abc import Callable
from typing import Any, LiteralString

import psycopg
from django.db import DatabaseError

from config.celery import app
from config.db.errors import Fault, classify_database_error
from config.observability.timed_probes import TimedProbe
from config.runtime import broker
from config.runtime.layouts import SHORT, applied_migrations, layout_problem
from config.runtime.postgres.schema import migrations_on_disk

WAIT_SECONDS = 2.0
"""Most time that a caller waits for all parts together."""
FRESH_SECONDS = 1.0
STATEMENT_SECONDS = 10.0
OK = "ok"
UNREACHABLE = "unreachable"
NO_ANSWER = f"no answer in {WAIT_SECONDS:g} s"
UNKNOWN = "unknown"

logger = logging.getLogger(__name__)
State = dict[str, str]
"""By part: `ok`, or what is wrong with it."""


def state() -> State:
    """Return the state of each part, within `WAIT_SECONDS`, on connections of its own."""
    deadline = time.monotonic() + WAIT_SECONDS
    for probe in _CHECK_PROBES:
        probe.start()
    return {part: answer for probe in _CHECK_PROBES for part, answer in probe.result(deadline).items()}


def _check_database() -> State:
    migrations = UNKNOWN
    try:
        with connect() as connection:
            migrations = _migrations(connection)
            return {"database": _writing(connection), "migrations": migrations}
    except (psycopg.Error, DatabaseError) as error:
        logger.warning("database: %s", str(error).replace("\n", " "))
        return {"database": _error_state(error), "migrations": migrations}


def _writing(connection: psycopg.Connection[Any]) -> str:
    """Tell whether the database takes writes; a sort that spills to a file detects a full disk."""
    if connection.execute("SHOW transaction_read_only").fetchone() != ("off",):
        return Fault.READ_ONLY.value
    with connection.transaction():
        # Spill to the disk that has the tables.
        connection.execute("SET LOCAL temp_tablespaces = ''")
        connection.execute("SET LOCAL work_mem = '64kB'")
        connection.execute(_SPILL)
    return OK


def _error_state(error: Exception) -> str:
    """Return the state that an error of the database means."""
    fault = classify_database_error(error)
    return fault.value if fault in _SHOWN_FAULTS else UNREACHABLE


_SPILL: LiteralString = """
SELECT count(*) FROM (SELECT n::text || repeat('x', 200) FROM generate_series(1, 3000) n ORDER BY 1) spilt
"""
_SHOWN_FAULTS = (
    Fault.NO_SPACE,
    Fault.READ_ONLY,
    Fault.TOO_MANY_CONNECTIONS,
    Fault.STARTING,
    Fault.OUT_OF_RESOURCES,
    Fault.SYSTEM,
)


def _migrations(connection: psycopg.Connection[Any]) -> str:
    applied = applied_migrations(connection)
    if layout_problem(applied):
        return SHORT
    missing = len(migrations_on_disk().keys() - applied)
    return f"{missing} unapplied" if missing else OK


def _check_broker() -> State:
    if broker.is_in_database():
        try:
            with connect() as own:
                broker.set_up_queue(own)
        except psycopg.Error as error:
            logger.warning("broker: %s", str(error).replace("\n", " "))
            return {"broker": _error_state(error)}
    else:
        with app.connection_for_write() as connection:
            connection.connect()
    return {"broker": OK}


def connect(statement_seconds: float = STATEMENT_SECONDS) -> psycopg.Connection[Any]:
    """Return a new connection to Django's database with that statement timeout."""
    connection = broker.connect()
    connection.silence_seconds = statement_seconds
    connection.execute(f"SET statement_timeout = {int(statement_seconds * 1000)}")
    return connection


def _probe(check: Callable[[], State], parts: State) -> TimedProbe[State]:
    return TimedProbe(
        check,
        parts,
        ", ".join(parts),
        broken=dict.fromkeys(parts, UNREACHABLE),
        fresh_seconds=lambda: FRESH_SECONDS,
    )


_CHECK_PROBES = (
    _probe(_check_database, {"database": NO_ANSWER, "migrations": UNKNOWN}),
    _probe(_check_broker, {"broker": NO_ANSWER}),
)
