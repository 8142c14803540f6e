import json
from typing import Any

import pytest
from django.test import Client

from contacts.models import Contact
from contacts.profiles.fields import create_field
from events.models import Event
from workspaces.services import issue_api_key

PERSON = {"emails": ["jane@example.com"]}
WRONG: list[Any] = [None, True, 1, 1.5, "", "text", [], [1], [None], [[]], {}, {"a": 1}]
PLACES = [
    ("type",),
    ("personId",),
    ("person",),
    ("person", "firstName"),
    ("person", "lastName"),
    ("person", "name"),
    ("person", "emails"),
    ("person", "emails", 0),
    ("person", "emails", 0, "value"),
    ("person", "emails", 0, "type"),
    ("person", "emails", 0, "isPrimary"),
    ("person", "phones"),
    ("person", "phones", 0),
    ("person", "phones", 0, "value"),
    ("person", "tags"),
    ("person", "tags", 0),
    ("person", "addresses"),
    ("person", "addresses", 0),
    ("person", "stage"),
    ("person", "assignedUserId"),
    ("person", "averagePrice"),
    ("company",),
    ("company", "id"),
    ("company", "name"),
    ("company", "website"),
    ("company", "companySize"),
    ("pageUrl",),
    ("pageDuration",),
    ("property",),
    ("property", "id"),
    ("property", "price"),
    ("propertySearch",),
    ("propertySearch", "beds"),
    ("message",),
    ("metadata",),
    ("metadata", "x"),
    ("ipAddress",),
    ("occurredAt",),
    ("unknown",),
]


def body_with(place, value):
    body: Any = {
        "type": "x",
        "person": {
            "emails": [{"value": "jane@example.com"}],
            "phones": [{"value": "+15551234"}],
            "tags": ["a"],
            "addresses": ["b"],
        },
        "company": {"name": "Acme"},
        "property": {},
        "propertySearch": {},
        "metadata": {},
    }
    at = body
    for step in place[:-1]:
        at = at[step]
    at[place[-1]] = value
    return body


@pytest.mark.parametrize("place", PLACES, ids=lambda place: ".".join(map(str, place)))
def test_a_wrong_type_anywhere_is_refused_by_name_or_stored(send, place):
    for value in WRONG:
        answer = send(body_with(place, value))
        assert answer.status_code in (200, 201, 404, 422), (value, answer.content)
        if answer.status_code == 422:
            assert set(answer.json()) == {"error", "errors"}
            named = next(iter(answer.json()["errors"]))
            assert named.replace("[", ".").replace("]", "").startswith(str(place[0])), answer.content


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"person": PERSON}, "type"),
        ({"type": " ", "person": PERSON}, "type"),
        ({"type": "x" * 256, "person": PERSON}, "type"),
        ({"type": "x", "person": {"emails": ["not an email"]}}, "person.emails[0]"),
        ({"type": "x", "person": {"emails": [{"value": ""}]}}, "person.emails[0].value"),
        ({"type": "x", "person": {"phones": ["none"]}}, "person.phones[0]"),
        ({"type": "x", "email": "nobody"}, "email"),
        ({"type": "x", "email": ["a@example.com"]}, "email"),
        ({"type": "x", "phone": "none"}, "phone"),
        ({"type": "x", "email": ""}, "person"),
        ({"type": "x", "name": "Newsletter"}, "person"),
        ({"type": "x", "person": {"email": "nobody"}}, "person.email"),
        ({"type": "x", "email": "a@example.com", "firstName": "x" * 256}, "firstName"),
        ({"type": "x", "person": {**PERSON, "firstName": "x" * 256}}, "person.firstName"),
        ({"type": "x", "person": PERSON, "company": {}}, "company"),
        ({"type": "x", "person": PERSON, "company": {"website": "https://a.example"}}, "company"),
        ({"type": "x", "person": PERSON, "occurredAt": "2026-02-30T10:00:00Z"}, "occurredAt"),
        ({"type": "x", "person": PERSON, "occurredAt": "2026-02-20"}, "occurredAt"),
        ({"type": "x", "person": PERSON, "occurredAt": "2999-01-01T00:00:00Z"}, "occurredAt"),
        ({"type": "x", "person": PERSON, "occurredAt": "0001-01-01T00:00:00+14:00"}, "occurredAt"),
        ({"type": "x", "person": PERSON, "property": {"price": "cheap"}}, "property.price"),
        ({"type": "x", "person": {**PERSON, "tags": ["x" * 256]}}, "person.tags[0]"),
        ({"type": "x", "person": {"emails": [f"a{n}@example.com" for n in range(101)]}}, "person.emails"),
    ],
)
def test_a_bad_field_is_named_and_nothing_is_stored(send, body, field):
    answer = send(body)
    assert answer.status_code == 422
    assert list(answer.json()["errors"]) == [field]
    assert answer.json()["error"]
    assert not Contact.objects.exists()
    assert not Event.objects.exists()


def test_all_problems_are_listed(send):
    answer = send({"person": {"emails": [1]}, "pageDuration": "long"})
    assert answer.json()["error"] == "type is required"
    assert set(answer.json()["errors"]) == {"type", "person.emails[0]", "pageDuration"}


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"null",
        b"1",
        b'"text"',
        b"\xff",
        b'{"type":"x","type":"y"}',
        b'{"type":"\\u0000"}',
        b'{"type":"\\ud800"}',
        b'{"metadata":{"n":NaN}}',
        b'{"metadata":{"n":18446744073709551616}}',
        b"[" * 10_000,
        b'{"a":' * 10_000,
    ],
)
def test_a_body_that_is_no_object_is_422(send, body):
    answer = send(body)
    assert answer.status_code == 422
    assert set(answer.json()) == {"error", "errors"}


def test_a_huge_body_is_413(send):
    answer = send(json.dumps({"type": "x", "message": "x" * 10_000_000}))
    assert (answer.status_code, list(answer.json())) == (413, ["error"])


@pytest.mark.parametrize("secret", ["", "wrong", "eyJ.a.b", "\u00e9"])
def test_a_bad_credential_is_401(send, secret):
    answer = send({"type": "x", "person": PERSON}, secret=secret)
    assert (answer.status_code, answer.json()) == (401, {"error": "Unauthorized"})


@pytest.mark.django_db
def test_no_credential_is_401():
    answer = Client().post("/api/partner/events", "{}", content_type="application/json")
    assert (answer.status_code, answer.json()) == (401, {"error": "Unauthorized"})


def test_a_key_without_the_scope_is_403(send, workspace):
    reader = issue_api_key(workspace.id, "reader", ["events:read"]).secret
    answer = send({"type": "x", "person": PERSON}, secret=reader)
    assert (answer.status_code, list(answer.json())) == (403, ["error"])


def test_another_method_is_405_and_another_media_type_415(key):
    headers = {"Authorization": f"Bearer {key}"}
    assert Client().get("/api/partner/events", headers=headers).status_code == 405
    answer = Client().post("/api/partner/events", "a=b", content_type="text/plain", headers=headers)
    assert (answer.status_code, list(answer.json())) == (415, ["error"])


@pytest.mark.parametrize(
    "path", ["/api/partner/nothing", "/api/partner/events/", "/suresend/api/partner/nothing"]
)
def test_an_unknown_route_is_404_in_this_format(send, path):
    answer = send({}, path=path)
    assert (answer.status_code, answer.json()) == (404, {"error": "Not found"})


def test_a_value_against_a_declared_field_is_refused_by_name(send, workspace):
    create_field(workspace.id, "stage", "integer")
    answer = send({"type": "x", "person": {**PERSON, "stage": "Lead"}})
    assert answer.status_code == 422
    assert list(answer.json()["errors"]) == ["person.stage"]
    assert not Contact.objects.exists()


@pytest.mark.parametrize("used", ["", "x" * 256])
def test_a_bad_idempotency_key_is_refused(send, used):
    answer = send({"type": "x", "person": PERSON}, **{"Idempotency-Key": used})
    assert (answer.status_code, list(answer.json()["errors"])) == (422, ["base"])
