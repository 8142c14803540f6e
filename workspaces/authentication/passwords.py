"""Hash passwords one at a time in a process, at low priority: it is slow by design."""

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
"""Most sign-ins that wait while a password is hashed."""
PATIENCE_SECONDS: Final = 5.0
RETRY_SECONDS: Final = 2
_NICENESS: Final = 10

_turn = threading.BoundedSemaphore(1)
_places = threading.BoundedSemaphore(1 + MOST_WAITING)


class OneAtATimeHasher(PBKDF2PasswordHasher):
    """Django's PBKDF2 hasher, but many sign-ins take no more than part of one core.

    `encode`, and so `verify`, raise Throttled when too many wait.
    """

    def encode(self, password: str, salt: str, iterations: int | None = None) -> str:
        """Return the encoded hash."""
        # Waiting and hashing need no database connection.
        release_connection()
        with _one_turn():
            made: Future[str] = Future()
            # A thread of its own: a thread cannot raise its priority again.
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
        # On Linux threads have their own priority; changing it may be forbidden.
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
    try:
        made.set_result(encode(*arguments))  # type: ignore[operator]
    except Exception as error:  # raised in the waiting thread
        made.set_exception(error)
