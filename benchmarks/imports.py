"""(t): import_events of a file, against COPY of the same rows, and what sends take meanwhile."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from uuid import UUID

from benchmarks.beside import command, sends_beside, show_beside
from benchmarks.figures import show
from benchmarks.histories import write_history
from benchmarks.machine import copy_rate, measured
from benchmarks.processes import make_workspace

ROWS = 200_000
PEOPLE = 20_000
FORMS = {
    "csv, a tenth makes contacts": ("csv", True),
    "jsonl, contacts are known": ("jsonl", False),
    "jsonl, a tenth makes contacts": ("jsonl", True),
    "csv, contacts are known": ("csv", False),
}
"""What is measured: the form, and whether the workspace is new, where the first row of each person makes it."""


def measure(rounds: int, seconds: float) -> None:
    """Print the rate of an import as a share of COPY's in the same round, and the sends' p95 beside one."""
    from django.db import connection

    connection.ensure_connection()  # or the server would stop and start between the commands
    with tempfile.TemporaryDirectory(prefix="headrace-bench-imports-") as folder:
        done = [_round(Path(folder), number) for number in range(rounds)]
        beside = [_beside(Path(folder), number, seconds) for number in range(rounds)]
    for label in FORMS:
        show("", f"import_events, {label}, events/s", [each[label] for each in done])
        show("", "  COPY of the same rows, events/s", [each[f"{label}: copy"] for each in done])
        shares = [each[label] / each[f"{label}: copy"] for each in done]
        show("t", f"import_events, {label} ÷ COPY", shares, goal=0.4)
        show("", "  CPU of postgres an event, ms", [each[f"{label}: postgres"] for each in done])
        show("", "  CPU of the command an event, ms", [each[f"{label}: command"] for each in done])
    show_beside("t", "an import", beside)


def _round(folder: Path, number: int) -> dict[str, float]:
    figures: dict[str, float] = {}
    workspace = ""
    for label, (form, makes_contacts) in FORMS.items():
        # Of a file after the first into a workspace, everybody is known.
        if makes_contacts:
            workspace = make_workspace(f"imports {number} {form}")["workspace"]
        path = write_history(folder / f"{number}.{form}", ROWS, PEOPLE, seed=number)
        with measured(None) as cpu:
            took, spent = _import(path, workspace, "--effects=none")
        start_seconds, start_cpu = _start()
        figures[label] = ROWS / (took - start_seconds)
        figures[f"{label}: postgres"] = cpu["postgres"] / ROWS * 1000
        figures[f"{label}: command"] = (spent - start_cpu) / ROWS * 1000
        figures[f"{label}: copy"] = copy_rate(UUID(workspace))
    return figures


def _import(path: Path, workspace: str, *options: str) -> tuple[float, float]:
    """Import a file; return the seconds that it took, and those of the command's CPU."""
    command = [sys.executable, "manage.py", "import_events", str(path), "--workspace", workspace, *options]
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings"}
    before, began = os.times(), time.perf_counter()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    took, after = time.perf_counter() - began, os.times()
    user, system = after.children_user - before.children_user, after.children_system - before.children_system
    return took, user + system


_started: list[tuple[float, float]] = []


def _start() -> tuple[float, float]:
    """Return what starting the command takes, as `_import`, by a file without rows."""
    if not _started:
        with tempfile.NamedTemporaryFile("w", suffix=".csv") as empty:
            empty.write("event,timestamp,email\n")
            empty.flush()
            workspace = make_workspace("imports, none")["workspace"]
            _started.append(_import(Path(empty.name), workspace))
    return _started[0]


def _beside(folder: Path, number: int, seconds: float) -> tuple[float, float]:
    """Return the p95 of sends alone, and beside an import into another workspace, in milliseconds."""
    other = make_workspace(f"history {number}")["workspace"]
    history = write_history(folder / f"beside-{number}.csv", ROWS * 2, PEOPLE, seed=number)

    def importing() -> AbstractContextManager[Callable[[], bool]]:
        start_seconds, _ = _start()
        return command("import_events", str(history), "--workspace", other, start_seconds=start_seconds)

    return sends_beside(f"an import {number}", importing, seconds)
