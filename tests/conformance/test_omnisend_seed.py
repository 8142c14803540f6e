"""The document's own table of types, and the limits that it states."""

import pytest
from django.test import Client

from contacts.models import Contact
from events.models import Event, EventProperty
from workspaces.services import create_application, create_workspace

# | Type | Examples |, its addresses unmasked; the core calls int integer, float number and dateTime datetime.
TABLE = [
    ("boolean", [True, False]),
    ("integer", [1]),
    ("number", [1.23]),
    ("string", ["lorem ipsum"]),
    ("date", ["2021-09-01"]),
    ("datetime", ["2021-09-01T12:41:52Z", "2021-09-01T12:41:52+03:00"]),
    ("email", ["jane@example.com"]),
    ("url", ["https://example.com/"]),
]


@pytest.fixture
def workspace(db):
    return create_workspace("Shop")


@pytest.fixture
def track(workspace):
    """Track with what the document names: an OAuth token with the scope events.write."""
    created = create_application(workspace.id, "app", ["events:write"])
    grant = {
        "grant_type": "client_credentials",
        "client_id": created.application.client_id,
        "client_secret": created.client_secret,
        "scope": "events.write",
    }
    token = Client().post("/oauth2/token", grant).json()["access_token"]

    def post(body):
        headers = {"Authorization": f"Bearer {token}"}
        return Client().post("/v4/track", body, content_type="application/json", headers=headers)

    return post


@pytest.mark.parametrize(("type_", "examples"), TABLE)
def test_the_examples_have_their_types(track, workspace, type_, examples):
    for example in examples:
        body = {
            "eventName": "order_completed",
            "contact": {"email": "jane@example.com"},
            "properties": {"p": example},
        }
        assert track(body).status_code == 202
    assert EventProperty.objects.get(workspace=workspace, name="p").type == type_
    events = Event.objects.filter(workspace=workspace, source="api").order_by("id")
    assert [event.properties["p"] for event in events] == examples


def test_existing_types_stay_and_new_properties_are_added(track, workspace):
    contact = {"phoneNumber": "+15551234567"}
    assert track({"eventName": "e", "contact": contact, "properties": {"a": 1}}).status_code == 202
    assert track({"eventName": "e", "contact": contact, "properties": {"a": "x"}}).status_code == 400
    assert track({"eventName": "e", "contact": contact, "properties": {"b": "x"}}).status_code == 202
    rows = EventProperty.objects.filter(workspace=workspace)
    assert dict(rows.values_list("name", "type")) == {"a": "integer", "b": "string"}


@pytest.mark.parametrize("name", ["id", "email", "phoneNumber"])
def test_the_contact_is_matched_and_updated_by(track, workspace, name):
    track({"eventName": "e", "contact": {"email": "jane@example.com", "phoneNumber": "+15551234567"}})
    contact = Contact.objects.get(workspace=workspace)
    by = {"id": str(contact.id), "email": "jane@example.com", "phoneNumber": "+15551234567"}
    assert track({"eventName": "e", "contact": {name: by[name], "firstName": "Jane"}}).status_code == 202
    contact.refresh_from_db()
    assert contact.first_name == "Jane"
    assert Contact.objects.filter(workspace=workspace).count() == 1
