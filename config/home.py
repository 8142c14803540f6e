"""HEADRACE_HOME, the folder of an installation's database, secrets and metrics, and whether it is usable."""

import errno
import os
import shutil
from pathlib import Path

from config.environment import env

BASE_DIR = Path(__file__).resolve().parent.parent
PROBE_BYTES = 2**20
DATABASE_BYTES = 150 * 2**20
"""Disk space of a new database."""

_CHOICE = " Choose a folder that is yours: HEADRACE_HOME=/path make run"


def headrace_home() -> Path:
    """Return HEADRACE_HOME, by default `var` beside the code."""
    return Path(env("HEADRACE_HOME") or BASE_DIR / "var").resolve()


def home_problem(error: OSError) -> str:
    """Describe in one line what is wrong with HEADRACE_HOME, and what to do."""
    home = headrace_home()
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        need = "" if _has_database(home) else f"; a new database takes {DATABASE_BYTES // 2**20} MiB"
        return f"The disk of HEADRACE_HOME ({home}) is full: make room, or choose a folder elsewhere{need}."
    if error.errno in {errno.EEXIST, errno.ENOTDIR}:
        return f"HEADRACE_HOME ({home}) is, or is below, a file.{_CHOICE}"
    where = f" ({error.filename})" if error.filename and str(error.filename) != str(home) else ""
    return f"HEADRACE_HOME ({home}) cannot be used: {error.strerror or error}{where}.{_CHOICE}"


def require_home() -> None:
    """Create HEADRACE_HOME if missing, and check that it can be written. Raises OSError."""
    home = headrace_home()
    home.mkdir(parents=True, exist_ok=True)
    if not _has_database(home) and shutil.disk_usage(home).free < DATABASE_BYTES:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    probe = home / f".probe-{os.getpid()}"
    try:
        probe.write_bytes(bytes(PROBE_BYTES))
    finally:
        probe.unlink(missing_ok=True)


def _has_database(home: Path) -> bool:
    """Tell whether there is a database already, embedded or by DATABASE_URL."""
    return bool(env("DATABASE_URL")) or os.path.exists(home / "postgres" / "data" / "PG_VERSION")


def announced_url() -> str | None:
    """Return the address that a running `make run` announced, else None."""
    try:
        return _announcement().read_text().strip() or None
    except OSError:
        return None


def announce_url(url: str | None) -> None:
    """Publish the address to other commands of this installation; None removes it."""
    path = _announcement()
    if url is None:
        path.unlink(missing_ok=True)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{url}\n")


def _announcement() -> Path:
    return headrace_home() / "address"
