"""Makes many contacts in a running Headrace, and a campaign that their events start runs of."""

import json

from django.conf import settings

from campaigns.models import Template
from campaigns.services.campaigns import activate_campaign, create_campaign
from contacts.models import Contact, Identifier
from workspaces.models import Workspace


def prepare_runs(number: int) -> None:
    """Make `number` contacts, and a campaign whose runs wait, and then send an e-mail."""
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
    nodes = [
        {"id": "note", "type": "record", "data": {"eventType": "noted"}},
        {"id": "wait", "type": "wait", "data": {"duration": "1s"}},
        {"id": "send", "type": "send", "data": data},
    ]
    edges = [{"source": "note", "target": "wait"}, {"source": "wait", "target": "send"}]
    raw = {
        "triggers": [{"type": "EVENT", "eventType": "go"}],
        "reentry": {"mode": "once"},
        "workflow": {"nodes": nodes, "edges": edges},
    }
    activate_campaign(workspace, create_campaign(workspace, name="Many", definition=raw))
