"""Makes tenants in a running Headrace: each scores, segments and answers by e-mail what its contacts do."""

import json
from typing import Any

from django.conf import settings

from campaigns.journeys.lifecycle import activate_campaign, create_campaign
from config.celery import app
from contacts.crud import create_contact
from contacts.references import ContactChanges
from scoring.models import ScoringRule
from segments.definitions import create_segment
from tests.campaigns.factories import definition, marks, node, on_event, sends
from workspaces.models import Workspace
from workspaces.services import create_workspace, issue_api_key

ACTED, GREETED = "acted", "greeted"
"""Every event scores; one of the second name is answered by an e-mail, too."""


def prepare_tenants(count: int, contacts: int) -> None:
    """Note in the home what clients need of each: workspace, key, segment, its contacts' ids and addresses."""
    tenants = [_prepare(number, contacts) for number in range(count)]
    (settings.HEADRACE_HOME / "tenants.json").write_text(json.dumps(tenants))
    # As code of another version publishes them: workers pass them over, and what they were about is in the rows.
    app.send_task("events.tasks.of_another_version", args=[tenants[0]["id"]])
    app.send_task(
        "events.tasks.apply_effects", args=[tenants[0]["id"], "one too many"], kwargs={"newer": True}
    )


def _prepare(number: int, contacts: int) -> dict[str, Any]:
    workspace: Workspace = create_workspace(f"Tenant {number}")
    for name in (ACTED, GREETED):
        ScoringRule.objects.create(workspace=workspace, name=name, event_name=name, points=1)
    segment = create_segment(
        workspace.id, name="Whoever did something", raw={"type": "event", "eventType": ACTED}
    )
    people = {}
    for place in range(contacts):
        address = f"c{place}@tenant{number}.example.com"
        people[str(create_contact(workspace, ContactChanges(identifiers=(("email", address),))).id)] = address
    send = sends(workspace)
    send["data"]["transactional"] = True
    steps = (send, marks(), node("rest", "wait", duration="1s"))
    raw = definition(*steps, trigger=on_event(GREETED))
    activate_campaign(workspace.id, create_campaign(workspace.id, name="Greeting", definition=raw))
    return {
        "id": str(workspace.id),
        "secret": issue_api_key(workspace.id, "client").secret,
        "people": people,
        "segment": str(segment.id),
    }
