"""Why something was decided is one of a list, which the document of the API has."""

import ast
from pathlib import Path

import pytest
from drf_spectacular.generators import SchemaGenerator

import campaigns
from campaigns.models import Decision, NewDecision
from campaigns.reasons import Reason
from config import clock
from tests.campaigns.factories import a_campaign, definition, enrollments_of, messages_of, node, sends, work
from tests.campaigns.messages import a_message, deliver_ready
from tests.campaigns.rows import a_suppression
from tests.native import NativeClient
from tests.segments.factories import send

pytestmark = pytest.mark.django_db

REASONS = {reason.value for reason in Reason}


@pytest.fixture(scope="module")
def document():
    return SchemaGenerator().get_schema(request=None, public=True)


def enum_of(schema, document):
    """Return the values of a schema, whatever it is put together of."""
    if "$ref" in schema:
        return enum_of(document["components"]["schemas"][schema["$ref"].rpartition("/")[2]], document)
    parts = [part for key in ("oneOf", "anyOf", "allOf") for part in schema.get(key, ())]
    return set(schema.get("enum", ())).union(*(enum_of(part, document) for part in parts)) - {None}


@pytest.mark.parametrize("schema", ["Decision", "StepCount", "Executed", "MessageRow", "Message"])
def test_the_document_lists_every_reason(document, schema):
    reason = document["components"]["schemas"][schema]["properties"]["reason"]
    assert enum_of(reason, document) == REASONS


def test_decisions_are_narrowed_by_a_reason_of_the_list(document, workspace):
    path = document["paths"]["/api/workspaces/{workspace_id}/contacts/{contact_id}/decisions"]
    (narrows,) = [parameter for parameter in path["get"]["parameters"] if parameter["name"] == "reason"]
    assert enum_of(narrows["schema"], document) == REASONS


def test_no_code_writes_a_decision_past_the_check():
    """Rows come into being in one place, which refuses whatever is no reason."""
    past = [
        path.name
        for path in Path(campaigns.__file__).parent.rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Attribute)
        and call.attr in ("create", "bulk_create", "get_or_create", "update_or_create")
        and ast.unparse(call.value).startswith("Decision.objects")
    ]
    assert past == []


def test_another_reason_is_not_written(workspace, jane):
    with pytest.raises(ValueError, match="because"):
        Decision.objects.record(
            workspace.id,
            [NewDecision(contact_id=jane.id, kind="not_sent", reason="because", decided_at=clock.now())],
        )
    assert not Decision.objects.exists()


def test_a_wait_that_timed_out_says_so(workspace, jane, time):
    raw = definition(node("await", "waitForEvent", eventType="buy", timeout="1d"))
    campaign = a_campaign(workspace, raw)
    send(workspace, jane, "go")
    work(workspace)
    time.go(days=1)
    work(workspace)
    over = Decision.objects.get(campaign=campaign, kind="resumed")
    assert (over.reason, over.detail) == ("timed_out", {"handle": "timeout"})
    rows = (
        NativeClient(workspace).get(f"campaigns/{campaign.id}/decisions", reason="timed_out").json()["data"]
    )
    assert [row["kind"] for row in rows] == ["RESUMED"]


def test_what_an_exit_calls_itself_is_beside_the_reason(workspace, jane):
    campaign = a_campaign(workspace, definition(node("out", "exit", reason="not for us")))
    send(workspace, jane, "go")
    work(workspace)
    ended = Decision.objects.get(campaign=campaign, kind="ended")
    assert (ended.reason, ended.detail) == ("exit_step", {"reason": "not for us"})
    assert [enrollment.end_reason for enrollment in enrollments_of(campaign)] == ["not for us"]


def test_a_sends_step_names_its_message(workspace, jane):
    campaign = a_campaign(workspace, definition(sends(workspace)))
    send(workspace, jane, "go")
    work(workspace)
    (message,) = messages_of(campaign)
    assert Decision.objects.get(campaign=campaign, kind="step").message_id == message.id
    rows = NativeClient(workspace).get(f"campaigns/{campaign.id}/decisions", kind="STEP").json()["data"]
    assert [row["messageId"] for row in rows] == [str(message.id)]


def test_a_message_that_has_not_left_says_why(workspace, jane):
    api = NativeClient(workspace)
    a_message(jane)
    assert [row["reason"] for row in api.get("messages").json()["data"]] == [None]
    a_suppression(workspace, "jane@example.test")
    deliver_ready(workspace.id, "email")
    assert [row["reason"] for row in api.get("messages").json()["data"]] == ["suppressed"]
