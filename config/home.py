"""Where an installation keeps what is its own."""

import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent


def headrace_home() -> Path:
    """Return HEADRACE_HOME, by default `var` beside the code."""
    return Path(os.environ.get("HEADRACE_HOME") or BASE_DIR / "var").resolve()


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
