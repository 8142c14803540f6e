"""Metrics for Prometheus.

Each process writes its own to memory-mapped files in PROMETHEUS_MULTIPROC_DIR, by default
HEADRACE_HOME/metrics; the web process that answers /metrics adds them up, and reads the database's state.
Commands and tests write none.

This package is loaded before the library, which reads that variable once.
"""

import os
import sys
from pathlib import Path

from config.environment import env
from config.home import headrace_home

FOLDER = "PROMETHEUS_MULTIPROC_DIR"


def _program() -> str:
    """Return the kind of this process: `web`, `worker`, `beat`, else `command`."""
    if env("HEADRACE_WEB"):
        return "web"
    if "celery" in Path(sys.argv[0]).parts[-2:]:
        return next((word for word in sys.argv[1:] if word in {"worker", "beat"}), "command")
    return "command"


def _folder() -> Path | None:
    """Return the folder of the metrics files; None: this process writes none, or cannot."""
    if PROGRAM == "command":
        return None
    folder = Path(env(FOLDER) or headrace_home() / "metrics")
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None


PROGRAM = _program()
folder = _folder()
if folder is not None:
    os.environ[FOLDER] = str(folder)
else:
    os.environ.pop(FOLDER, None)
