"""Every POST of the OpenAPI document, sent twice under one Idempotency-Key: it makes something happen once."""

from collections import Counter
from typing import Any

import pytest
from django.apps import apps
from django.test import Client
from django.urls import resolve
from drf_spectacular.generators import SchemaGenerator

from campaigns.forms.forms import FormValues, create_form
from campaigns.journeys.lifecycle import broadcast_campaign
from campaigns.models import Broadcast, Decision, Message, Template
from contacts.merging.merges import merge_contacts
from contacts.models import Import
from events.models import IdempotencyKey
from scoring.models import ScoringRule
from segments.definitions import create_segment
from segments.models import Segment
from tests.campaigns.factories import a_campaign, definition
from tests.campaigns.messages import a_template
from tests.campaigns.rows import a_campaign_row, a_message
from tests.contacts.factories import a_contact
from tests.segments.factories import build_occupied_lanes
from tests.segments.test_races import at_once
from tests.workspaces.factories import WorkspaceFactory, a_key, bearer
from workspaces.models import ApiKey

# Of no workspace, or of a token's owner: these say themselves why a repeat does no harm.
HARMLESS = {
    "login": "signs in again",
    "logout": "who is signed out stays so",
    "createToken": "a token is a signature, and no row",
    "refreshToken": "a token that was used up is refused",
    "unsubscribe": "who is unsubscribed stays so",
}
RULE = {
    "operator": "AND",
    "conditions": [{"type": "event", "eventType": "buy", "operator": "gte", "value": 1}],
}
FIELDS = [{"name": "mail", "type": "email", "required": True}]


def operations() -> dict[str, tuple[str, Any]]:
    """Return, of every POST in the document by its id, the path and the operation."""
    document = SchemaGenerator().get_schema(request=None, public=True)
    return {
        path["post"]["operationId"]: (name, path["post"])
        for name, path in document["paths"].items()
        if "post" in path
    }


OPERATIONS = operations()
NATIVE = {
    name: path
    for name, (path, _) in OPERATIONS.items()
    if path.startswith(("/api/workspaces/", "/api/forms/")) or name == "api_partner_events_post"
}


def takes_a_key(operation: Any) -> bool:
    return any(one["name"] == "Idempotency-Key" for one in operation.get("parameters", ()))


def view_of(path: str) -> Any:
    callback = resolve(path.replace("{", "").replace("}", "")).func
    return getattr(callback, "cls", None) or callback.view_class


def declared(path: str, name: str) -> Any:
    """Return an attribute of a view, as its action has it if that differs."""
    callback = resolve(path.replace("{", "").replace("}", "")).func
    return getattr(callback, "initkwargs", {}).get(name) or getattr(view_of(path), name, "")


def test_every_post_is_answered_once_or_says_why_a_repeat_does_no_harm():
    silent = [
        name
        for name, (path, operation) in OPERATIONS.items()
        if not takes_a_key(operation) and not HARMLESS.get(name) and not declared(path, "repeats_harmlessly")
    ]
    assert silent == []


class World:
    """A workspace in which each of the requests makes something happen."""

    def __init__(self) -> None:
        self.workspace = WorkspaceFactory.create()
        self.key = a_key(self.workspace).secret
        self.jane = a_contact(self.workspace, "jane@example.test", first_name="Jane")
        self.john = a_contact(self.workspace, "john@example.test")

    def id_of(self, name: str, operation: str) -> str:
        """Return the id that an address needs, of a row in the state that the operation is for."""
        match name:
            case "workspace_id":
                return str(self.workspace.id)
            case "contact_id":
                return str(self.jane.id)
            case "template_id":
                return str(a_template(self.workspace).id)
            case "message_id":
                campaign = a_campaign_row(self.workspace)
                return str(a_message(self.jane, campaign, status=Message.Status.UNKNOWN).pk)
            case "rule_id":
                row = ScoringRule(workspace=self.workspace, name="r", event_name="x", points=1)
                row.save()
                return str(row.id)
            case "import_id":
                row = Import(workspace=self.workspace, kind="contacts", origin="api", status="queued")
                row.save()
                return str(row.id)
            case "merge_id":
                return str(merge_contacts(self.workspace.id, self.jane, self.john).id)
            case "form_id":
                return str(create_form(self.workspace.id, FormValues(name="f", fields=FIELDS)).id)
            case "segment_id":
                return str(self.segment(operation).id)
            case "campaign_id":
                self.active = self.campaign(operation)
                return str(self.active.id)
            case "broadcast_id":
                return str(broadcast_campaign(self.workspace.id, self.active, contact_ids=[self.jane.id]).id)
        raise AssertionError(name)

    def segment(self, operation: str) -> Segment:
        if operation == "addSegmentMembers":
            return create_segment(self.workspace.id, name="s", evaluation=Segment.Evaluation.STATIC)
        publish = operation != "publishSegment"
        segment = create_segment(self.workspace.id, name="s", raw=RULE, publish=publish)
        build_occupied_lanes(segment)
        segment.refresh_from_db()
        return segment

    def campaign(self, operation: str) -> Any:
        campaign = a_campaign(self.workspace, definition())
        if operation == "resumeCampaign":
            campaign.status = "PAUSED"
            campaign.save()
        return campaign

    def body(self, operation: str) -> dict[str, Any]:
        """Return a body that the operation takes."""
        contact = {"contactId": str(self.jane.id)}
        bodies: dict[str, dict[str, Any]] = {
            "createCampaign": {"name": "c", "type": "AUTOMATED"},
            "broadcastCampaign": {"contactIds": [str(self.jane.id)]},
            "executeCampaign": contact,
            "rehearseCampaign": {"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"},
            # A file of one line.
            "createImport": {"email": "new@example.test"},
            "createContact": {"email": "new@example.test"},
            "mergeContact": {"contactId": str(self.john.id)},
            "createEventDefinition": {"name": "order"},
            "ingestEvent": {"type": "go"},
            "ingestEvents": {"events": [{"type": "go"}]},
            "createForm": {"name": "g", "fields": FIELDS},
            "submitForm": {"mail": "visitor@example.test"},
            "issueKey": {"name": "k", "scopes": ["events:write"]},
            "sendMessage": {**contact, "channel": "EMAIL", "subject": "Hello", "body": "<p>Hello"},
            "settleMessage": {"wasSent": True},
            "createScoringRule": {"name": "q", "eventType": "go", "delta": 1},
            "createSegment": {"name": "t", "evaluation": "DYNAMIC", "rules": RULE},
            "addSegmentMembers": {"contactIds": [str(self.jane.id)]},
            "createSuppression": {"address": "nobody@example.test"},
            "createTemplate": {"name": "t", "subject": "Hello", "body": "<p>Hello"},
            "testTemplate": contact,
            "api_partner_events_post": {"type": "go", "person": {"emails": [{"value": "a@example.test"}]}},
        }
        return bodies.get(operation, {})

    def send(self, path: str, body: Any, key: str = "k") -> Any:
        """Post under a key."""
        headers = {"Idempotency-Key": key}
        return Client().post(path, body, content_type="application/json", headers=headers, **bearer(self.key))


def rows() -> Counter[str]:
    """Return how many rows of ours there are, by table."""
    ours = ("contacts", "events", "scoring", "segments", "campaigns", "workspaces")
    models = [model for model in apps.get_models() if model._meta.app_label in ours and model._meta.managed]
    return Counter({model._meta.label: model._default_manager.count() for model in models})


@pytest.fixture
def world(db, uploads_folder):
    return World()


def path_of(world: World, operation: str) -> str:
    path = NATIVE[operation]
    while "{" in path:
        head, _, rest = path.partition("{")
        name, _, tail = rest.partition("}")
        path = f"{head}{world.id_of(name, operation)}{tail}"
    return f"{path}?kind=contacts" if operation == "createImport" else path


@pytest.mark.parametrize("operation", sorted(name for name in NATIVE if takes_a_key(OPERATIONS[name][1])))
def test_a_repeat_gets_the_first_answer_and_another_body_none(world, operation):
    path, body = path_of(world, operation), world.body(operation)

    first = world.send(path, body)
    assert first.status_code in (200, 201, 202, 204), first.content
    assert "Idempotent-Replayed" not in first.headers
    known = rows()
    second = world.send(path, body)
    other = world.send(path, {**body, "more": "of it"})

    assert second.headers["Idempotent-Replayed"] == "true"
    assert second.status_code == first.status_code
    shown = first.json() if first.content else None
    assert (second.json() if second.content else None) == (
        {**shown, **dict.fromkeys(declared(NATIVE[operation], "secrets_shown"))}
        if operation in ("issueKey", "renewSigningSecret")
        else shown
    )
    assert other.status_code == 409
    assert rows() == known


def test_a_secret_is_kept_nowhere(world):
    path = path_of(world, "issueKey")
    first = world.send(path, world.body("issueKey"))
    assert first.json()["key"].startswith("hr_")
    assert first.json()["key"].encode() not in bytes(IdempotencyKey.objects.get().body)
    assert ApiKey.objects.filter(workspace=world.workspace, name="k").count() == 1


def test_a_refusal_leaves_no_key_and_its_reason_stays(world):
    path, body = path_of(world, "sendMessage"), world.body("sendMessage")

    refused = world.send(path, {**body, "body": "<p>{{ contact.attributes.nothing }}"})

    assert refused.status_code == 422
    assert Decision.objects.get().reason == "value_missing"
    assert not IdempotencyKey.objects.exists()
    assert world.send(path, body).status_code == 200


def test_a_malformed_body_or_key_is_refused(world):
    path = path_of(world, "createTemplate")
    assert world.send(path, "{").status_code == 400
    assert world.send(path, world.body("createTemplate"), key="x" * 256).status_code == 400
    assert not Template.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_broadcast_sent_twice_at_once_is_one():
    world = World()
    path, body = path_of(world, "broadcastCampaign"), world.body("broadcastCampaign")
    answers = []

    def send():
        answers.append(world.send(path, body))

    at_once(send, send, send)

    assert [one.status_code for one in answers] == [202] * 3
    assert len({one.json()["id"] for one in answers}) == 1
    assert Broadcast.objects.count() == 1


def test_visitors_of_a_form_have_keys_of_their_own(world):
    path = path_of(world, "submitForm")
    headers = {"Idempotency-Key": "k"}
    world.send(f"/api/workspaces/{world.workspace.id}/events", {"type": "go"})

    answer = Client().post(path, {"mail": "a@example.test"}, content_type="application/json", headers=headers)

    assert answer.status_code == 201
    assert world.send(f"/api/workspaces/{world.workspace.id}/events", {"type": "go"}).status_code == 201
