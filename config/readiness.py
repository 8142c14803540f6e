"""Whether this process can do its work: database, migrations and broker, looked at in bounded time."""

import logging
import time
from collections.abc import Callable
from typing import Any

import psycopg
from django.db import DatabaseError

from config import broker
from config.celery import app
from config.looks import Look
from config.schema import migrations_on_disk

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
    for look in _LOOKS:
        look.begin()
    return {part: answer for look in _LOOKS for part, answer in look.result(deadline).items()}


def _look_at_database() -> State:
    try:
        with connect() as connection:
            return {"database": OK, "migrations": _migrations(connection)}
    except (psycopg.Error, DatabaseError) as error:
        logger.warning("database: %s", str(error).replace("\n", " "))
        return {"database": UNREACHABLE, "migrations": UNKNOWN}


def _migrations(connection: psycopg.Connection[Any]) -> str:
    applied: set[tuple[str, str]] = set()
    if connection.execute("SELECT to_regclass('django_migrations')").fetchone() != (None,):
        applied.update(connection.execute("SELECT app, name FROM django_migrations").fetchall())
    missing = len(migrations_on_disk().keys() - applied)
    return f"{missing} unapplied" if missing else OK


def _look_at_broker() -> State:
    if broker.is_in_database():
        with connect() as own:
            broker.set_up_queue(own)
    else:
        with app.connection_for_write() as connection:
            connection.connect()
    return {"broker": OK}


def connect(statement_seconds: float = STATEMENT_SECONDS) -> psycopg.Connection[Any]:
    """Return a connection of its own to Django's database, whose statements take so long at most."""
    connection = psycopg.connect(broker.django_conninfo(), autocommit=True)
    connection.execute(f"SET statement_timeout = {int(statement_seconds * 1000)}")
    return connection


def _look(look: Callable[[], State], parts: State) -> Look[State]:
    return Look(
        look,
        parts,
        ", ".join(parts),
        broken=dict.fromkeys(parts, UNREACHABLE),
        fresh_seconds=lambda: FRESH_SECONDS,
    )


_LOOKS = (
    _look(_look_at_database, {"database": NO_ANSWER, "migrations": UNKNOWN}),
    _look(_look_at_broker, {"broker": NO_ANSWER}),
)
