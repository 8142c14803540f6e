"""A workspace with something of every kind, as configurations have it."""

from datetime import timedelta
from typing import Any

from campaigns.configuration.folders import Document
from campaigns.configuration.plans import Plan, apply_configuration
from campaigns.journeys.lifecycle import activate_campaign, create_campaign
from campaigns.messaging.channel_settings import save_channel
from config import clock
from config.files.documents import load_document
from contacts.profiles.fields import create_field
from events.stream.definitions import PropertySpec, create_definition
from scoring.models import ScoringRule
from scoring.rules import save_rule
from segments.definitions import create_segment
from tests.campaigns.factories import definition, node, on_event, workflow
from tests.campaigns.messages import a_template
from tests.segments.factories import attribute, did, every, in_segment
from tests.workspaces.factories import UserFactory
from workspaces.models import Workspace

BODY = "<h1>Hello</h1>\n\t<p>You bought for {{ event.properties.amount }}.  \n\n</p>\n"


def fill(workspace: Workspace) -> None:
    """Make something of every kind, each referring to others where it can."""
    create_definition(
        workspace.id,
        "purchase",
        description="Somebody bought.",
        properties=[
            PropertySpec("currency", "string", suggested_values=("EUR", "yes")),
            PropertySpec("amount", "number", "what it cost"),
        ],
        late_after_hours=48,
    )
    create_field(workspace.id, "code", "text", {"text": "regex", "pattern": "[A-Z]{3}"})
    create_field(workspace.id, "renewsOn", "date")
    save_channel(
        workspace.id,
        "email",
        sender="Acme <news@acme.test>",
        options={"trackOpens": True},
        cap_count=3,
        cap_hours=48,
    )
    save_channel(workspace.id, "telegram", secret="123:TOP-SECRET")
    template = a_template(workspace, BODY, name="Thanks")
    buyers = create_segment(workspace.id, name="Buyers", raw=did("purchase", timeWindow="7d"))
    create_segment(
        workspace.id,
        name="Aces / VIPs",
        description="Who buys\nand is of a plan.",
        raw=every(in_segment(buyers), attribute("attributes.code", "in", ["ACE", "no", "10:30"])),
        starts_campaigns=True,
    )
    create_segment(workspace.id, name="Press", evaluation="STATIC", raw=None)
    save_rule(
        ScoringRule(workspace=workspace),
        name="Purchase",
        event_name="purchase",
        points=2.5,
        condition=every(in_segment(buyers), {"field": "metadata.amount", "operator": "gte", "value": 50}),
        limit_count=1,
        limit_period="day",
    )
    raw = definition(
        node("thank", "send", channel="email", templateId=str(template.id), transactional=True),
        node(
            "which",
            "branch",
            branches=[{"handle": "buys", "condition": in_segment(buyers)}],
        ),
        edges=[("thank", "which")],
    )
    raw["triggers"] = [on_event("purchase"), {"type": "SEGMENT_ENTER", "segmentId": str(buyers.id)}]
    raw["exits"] = [{"condition": in_segment(buyers, "not_in")}]
    activate_campaign(workspace.id, create_campaign(workspace.id, name="Thanks", definition=raw))
    create_campaign(
        workspace.id,
        name="Draft: to come",
        definition={"triggers": [], "workflow": workflow()},
        starts_at=clock.now() + timedelta(days=3),
    )


def documents_of(files: dict[str, str]) -> dict[str, list[Document]]:
    """Return the files of a dump as they are read from a folder."""
    found: dict[str, list[Document]] = {}
    for path, text in files.items():
        found.setdefault(path.partition("/")[0], []).append(Document(path, load_document(text.encode())))
    return found


def document(path: str, **value: Any) -> Document:
    """Return a file."""
    return Document(path, value)


def changed(files: dict[str, str], path: str, **values: Any) -> dict[str, list[Document]]:
    """Return the documents of a dump, with other values in one of its files."""
    documents = documents_of(files)
    kind = path.partition("/")[0]
    documents[kind] = [
        Document(path, {**document.value, **values}) if document.path == path else document
        for document in documents.get(kind, [])
    ]
    return documents


def apply(workspace: Workspace, documents: Any, **options: Any) -> Plan:
    """Apply documents, or the files of a dump, in the name of somebody."""
    if all(isinstance(value, str) for value in documents.values()):
        documents = documents_of(documents)
    user = options.pop("user", None) or UserFactory.create()
    return apply_configuration(workspace, documents, user=user, source="here", **options)
