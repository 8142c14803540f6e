"""Everything is killed while runs go on and e-mails leave: none is missing, none comes twice, nothing is stuck."""

import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from tests.campaigns.messages import MailServer
from tests.config.runtime.test_supervisor import wait_for
from tests.proof.system import RECOVERY_SECONDS, Client, System, find_victim, lives, manage
from tests.scale import IS_WHOLE, scaled

pytestmark = pytest.mark.slow
RUNS = scaled(300, 1_000)
# In turn, and often enough that each falls several times: while events come in, while steps are taken, while e-mails
# leave. A worker has by far the most to lose.
VICTIMS = (
    ("worker", "web", "worker", "backend", "worker", "beat", "worker", "postmaster", "worker", "granian") * 2
    if IS_WHOLE
    else ("worker", "web", "backend", "worker", "postmaster", "granian", "beat")
)
BATCH = 100
GIVE_UP_SECONDS = 900
_PROGRESS = (
    "SELECT (SELECT count(*) + COALESCE(sum(steps_taken), 0) FROM campaigns_enrollment)::int,"
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
    manage(
        system,
        "shell",
        "--no-imports",
        "-c",
        f"from tests.proof.many_runs import *; prepare_enrollments({RUNS})",
    )
    contacts = [row[0] for row in system.rows("SELECT id::text FROM contacts_contact ORDER BY id")]
    with Starter(system, contacts) as starter:
        kill_at_work(system, starter)
    wait_for(lambda: not open_work(system), GIVE_UP_SECONDS)

    assert system.rows("SELECT status, end_reason, count(*) FROM campaigns_enrollment GROUP BY 1, 2") == [
        ("completed", "end_of_workflow", RUNS)
    ]
    assert system.rows("SELECT count(*) FROM events_event WHERE name = 'go'") == [(RUNS + RUNS // 2,)]
    assert system.rows("SELECT count(*) FROM events_event WHERE name = 'noted'") == [(RUNS,)]
    assert system.rows("SELECT count(*), count(DISTINCT enrollment_id) FROM campaigns_message") == [
        (RUNS, RUNS)
    ]
    decisions = system.rows("SELECT kind, reason, count(*)::int FROM campaigns_decision GROUP BY 1, 2")
    found = {(kind, reason): count for kind, reason, count in decisions}
    assert found["entered", ""] == RUNS
    assert found["not_entered", "already_entered"] == RUNS // 2

    messages = {address: (pk, status) for pk, address, status in system.rows(_MESSAGES)}
    assert len(messages) == RUNS
    assert set(received(mail).values()) == {1}
    # A worker that was killed between sending and noting it leaves a message of which nobody knows; no other does.
    assert {status for _, status in messages.values()} <= {"SENT", "UNKNOWN"}
    assert {address for address, (_, status) in messages.items() if status == "SENT"} <= set(received(mail))
    unknown = {address: pk for address, (pk, status) in messages.items() if status == "UNKNOWN"}
    assert len(unknown) <= 20 * VICTIMS.count("worker")
    settle(system, mail, unknown)
    assert received(mail) == Counter(messages.keys())
    manage(system, "audit_effects", "--grace-seconds=0")


class Starter:
    """Has every contact do what starts its run, every other one twice, each event until it is acknowledged."""

    def __init__(self, system: System, contacts: list[str]) -> None:
        self.client = Client(system)
        self.events = [*contacts, *contacts[::2]]
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._start, daemon=True)

    def __enter__(self) -> "Starter":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.thread.join(GIVE_UP_SECONDS)
        assert not self.thread.is_alive()
        if self.error is not None:
            raise self.error

    def _start(self) -> None:
        try:
            with closing(self.client):
                for start in range(0, len(self.events), BATCH):
                    chosen = self.events[start : start + BATCH]
                    body = {"events": [{"type": "go", "contactId": contact} for contact in chosen]}
                    answer = self.client.post("events/batch", body, attempts_seconds=RECOVERY_SECONDS)
                    assert {one["status"] for one in answer["results"]} == {"recorded"}
        except BaseException as error:  # shown by the test's own thread
            self.error = error


def kill_at_work(
    system: System, starter: Starter, victims: Sequence[str] = VICTIMS, runs: int = RUNS
) -> None:
    """Kill the next victim whenever something was done since the last time, first at enrolling, then at sending."""
    deadline = time.monotonic() + GIVE_UP_SECONDS
    taken, sent = 0, 0
    for number, name in enumerate(victims):
        while True:
            assert starter.error is None, starter.error
            now_taken, now_sent = system.rows(_PROGRESS)[0]
            has_moved = now_taken > taken if number < len(victims) // 2 else now_sent > sent
            if has_moved or (now_sent == runs and number):
                break
            assert time.monotonic() < deadline, (now_taken, now_sent)
            time.sleep(0.05)
        taken, sent = now_taken, now_sent
        victim = find_victim(system, name)
        victim.kill()
        wait_for(lambda victim=victim: not lives(victim), 10)


def open_work(system: System, expected: int = RUNS) -> bool:
    """Tell whether anything is still to be done."""
    ((waiting,),) = system.rows(
        "SELECT (SELECT count(*) FROM events_eventbatch)"
        " + (SELECT count(*) FROM campaigns_enrollment WHERE status = 'open')"
        " + (SELECT count(*) FROM campaigns_message WHERE status IN ('QUEUED', 'SENDING'))"
    )
    ((runs,),) = system.rows("SELECT count(*) FROM campaigns_enrollment")
    return waiting > 0 or runs < expected


def settle(system: System, mail: MailServer, unknown: dict[str, str]) -> None:
    """Say of each unknown message whether the receiver has it, and wait until those that it has not got have left."""
    got = received(mail)
    with closing(Client(system)) as client:
        for address, message in unknown.items():
            client.post(f"messages/{message}/settle", {"wasSent": address in got}, attempts_seconds=60)
    wait_for(lambda: {status for _, _, status in system.rows(_MESSAGES)} == {"SENT"}, 60)
    system.wait_for_effects(60)


def received(mail: MailServer) -> Counter[str]:
    """Return how often which address got an e-mail."""
    return Counter(envelope.rcpt_tos[0] for envelope in mail.mailbox.envelopes)


_MESSAGES = "SELECT id::text, address, status FROM campaigns_message"
