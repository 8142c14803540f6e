"""Headrace as it is run, and clients that send to it whatever becomes of it."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import psutil
import psycopg

from tests.config.runtime.test_supervisor import ROOT, Run, command_of, wait_for
from tests.homes import prepare_home

EVENT = "purchase"
WORKER = "config worker"  # the web has an option of that name
GIVE_UP_SECONDS = 60
# A killed database writes all that it had to the disk before it answers, and the disk may be busy.
RECOVERY_SECONDS = 240


class System(Run):
    """A running Headrace with a demo workspace that scores every purchase with one point."""

    def __init__(self, home: Path, starts: int = 1, **settings: str) -> None:
        if not home.exists() and "DATABASE_URL" not in settings:
            prepare_home(home)
        super().__init__(home, **settings)
        try:
            self.wait_until_ready(starts)
        except AssertionError:
            self.stop(signal.SIGKILL)
            raise
        demo = json.loads((home / "demo.json").read_text())
        self.workspace: str = demo["workspace"]
        self.key: str = demo["api_key"]

    def prepare(self, contacts: int) -> list[str]:
        """Make the rule and the contacts; return the contacts' ids."""
        with closing(Client(self)) as client:
            client.post("scoring-rules", {"name": "Purchase", "eventType": EVENT, "delta": 1})
            return [client.post("contacts", {"email": f"c{n}@example.com"})["id"] for n in range(contacts)]

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """Ask the database, which other processes keep alive."""
        deadline = time.monotonic() + RECOVERY_SECONDS
        while True:
            try:
                with self.connect() as connection:
                    return connection.execute(statement).fetchall()  # type: ignore[arg-type]
            except psycopg.OperationalError:
                assert time.monotonic() < deadline
                time.sleep(0.2)

    def connect(self) -> psycopg.Connection:
        """Open a connection to the database."""
        address = json.loads((self.home / "postgres/server.json").read_text())
        return psycopg.connect(
            host=address["socket_directory"],
            port=5432,
            user="postgres",
            password=address["password"],
            dbname="headrace",
        )

    def postmaster(self) -> psutil.Process:
        """Return the database's first process."""
        mark = f"unix_socket_directories={self.socket_directory()}"
        wait_for(lambda: any(mark in command_of(process) for process in psutil.process_iter()), 20)
        return next(process for process in psutil.process_iter() if mark in command_of(process))

    def wait_for_effects(self, seconds: float) -> None:
        """Wait until nothing is in the outbox."""
        wait_for(lambda: self.rows("SELECT count(*) FROM events_eventbatch") == [(0,)], seconds)


class Client:
    """One connection at a time, made anew when it breaks. It speaks for the demo workspace unless told otherwise."""

    def __init__(self, system: System, workspace: str = "", secret: str = "") -> None:
        self.system = system
        self.workspace = workspace or system.workspace
        self.secret = secret or system.key
        self.connection: http.client.HTTPConnection | None = None
        self.retries = 0
        self.replays = 0
        self.times: list[float] = []
        self.faults: list[tuple[int, bytes]] = []
        """Answers of 500 and above other than 503, which says that it is worth another try."""

    def post(
        self, path: str, body: dict[str, Any], *, attempts_seconds: float = 0, is_keyed: bool = True
    ) -> dict[str, Any]:
        """Post until an answer below 500 comes, under one Idempotency-Key; return it, if it is a 2xx.

        A path that begins with a slash is the whole of it, others are the workspace's own.
        """
        if not path.startswith("/"):
            path = f"/api/workspaces/{self.workspace}/{path}"
        key = str(uuid4()) if is_keyed else None
        deadline = time.monotonic() + attempts_seconds
        while True:
            began = time.monotonic()
            try:
                status, answer, replayed = self._try(path, body, key)
            except (OSError, http.client.HTTPException) as error:
                self.close()
                status, answer, replayed = 503, repr(error).encode(), False
            if status < 500:
                assert 200 <= status < 300, (status, answer)
                self.times.append(time.monotonic() - began)
                self.replays += replayed
                return dict(json.loads(answer or b"{}"))
            if status != 503:
                self.faults.append((status, answer))
            assert time.monotonic() < deadline, (status, answer)
            self.retries += 1
            time.sleep(0.1)

    def close(self) -> None:
        """Close the connection."""
        if self.connection is not None:
            self.connection.close()
        self.connection = None

    def _try(self, path: str, body: dict[str, Any], key: str | None) -> tuple[int, bytes, bool]:
        if self.connection is None:
            self.connection = http.client.HTTPConnection("127.0.0.1", self.system.port, timeout=10)
        headers = {"Authorization": f"Bearer {self.secret}", "Content-Type": "application/json"}
        if key is not None:
            headers["Idempotency-Key"] = key
        self.connection.request("POST", path, json.dumps(body), headers)
        response = self.connection.getresponse()
        return response.status, response.read(), "Idempotent-Replayed" in response.headers


class Senders:
    """Clients that send single events until they are told to stop, each event until it is acknowledged."""

    def __init__(self, system: System, contacts: list[str], count: int, first: int = 0) -> None:
        self.clients = [Client(system) for _ in range(count)]
        self.contacts = contacts
        self.acknowledged: dict[str, tuple[str, str]] = {}
        """Number of the event → its id and its contact; the clients are counted from `first` on."""
        self.errors: list[BaseException] = []
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._send, args=[number, client], daemon=True)
            for number, client in enumerate(self.clients, first)
        ]

    def __enter__(self) -> "Senders":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(GIVE_UP_SECONDS)
        assert not any(thread.is_alive() for thread in self._threads)
        if self.errors:
            raise self.errors[0]

    def wait_for_more(self, count: int) -> None:
        """Wait until so many more events are acknowledged."""
        enough = len(self.acknowledged) + count
        wait_for(lambda: len(self.acknowledged) >= enough or self.errors, RECOVERY_SECONDS)

    def by_contact(self) -> dict[str, int]:
        """Return how many events of each contact were acknowledged."""
        counts: dict[str, int] = defaultdict(int)
        for _, contact in self.acknowledged.values():
            counts[contact] += 1
        return counts

    def _send(self, number: int, client: Client) -> None:
        place = 0
        try:
            while not self._stop.is_set():
                mark = f"{number}-{place}"
                contact = self.contacts[(number + place) % len(self.contacts)]
                body = {"type": EVENT, "contactId": contact, "metadata": {"mark": mark}}
                event = client.post("events", body, attempts_seconds=GIVE_UP_SECONDS / 2)
                self.acknowledged[mark] = (event["id"], contact)
                place += 1
                time.sleep(0.01)
        except BaseException as error:  # shown by the test's own thread
            self.errors.append(error)
        finally:
            client.close()


def check_once(system: System, senders: Senders) -> None:
    """Prove by SQL that what was acknowledged is stored once and scored once, and nothing else is."""
    stored = system.rows(
        f"SELECT properties ->> 'mark', id::text, contact_id::text FROM events_event WHERE name = '{EVENT}'"
    )
    assert sorted(stored) == sorted((mark, *rest) for mark, rest in senders.acknowledged.items())
    entries = system.rows("SELECT event_id::text, contact_id::text, points::int FROM scoring_scoreentry")
    assert sorted(entries) == sorted((*rest, 1) for rest in senders.acknowledged.values())
    scores = system.rows("SELECT contact_id::text, points::int FROM contacts_contactscore")
    assert dict(scores) == senders.by_contact()
    assert system.rows("SELECT count(*) FROM events_parkedeffect") == [(0,)]


def child_of(system: System, word: str) -> psutil.Process:
    """Return a process that one of the supervisor's programs forked."""
    wait_for(lambda: _forked(system, word), 20)
    return _forked(system, word)[0]


def lives(process: psutil.Process) -> bool:
    """Tell whether a process has not ended."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _forked(system: System, word: str) -> list[psutil.Process]:
    parent = system.find_child(word)
    try:
        return parent.children() if parent is not None else []
    except psutil.NoSuchProcess:
        return []


def find_victim(system: System, name: str) -> psutil.Process:
    """Return what is to be killed: worker, web, beat, granian, backend or postmaster."""
    match name:
        case "worker":
            return system.child(WORKER)
        case "web":
            return child_of(system, "granian")
        case "beat":
            return system.child("config.runtime.beat beat")
        case "granian":
            return system.child("granian")
        case "backend":
            return psutil.Process(system.rows(_BUSY_BACKEND)[0][0])
        case _:
            return system.postmaster()


class HasHome(Protocol):
    """Whatever has a home of Headrace's."""

    home: Path


def manage(system: HasHome, *arguments: str, **settings: str) -> None:
    """Run one of Headrace's commands in a home, beside what runs there."""
    command = [sys.executable, "manage.py", *arguments]
    environment = {**os.environ, "HEADRACE_HOME": str(system.home), **settings}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# One that works, if any does; the others go down with it, as the postmaster has it.
_BUSY_BACKEND = (
    "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    " ORDER BY state <> 'idle' DESC LIMIT 1"
)
