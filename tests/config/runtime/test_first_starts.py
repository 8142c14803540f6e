"""What is told where it cannot start: one line, which says what to do; and who is first goes on unharmed."""

import errno
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import psycopg
import pytest

from config import home as home_module
from config.runtime.postgres import keeper
from config.runtime.postgres.server import DATABASE, EmbeddedServer
from tests.config.runtime.test_supervisor import ROOT, Run, free_port, wait_for
from tests.homes import prepare_home

pytestmark = pytest.mark.slow


def manage(*arguments: str, home: Path, code: str = "", **settings: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *arguments] if code else [sys.executable, "manage.py", *arguments]
    environment = environment_of(home, **settings)
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120
    )


def environment_of(home: Path, **settings: str) -> dict[str, str]:
    environment = {**os.environ, "HEADRACE_HOME": str(home), "PORT": str(free_port())}
    environment.pop("DATABASE_URL", None)
    return {**environment, **settings}


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 1, done
    (line,) = (done.stdout + done.stderr).splitlines()
    assert "Traceback" not in line
    return line


@contextmanager
def started(*runs: Run) -> Iterator[tuple[Run, Run]]:
    """Wait until one of two has ended; return the one that goes on, and it."""
    try:
        wait_for(lambda: any(run.process.poll() is not None for run in runs), 60)
        first, second = sorted(runs, key=lambda run: run.process.poll() is not None)
        yield first, second
    finally:
        for run in runs:
            with suppress(psutil.NoSuchProcess):
                run.stop()


AS_NOBODY = """
import os
from config.runtime import all_in_one
os.setgroups([]); os.setgid(65534); os.setuid(65534)
all_in_one.main([])
"""
FULL = """
import errno, os, pathlib
def full(self, data):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))
pathlib.Path.write_bytes = full
from config.runtime import all_in_one
all_in_one.main([])
"""


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        *(("run", kind) for kind in ("a file", "below a file", "nowhere", "too long")),
        ("prepare", "below a file"),
        ("migrate", "nowhere"),
    ],
)
def test_a_home_that_cannot_be_is_told_in_a_line(tmp_path: Path, command: str, kind: str) -> None:
    (tmp_path / "file").touch()
    home = {
        "a file": tmp_path / "file",
        "below a file": tmp_path / "file" / "home",
        "nowhere": Path("/proc/headrace/home"),
        "too long": tmp_path / ("x" * 300),
    }[kind]
    line = one_line(manage(command, home=home))
    assert str(home) in line
    assert "HEADRACE_HOME=/path" in line


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to become another user")
@pytest.mark.parametrize("kind", ["closed", "readable", "with a server of somebody else"])
def test_a_home_of_somebody_else_is_told_in_a_line(tmp_path: Path, kind: str) -> None:
    home = tmp_path / "home"
    home.mkdir()
    if kind == "with a server of somebody else":
        (home / "postgres").mkdir(mode=0o700)
    home.chmod({"closed": 0o700, "readable": 0o755}.get(kind, 0o777))
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    line = one_line(manage(home=home, code=AS_NOBODY))
    assert "Permission denied" in line
    assert "HEADRACE_HOME=/path" in line


def test_a_full_disk_is_told_in_a_line(tmp_path: Path) -> None:
    line = one_line(manage(home=tmp_path / "home", code=FULL))
    assert "is full: make room" in line


def test_a_disk_that_is_too_small_for_a_database_is_told_before_one_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setattr(home_module.shutil, "disk_usage", lambda _: SimpleNamespace(free=20 * 2**20))
    with pytest.raises(OSError, match="No space left") as full:
        home_module.require_home()
    assert "a new database takes 150 MiB" in home_module.home_problem(full.value)
    data = tmp_path / "postgres" / "data"
    data.mkdir(parents=True)
    (data / "PG_VERSION").touch()
    home_module.require_home()


def test_the_reason_is_told_and_not_that_a_program_failed(tmp_path: Path) -> None:
    failed = "subprocess.CalledProcessError: Command '[initdb]' returned non-zero exit status 1."
    (tmp_path / "log").write_text(f"initdb: error: could not write: No space left on device\n{failed}\n")
    assert (
        EmbeddedServer(tmp_path)._last_words() == " (initdb: error: could not write: No space left on device)"
    )


def test_what_hinders_is_told_by_its_kind() -> None:
    assert "is full" in home_module.home_problem(OSError(errno.EDQUOT, "Disk quota exceeded"))
    assert "Read-only file system" in home_module.home_problem(OSError(errno.EROFS, "Read-only file system"))


def test_a_home_whose_parents_are_missing_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "a" / "b"
    monkeypatch.setenv("HEADRACE_HOME", str(home))
    home_module.require_home()
    assert list(home.iterdir()) == []


def test_a_database_that_cannot_be_reached_is_told_in_a_line(tmp_path: Path) -> None:
    address = f"postgres://somebody:secret@127.0.0.1:{free_port()}/headrace"
    line = one_line(manage("prepare", home=tmp_path, DATABASE_URL=address))
    assert "cannot be prepared" in line
    assert "secret" not in line


def test_a_server_that_does_not_start_is_told_with_its_reason(tmp_path: Path) -> None:
    home = tmp_path / "home"
    prepare_home(home)
    (home / "postgres" / "data" / "PG_VERSION").write_text("17\n")
    line = one_line(manage("prepare", home=home))
    assert "FATAL" in line
    assert "postgres/log" in line
    done = manage("run", home=home)
    assert (done.returncode, "Traceback" in done.stdout + done.stderr) == (1, False)
    assert "FATAL" in done.stdout
    assert EmbeddedServer(home / "postgres").wait_until_stopped(20)


def test_of_two_that_begin_at_once_from_one_home_the_first_goes_on(tmp_path: Path) -> None:
    home = tmp_path / "home of headrace"
    prepare_home(home)
    with started(Run(home), Run(home)) as (first, second):
        assert second.process.wait(10) == 1
        assert len([line for line in first.output().splitlines() if "already" in line]) == 1
        first.wait_until_ready()
        assert "Traceback" not in first.output()
        assert (first.status(), second.status()) == (200, 0)


def test_of_two_that_begin_at_once_on_one_port_the_first_goes_on(tmp_path: Path) -> None:
    port = free_port()
    homes = [tmp_path / "one", tmp_path / "two"]
    for home in homes:
        prepare_home(home)
    runs = [Run(home, PORT=str(port)) for home in homes]
    for run in runs:
        run.port = port
    with started(*runs) as (first, second):
        assert second.process.wait(10) == 1
        (line,) = second.output().splitlines()
        assert re.search(r"is not free.* PORT=", line)
        first.wait_until_ready()
        assert first.status() == 200


def test_two_that_prepare_at_once_make_one_database(tmp_path: Path) -> None:
    home = tmp_path / "home"
    server = EmbeddedServer(home / "postgres")
    server.ensure_database(DATABASE)
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    command = [sys.executable, "manage.py", "prepare"]
    both = [subprocess.Popen(command, cwd=ROOT, env=environment_of(home), **pipes) for _ in range(2)]
    told = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    # The password is told once, by whoever made it.
    demos = [json.loads(output)["prepared"]["demo"] for output, _ in told]
    assert demos[0]["workspace"] == demos[1]["workspace"]
    assert demos[0]["api_key"] == demos[1]["api_key"]
    with psycopg.connect(**server.ensure_running().connection_parameters(DATABASE)) as connection:
        assert connection.execute("SELECT count(*) FROM workspaces_workspace").fetchone() == (1,)
    server.leave()
    assert server.wait_until_stopped(20)


def test_the_log_of_the_server_is_kept_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "LOG_BYTES", 1000)
    log = tmp_path / "log"
    with log.open("ab", buffering=0) as server:
        server.write(b"old\n" * 1000)
        keeper.rotate(log)
        assert (log.stat().st_size, (tmp_path / "log.1").stat().st_size) == (0, 1000)
        server.write(b"new\n")
    assert log.read_bytes() == b"new\n"
    assert (tmp_path / "log.1").stat().st_mode & 0o777 == 0o600


def test_a_log_that_cannot_be_kept_is_emptied_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(keeper.shutil, "copyfileobj", full)
    (tmp_path / "log").write_bytes(b"old\n")
    keeper.rotate(tmp_path / "log")
    assert [path.name for path in tmp_path.iterdir()] == ["log"]
    assert (tmp_path / "log").stat().st_size == 0
