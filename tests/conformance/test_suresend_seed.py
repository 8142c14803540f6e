"""The bodies of the document, posted as they stand there, with real addresses where it masks them."""

import json
import re

import pytest
from django.test import Client

from contacts.crud import create_contact
from contacts.models import Contact, Identifier
from contacts.references import ContactChanges
from workspaces.services import create_workspace, issue_api_key

PAGE_VIEW = """{
  "type": "page_view",
  "personId": "uuid-here",
  "pageUrl": "https://example.com/properties/123",
  "pageTitle": "Beautiful 3BR Home",
  "pageDuration": 45,
  "pageReferrer": "https://google.com"
}"""
PROPERTY_VIEW = """{
  "type": "property_view",
  "person": { "emails": [{"value": "john@example.com"}] },
  "property": {
    "id": "prop-123",
    "address": "123 Main St, Portland, OR 97201",
    "price": 500000,
    "beds": 3,
    "baths": 2,
    "sqft": 1800
  }
}"""
PROPERTY_SEARCH = """{
  "type": "search",
  "personId": "uuid-here",
  "propertySearch": {
    "minPrice": 300000,
    "maxPrice": 500000,
    "beds": 3,
    "location": "Portland, OR",
    "propertyType": "house"
  }
}"""
FORM_OBJECTS = """{
  "type": "form_submission",
  "person": {
    "firstName": "John",
    "lastName": "Doe",
    "emails": [{"value": "john@example.com", "isPrimary": true}],
    "phones": [{"value": "+1-555-1234", "isPrimary": true}]
  },
  "message": "Contact form submitted",
  "metadata": {
    "formName": "Contact Us",
    "interests": ["buying", "3-bedroom"]
  }
}"""
FORM_STRINGS = """{
  "type": "form_submission",
  "person": {
    "firstName": "John",
    "lastName": "Doe",
    "emails": ["john@example.com", "john.doe@example.com"],
    "phones": ["+1-555-1234", "+1-555-5678"]
  },
  "message": "Contact form submitted",
  "metadata": {
    "formName": "Contact Us",
    "interests": ["buying", "3-bedroom"]
  }
}"""
WITH_COMPANY = """{
  "type": "form_submission",
  "person": {
    "firstName": "Jane",
    "lastName": "Smith",
    "emails": [{"value": "jane@acmecorp.com", "isPrimary": true}]
  },
  "company": {
    "name": "Acme Corporation",
    "website": "https://acmecorp.com",
    "industry": "Technology",
    "companySize": "51-200"
  },
  "message": "Demo request submitted"
}"""
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


@pytest.fixture
def workspace(db):
    return create_workspace("Realtors")


@pytest.fixture
def post(workspace):
    secret = issue_api_key(workspace.id, "partner").secret

    def post_body(body):
        headers = {"Authorization": f"Bearer {secret}"}
        return Client().post("/api/partner/events", body, content_type="application/json", headers=headers)

    return post_body


@pytest.mark.parametrize("body", [PAGE_VIEW, PROPERTY_SEARCH])
def test_events_of_a_known_person(post, workspace, body):
    contact = create_contact(workspace, ContactChanges(first_name="John"))
    answer = post(body.replace("uuid-here", str(contact.id)))
    sent = json.loads(body)
    event = answer.json()["event"]
    assert answer.status_code == 200
    assert set(answer.json()) == {"event", "person", "wasPersonCreated"}
    assert UUID.fullmatch(event["id"])
    assert event["eventType"] == sent.pop("type")
    del sent["personId"]
    assert {name: event[name] for name in sent} == sent


@pytest.mark.parametrize("body", [PAGE_VIEW, PROPERTY_SEARCH])
def test_the_placeholder_itself_is_nobody(post, body):
    answer = post(body)
    assert (answer.status_code, answer.json()) == (404, {"error": "Person not found"})


@pytest.mark.parametrize("body", [PROPERTY_VIEW, FORM_OBJECTS, FORM_STRINGS])
def test_events_that_make_their_person_once(post, workspace, body):
    first, again = post(body), post(body)
    assert (first.status_code, first.json()["wasPersonCreated"]) == (201, True)
    assert (again.status_code, again.json()["wasPersonCreated"]) == (200, False)
    assert set(first.json()) == {"event", "person", "wasPersonCreated"}
    assert Contact.objects.filter(workspace=workspace).count() == 1
    sent = json.loads(body)
    for name in ("property", "message", "metadata"):
        assert first.json()["event"][name] == sent.get(name)


def test_of_plain_strings_the_first_is_primary(post, workspace):
    person = post(FORM_STRINGS).json()["person"]
    assert (person["firstName"], person["lastName"]) == ("John", "Doe")
    assert [(email["value"], email["isPrimary"]) for email in person["emails"]] == [
        ("john@example.com", True),
        ("john.doe@example.com", False),
    ]
    assert [(phone["value"], phone["isPrimary"]) for phone in person["phones"]] == [
        ("+15551234", True),
        ("+15555678", False),
    ]
    assert Identifier.objects.filter(workspace=workspace).count() == 4


def test_both_formats_of_the_form_mean_one_person(post):
    first, second = post(FORM_OBJECTS), post(FORM_STRINGS)
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json()["person"] == second.json()["person"]


def test_an_event_with_a_company(post):
    first, again = post(WITH_COMPANY), post(WITH_COMPANY)
    answer = first.json()
    assert (first.status_code, again.status_code) == (201, 200)
    assert set(answer) == {"event", "person", "company", "wasPersonCreated", "wasCompanyCreated"}
    assert (answer["wasPersonCreated"], answer["wasCompanyCreated"]) == (True, True)
    assert (again.json()["wasPersonCreated"], again.json()["wasCompanyCreated"]) == (False, False)
    assert answer["event"]["eventType"] == "form_submission"
    assert answer["event"]["message"] == "Demo request submitted"
    assert answer["event"]["personId"] == answer["person"]["id"]
    assert answer["event"]["companyId"] == answer["company"]["id"]
    assert answer["person"]["firstName"] == "Jane"
    assert answer["company"]["name"] == "Acme Corporation"
    assert answer["company"]["companySize"] == "51-200"
    assert again.json()["company"]["id"] == answer["company"]["id"]
