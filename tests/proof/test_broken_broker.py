"""A broker that refuses, or takes connections and never answers, neither fails nor slows a send."""

import signal
import socket
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.config.runtime.test_supervisor import wait_for
from tests.proof.system import Senders, System, check_once

pytestmark = pytest.mark.slow
SENDS = 400


@pytest.fixture
def silent() -> Iterator[int]:
    """Listen on a port where nobody ever answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        yield listener.getsockname()[1]


@pytest.mark.parametrize("kind", ["refused", "silent"])
def test_sends_do_not_wait_and_effects_catch_up(
    kind: str, silent: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", f"redis://127.0.0.1:{1 if kind == 'refused' else silent}/0")
    # A worker that hangs at a silent broker is given all of it when it is to stop.
    monkeypatch.setenv("DELIVERY_GRACE_SECONDS", "3")
    broken = System(tmp_path / "home")
    try:
        with Senders(broken, broken.prepare(20), count=2) as senders:
            senders.wait_for_more(SENDS)
        times = [seconds for client in senders.clients for seconds in client.times]
        assert sum(client.retries for client in senders.clients) == 0
        assert statistics.median(times) < 0.05
        # A send that waited for the broker would take half a second; the machine itself may stall one or two.
        assert statistics.quantiles(times, n=100)[-1] < 0.5
        stored = broken.rows("SELECT count(*) FROM events_event WHERE name = 'purchase'")
        assert stored == [(len(senders.acknowledged),)]
        assert broken.rows("SELECT count(*) FROM scoring_scoreentry") == [(0,)]
    finally:
        broken.stop(signal.SIGTERM)
        wait_for(lambda: not broken.remains(), 15)

    monkeypatch.delenv("CELERY_BROKER_URL")
    healed = System(tmp_path / "home", starts=2)
    try:
        healed.wait_for_effects(30)
        check_once(healed, senders)
    finally:
        healed.stop(signal.SIGTERM)
        wait_for(lambda: not healed.remains(), 15)
