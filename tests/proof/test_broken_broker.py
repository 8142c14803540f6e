"""A broker that refuses, or takes connections and never answers, neither fails nor slows a send."""

import signal
import socket
import statistics
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from tests.config.runtime.test_supervisor import wait_for
from tests.proof.system import Client, Senders, System, check_once
from tests.scale import scaled

pytestmark = pytest.mark.slow
SENDS = scaled(150, 40)


@pytest.fixture
def silent() -> Iterator[int]:
    """Listen on a port where nobody ever answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        yield listener.getsockname()[1]


@contextmanager
def _writes_that_wake_nobody(system: System) -> Iterator[list[float]]:
    """Write templates during the block; yield the seconds of each: what the machine itself takes."""
    is_over = threading.Event()

    def write() -> None:
        while not is_over.is_set():
            client.post("templates", {"name": f"T {uuid4()}", "body": "<p>Hello"})
            is_over.wait(0.02)

    with closing(Client(system)) as client, ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        try:
            yield client.times
        finally:
            is_over.set()
            writing.result()


def test_sends_do_not_wait_and_effects_catch_up(
    silent: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A worker that hangs at a silent broker is given all of it when it is to stop.
    monkeypatch.setenv("DELIVERY_GRACE_SECONDS", "3")
    contacts: list[str] = []
    acknowledged: dict[str, tuple[str, str]] = {}
    for starts, (kind, port) in enumerate({"refused": 1, "silent": silent}.items(), start=1):
        monkeypatch.setenv("CELERY_BROKER_URL", f"redis://127.0.0.1:{port}/0")
        broken = System(tmp_path / "home", starts=starts)
        try:
            contacts = contacts or broken.prepare(20)
            with (
                _writes_that_wake_nobody(broken) as usual,
                Senders(broken, contacts, count=2, first=2 * starts) as senders,
            ):
                senders.wait_for_more(SENDS)
            acknowledged |= senders.acknowledged
            times = [seconds for client in senders.clients for seconds in client.times]
            assert sum(client.retries for client in senders.clients) == 0, kind
            # A send that waited for the broker would take half a second more than other writes do meanwhile.
            assert statistics.median(times) < 0.05 + 2 * statistics.median(usual), kind
            assert statistics.quantiles(times, n=100)[-1] < 0.5 + max(usual), kind
            stored = broken.rows("SELECT count(*) FROM events_event WHERE name = 'purchase'")
            assert stored == [(len(acknowledged),)], kind
            assert broken.rows("SELECT count(*) FROM scoring_scoreentry") == [(0,)], kind
        finally:
            broken.stop(signal.SIGTERM)
            wait_for(lambda system=broken: not system.remains(), 15)

    monkeypatch.delenv("CELERY_BROKER_URL")
    senders.acknowledged = acknowledged
    healed = System(tmp_path / "home", starts=3)
    try:
        healed.wait_for_effects(30)
        check_once(healed, senders)
    finally:
        healed.stop(signal.SIGTERM)
        wait_for(lambda: not healed.remains(), 15)
