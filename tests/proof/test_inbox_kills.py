"""What stays in the database is there exactly once: e-mail in the local inbox, whatever is killed meanwhile."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.config.runtime.test_supervisor import wait_for
from tests.proof.system import System
from tests.proof.test_campaign_kills import GIVE_UP_SECONDS, Starter, kill_at_work, manage, open_work
from tests.scale import IS_WHOLE, scaled

pytestmark = pytest.mark.slow
RUNS = scaled(120, 80)
"""Fewer than the inbox keeps."""
VICTIMS = ("backend", "postmaster", "worker") * (6 if IS_WHOLE else 1)


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    system = System(tmp_path / "home", EMAIL_URL="", DELIVERY_CLAIM_SECONDS="2")
    yield system
    if system.process.poll() is None:
        system.stop(signal.SIGKILL)
    wait_for(lambda: not system.remains(), 30)


def test_every_message_is_in_the_inbox_once_and_none_is_unknown(system: System) -> None:
    manage(
        system,
        "shell",
        "--no-imports",
        "-c",
        f"from tests.proof.many_runs import *; prepare_enrollments({RUNS})",
    )
    contacts = [row[0] for row in system.rows("SELECT id::text FROM contacts_contact ORDER BY id")]
    with Starter(system, contacts) as starter:
        kill_at_work(system, starter, VICTIMS, RUNS)
    wait_for(lambda: not open_work(system, RUNS), GIVE_UP_SECONDS)

    assert system.rows("SELECT status, count(*)::int FROM campaigns_message GROUP BY 1") == [("SENT", RUNS)]
    kept = "SELECT count(*)::int, count(DISTINCT message_id)::int FROM campaigns_sentemail"
    assert system.rows(kept) == [(RUNS, RUNS)]
    told = "SELECT count(*)::int FROM events_event WHERE name = 'message.sent'"
    assert system.rows(told) == [(RUNS,)]
