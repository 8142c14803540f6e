"""Makes a campaign in a running Headrace, and the events that start its runs."""

import json

from django.conf import settings

from campaigns.models import Template
from campaigns.services.campaigns import activate_campaign, create_campaign
from contacts.services import ContactReference
from events.services import IncomingEvent, SchemaPolicy, record_events
from workspaces.models import Workspace

BATCH = 500


def start_runs(number: int) -> None:
    """Let `number` contacts each do what starts a run that waits, and then sends an e-mail."""
    demo = json.loads((settings.HEADRACE_HOME / "demo.json").read_text())
    workspace = Workspace.objects.get(id=demo["workspace"])
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
    for start in range(0, number, BATCH):
        events = [
            IncomingEvent(
                "go",
                ContactReference(identifiers=(("email", f"p{place}@example.com"),), if_missing="create"),
            )
            for place in range(start, min(start + BATCH, number))
        ]
        # Each of them twice: the second one must find the first.
        record_events(workspace, [*events, *events[::2]], schema_policy=SchemaPolicy.OPEN)
