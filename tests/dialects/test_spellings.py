"""In every format one mailbox is one contact, however it is spelled, and what is no address is refused."""

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
STORED = "zoë@xn--strae-oqa.test"
SPELLINGS = [
    "Zoë@Straße.test",
    '"zoë"@straße.test',
    "zo\u00adë\u200b@straße.test",
    "zoe\u0308@XN--strae-oqa.TEST.",
    "ｚｏë＠straße。ｔｅｓｔ",
]
NO_ADDRESSES = [
    "<z@earth.test>",
    "z(1)@earth.test",
    "Z <z@earth.test>",
    "z@earth.test, y@earth.test",
    "z@-.test",
]
CREATE = [
    ("/api/workspaces/WORKSPACE/contacts", lambda email: {"email": email}),
    ("/leadpush/v1/contacts/upsert", lambda email: {"attributes": {"email": email}}),
    ("/autosend/v1/contacts/email", lambda email: {"email": email}),
    ("/api/partner/events", lambda email: {"type": "paid", "person": {"emails": [email]}}),
    ("/api/partner/events", lambda email: {"type": "paid", "person": {"emails": [{"value": email}]}}),
    ("/v4/track", lambda email: {"eventName": "paid", "contact": {"email": email}}),
    (
        "/v1/track",
        lambda email: {"event": "paid", "anonymousId": "a1", "context": {"traits": {"email": email}}},
    ),
]
ONCE_MORE = [(path, body) for path, body in CREATE if "workspaces" not in path]


@pytest.fixture
def workspace():
    workspace = WorkspaceFactory()
    create_definition(workspace.id, "paid")
    return workspace


def call(workspace, path, body):
    headers = {"Authorization": f"Bearer {a_key(workspace).secret}"}
    path = path.replace("WORKSPACE", str(workspace.id))
    return Client().generic("POST", path, json.dumps(body), content_type="application/json", headers=headers)


@pytest.mark.parametrize(("path", "body"), ONCE_MORE)
def test_one_mailbox_is_one_contact(workspace, path, body):
    for spelling in SPELLINGS:
        answer = call(workspace, path, body(spelling))
        assert answer.status_code < 300, (spelling, answer.content)
    assert Contact.objects.count() == 1
    assert Identifier.objects.get(kind="email").value == STORED


def test_the_native_format_tells_that_there_is_one(workspace):
    path, body = CREATE[0]
    answers = [call(workspace, path, body(spelling)) for spelling in SPELLINGS]
    assert [answer.status_code for answer in answers] == [201, *[409] * 4]
    assert answers[0].json()["email"] == STORED


@pytest.mark.parametrize("path", ["/autosend/v1/events/send", "/leadpush/v1/contacts/{}/events"])
def test_a_contact_is_found_by_any_spelling(workspace, path):
    a_contact(workspace, STORED)
    for spelling in SPELLINGS:
        body = {"eventName": "paid", "email": spelling} if "autosend" in path else {"event_name": "paid"}
        answer = call(workspace, path.format(spelling), body)
        assert answer.status_code < 300, (spelling, answer.content)
    assert Event.objects.filter(name="paid").count() == len(SPELLINGS)
    assert Contact.objects.count() == 1


@pytest.mark.parametrize(("path", "body"), CREATE)
@pytest.mark.parametrize("email", NO_ADDRESSES)
def test_what_is_no_address_is_refused(workspace, path, body, email):
    answer = call(workspace, path, body(email))
    assert answer.status_code in (400, 422), answer.content
    assert not Identifier.objects.exists()
    assert not Event.objects.filter(name="paid").exists()


@pytest.mark.parametrize(("path", "body"), CREATE)
def test_no_spelling_brings_an_erased_person_back(workspace, path, body):
    erase_person(workspace.id, a_contact(workspace, STORED))
    for spelling in SPELLINGS:
        assert 400 <= call(workspace, path, body(spelling)).status_code < 500
    assert not Contact.objects.exists()
