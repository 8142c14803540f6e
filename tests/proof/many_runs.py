"""Makes many contacts in a running Headrace, and a campaign that their events start enrollments of."""

import json

from django.conf import settings

from campaigns.journeys.lifecycle import activate_campaign, create_campaign
from campaigns.models import Template
from contacts.models import Contact, Identifier
from workspaces.models import Workspace


def prepare_enrollments(number: int) -> None:
    """Make `number` contacts, and a campaign of which every other enrollment sends an e-mail at once, the
    others later.
    """
    demo = json.loads((settings.HEADRACE_HOME / "demo.json").read_text())
    workspace = Workspace.objects.get(id=demo["workspace"])
    contacts = Contact.objects.bulk_create(Contact(workspace=workspace) for _ in range(number))
    Identifier.objects.bulk_create(
        Identifier(
            workspace=workspace,
            contact=contact,
            kind="email",
            value=f"p{place}@example.com",
            is_primary=True,
        )
        for place, contact in enumerate(contacts)
    )
    template = Template.objects.create(
        workspace=workspace, name="Hello", subject="Hello", body="<p>Hello {{ contact.email }}"
    )
    data = {"channel": "email", "templateId": str(template.id), "transactional": True}
    note = {"type": "record", "data": {"eventType": "noted"}}
    wait = {"type": "wait", "data": {"duration": "1s"}}
    send = {"type": "send", "data": data}
    arms = [{"handle": "at once", "weight": 50}, {"handle": "later", "weight": 50}]
    nodes = [
        {"id": "split", "type": "split", "data": {"arms": arms}},
        *({"id": id_, **step} for id_, step in (("send", send), ("note", note), ("wait", wait))),
        *({"id": f"{id_} later", **step} for id_, step in (("note", note), ("wait", wait), ("send", send))),
    ]
    ways = (
        ("split", "send", "at once"),
        ("send", "note", None),
        ("note", "wait", None),
        ("split", "note later", "later"),
        ("note later", "wait later", None),
        ("wait later", "send later", None),
    )
    edges = [
        {"source": source, "target": target, **({"sourceHandle": handle} if handle else {})}
        for source, target, handle in ways
    ]
    raw = {
        "triggers": [{"type": "EVENT", "eventType": "go"}],
        "reentry": {"mode": "once"},
        "workflow": {"nodes": nodes, "edges": edges},
    }
    activate_campaign(workspace.id, create_campaign(workspace.id, name="Many", definition=raw))
