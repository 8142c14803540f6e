"""File locks of the embedded server, without any library: see `config.runtime.postgres`."""

import fcntl
import os
import time
from pathlib import Path


class ServerUnavailableError(Exception):
    """The embedded PostgreSQL did not start; the message says why and what to do, in one line."""


def join(folder: Path) -> int:
    """Register as a user of the server; closing the returned descriptor leaves."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(folder / "clients.lock", os.O_RDWR | os.O_CREAT, 0o600)
    # Waits while a keeper is stopping the server: it holds this lock alone until the server is gone.
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


def take(path: Path) -> int | None:
    """Return the descriptor that holds a lock until it is closed, None where another process has it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def is_held(path: Path) -> bool:
    """Tell whether a process has this lock."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def wait_until_stopped(folder: Path, timeout_seconds: float) -> bool:
    """Wait until neither the keeper nor any of the server's processes lives."""
    deadline = time.monotonic() + timeout_seconds
    while time.monotonic() < deadline:
        if not any(is_held(folder / name) for name in ("keeper.lock", "server.lock")):
            return True
        time.sleep(0.05)
    return False
