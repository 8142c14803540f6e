"""`manage.py run`: all programs of Headrace on one machine, under a supervisor.

Neither Django nor any library is loaded here, so that the programs can start at once on a busy machine.
"""

import argparse
import contextlib
import functools
import json
import os
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from config.environment import env
from config.home import BASE_DIR, announce_url, headrace_home, home_problem, require_home
from config.runtime.postgres import locks
from config.runtime.supervisor import Program, Supervisor
from config.runtime.web_threads import THREADS_PER_CONNECTION

STOP_SECONDS = 4.8
# On a busy machine an answer takes long, and further requests would make it busier.
ANSWER_SECONDS = 30.0
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 1.0
# Workers wait this long for the web process to be ready; without a broker it never is.
PATIENCE_SECONDS = 20.0
# After its grace a worker still records the last deliveries.
RECORDING_SECONDS = 2.0
# Silences a warning for those who try Headrace as root in a container.
AS_ROOT = "-Wignore:You're running the worker with superuser privileges"


def main(arguments: Sequence[str]) -> None:
    """Run until Ctrl-C; end with 1 if the port is taken or the database cannot be prepared."""
    options = parse(arguments)
    database = headrace_home() / "postgres"
    try:
        require_home()
        home = locks.take(headrace_home() / "run.lock")
        if home is None:
            sys.exit(
                f"Headrace runs from {headrace_home()} already; another one needs its own HEADRACE_HOME and PORT."
            )
        port = _claim_port(options.host, options.port)
        # Held to the end, so that the server does not stop between its other users.
        user = None if env("DATABASE_URL") else locks.join(database)
    except OSError as error:
        sys.exit(home_problem(error))
    _write("Preparing the database ...\n")
    address = f"http://localhost:{options.port}"
    announce_url(_public_url(options))
    status = StatusReporter()
    wait = SlowStepNotice(f"http://127.0.0.1:{options.port}")
    announcement = Announcement(address, status, wait)
    supervisor = Supervisor(_programs(options, status, wait), _write)
    supervisor.run(lambda: announcement.make_once(_write))
    _write("Stopping ...\n")
    announce_url(None)
    if user is not None:
        os.close(user)
        locks.wait_until_stopped(database, STOP_SECONDS / 2)
    _write("Stopped.\n")
    del home, port
    # Regular interpreter shutdown can take a second on a busy machine.
    os._exit(int(supervisor.has_failed))


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(prog="manage.py run", description="Run all of Headrace, until Ctrl-C.")
    parser.add_argument("--host", default=env("HOST"))
    parser.add_argument("--port", type=int, default=env("PORT"))
    parser.add_argument("--web-workers", type=int, default=2)
    parser.add_argument("--web-threads", type=int, default=4)
    parser.add_argument("--worker-processes", type=int, default=2)
    return parser.parse_args(arguments)


class StatusReporter:
    """The report of `prepare`: a line of JSON with the demo workspace."""

    def __init__(self) -> None:
        self.is_there = False
        self.demo: dict[str, Any] | None = None
        self.workers: list[Program] = []

    def hear(self, line: str) -> bool:
        """Read the line if it is the report; return whether it was."""
        if not line.startswith('{"prepared":'):
            return False
        report = json.loads(line)["prepared"]
        self.demo = report["demo"]
        for worker in self.workers:
            worker.stop_seconds = report["deliveryGraceSeconds"] + RECORDING_SECONDS
        self.is_there = True
        return True


class SlowStepNotice:
    """Polls in a thread until an address is ready, one request at a time with growing pauses."""

    def __init__(self, address: str) -> None:
        self.begun_at: float | None = None
        self.is_over = threading.Event()
        self._address = address

    def begin(self) -> None:
        """Start polling."""
        self.begun_at = time.monotonic()
        threading.Thread(target=self._run, name="wait", daemon=True).start()

    def is_long(self) -> bool:
        """Tell whether later programs may start: the wait is over, or takes too long."""
        if self.begun_at is None:
            return False
        return self.is_over.is_set() or time.monotonic() - self.begun_at > PATIENCE_SECONDS

    def _run(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while not _is_ready(self._address):
            time.sleep(pause)
            pause = min(pause * 1.5, LONGEST_PAUSE_SECONDS)
        self.is_over.set()


class Announcement:
    """The message shown once the installation is ready."""

    def __init__(self, address: str, status: StatusReporter, wait: SlowStepNotice) -> None:
        self.address = address
        self.status = status
        self.wait = wait
        self.is_made = False

    def make_once(self, write: Any) -> None:
        """Write the message once it is time."""
        if self.status.is_there and self.wait.begun_at is None:
            self.wait.begin()
        if not self.is_made and self.wait.is_over.is_set():
            self.is_made = True
            write(self.text())

    def text(self) -> str:
        """Return the addresses, the credentials and the requests to paste."""
        lines = ["", f"Headrace runs at {self.address}   (Ctrl-C stops it)", ""]
        pages = {"Admin": "/admin/", "API": "/docs"}
        lines += [f"  {name:<14}{self.address}{path}" for name, path in pages.items()]
        if (demo := self.status.demo) is not None:
            lines += self._credentials(demo) + self._requests(demo)
        return "\n".join([*lines, "", ""])

    @staticmethod
    def _credentials(demo: dict[str, Any]) -> list[str]:
        user = demo["user"]
        command = f"{_python()} manage.py changepassword {user['username']}"
        reset = f"told at the first start only; for another: {command}"
        rows = {
            "Staff user": user["username"],
            "Password": user.get("password", reset),
            "Workspace": demo["workspace"],
            "API key": demo["api_key"],
            "Client id": demo["oauth"]["client_id"],
            "Client secret": demo["oauth"]["client_secret"],
        }
        return [f"  {name:<14}{value}" for name, value in rows.items()]

    def _requests(self, demo: dict[str, Any]) -> list[str]:
        base = f"{self.address}/api/workspaces/{demo['workspace']}"
        post = f"curl -sS -H 'Authorization: Bearer {demo['api_key']}' -H 'Content-Type: application/json'"
        rule = json.dumps({"name": "Purchase", "eventType": "purchase", "delta": 25})
        contact = json.dumps({"email": "ada@example.com", "firstName": "Ada"})
        take_id = """python3 -c 'import json, sys; print(json.load(sys.stdin)["id"])'"""
        event = '{"type": "purchase", "contactId": "\'$CONTACT\'", "metadata": {"amount": 99}}'
        return [
            "",
            "Paste these: a scoring rule, a contact, an event, and, a moment later, the contact with its score.",
            "",
            f"{post} {base}/scoring-rules -d '{rule}'",
            f"CONTACT=$({post} {base}/contacts -d '{contact}' | {take_id})",
            f"{post} {base}/events -d '{event}'",
            f"{post} {base}/contacts/$CONTACT",
        ]


def _programs(options: argparse.Namespace, status: StatusReporter, wait: SlowStepNotice) -> list[Program]:
    web = [
        *(sys.executable, "-m", "config.runtime.granian", "--wait"),
        f"--host={options.host}",
        f"--port={options.port}",
        f"--workers={options.web_workers}",
        "--workers-kill-timeout=2",
    ]
    # Workers coordinate by rows and locks, not by messages.
    alone = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    # One worker per process, so that each restarts alone, whatever the broker.
    worker = [*_celery("config"), "worker", "--loglevel=WARNING", "--pool=solo", *alone]
    links = {"PUBLIC_URL": _public_url(options)}
    # The database server starts while the site is being loaded.
    database = [sys.executable, "-m", "config.runtime.postgres.start"]
    prepare = Program(
        "prepare",
        [sys.executable, str(BASE_DIR / "manage.py"), "prepare"],
        links,
        is_once=True,
        hear=status.hear,
    )
    later = functools.partial(Program, after=prepare, may_start=wait.is_long)
    status.workers = [later("worker", worker, links) for _ in range(options.worker_processes)]
    # Rehearsals take minutes: nothing else waits behind one.
    long_work = later("long", [*worker, f"--queues={env('BROKER_QUEUE')}-long"], links)
    return [
        *([] if env("DATABASE_URL") else [Program("database", database, is_once=True)]),
        prepare,
        Program("web", web, {**_web_environment(options), **links}, after=prepare, waits_at_stdin=True),
        *status.workers,
        long_work,
        later("beat", [*_celery("config.runtime.beat"), "beat", "--loglevel=WARNING", "--pidfile="]),
    ]


def _celery(app: str) -> list[str]:
    return [sys.executable, AS_ROOT, "-m", "celery", "--quiet", f"--app={app}"]


def _python() -> str:
    """Return the interpreter's path, relative to the code if it is below it."""
    path = Path(sys.executable)
    return str(path.relative_to(BASE_DIR) if path.is_relative_to(BASE_DIR) else path)


def _public_url(options: argparse.Namespace) -> str:
    return env("PUBLIC_URL") or f"http://localhost:{options.port}"


def _web_environment(options: argparse.Namespace) -> dict[str, str]:
    return {
        "RATE_LIMIT_PROCESSES": str(options.web_workers),
        "WEB_THREADS": str(options.web_threads),
        "GRANIAN_BLOCKING_THREADS": str(options.web_threads * THREADS_PER_CONNECTION),
    }


def _claim_port(host: str, port: int) -> socket.socket | None:
    """Reserve the port as long as the result is kept: the server binds it seconds later."""
    claim = None
    if sys.platform == "linux":
        # An abstract socket: it lives as long as its process, in the same network namespace as the port.
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0headrace {host}:{port}")
        except OSError:
            sys.exit(f"Port {port} is not free (another Headrace has it); choose another: make run PORT=8001")
    _require_free_port(host, port)
    return claim


def _require_free_port(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            sys.exit(f"Port {port} is not free ({error.strerror}); choose another: make run PORT=8001")


def _is_ready(address: str) -> bool:
    """Tell whether requests are accepted; without a broker only their effects are delayed."""
    try:
        urllib.request.urlopen(f"{address}/readyz", timeout=ANSWER_SECONDS).close()  # noqa: S310  # our own address
    except urllib.error.HTTPError as error:
        with error:
            return _misses_the_broker_only(error.read())
    except OSError:
        return False
    return True


def _misses_the_broker_only(body: bytes) -> bool:
    try:
        checks = json.loads(body)["checks"]
    except (ValueError, KeyError, TypeError):
        return False
    return all(answer == "ok" for part, answer in checks.items() if part != "broker")


def _write(text: str) -> None:
    # A closed terminal must not prevent stopping the programs.
    with contextlib.suppress(OSError):
        sys.stdout.write(text)
        sys.stdout.flush()
