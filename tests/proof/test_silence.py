"""A database that accepts and stays silent stops nobody for good: web, worker and beat are back when it speaks."""

import time

import pytest

from tests.proof.system import Senders, System, check_once
from tests.scale import IS_WHOLE

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not IS_WHOLE, reason="takes its time: make proof")]

SILENT_SECONDS = 12
LIMITS = {f"{work}_STATEMENT_TIMEOUT_SECONDS": "2" for work in ("WEB", "INGEST", "EFFECTS", "BACKGROUND")} | {
    "SILENCE_GRACE_SECONDS": "1",
    "WEB_CONNECT_TIMEOUT_SECONDS": "2",
    "EFFECTS_CONNECT_TIMEOUT_SECONDS": "2",
}


def test_what_was_accepted_before_during_and_after_has_its_effects_once(tmp_path):
    system = System(tmp_path / "home", **LIMITS)
    try:
        contacts = system.prepare(8)
        with Senders(system, contacts, 4) as senders:
            senders.wait_for_more(50)
            processes = {child.pid for child in system.process.children()}
            postmaster = system.postmaster()
            stopped = [postmaster, *postmaster.children(recursive=True)]
            for process in stopped:
                process.suspend()
            try:
                until = time.monotonic() + SILENT_SECONDS
                while time.monotonic() < until:
                    assert system.status("/livez") == 200
                    time.sleep(0.5)
                assert system.status("/readyz") == 503
            finally:
                for process in stopped:
                    process.resume()
            senders.wait_for_more(50)
        system.wait_for_effects(60)
        check_once(system, senders)
        # Nobody had to be started anew for that.
        assert {child.pid for child in system.process.children()} == processes
    finally:
        system.stop()
