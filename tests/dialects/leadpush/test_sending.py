import json
import uuid

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from contacts.crud import create_contact, set_consent
from contacts.profiles.fields import create_field
from contacts.references import ContactChanges
from events.models import Event
from tests.contacts.factories import set_identity_field
from workspaces.services import create_workspace, issue_api_key

FORBIDDEN = {"message": "This action is unauthorized."}
NOT_FOUND = {"message": "Not found."}


def sent_events():
    return Event.objects.exclude(source="system")


def assert_recorded(answer, properties):
    assert (answer.status_code, answer.content) == (204, b"")
    event = sent_events().get()
    assert event.properties == properties
    return event


def test_event_by_uuid_is_recorded(either, contact):
    answer = either.send(contact.id, {"event_name": "contact.signed_up", "attributes": {"plan": "pro"}})
    event = assert_recorded(answer, {"plan": "pro"})
    assert (event.name, event.contact_id, event.source) == ("contact.signed_up", contact.id, "api")


@pytest.mark.parametrize(
    "identity",
    ["person@example.com", "PERSON@Example.COM", "%20person@example.com%20", "person%40example.com"],
)
def test_event_by_email_is_recorded_in_any_spelling(either, contact, identity):
    event = assert_recorded(either.send(identity, {"event_name": "opened"}), {})
    assert event.contact_id == contact.id


@pytest.mark.parametrize("spelling", ["+15551234567", "%2B1%20555%20123%204567", "+1-555-123-4567"])
def test_event_by_phone_is_recorded_in_any_spelling(workspace, either, spelling):
    set_identity_field(workspace, "phone")
    contact = create_contact(workspace, ContactChanges(identifiers=(("phone", "+1 (555) 123-4567"),)))
    assert assert_recorded(either.send(spelling, {"event_name": "x"}), {}).contact_id == contact.id


@pytest.mark.parametrize(("type", "value"), [("text", "a/b c"), ("integer", 42)])
def test_event_by_a_custom_identity_field_is_recorded(workspace, either, type, value):
    create_field(workspace.id, "customer_no", type)
    set_identity_field(workspace, "customer_no")
    contact = create_contact(workspace, ContactChanges(attributes={"customer_no": value}))
    path = str(value).replace("/", "%2F").replace(" ", "%20")
    assert assert_recorded(either.send(path, {"event_name": "x"}), {}).contact_id == contact.id


def test_an_email_finds_nobody_where_another_field_is_the_identity(workspace, either, contact):
    workspace.identity_field = "phone"
    workspace.save()
    answer = either.send("person@example.com", {"event_name": "x"})
    assert (answer.status_code, answer.json()) == (404, NOT_FOUND)


def test_an_identity_that_looks_like_a_uuid_finds_its_contact(workspace, either, foreign_contact):
    create_field(workspace.id, "ref", "text")
    set_identity_field(workspace, "ref")
    contact = create_contact(workspace, ContactChanges(attributes={"ref": str(foreign_contact.id)}))
    event = assert_recorded(either.send(foreign_contact.id, {"event_name": "x"}), {})
    assert event.contact_id == contact.id


def test_a_foreign_uuid_is_403_where_the_path_names_the_workspace(older, foreign_contact):
    answer = older.send(foreign_contact.id, {"event_name": "x"})
    assert (answer.status_code, answer.json()) == (403, FORBIDDEN)
    assert not sent_events().exists()


def test_a_foreign_uuid_is_404_where_the_key_names_the_workspace(newer, foreign_contact):
    answer = newer.send(foreign_contact.id, {"event_name": "x"})
    assert (answer.status_code, answer.json()) == (404, NOT_FOUND)


def test_a_foreign_email_is_404(either, foreign_contact):
    assert either.send("theirs@example.com", {"event_name": "x"}).status_code == 404


@pytest.mark.parametrize("workspace_id", [uuid.UUID(int=0), "nonsense", "existing"])
def test_a_workspace_of_others_is_403_whether_it_exists_or_not(older, contact, workspace_id):
    if workspace_id == "existing":
        workspace_id = create_workspace("Others").id
    other = type(older)(older.workspace, older.key, f"/v1/workspaces/{workspace_id}")
    answer = other.send(contact.id, {"event_name": "x"})
    assert (answer.status_code, answer.json()) == (403, FORBIDDEN)


def test_a_key_without_the_scope_is_403(older, contact):
    reader = issue_api_key(older.workspace.id, "reader", ["events:read"]).secret
    answer = older.send(contact.id, {"event_name": "x"}, key=reader)
    assert (answer.status_code, answer.json()) == (403, FORBIDDEN)


@pytest.mark.parametrize("key", ["", "wrong", "hr_wrong"])
def test_a_bad_key_is_401(either, contact, key):
    answer = either.send(contact.id, {"event_name": "x"}, key=key)
    assert (answer.status_code, answer.json()) == (401, {"message": "Unauthenticated."})


@pytest.mark.parametrize(
    "path",
    [
        "nobody@example.com",
        "nobody",
        "01234567-89ab-7def-8123-456789abcdef",
        "%00",
        "a%00b",
        "%ed%a0%80",
        "x" * 3000,
        "..",
        "%0A",
    ],
)
def test_an_unknown_contact_is_404(either, db, path):
    answer = either.send(path, {"event_name": "x"})
    assert (answer.status_code, answer.json()) == (404, NOT_FOUND)


@pytest.mark.parametrize("body", [b"{", {}, [], {"event_name": "x", "attributes": []}])
def test_an_unknown_contact_is_refused_before_a_bad_body(older, foreign_contact, body):
    assert older.send("nobody@example.com", body).status_code == 404
    assert older.send(foreign_contact.id, body).status_code == 403


@pytest.mark.parametrize(
    ("attributes", "stored"),
    [
        ({"a": {"b": [1, None, True, 1.5, "é"]}}, {"a": {"b": [1, None, True, 1.5, "é"]}}),
        ('{"plan":"pro","n":{"x":[1]}}', {"plan": "pro", "n": {"x": [1]}}),
        ("{}", {}),
        ("[]", {}),
        (None, {}),
        ({}, {}),
    ],
)
def test_attributes_are_an_object_or_the_text_of_one(either, contact, attributes, stored):
    assert_recorded(either.send(contact.id, {"event_name": "x", "attributes": attributes}), stored)


@pytest.mark.parametrize(
    "attributes",
    [
        *([], [1], 1, 0, True, False, 1.5),
        *("", "plan", "null", "1", "true", '"x"', "[1]", "{", '{"a":1,"a":2}', '{"a":NaN}'),
        *('{"a":"\\u0000"}', '{"a":99999999999999999999}', "[" * 5000),
    ],
)
def test_other_attributes_are_422(either, contact, attributes):
    answer = either.send(contact.id, {"event_name": "x", "attributes": attributes})
    message = "The attributes field must be a JSON object."
    assert answer.status_code == 422
    assert answer.json() == {"message": message, "errors": {"attributes": [message]}}
    assert not sent_events().exists()


@pytest.mark.parametrize(
    "body", [{}, {"event_name": None}, {"event_name": ""}, {"event_name": " \t"}, None, b""]
)
def test_a_missing_event_name_is_422(either, contact, body):
    answer = either.send(contact.id, body)
    message = "The event name field is required."
    assert answer.status_code == 422
    assert answer.json() == {"message": message, "errors": {"event_name": [message]}}


@pytest.mark.parametrize("name", [1, True, [], {}, ["x"], "x" * 256])
def test_a_bad_event_name_is_422(either, contact, name):
    answer = either.send(contact.id, {"event_name": name})
    assert answer.status_code == 422
    assert list(answer.json()["errors"]) == ["event_name"]


def test_event_name_is_trimmed_and_may_have_255_characters(newer, contact):
    assert newer.send(contact.id, {"event_name": f" {'x' * 255} "}).status_code == 204
    assert sent_events().get().name == "x" * 255


def test_every_problem_is_in_one_answer(newer, contact):
    answer = newer.send(contact.id, {"attributes": 1}).json()
    assert answer["message"] == "The event name field is required. (and 1 more error)"
    assert list(answer["errors"]) == ["event_name", "attributes"]


@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b"null", b"1", b'"x"', b"\xff", b'{"event_name":"\\u0000"}', b'{"event_name":"a","event_name":"b"}',
     b'{"event_name":"x","attributes":{"a":NaN}}', b'{"event_name":"\\ud800"}', b"[" * 10_000, b'{"a":' * 10_000],
)  # fmt: skip
def test_a_body_that_is_no_proper_object_is_422(either, contact, body):
    answer = either.send(contact.id, body)
    assert answer.status_code == 422
    assert set(answer.json()) == {"message", "errors"}
    assert not sent_events().exists()


def test_a_body_that_is_too_large_is_413(newer, contact):
    answer = newer.send(contact.id, json.dumps({"event_name": "x", "attributes": {"a": "x" * 10_000_000}}))
    assert (answer.status_code, answer.json()) == (413, {"message": "The POST data is too large."})


def test_an_unsubscribed_contact_receives_events(workspace, newer, contact):
    set_consent(workspace.id, contact, "email", "opted_out")
    assert newer.send(contact.id, {"event_name": "x"}).status_code == 204


def test_a_request_with_a_known_key_is_recorded_once(either, contact):
    body, headers = {"event_name": "x", "attributes": {"a": 1}}, {"Idempotency-Key": "k1"}
    for _ in range(2):
        assert either.send(contact.id, body, **headers).status_code == 204
    assert sent_events().count() == 1


def test_a_key_for_another_request_is_409(either, contact):
    either.send(contact.id, {"event_name": "x"}, **{"Idempotency-Key": "k1"})
    answer = either.send(contact.id, {"event_name": "y"}, **{"Idempotency-Key": "k1"})
    assert answer.status_code == 409
    assert list(answer.json()) == ["message"]


def test_a_refused_request_leaves_no_key(older, contact):
    headers = {"Idempotency-Key": "k1"}
    assert older.send(contact.id, {"event_name": ""}, **headers).status_code == 422
    assert older.send("nobody@example.com", {"event_name": "x"}, **headers).status_code == 404
    assert older.send(contact.id, {"event_name": "x"}, **headers).status_code == 204


def test_a_bad_key_of_the_request_is_422(newer, contact):
    answer = newer.send(contact.id, {"event_name": "x"}, **{"Idempotency-Key": "x" * 256})
    assert answer.status_code == 422


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("path", ["{id}", "person@example.com"])
def test_a_send_takes_four_statements(either, contact, path):
    path = path.format(id=contact.id)
    for _ in range(2):
        either.send(path, {"event_name": "x", "attributes": {"a": 1}})
    with CaptureQueriesContext(connection) as captured:
        assert either.send(path, {"event_name": "x", "attributes": {"a": 1}}).status_code == 204
    statements = [query["sql"] for query in captured if query["sql"] not in ("BEGIN", "COMMIT")]
    assert len(statements) == 4, statements


def test_fields_that_the_api_does_not_know_are_ignored(either, contact):
    body = {"event_name": "x", "attributes": {"a": 1}, "timestamp": "now", "origin": {"deep": [1]}}
    assert either.send(contact.id, body).status_code == 204
    assert sent_events().get().properties == {"a": 1}
