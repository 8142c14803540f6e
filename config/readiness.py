"""Whether this process can do its work: database, migrations and broker, looked at in bounded time."""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import psycopg
from django.db import DatabaseError

from config import broker
from config.celery import app
from config.schema import migrations_on_disk

WAIT_SECONDS = 2.0
"""How long whoever asks waits for all parts together."""
FRESH_SECONDS = 1.0
STATEMENT_SECONDS = 10
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


class _Look:
    """Looks at some parts in a thread of its own, however many ask and however long it takes."""

    def __init__(self, look: Callable[[], State], otherwise: State) -> None:
        self._look = look
        self._otherwise = otherwise
        self._lock = threading.Lock()
        self._answer: Future[State] | None = None
        self._done_at = 0.0

    def begin(self) -> None:
        """Look, unless somebody is looking or did a moment ago."""
        with self._lock:
            answer = self._answer
            if answer is not None and (not answer.done() or time.monotonic() - self._done_at < FRESH_SECONDS):
                return
            self._answer = Future()
            threading.Thread(target=self._run, args=[self._answer], name="readiness", daemon=True).start()

    def result(self, deadline: float) -> State:
        """Return the answer, or what is said where none came before the deadline on the monotonic clock."""
        answer = self._answer
        if answer is None:
            return self._otherwise
        try:
            return answer.result(max(deadline - time.monotonic(), 0))
        except TimeoutError:
            return self._otherwise

    def _run(self, answer: Future[State]) -> None:
        try:
            found = self._look()
        except Exception as error:  # whatever a driver raises, the part is not there
            logger.warning("%s: %s", ", ".join(self._otherwise), str(error).replace("\n", " "))
            found = dict.fromkeys(self._otherwise, UNREACHABLE)
        self._done_at = time.monotonic()
        answer.set_result(found)


def _look_at_database() -> State:
    try:
        with _connection() as connection:
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
        with _connection() as own:
            broker.set_up_queue(own)
    else:
        with app.connection_for_write() as connection:
            connection.connect()
    return {"broker": OK}


def _connection() -> psycopg.Connection[Any]:
    connection = psycopg.connect(broker.django_conninfo(), autocommit=True)
    connection.execute(f"SET statement_timeout = '{STATEMENT_SECONDS}s'")
    return connection


_LOOKS = (
    _Look(_look_at_database, {"database": NO_ANSWER, "migrations": UNKNOWN}),
    _Look(_look_at_broker, {"broker": NO_ANSWER}),
)
