"""In every vendor's format an erased person's data are refused; the rest of the request is stored."""

import json

import pytest
from django.test import Client

from contacts.erasure.erasures import erase_person
from contacts.models import Contact, Identifier
from events.models import Event
from events.stream.definitions import create_definition
from tests.contacts.factories import a_contact
from tests.workspaces.factories import WorkspaceFactory, a_key

pytestmark = pytest.mark.django_db
EMAIL = "zaphod@betelgeuse.test"
OTHER = "ford@betelgeuse.test"


@pytest.fixture
def workspace():
    workspace = WorkspaceFactory()
    create_definition(workspace.id, "paid")
    erase_person(workspace.id, a_contact(workspace, EMAIL, identifiers=(("external_id", "z-1"),)))
    return workspace


def call(workspace, path, body):
    headers = {"Authorization": f"Bearer {a_key(workspace).secret}"}
    path = path.replace("WORKSPACE", str(workspace.id))
    return Client().generic("POST", path, json.dumps(body), content_type="application/json", headers=headers)


def nobody_is_stored():
    values = {"zaphod@betelgeuse.test", "z-1"}
    return not Identifier.objects.filter(value__in=values).exists() and "zaphod" not in str(
        [*Contact.objects.values(), *Event.objects.values("properties", "context")]
    )


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/workspaces/WORKSPACE/contacts", {"email": EMAIL}),
        ("/api/workspaces/WORKSPACE/contacts", {"email": OTHER, "externalId": "z-1"}),
        ("/leadpush/v1/contacts", {"attributes": {"email": EMAIL.upper()}}),
        ("/leadpush/v1/contacts/upsert", {"attributes": {"email": EMAIL}}),
        ("/leadpush/v1/emails", {"from": OTHER, "to": [EMAIL], "subject": "x", "text": "x"}),
        ("/autosend/v1/contacts", {"email": EMAIL}),
        ("/autosend/v1/contacts/email", {"email": EMAIL}),
        ("/autosend/v1/contacts/email", {"email": OTHER, "userId": "z-1"}),
        ("/autosend/v1/events/send", {"eventName": "paid", "email": EMAIL}),
        (
            "/autosend/v1/mails/send",
            {"from": {"email": OTHER}, "to": {"email": EMAIL, "name": "zaphod"}, "subject": "x", "text": "x"},
        ),
        ("/api/partner/events", {"type": "paid", "person": {"emails": [EMAIL], "firstName": "zaphod"}}),
        ("/v4/track", {"eventName": "paid", "contact": {"email": EMAIL}, "properties": {"x": "zaphod"}}),
        ("/v1/track", {"event": "paid", "userId": "z-1", "properties": {"x": "zaphod"}}),
        ("/v1/identify", {"userId": "z-2", "traits": {"email": EMAIL, "name": "zaphod"}}),
    ],
)
def test_the_request_is_refused(workspace, path, body):
    answer = call(workspace, path, body)

    assert 400 <= answer.status_code < 500, (answer.status_code, answer.content)
    assert "traceback" not in answer.content.decode().lower()
    assert nobody_is_stored()


def test_in_a_bulk_update_the_others_are_taken(workspace):
    body = {"contacts": [{"email": EMAIL}, {"email": OTHER}]}

    answer = call(workspace, "/autosend/v1/contacts/bulk-update", body)

    assert answer.status_code == 200, answer.content
    assert nobody_is_stored()
    assert Identifier.objects.get().value == OTHER
