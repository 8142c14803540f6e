"""Passwords are hashed slowly on purpose: one at a time in a process, and after what else the machine has to do."""

import contextlib
import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Final

from django.contrib.auth.hashers import PBKDF2PasswordHasher
from rest_framework.exceptions import Throttled

from config.db.connection_slots import release_connection

MOST_WAITING: Final = 4
"""How many more may wait while one is hashed."""
PATIENCE_SECONDS: Final = 5.0
RETRY_SECONDS: Final = 2
_NICENESS: Final = 10

_turn = threading.BoundedSemaphore(1)
_places = threading.BoundedSemaphore(1 + MOST_WAITING)


class OneAtATimeHasher(PBKDF2PasswordHasher):
    """Django's own hash, but a crowd that signs in takes no more than a part of one core.

    Whoever finds too many waiting is told to come back: `encode`, and so `verify`, raise Throttled.
    """

    def encode(self, password: str, salt: str, iterations: int | None = None) -> str:
        """Return the encoded hash."""
        # What waits for a turn, or hashes, keeps no database connection from those who send events.
        release_connection()
        with _one_turn():
            made: Future[str] = Future()
            # A thread of its own, since none may raise its priority again.
            worker = threading.Thread(
                target=_encode, args=[made, super().encode, password, salt, iterations], name="hash"
            )
            worker.start()
            worker.join()
            return made.result()


@contextlib.contextmanager
def _one_turn() -> Iterator[None]:
    if not _places.acquire(blocking=False):
        raise Throttled(wait=RETRY_SECONDS)
    try:
        if not _turn.acquire(timeout=PATIENCE_SECONDS):
            raise Throttled(wait=RETRY_SECONDS)
        try:
            yield
        finally:
            _turn.release()
    finally:
        _places.release()


def _encode(made: "Future[str]", encode: object, *arguments: object) -> None:
    if hasattr(os, "setpriority"):
        # On Linux a thread has a priority of its own; it may be forbidden to change it.
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
    try:
        made.set_result(encode(*arguments))  # type: ignore[operator]
    except Exception as error:  # for who waits
        made.set_exception(error)
