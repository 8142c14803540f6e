"""Where an installation keeps what is its own."""

import errno
import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
PROBE_BYTES = 2**20


def headrace_home() -> Path:
    """Return HEADRACE_HOME, by default `var` beside the code."""
    return Path(os.environ.get("HEADRACE_HOME") or BASE_DIR / "var").resolve()


def home_trouble(error: OSError) -> str:
    """Return in one line what is wrong with HEADRACE_HOME, and what to do."""
    home = headrace_home()
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return f"The disk of HEADRACE_HOME ({home}) is full: make room, or choose a folder elsewhere."
    where = f" ({error.filename})" if error.filename and str(error.filename) != str(home) else ""
    return (
        f"HEADRACE_HOME ({home}) cannot be used: {error.strerror or error}{where}."
        " Choose a folder that is yours: HEADRACE_HOME=/path make run"
    )


def require_home() -> None:
    """Make HEADRACE_HOME where it is not, and make sure that there is room. Raises OSError."""
    home = headrace_home()
    home.mkdir(parents=True, exist_ok=True)
    probe = home / f".probe-{os.getpid()}"
    try:
        probe.write_bytes(bytes(PROBE_BYTES))
    finally:
        probe.unlink(missing_ok=True)


def announced_url() -> str | None:
    """Return the address that a running `make run` announced, None where none runs."""
    try:
        return _announcement().read_text().strip() or None
    except OSError:
        return None


def announce_url(url: str | None) -> None:
    """Let other commands of this installation know the address; None: it is no more."""
    path = _announcement()
    if url is None:
        path.unlink(missing_ok=True)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{url}\n")


def _announcement() -> Path:
    return headrace_home() / "address"
