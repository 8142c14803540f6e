"""Never lost, never twice: processes are killed while clients send, and the rows are counted."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.config.test_supervisor import wait_for
from tests.proof.system import Senders, System, check_once
from tests.scale import IS_WHOLE

pytestmark = pytest.mark.slow
BETWEEN = 500 if IS_WHOLE else 100
"""Events that are acknowledged between one kill and the next."""
WORKER = "config worker"  # the web has an option of that name


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    system = System(tmp_path / "home")
    yield system
    if system.process.poll() is None:
        system.stop(signal.SIGKILL)
    wait_for(lambda: not system.remains(), 15)


def test_every_acknowledged_event_is_stored_and_scored_once(system: System) -> None:
    contacts = system.prepare(24)
    killings: list[Callable[[], psutil.Process]] = [
        lambda: child_of(system, "granian"),
        lambda: system.child(WORKER),
        lambda: system.child(WORKER),
        lambda: system.child("config.beat beat"),
        lambda: system.child("granian"),
        system.postmaster,
        lambda: system.child(WORKER),
        lambda: child_of(system, "granian"),
    ]
    if not IS_WHOLE:  # each kind once
        del killings[6:], killings[2]
    with Senders(system, contacts, count=32) as senders:
        for find in killings:
            senders.wait_for_more(BETWEEN)
            victim = find()
            victim.kill()
            wait_for(lambda victim=victim: not lives(victim), 10)
        senders.wait_for_more(BETWEEN)
        system.postmaster().send_signal(signal.SIGINT)  # as `pg_ctl restart --mode=fast` stops it
        senders.wait_for_more(BETWEEN)

    system.wait_for_effects(60)
    assert len(senders.acknowledged) > 200
    assert sum(client.retries for client in senders.clients) > 0
    check_once(system, senders)


def child_of(system: System, word: str) -> psutil.Process:
    """Return a process that one of the supervisor's programs forked."""
    wait_for(lambda: forked(system, word), 20)
    return forked(system, word)[0]


def forked(system: System, word: str) -> list[psutil.Process]:
    parent = system.find_child(word)
    try:
        return parent.children() if parent is not None else []
    except psutil.NoSuchProcess:
        return []


def lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
