"""(s): single sends with everything on, against what PostgreSQL itself does with one-row inserts."""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil

RULES = 10
LOADS = (8, 32)
_LOOP = 2_000_000


class SendBench:
    """Sends at several numbers of connections, in every format, with the CPU that each kind of process takes."""

    def __init__(
        self,
        rounds: int,
        show: Callable[..., None],
        load: Callable[..., dict[str, float]],
        run: Callable[[], Any],
        contact_ids: list[str],
    ) -> None:
        self.rounds = rounds
        self.show = show
        self.load = load
        self.run = run
        self.contact_ids = contact_ids

    def sends(self, demo: dict[str, Any], plain: Callable[[int], float]) -> None:
        """Print rates as ratios, latencies, and CPU milliseconds a send; `plain` is the plain way's rate."""
        make_rules(demo["workspace"])
        bodies = [
            json.dumps({"type": "purchase", "contactId": each, "metadata": {"amount": 99, "currency": "USD"}})
            for each in self.contact_ids
        ]
        path, key = f"/api/workspaces/{demo['workspace']}/events", demo["api_key"]
        rounds = [self._round(path, key, bodies, plain) for _ in range(self.rounds)]
        self.show("", "2,000,000 additions in a loop, seconds", [each["loop"] for each in rounds])
        self.show("", "pgbench, durable one-row inserts/s by 8 clients", [each["pgbench"] for each in rounds])
        for connections, ratio, aim in ((8, 0.07, 0.12), (32, 0.13, 0.20)):
            name = f"sends at {connections} connections"
            rates = [each[connections]["per_second"] for each in rounds]
            self.show("", f"{name}, requests/s", rates)
            shares = [each[connections]["per_second"] / each["pgbench"] for each in rounds]
            self.show("s", f"{name} ÷ pgbench (aim {aim:g})", shares, goal=ratio)
            self.show("", "  p50 in ms", [each[connections]["p50_ms"] for each in rounds])
            self.show(
                "s" if connections == 32 else "",
                "  p99 in ms",
                [each[connections]["p99_ms"] for each in rounds],
                goal=100 if connections == 32 else None,
                at_most=True,
            )
            for kind in ("web", "worker", "beat", "postgres"):
                self.show("", f"  CPU of {kind} a send, ms", [each[connections][kind] for each in rounds])
            totals = [sum(each[connections][kind] for kind in _KINDS) for each in rounds]
            costs = [total / each["insert"] for total, each in zip(totals, rounds, strict=True)]
            self.show("", "  CPU of all a send ÷ CPU of pgbench's server an insert", costs)
        ratios = [each[32]["per_second"] / each["plain"] for each in rounds]
        self.show("s", "sends at 32 connections ÷ the plain way (aim 6)", ratios, goal=4)
        for name in FORMATS:
            shares = [each[name] / each[32]["per_second"] for each in rounds]
            self.show("s", f"  {name} ÷ the native one (aim 1)", shares, goal=0.8)

    def _round(self, path: str, key: str, bodies: list[str], plain: Callable[[int], float]) -> dict[Any, Any]:
        figures: dict[Any, Any] = {"loop": loop_seconds()}
        figures["pgbench"], figures["insert"] = inserts()
        with self.run() as (port, process):
            for connections in LOADS:
                with measured(process) as cpu:
                    result = self.load(port, path, key, bodies, connections)
                count = result["per_second"] * result["seconds"] + result["warm_up"]
                figures[connections] = {**result, **{kind: cpu[kind] / count * 1000 for kind in _KINDS}}
            for name, (other, body) in FORMATS.items():
                sent = [json.dumps(body(place, each)) for place, each in enumerate(self.contact_ids)]
                target = other.format(workspace=path.split("/")[3])
                paths = [target.format(place=place) for place in range(len(sent))]
                figures[name] = self.load(port, paths, key, sent, 32)["per_second"]
        figures["plain"] = plain(32)
        return figures


# The contacts are known as {place}@example.test.
FORMATS: dict[str, tuple[str, Callable[[int, str], dict[str, Any]]]] = {
    "/v1/…/contacts/{e-mail}/events": (
        "/v1/workspaces/{workspace}/contacts/{{place}}@example.test/events",
        lambda place, contact: {"event_name": "purchase", "attributes": {"amount": 99}},
    ),
    "/v1/events/send": (
        "/v1/events/send",
        lambda place, contact: {"eventName": "purchase", "email": f"{place}@example.test"},
    ),
    "/api/partner/events": (
        "/api/partner/events",
        lambda place, contact: {"type": "purchase", "person": {"emails": [f"{place}@example.test"]}},
    ),
    "/v4/track": (
        "/v4/track",
        lambda place, contact: {
            "eventName": "purchase",
            "email": f"{place}@example.test",
            "properties": {"amount": 99},
        },
    ),
}
_KINDS = ("web", "worker", "beat", "postgres")


def make_rules(workspace: str) -> None:
    """Make scoring rules on the name that is sent, and declare it for the format that wants that."""
    from events.services import create_definition
    from scoring.models import ScoringRule
    from scoring.services import save_rule
    from workspaces.models import Workspace

    space = Workspace.objects.get(id=workspace)
    for place in range(RULES):
        rule = ScoringRule(workspace=space, name=f"sends {place}", event_name="purchase", points=1)
        save_rule(rule, condition=None)
    create_definition(space, "purchase")


def loop_seconds() -> float:
    """Return what this machine takes for a loop of additions."""
    started, total = time.perf_counter(), 0
    for number in range(_LOOP):
        total += number
    return time.perf_counter() - started


def inserts(clients: int = 8, seconds: int = 4) -> tuple[float, float]:
    """Return durable one-row inserts/s of pgbench, and the CPU milliseconds that the server takes for one."""
    from django.db import connection

    from config.postgres.server import INSTALLATION

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


@contextmanager
def measured(process: subprocess.Popen[bytes]) -> Iterator[dict[str, float]]:
    """Fill in the CPU seconds that each kind of process takes meanwhile."""
    spent: dict[str, float] = {}
    before = _cpu(process)
    yield spent
    after = _cpu(process)
    spent.update({kind: after[kind] - before[kind] for kind in _KINDS})


def _cpu(process: subprocess.Popen[bytes] | None) -> dict[str, float]:
    """Return the CPU seconds of a supervisor's programs, and of this run's database with backends that ended."""
    total = dict.fromkeys(_KINDS, 0.0)
    for child in psutil.Process(process.pid).children(recursive=True) if process else ():
        if (kind := _kind_of(" ".join(child.cmdline()))) is not None:
            times = child.cpu_times()
            total[kind] += times.user + times.system
    for server in _servers():
        times = server.cpu_times()
        total["postgres"] += times.user + times.system + times.children_user + times.children_system
        for backend in server.children():
            own = backend.cpu_times()
            total["postgres"] += own.user + own.system
    return total


def _servers() -> Iterator[psutil.Process]:
    """Yield the first process of the database of this run: it stands in its data folder."""
    for each in psutil.process_iter(["cwd", "ppid", "name"]):
        if each.info["name"] == "postgres" and (each.info["cwd"] or "").startswith(
            os.environ["HEADRACE_HOME"]
        ):
            parent = each.parent()
            if parent is None or parent.name() != "postgres":
                yield each


def _kind_of(command: str) -> str | None:
    if "granian" in command:
        return "web"
    return next((kind for kind in ("worker", "beat") if f" {kind}" in command), None)
