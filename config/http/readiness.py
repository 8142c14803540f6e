"""Whether this process can do its work: database, migrations and broker, looked at in bounded time."""

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
from config.runtime.layouts import SHORT, applied_migrations, layout_trouble
from config.runtime.postgres.schema import migrations_on_disk

WAIT_SECONDS = 2.0
"""How long whoever asks waits for all parts together."""
FRESH_SECONDS = 1.0
STATEMENT_SECONDS = 10.0
OK = "ok"
UNREACHABLE = "unreachable"
NO_ANSWER = f"no answer in {WAIT_SECONDS:g} s"
UNKNOWN = "unknown"

logger = logging.getLogger(__name__)
State = dict[str, str]
"""Name of the part → `ok`, or what is wrong with it."""


def state() -> State:
    """Return how each part is. It takes `WAIT_SECONDS` at most, and holds no connection of a request's."""
    deadline = time.monotonic() + WAIT_SECONDS
    for look in _CHECK_PROBES:
        look.begin()
    return {part: answer for look in _CHECK_PROBES for part, answer in look.result(deadline).items()}


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
    """Tell whether the database takes writes. A full disk fails what spills a few hundred kilobytes to a file."""
    if connection.execute("SHOW transaction_read_only").fetchone() != ("off",):
        return Fault.READ_ONLY.value
    with connection.transaction():
        # Where the tables are, by default.
        connection.execute("SET LOCAL temp_tablespaces = ''")
        connection.execute("SET LOCAL work_mem = '64kB'")
        connection.execute(_SPILL)
    return OK


def _error_state(error: Exception) -> str:
    """Return what is wrong with the database, by what it answered."""
    fault = classify_database_error(error)
    return fault.value if fault in _LOG_LOCK else UNREACHABLE


_SPILL: LiteralString = """
SELECT count(*) FROM (SELECT n::text || repeat('x', 200) FROM generate_series(1, 3000) n ORDER BY 1) spilt
"""
_LOG_LOCK = (
    Fault.NO_SPACE,
    Fault.READ_ONLY,
    Fault.TOO_MANY_CONNECTIONS,
    Fault.STARTING,
    Fault.OUT_OF_RESOURCES,
    Fault.SYSTEM,
)


def _migrations(connection: psycopg.Connection[Any]) -> str:
    applied = applied_migrations(connection)
    if layout_trouble(applied):
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
    """Return a connection of its own to Django's database, whose statements take so long at most."""
    connection = broker.connect()
    connection.silence_seconds = statement_seconds
    connection.execute(f"SET statement_timeout = {int(statement_seconds * 1000)}")
    return connection


def _probe(look: Callable[[], State], parts: State) -> TimedProbe[State]:
    return TimedProbe(
        look,
        parts,
        ", ".join(parts),
        broken=dict.fromkeys(parts, UNREACHABLE),
        fresh_seconds=lambda: FRESH_SECONDS,
    )


_CHECK_PROBES = (
    _probe(_check_database, {"database": NO_ANSWER, "migrations": UNKNOWN}),
    _probe(_check_broker, {"broker": NO_ANSWER}),
)
