"""Figures for Prometheus.

Each process of the installation writes its own to files that it maps into memory, in `PROMETHEUS_MULTIPROC_DIR`, by
default HEADRACE_HOME/metrics; whichever web process is asked adds them up. What is about the state of the database is
read from it when somebody asks. Commands, shells and tests keep theirs to themselves.

This package is loaded before the library, which looks at that variable once.
"""

import os
import sys
from pathlib import Path

from config.environment import env
from config.home import headrace_home

FOLDER = "PROMETHEUS_MULTIPROC_DIR"


def _program() -> str:
    """Return what this process is: `web`, `worker`, `beat`, else `command`."""
    if env("HEADRACE_WEB"):
        return "web"
    if "celery" in Path(sys.argv[0]).parts[-2:]:
        return next((word for word in sys.argv[1:] if word in {"worker", "beat"}), "command")
    return "command"


def _folder() -> Path | None:
    """Return the folder of the installation's figures; None: this process has none, or cannot write there."""
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
