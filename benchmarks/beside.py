"""(u): what sends take while something else works in another workspace, against nothing else."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from benchmarks.figures import show
from benchmarks.histories import write_history
from benchmarks.processes import headrace, make_workspace, post_all
from benchmarks.sends import make_contacts, make_rules

SENDS = 4
"""Connections that send meanwhile."""
GOAL = 2
REHEARSALS = 2
REHEARSED = 20_000
"""Events of the history of a rehearsal: more than one gets through in the time."""
REFUSED = 120_000
_START_SECONDS = 60

OtherWork = Callable[[], AbstractContextManager[Callable[[], bool]]]
"""Begins other work, is given once it runs, and ends it. What it yields tells whether it still runs."""


def measure(rounds: int, seconds: float) -> None:
    """Print the sends' p95 beside rehearsals and beside a replay of refused events."""
    works = {"a rehearsal": _rehearsal, "a replay of refused events": _replay}
    with tempfile.TemporaryDirectory(prefix="headrace-bench-beside-") as folder:
        for name, work in works.items():
            show_beside(
                "u",
                name,
                [
                    sends_beside(f"{name} {number}", work(Path(folder), number), seconds)
                    for number in range(rounds)
                ],
            )


def sends_beside(name: str, other_work: OtherWork, seconds: float) -> tuple[float, float]:
    """Return the p95 of sends alone, and beside other work, in milliseconds."""
    demo = make_workspace(f"beside {name}")
    workspace = UUID(demo["workspace"])
    contacts = make_contacts(workspace, 200)
    make_rules(workspace)
    path = f"/api/workspaces/{workspace}/events"
    bodies = [json.dumps({"type": "purchase", "contactId": each}) for each in contacts]

    def p95(port: int) -> float:
        return post_all(port, path, demo["api_key"], bodies, connections=SENDS, seconds=seconds)["p95_ms"]

    with headrace() as (port, _):
        idle = p95(port)
        with other_work() as is_running:
            busy = p95(port)
            if not is_running():
                sys.exit(f"{name} ended before the sends did")
    return idle, busy


def show_beside(letter: str, name: str, found: Sequence[tuple[float, float]]) -> None:
    """Print what sends take alone and beside other work, and the ratio."""
    show("", f"sends' p95 in ms, before {name}", [idle for idle, _ in found])
    show("", f"sends' p95 in ms beside {name}", [busy for _, busy in found])
    show(letter, "  the second ÷ the first", [busy / idle for idle, busy in found], goal=GOAL, at_most=True)


@contextlib.contextmanager
def command(*arguments: str, start_seconds: float) -> Iterator[Callable[[], bool]]:
    """Run a management command that is at work after so many seconds, and kill it at the end."""
    process = subprocess.Popen(
        [sys.executable, "manage.py", *arguments],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        time.sleep(start_seconds)
        yield lambda: process.poll() is None
    finally:
        process.kill()
        process.wait()


def _rehearsal(folder: Path, number: int) -> OtherWork:
    """Order rehearsals as a workspace does; beat has the worker of long work begin them."""

    workspace = make_workspace(f"rehearsed {number}")["workspace"]
    history = write_history(folder / f"rehearsed-{number}.csv", REHEARSED, 1_000, seed=number)
    subprocess.run(
        [sys.executable, "manage.py", "import_events", history, "--workspace", workspace, "--effects=none"],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings"},
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    @contextlib.contextmanager
    def ordered() -> Iterator[Callable[[], bool]]:
        from campaigns.journeys.lifecycle import create_campaign
        from campaigns.models import Rehearsal
        from campaigns.rehearsal.rehearsals import order_rehearsal

        workflow = {"nodes": [{"id": "wait", "type": "wait", "data": {"duration": "1d"}}], "edges": []}
        definition = {
            "triggers": [{"type": "EVENT", "eventType": "purchase"}],
            "reentry": {"mode": "every"},
            "workflow": workflow,
        }
        campaign = create_campaign(UUID(workspace), name="rehearsed", definition=definition)
        now = datetime.now(UTC)
        for _ in range(REHEARSALS):
            order_rehearsal(campaign, now - timedelta(days=700), now)
        running = Rehearsal.objects.in_workspace(UUID(workspace)).filter(status=Rehearsal.Status.RUNNING)
        deadline = time.monotonic() + _START_SECONDS
        while not running.filter(progress__gt=0).exists():
            if time.monotonic() > deadline:
                sys.exit("no rehearsal has begun")
            time.sleep(0.1)
        yield running.exists

    return ordered


def _replay(folder: Path, number: int) -> OtherWork:
    """Replay events that were refused for their names, which are allowed by now."""
    workspace = make_workspace(f"refused {number}")["workspace"]
    _make_refused(UUID(workspace))
    return lambda: command("replay_refused", "--workspace", workspace, start_seconds=_start_seconds())


def _make_refused(workspace: UUID) -> None:
    import msgspec

    from config import ids
    from contacts.references import ContactReference
    from events.models import RefusedEvent
    from events.stream.types import IncomingEvent, SchemaPolicy

    now = datetime.now(UTC)
    for start in range(0, REFUSED, 1_000):
        RefusedEvent.objects.bulk_create(
            RefusedEvent(
                id=ids.uuid7(now, place % 1_000),
                workspace_id=workspace,
                name="purchase",
                incoming=msgspec.to_builtins(
                    IncomingEvent(
                        "purchase",
                        ContactReference(
                            identifiers=(("email", f"r{place % 1_000}@example.test"),), if_missing="create"
                        ),
                        {"amount": place},
                    )
                ),
                schema_policy=SchemaPolicy.OPEN.value,
                code="unknown_event",
                error="It was not declared.",
                received_at=now,
            )
            for place in range(start, start + 1_000)
        )


_started: list[float] = []


def _start_seconds() -> float:
    """Return what starting a command takes, measured once."""
    if not _started:
        workspace = make_workspace("refused, none")["workspace"]
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, "manage.py", "replay_refused", "--workspace", workspace],
            env={**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings"},
            check=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        _started.append(time.perf_counter() - began)
    return _started[0]
