"""Celery over PGMQ, with a real worker."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from config.runtime.postgres.server import EmbeddedServer
from tests.homes import prepare_home

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[3]
PUBLISH = """
import sys
from tests.config.probe import note
for word in sys.argv[3:]:
    note.delay(sys.argv[1], word, float(sys.argv[2]))
"""


class Broker:
    """Workers and publishers that share a home."""

    def __init__(self, home: Path) -> None:
        prepare_home(home)
        self.notes = home / "notes"
        self.output = home / "output"
        self.environment = {**os.environ, "HEADRACE_HOME": str(home)}
        for name in ("DATABASE_URL", "CELERY_BROKER_URL"):
            self.environment.pop(name, None)
        self.server = EmbeddedServer(home / "postgres")
        self.server.ensure_database("headrace")
        self.workers: list[psutil.Popen] = []

    def start_worker(self) -> psutil.Popen:
        command = [sys.executable, "-m", "celery", "-A", "config", "worker", "-I", "tests.config.probe"]
        quiet = ["--concurrency=1", "--without-gossip", "--without-mingle", "--without-heartbeat"]
        with self.output.open("ab") as output:
            worker = psutil.Popen(
                [*command, *quiet],
                cwd=ROOT,
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.workers.append(worker)
        return worker

    def publish(self, *words: str, seconds: float = 0) -> None:
        command = [sys.executable, "-c", PUBLISH, str(self.notes), str(seconds), *words]
        subprocess.run(command, cwd=ROOT, env=self.environment, check=True)

    def words(self, state: str) -> list[str]:
        text = self.notes.read_text() if self.notes.exists() else ""
        return [line.split()[3] for line in text.splitlines() if line.split()[2] == state]

    def wait_for(self, state: str, words: set[str], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not words <= set(self.words(state)):
            assert time.monotonic() < deadline, f"only {self.words(state)} {state}"
            time.sleep(0.05)

    def close(self) -> None:
        for worker in self.workers:
            kill(worker)
        self.server.leave()
        assert self.server.wait_until_stopped(10)


def kill(worker: psutil.Popen) -> None:
    if worker.poll() is None:
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    broker = Broker(tmp_path / "home")
    yield broker
    broker.close()


def test_what_is_published_before_any_worker_runs_is_done_later(broker: Broker) -> None:
    broker.publish("early", "bird")
    broker.start_worker()
    broker.wait_for("done", {"early", "bird"}, 30)


def test_a_killed_workers_task_comes_back(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(broker.environment, "BROKER_VISIBILITY_SECONDS", "3")
    first = broker.start_worker()
    broker.publish("slow", "waiting", seconds=2)
    broker.wait_for("started", {"slow"}, 30)
    kill(first)
    assert broker.words("done") == []
    broker.start_worker()
    broker.wait_for("done", {"slow", "waiting"}, 40)


def test_a_restarted_database_loses_no_task(broker: Broker) -> None:
    broker.start_worker()
    broker.publish("before")
    broker.wait_for("done", {"before"}, 30)
    address = broker.server.ensure_running()
    for process in psutil.process_iter(["cmdline"]):
        if f"unix_socket_directories={address.socket_directory}" in (process.info["cmdline"] or []):
            process.kill()
            process.wait()
    broker.server.ensure_running(check=True)
    broker.publish("after")
    broker.wait_for("done", {"after"}, 40)


def test_workers_that_start_at_once_find_a_queue_that_one_of_them_made(broker: Broker) -> None:
    for _ in range(3):
        broker.start_worker()
    broker.publish("first")
    broker.wait_for("done", {"first"}, 60)
    assert "ERROR" not in (broker.server.folder / "log").read_text()
    assert "Traceback" not in broker.output.read_text()
    assert "Error" not in broker.output.read_text()
