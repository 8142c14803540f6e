"""Run all of Headrace on this machine, until Ctrl-C."""

import contextlib
import json
import os
import socket
import sys
import threading
import time
import urllib.request
from argparse import ArgumentParser
from io import StringIO
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connections, transaction

from config.postgres.server import server_in
from config.supervisor import Program, Supervisor
from workspaces.models import Workspace

STOP_SECONDS = 4.8
# On a busy machine an answer takes its time; to ask again meanwhile would make it busier.
ANSWER_SECONDS = 30.0
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 1.0
# After its grace a worker still notes what was answered at the last moment.
RECORDING_SECONDS = 2.0
DEMO_USER = "demo@example.com"
# Most threads of a web process only wait for bodies: see config.bodies.
THREADS_PER_REQUEST = 8
# It fits whoever tries Headrace as root in a container; production has its own process manager.
AS_ROOT = "-Wignore:You're running the worker with superuser privileges"


class Command(BaseCommand):
    """`run`: database, web, worker and beat under one supervisor."""

    help = "Migrate, make a demo workspace on the first start, and run web, worker and beat."
    requires_system_checks: list[str] = []  # they run in `migrate`

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default=os.environ.get("HOST", "127.0.0.1"))
        parser.add_argument("--port", type=int, default=int(os.environ.get("PORT", "8000")))
        parser.add_argument("--web-workers", type=int, default=2)
        parser.add_argument("--web-threads", type=int, default=4)
        parser.add_argument("--worker-processes", type=int, default=2)

    def handle(self, *args: Any, **options: Any) -> None:
        _require_free_port(options["host"], options["port"])
        self.write("Preparing the database ...\n")
        call_command("migrate", interactive=False, verbosity=0)
        demo = find_or_create_demo(settings.HEADRACE_HOME / "demo.json")
        connections.close_all()
        address = f"http://127.0.0.1:{options['port']}"
        announcement = Announcement(address, demo, Wait(address))
        supervisor = Supervisor(_programs(options), self.write)
        supervisor.run(lambda: announcement.make_once(self.write))
        self.write("Stopping ...\n")
        _stop_database()
        self.write("Stopped.\n")
        # Nothing is left to do; taking the interpreter down by the book can take a second on a busy machine.
        os._exit(0)

    def write(self, text: str) -> None:
        # A closed terminal must not keep us from stopping the rest.
        with contextlib.suppress(OSError):
            self.stdout.write(text, ending="")
            self.stdout.flush()


def find_or_create_demo(path: Path) -> dict[str, Any] | None:
    """Return the demo workspace's credentials, creating it where no workspace is; None where others are."""
    if path.exists():
        demo: dict[str, Any] = json.loads(path.read_text())
        if Workspace.objects.filter(id=demo["workspace"]).exists():
            return demo
    if Workspace.objects.exists():
        return None
    path.parent.mkdir(parents=True, exist_ok=True)  # with a DATABASE_URL nobody else made it
    with transaction.atomic():
        output = StringIO()
        call_command(
            "create_workspace", "Demo", "--json", "--staff", f"--owner-email={DEMO_USER}", stdout=output
        )
        # Before the commit: a file without its workspace is replaced, a workspace without its file is lost.
        draft = path.with_suffix(".new")
        draft.touch(mode=0o600)
        draft.write_text(output.getvalue())
        draft.replace(path)
    return dict(json.loads(output.getvalue()))


class Wait:
    """Waits in a thread of its own until an address is ready: one question at a time, ever more seldom."""

    def __init__(self, address: str) -> None:
        self.is_over = threading.Event()
        self._address = address

    def begin(self) -> None:
        """Begin to ask."""
        threading.Thread(target=self._run, name="wait", daemon=True).start()

    def _run(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while not _is_ready(self._address):
            time.sleep(pause)
            pause = min(pause * 1.5, LONGEST_PAUSE_SECONDS)
        self.is_over.set()


class Announcement:
    """What the user is told once the installation is ready."""

    def __init__(self, address: str, demo: dict[str, Any] | None, wait: Wait) -> None:
        self.address = address
        self.demo = demo
        self.wait = wait
        self.is_made = False
        wait.begin()

    def make_once(self, write: Any) -> None:
        if not self.is_made and self.wait.is_over.is_set():
            self.is_made = True
            write(self.text())

    def text(self) -> str:
        lines = ["", f"Headrace runs at {self.address}   (Ctrl-C stops it)", ""]
        pages = {"Admin": "/admin/", "API": "/docs"}
        lines += [f"  {name:<14}{self.address}{path}" for name, path in pages.items()]
        if self.demo is not None:
            lines += self._credentials(self.demo) + self._requests(self.demo)
        return "\n".join([*lines, "", ""])

    @staticmethod
    def _credentials(demo: dict[str, Any]) -> list[str]:
        rows = {
            "Staff user": demo["user"]["username"],
            "Password": demo["user"]["password"],
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
            "Paste these: a scoring rule, a contact, an event, and the contact with its score.",
            "",
            f"{post} {base}/scoring-rules -d '{rule}'",
            f"CONTACT=$({post} {base}/contacts -d '{contact}' | {take_id})",
            f"{post} {base}/events -d '{event}'",
            f"{post} {base}/contacts/$CONTACT",
        ]


def _programs(options: dict[str, Any]) -> list[Program]:
    granian = [sys.executable, "-m", "granian", "--interface=wsgi", "--http=1", "--no-ws"]
    web = [
        *granian,
        "--log-level=error",  # a warning says that the threads are many: see config.bodies
        f"--host={options['host']}",
        f"--port={options['port']}",
        f"--workers={options['web_workers']}",
        f"--blocking-threads={options['web_threads'] * THREADS_PER_REQUEST}",
        "--respawn-failed-workers",
        "--respawn-interval=0.5",
        "--workers-kill-timeout=2",
        "config.wsgi:application",
    ]
    celery = [sys.executable, AS_ROOT, "-m", "celery", "--quiet", "--app=config"]
    # Workers need not know one another: rows and locks do that.
    alone = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    # As many workers as processes are wanted, so that each is restarted alone, whatever the broker.
    worker = [*celery, "worker", "--loglevel=WARNING", "--pool=solo", *alone]
    links = {"PUBLIC_URL": os.environ.get("PUBLIC_URL") or f"http://localhost:{options['port']}"}
    return [
        Program("web", web, {**_web_environment(options), **links}),
        *(
            Program("worker", worker, links, settings.DELIVERY_GRACE_SECONDS + RECORDING_SECONDS)
            for _ in range(options["worker_processes"])
        ),
        Program("beat", [*celery, "beat", "--loglevel=WARNING", "--pidfile="]),
    ]


def _web_environment(options: dict[str, Any]) -> dict[str, str]:
    return {
        "HEADRACE_WEB": "1",
        "RATE_LIMIT_PROCESSES": str(options["web_workers"]),
        "WEB_THREADS": str(options["web_threads"]),
    }


def _require_free_port(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise CommandError(
                f"Port {port} is not free ({error.strerror}); choose another: make run PORT=8001"
            ) from error


def _is_ready(address: str) -> bool:
    try:
        urllib.request.urlopen(f"{address}/readyz", timeout=ANSWER_SECONDS).close()  # noqa: S310  # our own address
    except OSError:  # an answer of 503 is one, too
        return False
    return True


def _stop_database() -> None:
    """Give up the embedded server and see it stop, unless other processes use it."""
    connections.close_all()
    server = server_in(settings.HEADRACE_HOME)
    server.leave()
    server.wait_until_stopped(STOP_SECONDS / 2)
