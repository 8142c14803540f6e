"""Ctrl-C while e-mails leave: what the receiver takes is noted, so nobody has to guess."""

import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.campaigns.messages import MailServer
from tests.config.runtime.test_supervisor import wait_for
from tests.proof.system import Client, System

pytestmark = pytest.mark.slow
MESSAGES = 20


@pytest.fixture
def mail() -> Iterator[MailServer]:
    with MailServer() as server:
        yield server


@pytest.fixture
def system(tmp_path: Path, mail: MailServer) -> Iterator[System]:
    system = System(tmp_path / "home", EMAIL_URL=f"smtp://127.0.0.1:{mail.port}")
    yield system
    if system.process.poll() is None:
        system.stop(signal.SIGKILL)
    wait_for(lambda: not system.remains(), 30)


def test_what_is_leaving_is_waited_for_and_noted(system: System, mail: MailServer) -> None:
    mail.mailbox.answer_seconds = 5
    enqueue_many(system)
    wait_for(lambda: mail.mailbox.texts >= 2, 20)

    seconds = system.stop(signal.SIGINT)

    assert 2 < seconds < 15
    assert system.process.returncode == 0
    assert system.remains() == []
    again = System(system.home, starts=2, CELERY_BROKER_URL="redis://127.0.0.1:1/0")
    try:
        statuses = dict(again.rows("SELECT address, status FROM campaigns_message"))
    finally:
        again.stop()
        wait_for(lambda: not again.remains(), 15)
    got = [envelope.rcpt_tos[0] for envelope in mail.mailbox.envelopes]
    assert len(got) >= 2
    assert statuses == {address_of(n): "QUEUED" for n in range(MESSAGES)} | dict.fromkeys(got, "SENT")


def test_a_second_ctrl_c_waits_for_nobody(system: System, mail: MailServer) -> None:
    mail.mailbox.answer_seconds = 60
    enqueue_many(system)
    wait_for(lambda: mail.mailbox.texts >= 2, 20)

    system.process.send_signal(signal.SIGINT)
    wait_for(lambda: "Ctrl-C again" in system.output(), 10)
    assert system.process.poll() is None

    assert system.stop(signal.SIGINT) < 5
    wait_for(lambda: not system.remains(), 5)


def enqueue_many(system: System) -> None:
    """Have e-mails sent to as many contacts."""
    with closing(Client(system)) as client:
        for number in range(MESSAGES):
            contact = client.post("contacts", {"email": address_of(number)})["id"]
            body = {"contactId": contact, "channel": "EMAIL", "subject": "Hello", "body": "<p>Hello"}
            client.post("messages", {**body, "transactional": True})


def address_of(number: int) -> str:
    return f"c{number}@example.com"
