"""Workers are killed while runs go on and e-mails leave: none is missing, none comes twice, nothing is stuck."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.campaigns.messages import MailServer
from tests.config.test_supervisor import ROOT, wait_for
from tests.proof.system import System

pytestmark = pytest.mark.slow
RUNS = int(os.environ.get("PROOF_RUNS", "10000"))
KILLS = 16
WORKER = "config worker"  # the web has an option of that name
GIVE_UP_SECONDS = 900
_PROGRESS = (
    "SELECT (SELECT count(*) + COALESCE(sum(steps_taken), 0) FROM campaigns_run)::int,"
    " (SELECT count(*) FROM campaigns_message WHERE status = 'SENT')::int"
)


@pytest.fixture
def mail() -> Iterator[MailServer]:
    with MailServer() as server:
        yield server


@pytest.fixture
def system(tmp_path: Path, mail: MailServer) -> Iterator[System]:
    system = System(
        tmp_path / "home",
        EMAIL_URL=f"smtp://127.0.0.1:{mail.port}",
        # What a killed worker had in hand is settled soon, not after minutes.
        DELIVERY_CLAIM_SECONDS="5",
    )
    yield system
    if system.process.poll() is None:
        system.stop(signal.SIGKILL)
    wait_for(lambda: not system.remains(), 30)


def test_no_message_is_missing_none_comes_twice_and_nothing_is_stuck(
    system: System, mail: MailServer
) -> None:
    script = f"from tests.proof.many_runs import start_runs; start_runs({RUNS})"
    start = [sys.executable, "manage.py", "shell", "--no-imports", "-c", script]
    with subprocess.Popen(start, cwd=ROOT, env={**os.environ, "HEADRACE_HOME": str(system.home)}) as starting:
        kill_workers_at_work(system)
        assert starting.wait(GIVE_UP_SECONDS) == 0
    wait_for(lambda: not open_work(system), GIVE_UP_SECONDS)

    assert system.rows("SELECT status, end_reason, count(*) FROM campaigns_run GROUP BY 1, 2") == [
        ("completed", "end_of_workflow", RUNS)
    ]
    assert system.rows("SELECT count(*) FROM events_event WHERE name = 'noted'") == [(RUNS,)]
    messages = dict(system.rows("SELECT address, status FROM campaigns_message"))
    assert system.rows("SELECT count(*), count(DISTINCT run_id) FROM campaigns_message") == [(RUNS, RUNS)]
    assert len(messages) == RUNS
    received = Counter(envelope.rcpt_tos[0] for envelope in mail.mailbox.envelopes)
    assert set(received.values()) == {1}
    # A worker that was killed between sending and noting it leaves a message of which nobody knows; no other does.
    assert set(messages.values()) <= {"SENT", "UNKNOWN"}
    assert {address for address, status in messages.items() if status == "SENT"} <= set(received)
    assert list(messages.values()).count("UNKNOWN") <= 20 * KILLS
    decisions = system.rows("SELECT kind, reason, count(*)::int FROM campaigns_decision GROUP BY 1, 2")
    found = {(kind, reason): count for kind, reason, count in decisions}
    assert found["entered", ""] == RUNS
    assert found["not_entered", "already_entered"] == RUNS // 2


def kill_workers_at_work(system: System) -> None:
    """Kill the worker whenever it has done something since the last time, first at enrolling, then at sending."""
    deadline = time.monotonic() + GIVE_UP_SECONDS
    taken, sent = 0, 0
    for number in range(KILLS):
        while True:
            now_taken, now_sent = system.rows(_PROGRESS)[0]
            has_moved = now_taken > taken if number < KILLS // 2 else now_sent > sent
            if has_moved or (now_sent == RUNS and number):
                break
            assert time.monotonic() < deadline, (now_taken, now_sent)
            time.sleep(0.05)
        taken, sent = now_taken, now_sent
        system.child(WORKER).kill()


def open_work(system: System) -> bool:
    """Tell whether anything is still to be done."""
    ((waiting,),) = system.rows(
        "SELECT (SELECT count(*) FROM events_eventbatch)"
        " + (SELECT count(*) FROM campaigns_run WHERE status = 'open')"
        " + (SELECT count(*) FROM campaigns_message WHERE status IN ('QUEUED', 'SENDING'))"
    )
    ((runs,),) = system.rows("SELECT count(*) FROM campaigns_run")
    return waiting > 0 or runs < RUNS
