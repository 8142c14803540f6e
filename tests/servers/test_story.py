"""From a contact to its e-mail over each broker, which is away for some seconds in the middle of it."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.campaigns.messages import MailServer
from tests.config.runtime.test_supervisor import wait_for
from tests.proof.system import Client, manage
from tests.servers.conftest import Broker
from tests.servers.test_systems import CATCH_UP_SECONDS, OUTAGE_SECONDS, ServerSystem, running

CONTACTS = 30


@pytest.fixture
def mail() -> Iterator[MailServer]:
    with MailServer() as server:
        yield server


@pytest.fixture
def system(tmp_path: Path, database: str, broker: Broker, mail: MailServer) -> Iterator[ServerSystem]:
    yield from running(ServerSystem(tmp_path / "home", database, {**broker.settings, **leaving_by(mail)}))


@pytest.fixture
def brokerless(tmp_path: Path, database: str, mail: MailServer) -> Iterator[ServerSystem]:
    settings = {"CELERY_BROKER_URL": "pgmq://localhost", **leaving_by(mail)}
    yield from running(ServerSystem(tmp_path / "home", database, settings))


def leaving_by(mail: MailServer) -> dict[str, str]:
    return {"EMAIL_URL": f"smtp://127.0.0.1:{mail.port}"}


def test_members_scores_and_one_message_each_though_the_broker_is_away(
    system: ServerSystem, broker: Broker, mail: MailServer
) -> None:
    check_story(system, mail, broker.relay.cut, broker.relay.heal)


def test_the_same_with_the_queue_in_postgresql(brokerless: ServerSystem, mail: MailServer) -> None:
    # The broker is the database: all that can break is the connections.
    check_story(brokerless, mail, brokerless.end_connections, brokerless.end_connections)


def check_story(
    system: ServerSystem, mail: MailServer, break_broker: Callable[[], None], heal: Callable[[], None]
) -> None:
    """Let contacts buy before, during and after an outage: each enters, is scored and gets an e-mail, once."""
    with closing(Client(system)) as client:
        prepare(system, client)
        buy(client, range(10))
        wait_for(lambda: len(mail.mailbox.envelopes) == 10, 60)
        break_broker()
        buy(client, range(10, 20))
        time.sleep(OUTAGE_SECONDS)
        heal()
        buy(client, range(20, CONTACTS))
    wait_for(lambda: len(mail.mailbox.envelopes) >= CONTACTS, 2 * CATCH_UP_SECONDS)
    wait_for(lambda: system.rows("SELECT DISTINCT status FROM campaigns_message") == [("SENT",)], 20)
    system.wait_for_effects(CATCH_UP_SECONDS)

    received = Counter(envelope.rcpt_tos[0] for envelope in mail.mailbox.envelopes)
    assert received == Counter(address_of(number) for number in range(CONTACTS))
    assert system.rows("SELECT count(DISTINCT contact_id), count(*) FROM segments_membership") == [
        (CONTACTS, CONTACTS)
    ]
    assert system.rows("SELECT status, count(*) FROM campaigns_enrollment GROUP BY 1") == [
        ("completed", CONTACTS)
    ]
    assert system.rows("SELECT points::int, count(*) FROM contacts_contactscore GROUP BY 1") == [
        (7, CONTACTS)
    ]
    manage(system, "audit_effects", "--grace-seconds=0", DATABASE_URL=system.database)


def prepare(system: ServerSystem, client: Client) -> None:
    """Make a rule, a segment of buyers, and a campaign that thanks whoever enters it."""
    client.post("scoring-rules", {"name": "Purchase", "eventType": "purchase", "delta": 7})
    bought = {"type": "event", "eventType": "purchase", "operator": "gte", "value": 1}
    rules = {"operator": "AND", "conditions": [bought]}
    segment = client.post("segments", {"name": "Buyers", "evaluation": "DYNAMIC", "rules": rules})["id"]
    wait_for(lambda: system.rows("SELECT published_at IS NOT NULL FROM segments_segment") == [(True,)], 30)
    template = {"name": "Thanks", "channel": "EMAIL", "subject": "Thanks", "body": "<p>{{ contact.email }}"}
    template_id = client.post("templates", template)["id"]
    send = {"channel": "email", "templateId": template_id, "transactional": True}
    campaign = client.post(
        "campaigns",
        {
            "name": "Thanks",
            "type": "AUTOMATED",
            "triggers": [{"type": "SEGMENT_ENTER", "segmentId": segment}],
            "workflow": {"nodes": [{"id": "send", "type": "send", "data": send}], "edges": []},
        },
    )
    client.post(f"campaigns/{campaign['id']}/activate", {})


def buy(client: Client, numbers: range) -> None:
    """Let new contacts buy, whatever the broker does."""
    for number in numbers:
        contact = client.post("contacts", {"email": address_of(number)}, attempts_seconds=20)["id"]
        client.post("events", {"type": "purchase", "contactId": contact}, attempts_seconds=20)


def address_of(number: int) -> str:
    return f"c{number}@example.com"
