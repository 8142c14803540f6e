"""The official client `autosendjs`, unmodified, against a running server."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from campaigns.models import Message
from workspaces.services import issue_api_key
from workspaces.throttles import reset_limits

HERE = Path(__file__).parent

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


@pytest.fixture
def run(server, clients_home):
    """Return what the client's calls resolve to; each is (resource, method, *arguments)."""

    def run(*calls, key=server.key):
        script = json.dumps({"key": key, "baseUrl": f"{server.url}/autosend/v1", "calls": calls})
        finished = subprocess.run(
            ["node", str(HERE / "autosend_client.cjs")],
            input=script,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
            env={**os.environ, "CLIENTS_HOME": str(clients_home)},
        )
        return json.loads(finished.stdout)

    return run


def test_contacts(run, server):
    options = {
        "email": "John@Example.com",
        "firstName": "John",
        "userId": "u1",
        "customFields": {"plan": "pro"},
    }
    created, again, upserted = run(
        ["contacts", "create", options],
        ["contacts", "create", options],
        ["contacts", "upsert", {"email": "john@example.com", "lastName": "Doe"}],
    )
    assert created["success"] is True
    assert created["data"]["email"] == "john@example.com"
    assert created["data"]["projectId"] == str(server.workspace.id)
    assert again["success"] is False
    assert again["error"]["code"] == "CONTACT_ALREADY_EXISTS"
    assert upserted["data"] | {"updatedAt": ""} == created["data"] | {"lastName": "Doe", "updatedAt": ""}
    contact_id = created["data"]["id"]
    got, deleted, missing = run(
        ["contacts", "get", contact_id], ["contacts", "delete", contact_id], ["contacts", "get", contact_id]
    )
    assert got["data"] == upserted["data"]
    assert deleted["success"] is True
    # An answer without a body would have been retried for three seconds, and then failed.
    assert deleted["seconds"] < 3
    assert missing["error"] == {"message": "Contact not found", "code": "CONTACT_NOT_FOUND"}


def test_definitions_and_events(run):
    definition = {
        "eventName": "order_completed",
        "properties": [
            {"propertyName": "order_total", "type": "number"},
            {"propertyName": "is_first_purchase", "type": "boolean"},
        ],
    }
    body = {
        "eventName": "order_completed",
        "email": "jane@example.com",
        "eventProperties": {"order_total": "129.99", "is_first_purchase": 1},
    }
    declared, contact, listed, got, sent, unknown, deleted, gone = run(
        ["http", "post", "/events", definition],
        ["contacts", "create", {"email": "jane@example.com"}],
        ["http", "get", "/events"],
        ["http", "get", "/events/eventName/order_completed"],
        ["http", "post", "/events/send", body],
        ["http", "post", "/events/send", {**body, "eventProperties": {"foo": 1}}],
        ["http", "delete", "/events/eventName/order_completed"],
        ["http", "post", "/events/send", body],
    )
    assert declared["success"] is True
    assert listed["data"]["events"] == [got["data"]] == [declared["data"]]
    assert sent["data"]["contactId"] == contact["data"]["id"]
    assert sent["data"]["properties"] == {"order_total": 129.99, "is_first_purchase": True}
    assert (unknown["statusCode"], unknown["error"]["code"]) == (400, "UNKNOWN_PROPERTY")
    assert deleted["data"]["eventName"] == "order_completed"
    assert (gone["statusCode"], gone["error"]) == (
        404,
        {"message": "Event not found", "code": "EVENT_NOT_FOUND"},
    )


def test_bulk(run):
    updated, found, removed, left = run(
        [
            "http",
            "post",
            "/contacts/bulk-update",
            {"contacts": [{"email": "a@b.example"}], "runWorkflow": False},
        ],
        ["http", "post", "/contacts/search/emails", {"emails": ["a@b.example"]}],
        ["http", "post", "/contacts/remove", ["a@b.example"]],
        ["http", "post", "/contacts/search/emails", ["a@b.example"]],
    )
    assert updated["data"] == {"successCount": 1, "failedCount": 0, "totalCount": 1}
    (contact,) = found["data"]["contacts"]
    assert contact["email"] == "a@b.example"
    assert removed["data"] == {"success": True}
    assert left["data"]["contacts"] == []


def test_mails(run):
    mail = {
        "from": {"email": "shop@acme.example", "name": "Acme"},
        "subject": "Order {{number}}",
        "html": "<p>Hello {{name}}</p>",
        "dynamicData": {"number": 7},
    }
    jane, john = {"email": "jane@example.com", "name": "Jane"}, {"email": "john@example.com", "name": "John"}
    sent, blind, bulk = run(
        ["emails", "send", {**mail, "to": jane}],
        ["emails", "send", {**mail, "to": jane, "bcc": john}],
        ["emails", "bulk", {**mail, "recipients": [jane, john]}],
    )
    assert (sent["success"], sent["data"]) == (True, {"emailId": sent["data"]["emailId"]})
    assert (blind["statusCode"], blind["error"]["details"][0]["field"]) == (400, "bcc")
    del bulk["data"]["batchId"]
    assert bulk["data"] == {"totalRecipients": 2, "successCount": 2, "failedCount": 0}
    assert Message.objects.get(id=sent["data"]["emailId"]).subject == "Order 7"
    assert sorted(Message.objects.values_list("text", flat=True)) == [
        "Hello Jane",
        "Hello Jane",
        "Hello John",
    ]


def test_lists_fields_and_the_project(run, server):
    made, listed, field, fields, projects = run(
        ["http", "post", "/contact-lists", {"name": "Newsletter"}],
        ["http", "get", "/contact-lists", {"type": "list"}],
        ["http", "post", "/custom-fields", {"fieldName": "plan", "fieldType": "string"}],
        ["http", "get", "/custom-fields"],
        ["http", "get", "/account/projects"],
    )
    assert listed["data"]["lists"] == [made["data"]]
    assert fields["data"]["customFields"] == [field["data"]]
    assert [each["id"] for each in projects["data"]["projects"]] == [str(server.workspace.id)]
    named = {"contactListId": made["data"]["id"]}
    added, found, deleted, gone = run(
        ["http", "post", "/contact-lists/contacts/bulk-add", {**named, "emails": ["a@b.example"]}],
        ["http", "post", "/contact-lists/contacts/search", named],
        ["http", "delete", f"/contact-lists/{made['data']['id']}"],
        ["http", "delete", "/custom-fields/fieldName/plan"],
    )
    assert (added["data"]["created"], added["data"]["totalContactsInList"]) == (1, 1)
    assert found["data"]["contacts"] == added["data"]["contacts"]
    assert deleted["success"] is gone["success"] is True
    # An answer without a body would have been retried for three seconds, and then failed.
    assert deleted["seconds"] < 3


def test_the_client_waits_where_the_rate_is_passed(run, server):
    reset_limits()
    key = issue_api_key(server.workspace.id, "slow", rate_limit="1/2second").secret
    first, second = run(["http", "get", "/events"], ["http", "get", "/events"], key=key)
    reset_limits()
    assert first["success"] is second["success"] is True
    assert second["seconds"] >= 1


def test_a_wrong_key(run):
    (answer,) = run(["http", "get", "/events"], key="AS_wrong")
    assert (answer["statusCode"], answer["error"]) == (
        401,
        {"message": "Unauthorized", "code": "UNAUTHORIZED"},
    )
