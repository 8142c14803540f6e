"""In every vendor's format a merged contact answers as its survivor, and its events come in all the same."""

import json

import pytest
from django.test import Client

from contacts.crud import create_contact
from contacts.merging.merges import merge_contacts
from contacts.models import Contact
from contacts.references import ContactChanges
from events.models import Event
from tests.workspaces.factories import WorkspaceFactory, a_key

pytestmark = pytest.mark.django_db


@pytest.fixture
def workspace():
    return WorkspaceFactory()


@pytest.fixture
def pair(workspace):
    jane, other = (
        create_contact(
            workspace,
            ContactChanges(
                identifiers=(("email", f"{name}@example.test"), *more), tags=(name,), first_name=name
            ),
        )
        for name, more in (("jane", ()), ("other", (("external_id", "u-2"),)))
    )
    merge_contacts(workspace.id, jane, other)
    return jane, other


@pytest.fixture
def call(workspace):
    headers = {"Authorization": f"Bearer {a_key(workspace).secret}"}

    def call_path(method, path, body=None):
        content = b"" if body is None else json.dumps(body)
        return Client().generic(method, path, content, content_type="application/json", headers=headers)

    return call_path


def came_with(name):
    """Return whom the events of a name came with."""
    return set(Event.objects.filter(name=name).values_list("contact_id", flat=True))


@pytest.mark.parametrize("by", ["id", "email"])
def test_leadpush(call, pair, by):
    jane, other = pair
    text = str(other.id) if by == "id" else "other@example.test"
    for name in (text, "jane@example.test"):
        sent = call("POST", f"/leadpush/v1/contacts/{name}/events", {"event_name": "paid", "attributes": {}})
        assert sent.status_code == 204
    assert came_with("paid") == {jane.id, other.id}
    found = call("GET", f"/leadpush/v1/contacts/{text}").json()["data"]
    assert (found["uuid"], found["attributes"]["email"]) == (str(jane.id), "jane@example.test")
    assert len(call("GET", f"/leadpush/v1/contacts/{text}/events").json()["data"]) == 2
    assert [found["uuid"] for found in call("GET", "/leadpush/v1/contacts").json()["data"]] == [str(jane.id)]


def test_autosend(call, pair):
    jane, other = pair
    call("POST", "/autosend/v1/events", {"eventName": "paid", "properties": []})
    for recipient in ({"contactId": str(other.id)}, {"email": "other@example.test"}):
        sent = call("POST", "/autosend/v1/events/send", {"eventName": "paid", **recipient})
        assert sent.json()["data"]["contactId"] == str(jane.id), sent.content
    assert came_with("paid") == {other.id}
    found = call("GET", f"/autosend/v1/contacts/{other.id}").json()["data"]
    assert (found["id"], found["email"], found["userId"]) == (str(jane.id), "jane@example.test", "u-2")
    body = {"emails": ["other@example.test", "jane@example.test"]}
    searched = call("POST", "/autosend/v1/contacts/search/emails", body).json()["data"]["contacts"]
    assert [found["id"] for found in searched] == [str(jane.id)]
    assert call("DELETE", "/autosend/v1/contacts/email/userId/u-2").status_code == 200
    assert not Contact.objects.exists()


def test_suresend(call, pair):
    jane, other = pair
    for person in ({"personId": str(other.id)}, {"person": {"emails": ["other@example.test"]}}):
        answer = call("POST", "/api/partner/events", {"type": "paid", **person}).json()
        assert (answer["event"]["personId"], answer["person"]["id"]) == (str(jane.id), str(jane.id))
        assert answer["wasPersonCreated"] is False
    assert [(email["value"], email["isPrimary"]) for email in answer["person"]["emails"]] == [
        ("jane@example.test", True),
        ("other@example.test", False),
    ]
    assert answer["person"]["tags"] == ["jane", "other"]
    assert came_with("paid") == {other.id}


def test_segment(call, pair):
    jane, other = pair
    assert call("POST", "/v1/track", {"event": "paid", "userId": "u-2"}).status_code == 200
    assert came_with("paid") == {other.id}
    body = {
        "event": "got",
        "anonymousId": "a-1",
        "context": {"traits": {"email": "other@example.test", "x": 1}},
    }
    assert call("POST", "/v1/track", body).status_code == 200
    assert came_with("got") == {other.id}
    assert Contact.objects.get(id=jane.id).attributes["x"] == 1


def test_omnisend(call, pair):
    _, other = pair
    body = {"eventName": "paid", "contact": {"email": "other@example.test", "tags": ["new"]}}
    assert call("POST", "/v4/track", body).status_code == 202
    assert came_with("paid") == {other.id}
    assert set(Contact.objects.get(id=other.id).contact_tags.values_list("tag__name", flat=True)) == {"other"}
