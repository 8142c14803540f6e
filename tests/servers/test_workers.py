"""Celery's prefork pool over Redis and RabbitMQ: what a killed child held is done by another."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.config.runtime.test_broker import PUBLISH, ROOT, kill
from tests.servers.conftest import Broker, required


class Workers:
    """Prefork workers, and those who give them tasks that note what they do."""

    def __init__(self, home: Path, broker: Broker) -> None:
        self.notes = home / "notes"
        self.environment = {
            **os.environ,
            **broker.settings,
            "DATABASE_URL": required("DATABASE_URL"),
            "HEADRACE_HOME": str(home),
            "BROKER_VISIBILITY_SECONDS": "5",
        }
        self.running: list[psutil.Popen] = []

    def start(self) -> psutil.Popen:
        """Start a worker of two children."""
        command = [sys.executable, "-m", "celery", "-A", "config", "worker", "-I", "tests.config.probe"]
        options = ["--pool=prefork", "--concurrency=2", "--without-gossip", "--without-mingle"]
        worker = psutil.Popen(
            [*command, *options],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.running.append(worker)
        return worker

    def publish(self, *words: str, seconds: float = 0) -> None:
        """Give a task for each word."""
        command = [sys.executable, "-c", PUBLISH, str(self.notes), str(seconds), *words]
        subprocess.run(command, cwd=ROOT, env=self.environment, check=True)

    def lines(self) -> list[list[str]]:
        """Return what was noted: process, time, state, word."""
        return [line.split() for line in self.notes.read_text().splitlines()] if self.notes.exists() else []

    def wait_for(self, state: str, *words: str, seconds: float = 40) -> list[int]:
        """Wait until the words are in that state; return the processes that noted it."""
        deadline = time.monotonic() + seconds
        while True:
            found = {line[3]: int(line[0]) for line in self.lines() if line[2] == state}
            if set(words) <= set(found):
                return [found[word] for word in words]
            assert time.monotonic() < deadline, f"not {state}: {set(words) - set(found)}"
            time.sleep(0.05)


@pytest.fixture
def workers(tmp_path: Path, broker: Broker) -> Iterator[Workers]:
    workers = Workers(tmp_path, broker)
    yield workers
    for worker in workers.running:
        kill(worker)


def test_a_killed_childs_task_is_done_by_another(workers: Workers) -> None:
    workers.start()
    workers.publish("slow", seconds=2)
    (busy,) = workers.wait_for("started", "slow")
    os.kill(busy, signal.SIGKILL)
    (other,) = workers.wait_for("done", "slow")
    assert other != busy


def test_children_killed_while_idle_have_successors(workers: Workers) -> None:
    worker = workers.start()
    workers.publish("before")
    workers.wait_for("done", "before")
    for child in worker.children():
        child.kill()
    workers.publish("a", "b", "c", "d", seconds=0.2)
    workers.wait_for("done", "a", "b", "c", "d")


def test_a_killed_workers_task_comes_back_to_another_worker(workers: Workers) -> None:
    first = workers.start()
    workers.publish("slow", seconds=3)
    workers.wait_for("started", "slow")
    kill(first)
    assert not [line for line in workers.lines() if line[2] == "done"]
    workers.start()
    workers.wait_for("done", "slow")


def test_a_worker_finds_its_broker_again(workers: Workers, broker: Broker) -> None:
    worker = workers.start()
    workers.publish("before")
    workers.wait_for("done", "before")
    broker.relay.cut()
    time.sleep(8)
    assert worker.poll() is None
    broker.relay.heal()
    workers.publish("after")
    workers.wait_for("done", "after")
