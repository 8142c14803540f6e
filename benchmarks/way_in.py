"""(w): what a send costs the web process and the database, in each format, counted rather than timed where it can be.

Runs in one process, without a server: the WSGI application is called as a server calls it, and what it has
gathered is written as a busy server writes it, in groups. Python calls are exact, whatever else the machine
does.
"""

import argparse
import cProfile
import io
import json
import os
import pstats
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from benchmarks.machine import measured
from benchmarks.processes import make_workspace, manage, set_up
from benchmarks.sends import FORMATS, make_contacts, make_rules

CONTACTS = 320
GROUP = 16
WARM_UP = 20
"""Sends before anything is counted: statements are prepared, and names and credentials known."""
PROFILED = 100


def measure(rounds: int, seconds: float) -> None:
    """Measure in a process and a database of their own."""
    environment = {
        **os.environ,
        "HEADRACE_HOME": f"{os.environ['HEADRACE_HOME']}/way_in",
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "HEADRACE_WEB": "1",
        "GROUP_COMMIT_EVENTS": "0",
        "CREDENTIAL_CACHE_SECONDS": "3600",
    }
    subprocess.run([sys.executable, "-m", "benchmarks.way_in"], env=environment, check=True)


def main() -> None:
    """Print the costs of a send in each format."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.way_in", description=__doc__)
    parser.add_argument("--sends", type=int, default=2000, help="that the clock runs for")
    parser.add_argument(
        "--profile", default="", help="a format's name: print its functions by their own time"
    )
    parser.add_argument("--statements", default="", help="a format's name: print what a group of it asks")
    options = parser.parse_args()
    manage("migrate", "-v0")
    demo = make_workspace(f"way in {os.getpid()}")
    set_up()

    from django.db import connection

    workspace = UUID(demo["workspace"])
    contacts = make_contacts(workspace, CONTACTS)
    make_rules(workspace)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")  # as autovacuum does within a minute

    from config import wsgi
    from events import receivers

    receivers.wake_ups.request = lambda workspace_id: None  # type: ignore[method-assign]
    _leave_connection()
    print("(w) one send".ljust(46), "calls", "web ms", "PostgreSQL ms", "native ÷ this", sep="\t")
    natives: dict[str, float] = {}
    for name, requests in _formats(demo["workspace"], contacts).items():
        sender = Sender(wsgi.application, requests, demo["api_key"])
        if name == options.profile:
            _print_profile(sender)
        if name == options.statements:
            _print_statements(sender)
        for way, cost in sender.costs(options.sends).items():
            total = cost.web_ms + cost.postgres_ms
            print(
                f"    {name}, {way}".ljust(46),
                f"{cost.calls:.0f}",
                f"{cost.web_ms:.3f}",
                f"{cost.postgres_ms:.3f}",
                f"{natives.setdefault(way, total) / total:.2f}",
                sep="\t",
                flush=True,
            )


@dataclass(frozen=True)
class Cost:
    """What one send costs on average; times are CPU milliseconds."""

    calls: float
    web_ms: float
    postgres_ms: float


@dataclass(frozen=True)
class Sender:
    """Sends the requests of a format, in turn."""

    application: Callable[..., Any]
    requests: list[tuple[str, bytes]]
    key: str

    def send(self, count: int) -> None:
        """Send, and insist that each was recorded."""
        statuses: list[str] = []
        for place in range(count):
            path, body = self.requests[place % len(self.requests)]
            self.application(_environ(path, body, self.key), lambda status, headers: statuses.append(status))
        refused = {status for status in statuses if not status.startswith("2")}
        if refused or len(statuses) != count:
            sys.exit(f"{self.requests[0][0]}: {refused}")

    def costs(self, sends: int) -> dict[str, Cost]:
        """Return what a send costs without the database, of a group while it is written, and alone with all."""
        with Instead() as instead:
            instead.answer_as_first()
            without = cost_of(self.send, sends)
            submissions = instead.gathered(self, len(self.requests))
        groups = [submissions[place : place + GROUP] for place in range(0, len(submissions), GROUP)]
        return {
            "no database": without,
            f"written by {GROUP}": cost_of(lambda count: write(groups, count), sends),
            "alone, all of it": cost_of(self.send, sends // 4),
        }


class Instead:
    """Within, events are not recorded as usual."""

    def __enter__(self) -> "Instead":
        from events.api import ingest

        self._submit = ingest.submit
        return self

    def __exit__(self, *_: object) -> None:
        self._put(self._submit)

    def answer_as_first(self) -> None:
        """Record the first request's event, and answer every other with it."""
        found: list[Any] = []

        def submit(submission: Any) -> Any:
            if found:
                return submission.answer(*found[0])

            def answer(*recorded: Any) -> Any:
                found.append(recorded)
                return submission.answer(*recorded)

            return self._submit(replace(submission, answer=answer))

        self._put(submit)

    def gathered(self, sender: Sender, count: int) -> list[Any]:
        """Return what requests would have had recorded."""
        from events.stream.idempotency import Answer

        found: list[Any] = []

        def submit(submission: Any) -> Answer:
            found.append(submission)
            return Answer(201, b"{}")

        self._put(submit)
        sender.send(count)
        return found

    def _put(self, submit: Any) -> None:
        from events.api import ingest

        ingest.submit = submit


def write(groups: list[list[Any]], count: int) -> None:
    """Write about so many submissions, group by group, as a writer of the web process does."""
    from events.stream.group_commit import _written
    from events.stream.idempotency import Answer

    for turn in range(max(count // GROUP, 1)):
        results = _written(groups[turn % len(groups)])
        if not all(isinstance(result, Answer) for result in results):
            sys.exit(f"not written: {results}")


def cost_of(send: Callable[[int], None], count: int) -> Cost:
    """Return what one of what `send` sends costs."""
    send(WARM_UP * GROUP)
    calls = _profile(send).total_calls / (PROFILED // GROUP * GROUP)  # type: ignore[attr-defined]
    with measured(None) as cpu:
        web = time.process_time()
        send(count)
        web = time.process_time() - web
    return Cost(calls, web / count * 1000, cpu["postgres"] / count * 1000)


def _formats(workspace: str, contacts: list[str]) -> dict[str, list[tuple[str, bytes]]]:
    def native(place: int) -> dict[str, Any]:
        metadata = {"amount": 99, "currency": "USD"}
        return {"type": "purchase", "contactId": contacts[place], "metadata": metadata}

    formats = {"native": ("/api/workspaces/{workspace}/events", native), **FORMATS}
    return {
        name: [
            (path.format(workspace=workspace).replace("PLACE", str(place)), json.dumps(body(place)).encode())
            for place in range(len(contacts))
        ]
        for name, (path, body) in formats.items()
    }


def _environ(path: str, body: bytes, key: str) -> dict[str, Any]:
    return {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "127.0.0.1:8000",
        "HTTP_ACCEPT": "*/*",
        "HTTP_USER_AGENT": "benchmark",
        "HTTP_AUTHORIZATION": f"Bearer {key}",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
    }


def _leave_connection() -> None:
    """Have this thread's connection lent to it for each request, as the server's threads have."""
    from django.db import connections

    connections.close_all()
    del connections["default"]


def _profile(send: Callable[[int], None]) -> pstats.Stats:
    profile = cProfile.Profile()
    profile.runcall(send, PROFILED // GROUP * GROUP)
    return pstats.Stats(profile)


def _print_profile(sender: Sender) -> None:
    with Instead() as instead:
        instead.answer_as_first()
        sender.send(WARM_UP)
        _profile(sender.send).sort_stats("tottime").print_stats(60)


def _print_statements(sender: Sender) -> None:
    from django.db.backends.utils import CursorWrapper

    with Instead() as instead:
        group = instead.gathered(sender, GROUP)
    write([group], WARM_UP * GROUP)
    execute = CursorWrapper._execute

    def spy(self: Any, sql: Any, *arguments: Any) -> Any:
        print("  ", " ".join(str(sql).split())[:300])
        return execute(self, sql, *arguments)

    CursorWrapper._execute = spy  # type: ignore[method-assign]
    try:
        write([group], GROUP)
    finally:
        CursorWrapper._execute = execute  # type: ignore[method-assign]


if __name__ == "__main__":
    main()
