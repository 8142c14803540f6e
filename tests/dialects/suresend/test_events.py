from datetime import UTC, datetime
from uuid import uuid4

import jsonschema
import pytest
from django.test import Client

from contacts.crud import create_contact
from contacts.models import Company, CompanyMembership, Contact, Identifier
from contacts.references import ContactChanges
from dialects.suresend.serializers import BODY_SCHEMA, EventAnswer, PersonAnswer, SendAnswer
from events.api.shapes import json_schema
from events.models import Event
from workspaces.authentication.jwt import issue_tokens
from workspaces.services import add_member, create_user, create_workspace, issue_api_key

EMAIL = {"emails": ["jane@example.com"]}


@pytest.fixture
def jane(workspace):
    changes = ContactChanges(first_name="Jane", identifiers=(("email", "jane@example.com"),))
    return create_contact(workspace, changes)


def posted(workspace):
    return Event.objects.filter(workspace=workspace, source="api")


def test_a_new_person_is_201_and_a_known_one_200(send, workspace):
    first = send({"type": "inquiry", "person": EMAIL})
    second = send({"type": "inquiry", "person": EMAIL})
    assert (first.status_code, first.json()["wasPersonCreated"]) == (201, True)
    assert (second.status_code, second.json()["wasPersonCreated"]) == (200, False)
    assert first.json()["person"]["id"] == second.json()["person"]["id"]
    assert first.json()["event"]["id"] != second.json()["event"]["id"]
    assert posted(workspace).count() == 2
    assert "company" not in first.json()
    assert "wasCompanyCreated" not in first.json()


def test_the_event_comes_back_as_it_was_sent(send, jane):
    sent = {
        "pageUrl": "https://example.com/properties/123",
        "pageTitle": "Beautiful 3BR Home",
        "pageReferrer": "https://google.com",
        "pageDuration": 45.5,
        "property": {"id": "prop-123", "price": 500000, "baths": 2.5, "features": ["pool"]},
        "propertySearch": {"minPrice": 300000, "location": "Portland, OR"},
        "message": "Hello",
        "metadata": {"formName": "Contact Us", "interests": ["buying", {"deep": [1, None]}]},
    }
    answer = send(
        {
            "type": "page_view",
            "personId": str(jane.id),
            "occurredAt": "2026-01-15T10:00:00+02:00",
            "ipAddress": "192.0.2.1",
            "userAgent": "Mozilla",
            **sent,
        }
    )
    event = answer.json()["event"]
    assert answer.status_code == 200
    assert {name: event[name] for name in sent} == sent
    assert event["eventType"] == "page_view"
    assert event["personId"] == str(jane.id)
    assert event["companyId"] is None
    assert event["occurredAt"] == "2026-01-15T08:00:00.000Z"
    stored = Event.objects.get(id=event["id"])
    assert stored.occurred_at == datetime(2026, 1, 15, 8, tzinfo=UTC)
    assert stored.context["ipAddress"] == "192.0.2.1"
    assert stored.context["userAgent"] == "Mozilla"


def test_what_was_not_sent_is_null(send, jane):
    event = send({"type": "page_view", "personId": str(jane.id)}).json()["event"]
    assert list(event) == [
        "id",
        "eventType",
        "personId",
        "companyId",
        "occurredAt",
        "pageUrl",
        "pageTitle",
        "pageReferrer",
        "pageDuration",
        "property",
        "propertySearch",
        "message",
        "metadata",
        "createdAt",
    ]
    assert event["metadata"] is None


def test_an_id_wins_over_a_person_and_changes_nothing(send, workspace, jane):
    body = {
        "type": "x",
        "personId": str(jane.id),
        "person": {"firstName": "Eve", "emails": ["eve@example.com"]},
    }
    answer = send(body)
    assert answer.status_code == 200
    assert answer.json()["person"]["firstName"] == "Jane"
    assert Contact.objects.filter(workspace=workspace).count() == 1


@pytest.mark.parametrize("person_id", ["01234567-89ab-7def-8123-456789abcdef", "nobody", "123", "\u00e9"])
def test_an_unknown_id_is_404_even_beside_a_known_person(send, workspace, jane, person_id):
    answer = send({"type": "x", "personId": person_id, "person": EMAIL})
    assert (answer.status_code, answer.json()) == (404, {"error": "Person not found"})
    assert not posted(workspace).exists()


@pytest.mark.parametrize(
    "body", [{}, {"personId": None, "person": None}, {"personId": ""}, {"company": {"name": "A"}}]
)
def test_a_person_is_required(send, workspace, body):
    answer = send({"type": "x", **body})
    assert answer.status_code == 422
    assert answer.json()["error"] == "personId or person is required"
    assert answer.json()["errors"] == {"person": ["personId or person is required"]}
    assert not Company.objects.exists()


@pytest.mark.parametrize(
    "person", [{}, {"emails": []}, {"emails": [], "phones": None, "firstName": " "}, {"stage": "Lead"}]
)
def test_a_person_of_whom_nothing_is_known_is_refused(send, person):
    answer = send({"type": "x", "person": person})
    assert answer.status_code == 422
    assert "person" in answer.json()["errors"]


def test_a_person_with_a_name_only_is_made_each_time(send):
    first, second = (send({"type": "x", "person": {"name": "Jane van Smith"}}) for _ in range(2))
    assert first.status_code == second.status_code == 201
    assert first.json()["person"]["id"] != second.json()["person"]["id"]
    assert first.json()["person"]["firstName"] == "Jane"
    assert first.json()["person"]["lastName"] == "van Smith"
    assert first.json()["person"]["name"] == "Jane van Smith"


def test_emails_match_before_phones_and_the_primary_first(send, workspace):
    by_email = send({"type": "x", "person": {"emails": ["a@example.com"]}}).json()["person"]["id"]
    other = send({"type": "x", "person": {"emails": ["b@example.com"]}}).json()["person"]["id"]
    send({"type": "x", "person": {"phones": ["+1-555-1234"]}})
    both = send({"type": "x", "person": {"phones": ["+15551234"], "emails": ["A@Example.com "]}})
    assert both.json()["person"]["id"] == by_email
    assert both.json()["person"]["phones"] == []
    primary = {"emails": [{"value": "a@example.com"}, {"value": "b@example.com", "isPrimary": True}]}
    assert send({"type": "x", "person": primary}).json()["person"]["id"] == other


def test_a_phone_matches_whatever_its_spelling(send):
    first = send({"type": "x", "person": {"phones": ["+1-555-1234"]}})
    second = send({"type": "x", "person": {"phones": [{"value": "+1 (555) 1234"}]}})
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json()["person"]["phones"][0]["value"] == "+15551234"


def test_a_matched_person_is_not_updated(send, jane):
    person = {
        "firstName": "Eve",
        "emails": ["jane@example.com", "new@example.com"],
        "stage": "Lead",
        "tags": ["hot"],
    }
    answer = send({"type": "x", "person": person}).json()["person"]
    assert answer["firstName"] == "Jane"
    assert [email["value"] for email in answer["emails"]] == ["jane@example.com"]
    assert (answer["stage"], answer["tags"]) == (None, [])


def test_a_created_person_has_all_that_was_sent(send):
    sent = {
        "stage": "Lead",
        "source": "Website",
        "companyName": "Acme",
        "assignedUserId": 7,
        "averagePrice": 450000,
        "addresses": [{"street": "123 Main St"}],
        "tags": ["hot", "buyer"],
    }
    emails = [
        {"value": "j@example.com", "type": "work"},
        {"value": "h@example.com", "type": "home", "isPrimary": True},
    ]
    person = send(
        {"type": "x", "person": {"firstName": "John", "lastName": "Doe", "emails": emails, **sent}}
    ).json()["person"]
    assert {name: person[name] for name in sent} == {**sent, "tags": ["buyer", "hot"]}
    assert person["name"] == "John Doe"
    assert person["emails"] == [
        {"value": "h@example.com", "type": "home", "status": "active", "isPrimary": True},
        {"value": "j@example.com", "type": "work", "status": "active", "isPrimary": False},
    ]


@pytest.mark.parametrize(
    ("emails", "primary"),
    [
        (["a@example.com", "b@example.com"], "a@example.com"),
        ([{"value": "b@example.com"}, {"value": "a@example.com"}], "b@example.com"),
        (
            [{"value": "c@example.com", "isPrimary": True}, {"value": "a@example.com", "isPrimary": True}],
            "c@example.com",
        ),
        (["b@example.com", {"value": "a@example.com", "isPrimary": True}], "a@example.com"),
        ([" A@example.com", {"value": "a@EXAMPLE.com"}], "a@example.com"),
    ],
)
def test_exactly_one_email_is_primary(send, emails, primary):
    person = send({"type": "x", "person": {"emails": emails}}).json()["person"]
    assert [email["value"] for email in person["emails"] if email["isPrimary"]] == [primary]
    assert len(person["emails"]) == len({email["value"] for email in person["emails"]})


def test_a_company_is_made_linked_and_found_again_by_name(send, workspace):
    company = {
        "name": "Acme Corporation",
        "website": "https://acmecorp.com",
        "industry": "Tech",
        "companySize": "51-200",
    }
    first = send({"type": "x", "person": EMAIL, "company": company})
    again = send(
        {"type": "x", "person": EMAIL, "company": {"name": " acme CORPORATION ", "industry": "Other"}}
    )
    assert (first.status_code, first.json()["wasCompanyCreated"]) == (201, True)
    assert (again.status_code, again.json()["wasCompanyCreated"]) == (200, False)
    assert {name: first.json()["company"][name] for name in company} == company
    assert again.json()["company"] == first.json()["company"]
    assert again.json()["event"]["companyId"] == first.json()["company"]["id"]
    assert CompanyMembership.objects.filter(workspace=workspace).count() == 1


def test_a_new_company_alone_is_201(send, jane):
    answer = send({"type": "x", "personId": str(jane.id), "company": {"name": "Acme"}})
    assert answer.status_code == 201
    assert (answer.json()["wasPersonCreated"], answer.json()["wasCompanyCreated"]) == (False, True)


def test_a_company_id_wins_over_its_name(send, jane):
    known = send({"type": "x", "personId": str(jane.id), "company": {"name": "Acme"}}).json()["company"]
    answer = send({"type": "x", "personId": str(jane.id), "company": {"id": known["id"], "name": "Other"}})
    assert answer.status_code == 200
    assert answer.json()["company"]["name"] == "Acme"


@pytest.mark.parametrize("company_id", ["01234567-89ab-7def-8123-456789abcdef", "acme"])
def test_an_unknown_company_id_is_404_and_stores_nothing(send, workspace, company_id):
    answer = send({"type": "x", "person": EMAIL, "company": {"id": company_id, "name": "Acme"}})
    assert (answer.status_code, answer.json()) == (404, {"error": "Company not found"})
    assert not Contact.objects.exists()
    assert not Company.objects.exists()


def test_a_company_is_not_kept_when_its_event_is_refused(send):
    answer = send({"type": "x", "personId": str(uuid4()), "company": {"name": "Acme"}})
    assert answer.status_code == 404
    assert not Company.objects.exists()


def test_people_and_companies_of_other_workspaces_do_not_exist(send, jane):
    company = send({"type": "x", "personId": str(jane.id), "company": {"name": "Acme"}}).json()["company"]
    stranger = issue_api_key(create_workspace("Others").id, "partner").secret
    assert send({"type": "x", "personId": str(jane.id)}, secret=stranger).status_code == 404
    assert (
        send({"type": "x", "person": EMAIL, "company": {"id": company["id"]}}, secret=stranger).status_code
        == 404
    )
    own = send({"type": "x", "person": EMAIL, "company": {"name": "Acme"}}, secret=stranger)
    assert own.status_code == 201
    assert own.json()["company"]["id"] != company["id"]
    assert own.json()["person"]["id"] != str(jane.id)


def test_a_jwt_of_a_member_is_as_good_as_a_key(send, workspace):
    user, _ = create_user(username="jo", email="jo@example.com")
    add_member(workspace.id, user, role="editor")
    assert send({"type": "x", "person": EMAIL}, secret=issue_tokens(user).access).status_code == 201


def test_the_same_idempotency_key_gives_the_same_answer(send, workspace):
    headers = {"Idempotency-Key": "order-1"}
    first = send({"type": "x", "person": EMAIL}, **headers)
    again = send({"type": "x", "person": EMAIL}, **headers)
    other = send({"type": "y", "person": EMAIL}, **headers)
    assert (again.status_code, again.content) == (first.status_code, first.content) != (200, b"")
    assert posted(workspace).count() == 1
    assert other.status_code == 409
    assert "error" in other.json()


def test_the_whole_api_stands_under_its_prefix_too(send):
    assert send({"type": "x", "person": EMAIL}, path="/suresend/api/partner/events").status_code == 201


@pytest.mark.parametrize(("headers", "limit"), [({}, "300"), ({"X-System-Id": "ss_sys_anything"}, "600")])
def test_a_named_system_may_send_twice_as_much(send, workspace, headers, limit):
    limited = issue_api_key(workspace.id, "limited", rate_limit="vendor").secret
    answer = send({"type": "x", "person": EMAIL}, secret=limited, **headers)
    assert answer.headers["X-RateLimit-Limit"] == limit


def test_one_request_too_many_is_429(send, workspace):
    limited = issue_api_key(workspace.id, "limited", rate_limit="1/minute").secret
    send({"type": "x", "person": EMAIL}, secret=limited)
    answer = send({"type": "x", "person": EMAIL}, secret=limited)
    assert answer.status_code == 429
    assert list(answer.json()) == ["error"]
    assert int(answer.headers["Retry-After"]) > 0


def test_an_identifier_is_stored_once_for_a_contact(send, workspace):
    send(
        {
            "type": "x",
            "person": {"emails": ["a@example.com", "A@example.com"], "phones": ["+1-555-1234", "+15551234"]},
        }
    )
    assert Identifier.objects.filter(workspace=workspace).count() == 2


@pytest.mark.parametrize(
    "body",
    [
        {"email": "Jane@example.com"},
        {"email": " jane@example.com ", "phone": "", "source": "web", "system": "forms"},
        {"email": {"value": "jane@example.com", "label": "work"}},
        {"person": {"email": "jane@example.com"}},
        {"person": {"firstName": "Eve"}, "email": "jane@example.com"},
        {
            "person": {"emails": [{"value": "jane@example.com", "label": "home"}]},
            "email": "other@example.com",
        },
        {"person": None, "email": "jane@example.com", "message": "Hello"},
    ],
)
def test_an_email_beside_the_type_or_flat_in_the_person_is_the_persons(send, workspace, jane, body):
    answer = send({"type": "inquiry", **body})
    assert (answer.status_code, answer.json()["person"]["id"]) == (200, str(jane.id))
    assert posted(workspace).get().contact_id == jane.id


def test_a_flat_phone_and_names_make_the_person(send):
    body = {"type": "inquiry", "email": "new@example.com", "phone": "+1-555-1234", "name": "Ada King"}
    person = send(body).json()["person"]
    assert (person["firstName"], person["lastName"]) == ("Ada", "King")
    assert [identifier["value"] for identifier in person["emails"]] == ["new@example.com"]
    assert [identifier["value"] for identifier in person["phones"]] == ["+15551234"]


def test_a_flat_email_is_the_last_of_the_persons(send):
    body = {"type": "x", "person": {"emails": ["one@example.com"]}, "email": "two@example.com"}
    emails = send(body).json()["person"]["emails"]
    assert [(one["value"], one["isPrimary"]) for one in emails] == [
        ("one@example.com", True),
        ("two@example.com", False),
    ]


def test_a_known_id_wins_over_a_flat_email(send, jane):
    answer = send({"type": "x", "personId": str(jane.id), "email": "other@example.com"})
    assert (answer.status_code, answer.json()["person"]["id"]) == (200, str(jane.id))


def test_fields_that_the_api_does_not_know_are_ignored(send, jane):
    person = {"emails": [{"value": "jane@example.com", "label": "home", "n": 1}], "shoeSize": 43}
    answer = send({"type": "x", "person": person, "colour": "red", "company": {"name": "Acme", "vat": "X"}})
    assert (answer.status_code, answer.json()["person"]["id"]) == (201, str(jane.id))


def test_a_key_that_pages_have_is_told_nothing_of_the_person(workspace):
    """Whoever looks at the page has the key, and could ask for anybody's data by the address."""
    page = issue_api_key(workspace.id, "page", ["events:write"]).secret
    server = issue_api_key(workspace.id, "server").secret

    def send(secret, mail, **person):
        body = {
            "type": "seen",
            "person": {"emails": [{"value": mail}], **person},
            "company": {"name": "Acme"},
        }
        return Client().post(
            "/suresend/api/partner/events",
            body,
            content_type="application/json",
            HTTP_AUTHORIZATION=f"Bearer {secret}",
        )

    whole = send(server, "jane@example.com", firstName="Jane").json()
    known, new = send(page, "jane@example.com"), send(page, "new@example.com")

    assert whole["person"]["firstName"] == "Jane"
    assert known.status_code == new.status_code == 200
    answers = [answer.json() for answer in (known, new)]
    for answer in answers:
        for name in ("id", "occurredAt", "createdAt"):
            answer["event"].pop(name)
    assert answers[0] == answers[1]
    assert answers[0]["person"].keys() == whole["person"].keys()
    assert not any(answers[0]["person"].values())
    assert answers[0]["event"].keys() | {"id", "occurredAt", "createdAt"} == whole["event"].keys()
    assert Event.objects.filter(workspace=workspace, source="api", contact__isnull=False).count() == 3
    assert CompanyMembership.objects.count() == 1


def test_an_answer_is_as_the_document_says(send, workspace):
    company = {"name": "Acme"}
    person = {**EMAIL, "addresses": ["1 Main St", {"city": "Bend"}], "averagePrice": 5, "assignedUserId": "u"}
    own = send({"type": "inquiry", "person": person, "company": company, "pageDuration": 1.5}).json()
    write_only = issue_api_key(workspace.id, "writer", scopes=["events:write"]).secret
    others = send({"type": "inquiry", "person": EMAIL}, secret=write_only).json()
    for answer in (own, others):
        jsonschema.validate(answer, json_schema(SendAnswer))
        assert tuple(answer["event"]) == EventAnswer.__struct_encode_fields__
        assert tuple(answer["person"]) == PersonAnswer.__struct_encode_fields__


def test_what_the_document_shows_of_a_body_is_what_is_taken(send):
    body = {
        "type": "inquiry",
        "person": {"emails": [{"value": "jane@example.com", "type": None}], "phones": None},
    }
    jsonschema.validate(body, BODY_SCHEMA)
    assert send(body).status_code == 201
    for wrong in ({**body, "pageDuration": "1"}, {**body, "person": {"emails": "jane@example.com"}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, BODY_SCHEMA)
        assert send(wrong).status_code == 422
