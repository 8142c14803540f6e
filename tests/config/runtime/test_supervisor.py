"""`manage.py run` as its user meets it: started, wounded, stopped."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from config.runtime.child_processes import exit_with_parent
from tests.homes import prepare_home

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[3]
READY = "Headrace runs at"


class Run:
    """One `manage.py run` in a folder of its own."""

    def __init__(self, home: Path, **settings: str) -> None:
        self.home = home
        self.port = free_port()
        self.log = home / "output"
        home.mkdir(exist_ok=True)
        environment = {
            **os.environ,
            "HEADRACE_HOME": str(home),
            "PORT": str(self.port),
            "PYTHONUNBUFFERED": "1",
        }
        environment.pop("DATABASE_URL", None)
        environment.update(settings)
        with self.log.open("ab") as output:
            self.process = psutil.Popen(
                [sys.executable, "manage.py", "run", "--worker-processes=1"],
                cwd=ROOT,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.starts = 0

    def wait_until_ready(self, starts: int = 1) -> None:
        wait_for(lambda: self.output().count(READY) >= starts or self.process.poll() is not None, 90)
        assert self.process.poll() is None, self.output()

    def output(self) -> str:
        return self.log.read_text()

    def status(self, path: str = "/admin/login/") -> int:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def child(self, word: str) -> psutil.Process:
        wait_for(lambda: self.find_child(word), 30)
        child = self.find_child(word)
        assert child is not None
        return child

    def find_child(self, word: str) -> psutil.Process | None:
        return next((child for child in self.process.children() if word in command_of(child)), None)

    def remains(self) -> list[psutil.Process]:
        """Return every process that has this run's home or port in its environment or command."""
        found = []
        for process in psutil.process_iter():
            try:
                text = command_of(process) + process.environ().get("HEADRACE_HOME", "")
            except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                continue
            if str(self.home) in text or f"--port={self.port}" in text or self.socket_directory() in text:
                found.append(process)
        return found

    def socket_directory(self) -> str:
        return str(json.loads((self.home / "postgres/server.json").read_text())["socket_directory"])

    def stop(self, number: int = signal.SIGTERM) -> float:
        began = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(20)
        return time.monotonic() - began


def command_of(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(is_so: Callable[[], object], seconds: float) -> None:
    """Look again and again, more seldom with the time: a look may cost a connection or a walk over all processes."""
    deadline, pause = time.monotonic() + seconds, 0.02
    while not is_so():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(pause)
        pause = min(1.2 * pause, 0.1)


@pytest.fixture
def new(tmp_path: Path) -> Iterator[Run]:
    """Start it where nothing is."""
    yield from running(tmp_path / "home of headrace")


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Start it where it was prepared."""
    prepare_home(tmp_path / "home of headrace")
    yield from running(tmp_path / "home of headrace")


def running(home: Path) -> Iterator[Run]:
    run = Run(home)
    yield run
    if run.process.poll() is None:
        run.stop(signal.SIGKILL)
    wait_for(lambda: not run.remains(), 15)


def test_it_serves_heals_and_stops_within_five_seconds(run: Run) -> None:
    run.wait_until_ready()
    assert run.status() == 200
    stylesheet = "/static/unfold/css/styles.css"
    assert run.status(stylesheet) == 200

    for word in ("granian", "config worker", "config.runtime.beat beat"):
        fallen = run.child(word)
        fallen.kill()
        fallen.wait()
        assert run.child(word).pid != fallen.pid
    wait_for(lambda: run.status() == 200, 60)
    wait_for(lambda: run.child("granian").children(), 10)
    run.child("granian").children()[0].kill()
    wait_for(lambda: len(run.child("granian").children()) == 2, 10)
    wait_for(lambda: run.status() == 200, 60)

    assert run.stop() < 5
    assert run.process.returncode == 0
    assert run.remains() == []


def test_a_later_start_tells_the_same_credentials_but_for_the_password(new: Run) -> None:
    new.wait_until_ready()
    (password,) = re.findall(r"Password +(\S+)\n", new.output())
    demo = json.loads((new.home / "demo.json").read_text())
    assert (new.home / "demo.json").stat().st_mode & 0o777 == 0o600
    assert new.stop(signal.SIGINT) < 5
    again = Run(new.home)
    again.wait_until_ready(starts=2)
    assert json.loads((new.home / "demo.json").read_text()) == demo
    assert again.output().count(password) == 1
    assert f"manage.py changepassword {demo['user']['username']}" in again.output()
    # Nothing in the home has it, but what the process printed.
    found = subprocess.run(["grep", "-rlaF", password, str(new.home)], capture_output=True, text=True)
    assert found.stdout.splitlines() == [str(new.log)]
    assert again.stop() < 5
    assert again.remains() == []


def test_what_it_prints_holds(run: Run) -> None:
    run.wait_until_ready()
    for word in ("granian", "config worker"):
        assert run.child(word).environ()["PUBLIC_URL"] == f"http://localhost:{run.port}"
    assert f"{READY} http://localhost:{run.port} " in run.output()
    assert (run.home / "address").read_text().strip() == f"http://localhost:{run.port}"
    script = "\n".join(re.findall(r"^(?:curl|CONTACT=).*$", run.output(), flags=re.MULTILINE))
    done = subprocess.run(["bash", "-ec", script], capture_output=True, text=True, check=True)
    assert '"error"' not in done.stdout
    assert "ada@example.com" in done.stdout
    assert run.stop() < 5
    assert not (run.home / "address").exists()


def test_a_killed_supervisor_leaves_no_process(run: Run) -> None:
    run.wait_until_ready()
    run.stop(signal.SIGKILL)
    wait_for(lambda: not run.remains(), 10)


def test_a_process_that_is_begun_while_its_supervisor_dies_ends_too() -> None:
    """The kernel tells of a death that comes later only; and a supervisor, as here, does something on the signal."""
    gone = os.getpid() + 1
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        started = subprocess.Popen(
            [sys.executable, "-c", "import time; time.sleep(20)"],
            preexec_fn=partial(exit_with_parent, signal.SIGTERM, gone),
        )
    finally:
        signal.signal(signal.SIGTERM, before)
    assert started.wait(10) == -signal.SIGTERM


def test_a_taken_port_is_told_at_once(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = subprocess.run(
            [sys.executable, "manage.py", "run", f"--port={taken.getsockname()[1]}"],
            cwd=ROOT,
            env={**os.environ, "HEADRACE_HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert "is not free" in done.stderr
    assert not (tmp_path / "postgres").exists()
