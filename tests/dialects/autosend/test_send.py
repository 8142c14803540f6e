"""POST /events/send: the document's answers, and the order of its refusals."""

import time

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from events.models import Event, EventProperty
from tests.workspaces.factories import WorkspaceFactory, a_key

PROPERTIES = {"order_total": 129.99, "currency": "USD", "is_first_purchase": True}


def sent(project):
    return Event.objects.filter(workspace=project.workspace, name="order_completed")


def error_of(response):
    assert response.json()["success"] is False
    return response.status_code, response.json()["error"]["code"], response.json()["error"]["message"]


@pytest.mark.parametrize("path", ["/events/send", "/v1/events/send"])
def test_the_document(project, order, jane, path):
    body = {"eventName": "order_completed", "email": "Jane@Example.com ", "eventProperties": PROPERTIES}
    response = project.post(path, body)
    assert response.status_code == 201
    answer = response.json()
    event = sent(project).get()
    assert answer == {
        "success": True,
        "data": {
            "id": str(event.id),
            "eventName": "order_completed",
            "contactId": str(jane.id),
            "properties": PROPERTIES,
            "createdAt": answer["data"]["createdAt"],
        },
    }
    assert answer["data"]["createdAt"].endswith("Z")
    assert len(answer["data"]["createdAt"]) == len("2026-05-08T13:45:00.000Z")


def test_the_stored_values_are_those_answered(project, order, jane):
    values = {"order_total": " 12.50", "currency": 5, "is_first_purchase": "TRUE", "paid_at": "2026-01-15"}
    answer = project.send(contactId=str(jane.id), eventProperties=values).json()["data"]["properties"]
    assert answer == {
        "order_total": 12.5,
        "currency": "5",
        "is_first_purchase": True,
        "paid_at": "2026-01-15T00:00:00.000Z",
    }
    assert sent(project).get().properties == answer


def test_contact_id_takes_precedence(project, order, jane):
    assert project.send(contactId=str(jane.id), email="nobody@example.com").status_code == 201
    response = project.send(contactId="60d5ec49f1b2c72d9c8b8888", email="jane@example.com")
    assert error_of(response)[1] == "CONTACT_NOT_FOUND_FOR_EVENT"


@pytest.mark.parametrize("extra", [{}, {"email": "", "contactId": ""}, {"email": None, "contactId": None}])
def test_somebody_must_be_named(project, order, extra):
    assert error_of(project.send(**extra)) == (
        400,
        "EMAIL_OR_CONTACT_ID_REQUIRED",
        "Either email or contactId is required",
    )


@pytest.mark.parametrize(
    "who", [{"email": "nobody@example.com"}, {"contactId": "no id"}, {"contactId": "0" * 9000}]
)
def test_an_unknown_contact_is_not_created(project, order, who):
    assert error_of(project.send(**who)) == (
        404,
        "CONTACT_NOT_FOUND_FOR_EVENT",
        "Contact not found for the provided email or contactId",
    )


def test_a_contact_of_another_project_is_not_found(project, order, jane):
    other = WorkspaceFactory()
    elsewhere = type(project)(other, a_key(other).secret)
    elsewhere.post("/events", {"eventName": "order_completed"})
    assert error_of(elsewhere.send(contactId=str(jane.id)))[1] == "CONTACT_NOT_FOUND_FOR_EVENT"


@pytest.mark.parametrize("name", ["unheard_of", "x" * 300, "with space"])
def test_an_unknown_event(project, jane, name):
    response = project.post("/events/send", {"eventName": name, "email": "jane@example.com"})
    assert error_of(response) == (404, "EVENT_NOT_FOUND", "Event not found")


def test_an_unknown_property(project, order, jane):
    response = project.send(email="jane@example.com", eventProperties={"order_total": "abc", "foo": None})
    assert error_of(response) == (
        400,
        "UNKNOWN_PROPERTY",
        'Property "foo" is not declared on event "order_completed"',
    )


@pytest.mark.parametrize(
    ("name", "value", "spoken"),
    [
        ("order_total", "abc", "a number"),
        ("order_total", True, "a number"),
        ("is_first_purchase", "yes", "a boolean"),
        ("paid_at", "2026-02-30", "a date"),
        ("currency", {"code": "USD"}, "a string"),
    ],
)
def test_an_invalid_value(project, order, jane, name, value, spoken):
    response = project.send(email="jane@example.com", eventProperties={name: value, "paid_at": "never"})
    if name == "paid_at":
        response = project.send(email="jane@example.com", eventProperties={name: value})
    assert error_of(response) == (400, "INVALID_PROPERTY_VALUE", f'Property "{name}" must be {spoken}')
    assert not sent(project).exists()


def test_null_is_not_sent(project, order, jane):
    response = project.send(email="jane@example.com", eventProperties={"order_total": None})
    assert response.json()["data"]["properties"] == {}


def test_the_order_of_refusals(project, jane):
    assert error_of(project.send(eventProperties=[]))[1] == "VALIDATION_FAILED"
    assert error_of(project.send(eventProperties={"a": 1}))[1] == "EMAIL_OR_CONTACT_ID_REQUIRED"
    assert error_of(project.send(email="nobody@example.com"))[1] == "CONTACT_NOT_FOUND_FOR_EVENT"
    assert error_of(project.send(email="jane@example.com"))[1] == "EVENT_NOT_FOUND"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"email": "a@b.example"}, "eventName"),
        ({"eventName": None, "email": "a@b.example"}, "eventName"),
        ({"eventName": "", "email": "a@b.example"}, "eventName"),
        ({"eventName": 5, "email": "a@b.example"}, "eventName"),
        ({"eventName": "e", "email": "nobody"}, "email"),
        ({"eventName": "e", "email": 5}, "email"),
        ({"eventName": "e", "contactId": 5}, "contactId"),
        ({"eventName": "e", "eventProperties": []}, "eventProperties"),
        ({"eventName": "e", "eventProperties": "{}"}, "eventProperties"),
    ],
)
def test_a_wrong_shape(project, body, field):
    response = project.post("/events/send", body)
    assert error_of(response) == (400, "VALIDATION_FAILED", "Validation failed")
    assert [each["field"] for each in response.json()["error"]["details"]] == [field]


def test_the_documented_detail(project):
    details = project.send(email="nobody").json()["error"]["details"]
    assert details == [{"field": "email", "message": "Invalid email format"}]


def test_declared_by_staff_with_finer_types(project, order, jane):
    EventProperty.objects.filter(name="order_total").update(type="integer")
    response = project.send(email="jane@example.com", eventProperties={"order_total": 1.5})
    assert error_of(response)[2] == 'Property "order_total" must be an integer'


def test_idempotency_key(project, order, jane):
    body = {"eventName": "order_completed", "email": "jane@example.com"}
    key = {"Idempotency-Key": "one"}
    first = project.post("/events/send", body, **key)
    second = project.post("/events/send", body, **key)
    assert (second.status_code, second.json()) == (201, first.json())
    assert sent(project).count() == 1
    other = project.post("/events/send", {**body, "email": "a@b.example"}, **key)
    assert error_of(other)[:2] == (409, "IDEMPOTENCY_CONFLICT")


@pytest.mark.django_db(transaction=True)
def test_a_send_is_five_statements(project, order, jane):
    body = {"eventName": "order_completed", "email": "jane@example.com", "eventProperties": PROPERTIES}
    project.post("/events/send", body)
    with CaptureQueriesContext(connection) as captured:
        assert project.post("/events/send", body).status_code == 201
    statements = [query["sql"] for query in captured if query["sql"] not in ("BEGIN", "COMMIT")]
    # The key, the key as it is when all is written, the contact, the definition, and the event with its batch.
    assert len(statements) == 5


def test_the_rate(project, order, jane):
    key = a_key(project.workspace, rate_limit="vendor")
    limited = type(project)(project.workspace, key.secret)
    first = limited.send(email="jane@example.com")
    assert (first.headers["X-RateLimit-Limit"], first.headers["X-RateLimit-Remaining"]) == ("120", "119")
    assert abs(int(first.headers["X-RateLimit-Reset"]) - time.time()) < 62
    key = a_key(project.workspace, rate_limit="1/minute")
    limited = type(project)(project.workspace, key.secret)
    limited.get("/events")
    refused = limited.get("/events")
    assert error_of(refused) == (429, "RATE_LIMIT_EXCEEDED", "Rate limit exceeded")
    wait = int(refused.headers["Retry-After"])
    assert 0 < wait <= 60
    assert refused.json()["retryAfter"] == refused.json()["error"]["retryAfter"] == wait
    assert refused.headers["X-RateLimit-Remaining"] == "0"


def test_no_limit_by_default(project):
    assert "X-RateLimit-Limit" not in project.get("/events").headers


def test_fields_that_the_api_does_not_know_are_ignored(project, order, jane):
    answer = project.send(
        email=jane.email, eventProperties={"order_total": 1}, timestamp="now", source={"a": []}
    )
    assert answer.status_code == 201
    assert answer.json()["data"]["properties"] == {"order_total": 1}
    undeclared = project.send(email=jane.email, eventProperties={"foo": 1}, timestamp="now")
    assert undeclared.json()["error"]["code"] == "UNKNOWN_PROPERTY"
