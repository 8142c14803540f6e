"""The body of the document's curl, as it stands there."""

import pytest
import requests

from contacts.crud import create_contact
from contacts.references import ContactChanges

pytestmark = pytest.mark.django_db(transaction=True)

# The crawl that the document comes from has its address masked, with a no-break space.
MASKED = "[email\N{NO-BREAK SPACE}protected]"
BODY = """{
  "eventName": "order_completed",
  "email": "[email\N{NO-BREAK SPACE}protected]",
  "eventProperties": {
    "order_total": 129.99,
    "currency": "USD",
    "is_first_purchase": true
  }
}"""
DEFINITION = {
    "eventName": "order_completed",
    "properties": [
        {"propertyName": "order_total", "type": "number"},
        {"propertyName": "currency", "type": "string"},
        {"propertyName": "is_first_purchase", "type": "boolean"},
    ],
}


@pytest.fixture
def post(server):
    headers = {"Authorization": f"Bearer {server.key}", "Content-Type": "application/json"}

    def post(path, body):
        return requests.post(server.url + path, data=body.encode(), headers=headers, timeout=10)

    requests.post(f"{server.url}/autosend/v1/events", json=DEFINITION, headers=headers, timeout=10)
    return post


def test_its_curl(post, server):
    jane = create_contact(server.workspace, ContactChanges(identifiers=(("email", "jane@example.com"),)))
    response = post("/v1/events/send", BODY.replace(MASKED, "jane@example.com"))
    assert response.status_code == 201
    answer = response.json()
    assert answer == {
        "success": True,
        "data": {
            "id": answer["data"]["id"],
            "eventName": "order_completed",
            "contactId": str(jane.id),
            "properties": {"order_total": 129.99, "currency": "USD", "is_first_purchase": True},
            "createdAt": answer["data"]["createdAt"],
        },
    }


def test_its_curl_verbatim(post):
    response = post("/v1/events/send", BODY)
    assert response.status_code == 400
    assert response.json()["error"] == {
        "message": "Validation failed",
        "code": "VALIDATION_FAILED",
        "details": [{"field": "email", "message": "Invalid email format"}],
    }


def test_its_errors(post, server):
    create_contact(server.workspace, ContactChanges(identifiers=(("email", "jane@example.com"),)))
    good = BODY.replace(MASKED, "jane@example.com")
    documented = [
        (
            400,
            "EMAIL_OR_CONTACT_ID_REQUIRED",
            "Either email or contactId is required",
            BODY.replace(MASKED, ""),
        ),
        (
            404,
            "CONTACT_NOT_FOUND_FOR_EVENT",
            "Contact not found for the provided email or contactId",
            BODY.replace(MASKED, "nobody@example.com"),
        ),
        (404, "EVENT_NOT_FOUND", "Event not found", good.replace("order_completed", "order_lost")),
        (
            400,
            "UNKNOWN_PROPERTY",
            'Property "foo" is not declared on event "order_completed"',
            good.replace("currency", "foo"),
        ),
        (
            400,
            "INVALID_PROPERTY_VALUE",
            'Property "order_total" must be a number',
            good.replace("129.99", '"much"'),
        ),
    ]
    for status, code, message, body in documented:
        response = post("/v1/events/send", body)
        assert response.status_code == status
        assert response.json() == {"success": False, "error": {"message": message, "code": code}}
