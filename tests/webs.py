"""A production web process over its own database, which a test may lock, suspend and restart."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import psycopg
from django.conf import settings

from config.runtime.postgres.server import DATABASE, EmbeddedServer
from tests.config.runtime.test_supervisor import ROOT, free_port, wait_for
from tests.homes import prepare_home

ANSWER_SECONDS = 60


@dataclass(frozen=True)
class Tenant:
    """A workspace and an API key with all scopes."""

    workspace: str
    key: str


@dataclass(frozen=True)
class Answered:
    """A response and its seconds; status 0: the connection broke."""

    status: int
    body: bytes
    headers: http.client.HTTPMessage = field(default_factory=http.client.HTTPMessage)
    seconds: float = 0.0

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Web:
    """A running web process."""

    def __init__(self, home: Path, **environment: str) -> None:
        self.home = home
        self.port = free_port()
        self.log = home.with_name(f"{home.name}.log")
        with self.log.open("wb") as output:
            self.process = psutil.Popen(
                [
                    *(sys.executable, "-m", "config.runtime.granian"),
                    *("--workers-kill-timeout=2", f"--port={self.port}"),
                ],
                cwd=ROOT,
                env=_environment(home, **environment),
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        wait_for(lambda: self.get("/readyz").status == 200 or self.process.poll() is not None, 120)
        assert self.process.poll() is None, self.log.read_text()

    def request(
        self,
        method: str,
        path: str,
        tenant: Tenant | None = None,
        body: Any = None,
        **headers: str,
    ) -> Answered:
        """Send a request on a connection of its own."""
        if tenant is not None:
            path = path.replace("{workspace}", tenant.workspace)
            headers["Authorization"] = f"Bearer {tenant.key}"
        if body is not None:
            headers.setdefault("Content-Type", "application/json")
        began = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_SECONDS)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            return Answered(0, repr(error).encode(), seconds=time.monotonic() - began)
        finally:
            connection.close()
        return Answered(response.status, answer, response.headers, time.monotonic() - began)

    def get(self, path: str, tenant: Tenant | None = None, **headers: str) -> Answered:
        return self.request("GET", path, tenant, **headers)

    def post(self, path: str, tenant: Tenant, body: Any, **headers: str) -> Answered:
        return self.request("POST", path, tenant, body, **headers)

    def send(self, tenant: Tenant, email: str = "ada@example.test", **headers: str) -> Answered:
        """Send an event."""
        body = {"eventName": "ordered", "contact": {"email": email}}
        return self.post("/v4/track", tenant, body, **headers)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)


class Database:
    """The embedded PostgreSQL of a home, kept running."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.server = EmbeddedServer(home / "postgres")
        self.address = self.server.ensure_database(DATABASE)

    def connect(self) -> psycopg.Connection[Any]:
        parameters: Any = self.address.connection_parameters(DATABASE)
        return psycopg.connect(**parameters, autocommit=True)

    @contextmanager
    def lock(self, table: str) -> Iterator[None]:
        """Lock a table exclusively."""
        with self.connect() as connection, connection.transaction():
            connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")  # type: ignore[arg-type]
            yield

    def postmaster(self) -> psutil.Process:
        """Return the postmaster process."""
        number = (self.home / "postgres" / "data" / "postmaster.pid").read_text().split()[0]
        return psutil.Process(int(number))

    @contextmanager
    def silence(self) -> Iterator[None]:
        """Suspend all server processes: connections are accepted, and never answered."""
        postmaster = self.postmaster()
        stopped = [postmaster, *postmaster.children(recursive=True)]
        for process in stopped:
            process.suspend()
        try:
            yield
        finally:
            for process in stopped:
                process.resume()

    def restart(self) -> None:
        """Restart the server, ending every connection."""
        postmaster = self.postmaster()
        postmaster.send_signal(signal.SIGINT)
        wait_for(lambda: not postmaster.is_running() or postmaster.status() == psutil.STATUS_ZOMBIE, 60)
        self.address = self.server.ensure_running(check=True)

    def tenant(self, name: str) -> Tenant:
        """Create a workspace."""
        done = subprocess.run(
            [sys.executable, "manage.py", "create_workspace", name, "--json"],
            cwd=ROOT,
            env=_environment(self.home),
            stdout=subprocess.PIPE,
            check=True,
        )
        made = json.loads(done.stdout)
        return Tenant(made["workspace"], made["api_key"])


def a_database(home: Path) -> Database:
    """Return a server with the schema and a demo workspace."""
    prepare_home(home)
    return Database(home)


def demo_of(home: Path) -> Tenant:
    """Return the demo workspace."""
    demo = json.loads((home / "demo.json").read_text())
    return Tenant(demo["workspace"], demo["api_key"])


@contextmanager
def many(count: int) -> Iterator[ThreadPoolExecutor]:
    """Yield threads that send requests."""
    with ThreadPoolExecutor(count) as pool:
        yield pool


class Traffic:
    """Requests one after the other in some threads, until the end of the block."""

    def __init__(self, *requests: Any) -> None:
        self.answers: list[Answered] = []
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=[request]) for request in requests]

    def __enter__(self) -> "Traffic":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join(ANSWER_SECONDS)

    def _run(self, request: Any) -> None:
        while not self._is_over.is_set():
            self.answers.append(request())
            time.sleep(0.01)


def _environment(home: Path, **environment: str) -> dict[str, str]:
    own = {**os.environ, "HEADRACE_HOME": str(home), "SECRET_KEY": settings.SECRET_KEY, **environment}
    own.pop("DATABASE_URL", None)
    own.pop("DJANGO_SETTINGS_MODULE", None)  # production has none
    return own
