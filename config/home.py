"""Where an installation keeps what is its own."""

import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent


def headrace_home() -> Path:
    """Return HEADRACE_HOME, by default `var` beside the code."""
    return Path(os.environ.get("HEADRACE_HOME") or BASE_DIR / "var").resolve()
