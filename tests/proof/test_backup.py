"""A backup taken amid work, and a restore of it after the machine is gone: what docs/backup.md promises."""

import json
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.campaigns.messages import MailServer
from tests.config.runtime.test_supervisor import wait_for
from tests.proof.system import Client, System, manage
from tests.proof.tenants import ACTED, GREETED
from tests.scale import IS_WHOLE

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not IS_WHOLE, reason="only `make proof` restores a backup amid work"),
]
CONTACTS = 40
SETTINGS = {"DELIVERY_THREADS": "2", "DELIVERY_CLAIM_SECONDS": "5"}


@pytest.fixture
def mail() -> Iterator[MailServer]:
    with MailServer() as server:
        yield server


class Installation:
    """A home, in which Headrace runs at times."""

    def __init__(self, home: Path, mail: MailServer) -> None:
        self.home = home
        self.settings = {**SETTINGS, "EMAIL_URL": f"smtp://127.0.0.1:{mail.port}"}
        self.starts = 0
        self.system: System | None = None

    def start(self, **settings: str) -> System:
        self.starts += 1
        self.system = System(self.home, self.starts, **self.settings, **settings)
        return self.system

    def end(self, number: int = signal.SIGTERM) -> None:
        if self.system is not None and self.system.process.poll() is None:
            self.system.stop(number)
            wait_for(lambda: not self.system.remains(), 30)


@pytest.fixture
def old(tmp_path: Path, mail: MailServer) -> Iterator[Installation]:
    installation = Installation(tmp_path / "old", mail)
    yield installation
    installation.end(signal.SIGKILL)


@pytest.fixture
def new(tmp_path: Path, mail: MailServer) -> Iterator[Installation]:
    installation = Installation(tmp_path / "new", mail)
    yield installation
    installation.end(signal.SIGKILL)


def test_a_restore_is_whole_sends_nothing_twice_and_brings_no_erased_person_back(
    old: Installation, new: Installation, mail: MailServer, tmp_path: Path
) -> None:
    dump, erasures = tmp_path / "backup", tmp_path / "erasures"
    system = old.start()
    program = f"from tests.proof.tenants import *; prepare_tenants(1, {CONTACTS})"
    manage(system, "shell", "--no-imports", "-c", program)
    (tenant,) = json.loads((system.home / "tenants.json").read_text())
    people, addresses = list(tenant["people"]), list(tenant["people"].values())
    mail.mailbox.answer_seconds = 1.0
    with closing(Client(system, tenant["id"], tenant["secret"])) as client:
        send(client, [(ACTED, one) for one in people] + [(GREETED, one) for one in people], "before")
        wait_for(lambda: mail.mailbox.envelopes and waiting(system) > CONTACTS / 2, 60)
        manage(system, "dump_database", str(dump))
        send(client, [(ACTED, people[1])], "after")
        client.post(f"contacts/{people[0]}/erase", {}, attempts_seconds=60)
    manage(system, "export_erasures", str(erasures))
    mail.mailbox.answer_seconds = 0.0
    wait_for(lambda: not open_work(system) and waiting(system) == 0, 60)
    old.end(signal.SIGKILL)
    had = received(mail)
    assert had == dict.fromkeys(addresses, 1)

    new.home.mkdir()
    for name in ("demo.json", "tenants.json", "secret_key", "erasure_key"):
        shutil.copy(old.home / name, new.home)
    manage(new, "restore_database", str(dump))
    manage(new, "reapply_erasures", "--from", str(erasures))
    paused = new.start(DELIVERY_PAUSED="1")
    wait_for(lambda: not open_work(paused), 60)
    manage(new, "hold_messages", DELIVERY_PAUSED="1")
    held = {
        address
        for (address,) in paused.rows("SELECT address FROM campaigns_message WHERE status = 'UNKNOWN'")
    }
    assert held & had.keys(), "these would have come twice"
    assert received(mail) == had
    manage(new, "settle_messages", "--sent")
    new.end()

    system = new.start()
    with closing(Client(system, tenant["id"], tenant["secret"])) as client:
        # A client that never heard of the outage, and one that repeats what it had sent.
        send(client, [(GREETED, people[2])], "new")
        send(client, [(ACTED, people[1])], "after")
        wait_for(lambda: received(mail)[addresses[2]] == 2, 60)
        wait_for(lambda: not open_work(system), 60)
    assert received(mail) - had == {addresses[2]: 1}
    assert system.rows(f"SELECT id FROM contacts_contact WHERE id = '{people[0]}'") == []
    # All but those of whom was erased, and each repetition once.
    assert system.rows(
        f"SELECT name, count(*)::int FROM events_event WHERE name IN ('{ACTED}', '{GREETED}')"
        " GROUP BY 1 ORDER BY 1"
    ) == [(ACTED, CONTACTS), (GREETED, CONTACTS)]
    assert system.rows("SELECT sum(points)::int FROM contacts_contactscore") == [(2 * CONTACTS,)]
    assert system.rows("SELECT count(*)::int FROM segments_membership") == [(CONTACTS - 1,)]
    for command in ("verify_scores", "verify_segments", "audit_effects"):
        manage(system, command)


def send(client: Client, events: list[tuple[str, str]], batch: str) -> None:
    """Send events of contacts, each with a message id."""
    body = [
        {"type": name, "contactId": contact, "messageId": f"{batch}-{place}"}
        for place, (name, contact) in enumerate(events)
    ]
    answer = client.post("events/batch", {"events": body}, attempts_seconds=60, is_keyed=False)
    assert {one["status"] for one in answer["results"]} == {"recorded"}


def received(mail: MailServer) -> Counter[str]:
    """Return how often which address got an e-mail."""
    return Counter(envelope.rcpt_tos[0] for envelope in mail.mailbox.envelopes)


def waiting(system: System) -> int:
    """Return how many messages have not left."""
    ((count,),) = system.rows(
        "SELECT count(*)::int FROM campaigns_message WHERE status IN ('QUEUED', 'SENDING')"
    )
    return int(count)


def open_work(system: System) -> bool:
    """Tell whether effects wait or runs go on."""
    ((count,),) = system.rows(
        "SELECT (SELECT count(*) FROM events_eventbatch)"
        " + (SELECT count(*) FROM campaigns_enrollment WHERE status = 'open')"
    )
    return bool(count)
