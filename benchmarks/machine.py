"""What the machine itself can do, and the CPU that processes take: what the figures are divided by."""

import io
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from uuid import UUID

import psutil

KINDS = ("web", "worker", "beat", "postgres")
_LOOP = 2_000_000


def loop_seconds() -> float:
    """Return what this machine takes for a loop of additions."""
    started, total = time.perf_counter(), 0
    for number in range(_LOOP):
        total += number
    return time.perf_counter() - started


def inserts(clients: int = 8, seconds: int = 4) -> tuple[float, float]:
    """Return durable one-row inserts/s of pgbench, and the CPU milliseconds that the server takes for one."""
    from django.db import connection

    from config.runtime.postgres.server import INSTALLATION

    parameters = connection.get_connection_params()
    environment = {
        **os.environ,
        "PGHOST": str(parameters["host"]),
        "PGPORT": str(parameters["port"]),
        "PGUSER": str(parameters["user"]),
        "PGPASSWORD": str(parameters["password"]),
        "PGDATABASE": str(parameters["dbname"]),
    }
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE IF NOT EXISTS bench_row (id bigserial PRIMARY KEY, at timestamptz, body text)"
        )
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write("INSERT INTO bench_row (at, body) VALUES (now(), 'purchase');\n")
        script.flush()
        before = _cpu(None)["postgres"]
        done = subprocess.run(
            [
                str(INSTALLATION / "bin/pgbench"),
                f"--client={clients}",
                "--jobs=2",
                f"--time={seconds}",
                "--no-vacuum",
                f"--file={script.name}",
            ],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            check=True,
        )
        spent = _cpu(None)["postgres"] - before
    found = re.search(r"tps = ([0-9.]+)", done.stdout)
    if found is None:
        sys.exit(f"pgbench says {done.stdout}")
    rate = float(found[1])
    return rate, spent / (rate * seconds) * 1000


def copy_rate(workspace: UUID, rows: int = 100_000) -> float:
    """Return rows/s of a COPY of the stream's last rows, with new ids, into the stream's table."""
    import psycopg
    from django.db import connection

    columns = (
        "id",
        "workspace_id",
        "contact_id",
        "company_id",
        "name",
        "properties",
        "context",
        "occurred_at",
        "received_at",
        "source",
        "message_id",
        "cause_id",
        "depth",
    )
    with connection.cursor() as cursor:
        raw: psycopg.Cursor[Any] = cursor.cursor
        data = io.BytesIO()
        # The new id keeps the month and the order: only its last bits are drawn anew.
        with raw.copy(
            "COPY (SELECT (left(id::text, 24) || substr(md5(random()::text), 1, 12))::uuid, "
            + ", ".join(columns[1:])
            + f" FROM events_event WHERE workspace_id = '{workspace}' AND source IN ('api', 'import')"
            f" ORDER BY id DESC LIMIT {rows}) TO STDOUT"
        ) as reading:
            for block in reading:
                data.write(block)
        copied = data.getvalue().count(b"\n")
        started = time.perf_counter()
        with raw.copy(f"COPY events_event ({', '.join(columns)}) FROM STDIN") as writing:
            writing.write(data.getvalue())
        return copied / (time.perf_counter() - started)


@contextmanager
def measured(process: subprocess.Popen[bytes] | None) -> Iterator[dict[str, float]]:
    """Fill in the CPU seconds that each kind of process takes meanwhile."""
    spent: dict[str, float] = {}
    before = _cpu(process)
    yield spent
    after = _cpu(process)
    spent.update({kind: after[kind] - before[kind] for kind in KINDS})


def _cpu(process: subprocess.Popen[bytes] | None) -> dict[str, float]:
    """Return the CPU seconds of a supervisor's programs, and of this run's database with backends that ended."""
    total = dict.fromkeys(KINDS, 0.0)
    for child in psutil.Process(process.pid).children(recursive=True) if process else ():
        if (kind := _kind_of(child.cmdline())) is not None:
            times = child.cpu_times()
            total[kind] += times.user + times.system
    for server in servers():
        for backend in server.children():
            # One that has ended since is among the server's children's.
            with suppress(psutil.NoSuchProcess):
                own = backend.cpu_times()
                total["postgres"] += own.user + own.system
        times = server.cpu_times()
        total["postgres"] += times.user + times.system + times.children_user + times.children_system
    return total


def servers() -> Iterator[psutil.Process]:
    """Yield the first process of the database of this run: it stands in its data folder."""
    for each in psutil.process_iter(["cwd", "ppid", "name"]):
        if each.info["name"] == "postgres" and (each.info["cwd"] or "").startswith(
            os.environ["HEADRACE_HOME"]
        ):
            parent = each.parent()
            if parent is None or parent.name() != "postgres":
                yield each


def _kind_of(command: list[str]) -> str | None:
    """Return the kind of a process; its program's name ends a path or is a word of its own."""
    if "config.runtime.granian" in command:
        return "web"
    return next((kind for kind in ("worker", "beat") if kind in command), None)
