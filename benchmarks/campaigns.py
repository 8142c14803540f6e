"""(k) to (m): campaign throughput, latency of messages, rate of deliveries."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from benchmarks.figures import show, show_cpu
from benchmarks.machine import measured
from benchmarks.processes import free_port, make_workspace
from benchmarks.segments import PROBES, delays_of, fill, make_rules, run, show_delays

CAMPAIGNS = 50
_SMTP = """
import sys, time
from aiosmtpd.controller import Controller

class Sink:
    async def handle_DATA(self, server, session, envelope):
        return "250 taken"

controller = Controller(Sink(), hostname="127.0.0.1", port=int(sys.argv[1]))
controller.start()
sys.stdin.read()
"""


def runner(rounds: int, seconds: float) -> None:
    """(k): 50 campaigns on one name of event, beside 100 segments and 100 scoring rules."""
    workspace = UUID(make_workspace("campaigns")["workspace"])
    contacts = fill(workspace, contacts=100_000, events=1_000_000)
    make_rules(workspace, scoring=100, segments=100, matching=2)
    without = [run(workspace, contacts, 10_000, categories=50) for _ in range(rounds)]
    # Each event enrolls contacts in one campaign; the 49 others only evaluate it.
    for place in range(CAMPAIGNS):
        make_campaign(workspace, f"campaign {place}", f"c{place}", WAIT)
    rates = [run(workspace, contacts, 10_000, categories=50) for _ in range(rounds)]
    show("", "events/s, 100 rules and 100 segments", without)
    show("k", "events/s, and 50 campaigns, one of which each starts", rates, goal=3_000)


def ready(rounds: int, seconds: float) -> None:
    """(l): time from an event's acceptance until its message is queued, at 500 events/s."""
    from campaigns.models import Message

    demo = make_workspace("ready")
    workspace = UUID(demo["workspace"])
    contacts = fill(workspace, contacts=20_000, events=100_000)
    make_rules(workspace, scoring=100, segments=100, matching=2)
    for place in range(CAMPAIGNS - 1):
        make_campaign(workspace, f"campaign {place}", f"c{place}", WAIT)
    give_addresses(workspace, contacts[-rounds * PROBES :])
    make_campaign(workspace, "probe", "probe", mail(workspace))
    messages = Message.objects.filter(workspace_id=workspace)
    show_delays("l", "accepted → message ready", delays_of(demo, contacts, messages, rounds), goal=500)


def deliveries(rounds: int, seconds: float) -> None:
    """(m): deliveries to a local SMTP server by one worker."""
    from django.conf import settings

    from campaigns.messaging.dispatcher import Dispatcher

    workspace = UUID(make_workspace("deliveries")["workspace"])
    contacts = fill(workspace, contacts=2_000, events=0)
    give_addresses(workspace, contacts)
    port = free_port()
    settings.EMAIL_BACKEND = "campaigns.messaging.channels.email.SMTPBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", port
    rates, costs = [], []
    with smtp_server(port):
        dispatcher = Dispatcher()
        for _ in range(rounds):
            own = time.process_time()
            with measured(None) as cpu:
                rates.append(deliver(dispatcher, workspace, contacts))
            spent = {"worker": time.process_time() - own, "postgres": cpu["postgres"]}
            costs.append({kind: each / len(contacts) * 1000 for kind, each in spent.items()})
        dispatcher.close()
    show("m", "deliveries/s to a local SMTP server, one worker", rates, goal=400)
    show_cpu(costs, "a message")


WAIT = {"nodes": [{"id": "wait", "type": "wait", "data": {"duration": "30d"}}], "edges": []}


def mail(workspace: UUID) -> dict[str, Any]:
    """Return a workflow that sends an e-mail at once."""
    from campaigns.messaging.templates import save_template
    from campaigns.models import Template
    from workspaces.models import Workspace

    template = save_template(
        Template(workspace=Workspace.objects.get(id=workspace)),
        name="probe",
        subject="Thank you",
        body="<p>For {{ event.properties.amount }}. <a href='{{ unsubscribeUrl }}'>No more</a></p>",
    )
    data = {"channel": "email", "templateId": str(template.id)}
    return {"nodes": [{"id": "mail", "type": "send", "data": data}], "edges": []}


def make_campaign(workspace: UUID, name: str, category: str, workflow: dict[str, Any]) -> None:
    """Create an active campaign on purchases of a category."""
    from campaigns.journeys.lifecycle import activate_campaign, create_campaign
    from workspaces.models import Workspace

    space = Workspace.objects.get(id=workspace)
    condition = {"field": "metadata.category", "operator": "eq", "value": category}
    definition = {
        "triggers": [{"type": "EVENT", "eventType": "buy", "condition": condition}],
        "workflow": workflow,
    }
    activate_campaign(space.id, create_campaign(space.id, name=name, definition=definition))


def give_addresses(workspace: UUID, contacts: list[UUID]) -> None:
    """Give contacts an e-mail address each."""
    from contacts.models import Identifier

    Identifier.objects.bulk_create(
        Identifier(
            workspace_id=workspace,
            contact_id=contact,
            kind="email",
            value=f"{contact}@example.test",
            is_primary=True,
        )
        for contact in contacts
    )


def deliver(dispatcher: Any, workspace: UUID, contacts: list[UUID]) -> float:
    """Return messages/s from the first claim until the last one is recorded."""
    from campaigns.models import Message
    from config import ids

    Message.objects.bulk_create(
        Message(
            workspace_id=workspace,
            contact_id=contact,
            key=str(ids.uuid7()),
            channel="email",
            address=f"{contact}@example.test",
            subject="Thank you",
            body="<p>For your order.</p>" * 50,
            text="For your order. " * 50,
        )
        for contact in contacts
    )
    open_ones = Message.objects.filter(workspace_id=workspace, status__in=["QUEUED", "SENDING"])
    started = time.perf_counter()
    dispatcher.ask(workspace, "email")
    while open_ones.exists():
        time.sleep(0.05)
    elapsed = time.perf_counter() - started
    lost = Message.objects.filter(workspace_id=workspace).exclude(status="SENT").count()
    if lost:
        sys.exit(f"{lost} messages did not leave")
    return len(contacts) / elapsed


@contextmanager
def smtp_server(port: int) -> Iterator[None]:
    """Run an SMTP server that accepts everything, in its own process."""
    process = subprocess.Popen([sys.executable, "-c", _SMTP, str(port)], stdin=subprocess.PIPE)
    try:
        time.sleep(2)
        yield
    finally:
        process.kill()
        process.wait()
