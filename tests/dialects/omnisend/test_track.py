import json
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client

from contacts.crud import create_contact, get_contact, set_consent
from contacts.models import Consent, Contact, ContactTag, Identifier
from contacts.profiles.fields import create_field
from contacts.references import ContactChanges
from events.models import Event
from workspaces.authentication.jwt import issue_tokens
from workspaces.services import add_member, create_application, create_user, create_workspace, issue_api_key

JANE = {"email": "jane@example.com"}


def a_contact(workspace, **identifiers):
    return create_contact(workspace, ContactChanges(identifiers=tuple(identifiers.items())))


def only_event(workspace):
    return Event.objects.get(workspace=workspace, source="api")


def identifiers(contact):
    rows = Identifier.objects.filter(contact_id=contact.id)
    return {(row.kind, row.value, row.is_primary) for row in rows}


def test_the_documented_body_is_202_and_empty(send, workspace):
    answer = send(
        {
            "eventName": "order_completed",
            "contact": {"email": "jane@example.com", "phoneNumber": "+15551234567", "firstName": "Jane"},
            "properties": {"total": 12.5, "first": True, "when": "2021-09-01T12:41:52Z"},
        }
    )
    assert (answer.status_code, answer.content) == (202, b"")
    event = only_event(workspace)
    contact = Contact.objects.get(workspace=workspace)
    assert event.name == "order_completed"
    assert event.contact_id == contact.id
    assert event.properties == {"total": 12.5, "first": True, "when": "2021-09-01T12:41:52Z"}
    assert contact.first_name == "Jane"
    assert identifiers(contact) == {("email", "jane@example.com", True), ("phone", "+15551234567", True)}


@pytest.mark.parametrize("field", ["phoneNumber", "phone"])
def test_a_phone_alone_makes_a_contact(send, workspace, field):
    assert send({"eventName": "x", "contact": {field: "+15551234567"}}).status_code == 202
    assert send({"eventName": "x", "contact": {field: "+15551234567"}}).status_code == 202
    assert Contact.objects.filter(workspace=workspace).count() == 1


@pytest.mark.parametrize(
    "fields", [JANE, {"phoneNumber": "+15551234567"}, {"phone": "+15551234567"}, {**JANE, "contact": None}]
)
def test_without_a_contact_its_identity_may_stand_beside_the_name(send, workspace, fields):
    assert send({"eventName": "x", **fields}).status_code == 202
    assert only_event(workspace).contact_id is not None


@pytest.mark.parametrize("field", ["id", "contactID"])
@pytest.mark.parametrize("is_wrapped", [True, False])
def test_a_known_id_is_enough(send, workspace, field, is_wrapped):
    contact = a_contact(workspace, email="jane@example.com")
    identity = {field: str(contact.id)}
    assert send({"eventName": "x", **({"contact": identity} if is_wrapped else identity)}).status_code == 202
    assert only_event(workspace).contact_id == contact.id


def test_an_identity_that_contradicts_the_contacts_is_refused(send, problems):
    assert problems(send({"eventName": "x", "contact": JANE, "email": "eve@example.com"})) == [
        ("email", "conflict")
    ]


@pytest.mark.parametrize("beside", [{"email": "JANE@example.com"}, {"id": 7}, {"phone": "+15551234567"}])
def test_what_else_stands_beside_a_contact_is_ignored(send, workspace, beside):
    assert send({"eventName": "x", "contact": JANE, **beside}).status_code == 202
    assert Contact.objects.get(workspace=workspace).email == "jane@example.com"


def test_a_contact_without_identity_has_the_one_beside_it(send, workspace):
    contact = {"id": None, "tags": ["vip"], "firstName": "Jane"}
    assert send({"eventName": "x", "contact": contact, **JANE}).status_code == 202
    made = Contact.objects.get(workspace=workspace)
    assert (made.email, made.first_name) == ("jane@example.com", "Jane")


@pytest.mark.parametrize(
    "unknown",
    [
        {"origin": "api", "eventVersion": "v2", "brandID": "5f1e", "ipAddress": "203.0.113.5"},
        {"contactProperties": {"plan": "pro", "deep": [{"er": None}]}},
        {"contact": {**JANE, "shoeSize": 43, "identifiers": []}},
        {"contact": {**JANE, "optIns": [{"channel": "email", "legalBasis": "consent"}]}},
        {"x" * 300: 1, "": None, "é": []},
    ],
)
def test_fields_that_the_api_does_not_know_are_ignored(send, workspace, unknown):
    assert send({"eventName": "x", "contact": JANE, "properties": {"total": 1}, **unknown}).status_code == 202
    assert only_event(workspace).properties == {"total": 1}
    assert Contact.objects.get(workspace=workspace).attributes == {}


@pytest.mark.parametrize("contact_id", ["01234567-89ab-7def-8123-456789abcdef", "5f1e", "é", "x" * 1000])
def test_an_unknown_id_alone_is_404(send, workspace, contact_id):
    answer = send({"eventName": "x", "contact": {"id": contact_id}})
    assert answer.status_code == 404
    assert answer.json()["title"] == "Not found"
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert not Event.objects.filter(workspace=workspace).exists()


def test_an_unknown_id_falls_back_to_the_email(send, workspace):
    contact = a_contact(workspace, email="jane@example.com")
    assert send({"eventName": "x", "contact": {"id": str(uuid4()), **JANE}}).status_code == 202
    assert only_event(workspace).contact_id == contact.id
    assert send({"eventName": "x", "contact": {"id": "?", "email": "new@example.com"}}).status_code == 202
    assert Contact.objects.filter(workspace=workspace).count() == 2


def test_email_wins_over_phone_which_stays_where_it_is(send, workspace):
    first = a_contact(workspace, email="jane@example.com")
    second = a_contact(workspace, phone="+15551234567")
    assert send({"eventName": "x", "contact": {**JANE, "phoneNumber": "+15551234567"}}).status_code == 202
    assert only_event(workspace).contact_id == first.id
    assert identifiers(first) == {("email", "jane@example.com", True)}
    assert identifiers(second) == {("phone", "+15551234567", True)}


def test_a_free_phone_is_added_to_the_contact_of_the_email(send, workspace):
    contact = a_contact(workspace, email="jane@example.com")
    send({"eventName": "x", "contact": {**JANE, "phoneNumber": "+15551234567"}})
    assert ("phone", "+15551234567", True) in identifiers(contact)


def test_an_id_with_another_email_updates_it_if_it_is_free(send, workspace):
    contact = a_contact(workspace, email="jane@example.com")
    a_contact(workspace, email="taken@example.com")
    assert (
        send({"eventName": "x", "contact": {"id": str(contact.id), "email": "taken@example.com"}}).status_code
        == 202
    )
    assert identifiers(contact) == {("email", "jane@example.com", True)}
    assert (
        send({"eventName": "x", "contact": {"id": str(contact.id), "email": "new@example.com"}}).status_code
        == 202
    )
    assert ("email", "new@example.com", True) in identifiers(contact)
    assert Event.objects.filter(source="api", contact_id=contact.id).count() == 2


def test_contact_properties_are_set_changed_and_removed(send, workspace):
    details: dict[str, Any] = {
        "firstName": "Jane",
        "lastName": "Doe",
        "address": "1 Main St",
        "city": "Portland",
        "state": "OR",
        "country": "United States",
        "countryCode": "US",
        "postalCode": "97201",
        "gender": "f",
        "birthdate": "1990-02-28",
        "tags": ["vip", "source: web"],
        "customProperties": {"shoe_size": 38, "likes": "tea", "subscriber": True, "ratio": 0.5},
    }
    assert send({"eventName": "x", "contact": {**JANE, **details}}).status_code == 202
    contact = Contact.objects.get(workspace=workspace)
    attributes = {
        name: details[name]
        for name in (
            "address",
            "city",
            "state",
            "country",
            "countryCode",
            "postalCode",
            "gender",
            "birthdate",
        )
    }
    assert (contact.first_name, contact.last_name) == ("Jane", "Doe")
    assert contact.attributes == {**attributes, **details["customProperties"]}
    assert set(ContactTag.objects.filter(contact=contact).values_list("tag__name", flat=True)) == {
        "vip",
        "source: web",
    }

    change = {
        "lastName": None,
        "city": None,
        "state": "WA",
        "customProperties": {"likes": None, "shoe_size": 39, "new": "x"},
        "tags": ["more"],
    }
    assert send({"eventName": "x", "contact": {**JANE, **change}}).status_code == 202
    contact.refresh_from_db()
    del attributes["city"]
    assert (contact.first_name, contact.last_name) == ("Jane", "")
    assert contact.attributes == {
        **attributes,
        "state": "WA",
        "shoe_size": 39,
        "subscriber": True,
        "ratio": 0.5,
        "new": "x",
    }
    assert ContactTag.objects.filter(contact=contact).count() == 3

    assert send({"eventName": "x", "contact": {**JANE, "tags": None}}).status_code == 202
    assert not ContactTag.objects.filter(contact=contact).exists()


def test_consents_become_consents_and_keep_their_proof(send, workspace):
    proof = {
        "createdAt": "2026-01-15T10:00:00Z",
        "source": "footer",
        "ip": "192.0.2.1",
        "userAgent": "Mozilla",
    }
    contact = {
        **JANE,
        "consents": [{"channel": "email", **proof}],
        "optIns": [{"channel": "email"}, {"channel": "push"}],
        "optOuts": [{"channel": "phone", "createdAt": "2026-01-15 10:00:00+02:00"}],
    }
    assert send({"eventName": "x", "contact": contact}).status_code == 202
    stored = Contact.objects.get(workspace=workspace)
    consents = dict(Consent.objects.filter(contact=stored).values_list("channel", "status"))
    assert consents == {"email": "opted_in", "push": "opted_in", "sms": "opted_out"}
    assert stored.attributes["emailConsent"] == {"status": "opted_in", **proof}
    assert stored.attributes["smsConsent"]["status"] == "opted_out"
    assert "pushConsent" not in stored.attributes

    send({"eventName": "x", "contact": {**JANE, "optOuts": [{"channel": "email"}]}})
    assert Consent.objects.get(contact=stored, channel="email").status == "opted_out"


@pytest.mark.parametrize(
    "moment",
    [
        "2026-01-15T10:00:00Z",
        "2026-01-15T12:00:00+02:00",
        "2026-01-15 12:00:00+02:00",
        "2026-01-15t10:00:00.000z",
    ],
)
def test_an_event_may_tell_its_time(send, workspace, moment):
    assert send({"eventName": "x", "contact": JANE, "eventTime": moment}).status_code == 202
    assert only_event(workspace).occurred_at == datetime(2026, 1, 15, 10, tzinfo=UTC)


def test_the_same_event_id_and_time_is_one_event(send, workspace):
    body = {"eventName": "x", "contact": JANE, "eventID": str(uuid4()), "eventTime": "2026-01-15T10:00:00Z"}
    assert [send(body).status_code for _ in range(2)] == [202, 202]
    assert only_event(workspace)


def test_names_of_events_are_trimmed_and_may_have_spaces(send, workspace):
    send({"eventName": "  placed order ", "contact": JANE})
    assert only_event(workspace).name == "placed order"


@pytest.mark.parametrize(
    ("contact", "expected"),
    [
        ({}, [("contact", "required")]),
        ({"id": None, "email": ""}, [("contact", "required"), ("contact.email", "invalid_format")]),
        ({"id": " "}, [("contact", "required")]),
        ({"firstName": "Jane"}, [("contact", "required")]),
        ({"email": "nobody"}, [("contact.email", "invalid_format")]),
        ({"email": 1}, [("contact.email", "unsupported_type")]),
        ({"email": ["a@example.com"]}, [("contact.email", "unsupported_type")]),
        ({"phoneNumber": "555-1234"}, [("contact.phoneNumber", "invalid_format")]),
        ({"phoneNumber": "+1234567890123456"}, [("contact.phoneNumber", "invalid_format")]),
        ({"phoneNumber": 15551234567}, [("contact.phoneNumber", "unsupported_type")]),
        ({"phoneNumber": "+15551234567", "phone": "+15551234568"}, [("contact.phone", "conflict")]),
        ({**JANE, "phoneNumber": None}, [("contact.phoneNumber", "unsupported_type")]),
        ({**JANE, "id": 7}, [("contact.id", "unsupported_type")]),
        ({**JANE, "firstName": "x" * 51}, [("contact.firstName", "too_long")]),
        ({**JANE, "address": "x" * 501}, [("contact.address", "too_long")]),
        ({**JANE, "countryCode": "ABCD"}, [("contact.countryCode", "too_long")]),
        ({**JANE, "postalCode": 97201}, [("contact.postalCode", "unsupported_type")]),
        ({**JANE, "gender": "x"}, [("contact.gender", "invalid_format")]),
        ({**JANE, "birthdate": "1990-02-30"}, [("contact.birthdate", "invalid_format")]),
        ({**JANE, "tags": "vip"}, [("contact.tags", "unsupported_type")]),
        (
            {**JANE, "tags": ["vip", 1, " "]},
            [("contact.tags[1]", "unsupported_type"), ("contact.tags[2]", "required")],
        ),
        ({**JANE, "tags": ["x"] * 101}, [("contact.tags", "too_many")]),
        ({**JANE, "customProperties": None}, [("contact.customProperties", "unsupported_type")]),
        ({**JANE, "customProperties": {"a b": 1}}, [("contact.customProperties.a b", "invalid_name")]),
        ({**JANE, "customProperties": {"a": []}}, [("contact.customProperties.a", "unsupported_type")]),
        ({**JANE, "customProperties": {"city": "x"}}, [("contact.customProperties.city", "invalid_name")]),
        ({**JANE, "optIns": None}, [("contact.optIns", "unsupported_type")]),
        ({**JANE, "optIns": [{"channel": "email"}] * 11}, [("contact.optIns", "too_many")]),
        ({**JANE, "optIns": [{}]}, [("contact.optIns[0].channel", "required")]),
        ({**JANE, "optIns": ["email"]}, [("contact.optIns[0]", "unsupported_type")]),
        ({**JANE, "optIns": [{"channel": "fax"}]}, [("contact.optIns[0].channel", "invalid_format")]),
        (
            {**JANE, "consents": [{"channel": "email", "createdAt": "x"}]},
            [("contact.consents[0].createdAt", "invalid_format")],
        ),
        (
            {**JANE, "optIns": [{"channel": "sms"}], "optOuts": [{"channel": "phone"}]},
            [("contact.optOuts[0].channel", "conflict")],
        ),
        ("jane", [("contact", "unsupported_type")]),
        ([], [("contact", "unsupported_type")]),
        (None, [("contact", "required")]),
    ],
)
def test_a_bad_contact_is_refused_by_name(send, problems, contact, expected):
    assert sorted(problems(send({"eventName": "x", "contact": contact}))) == sorted(expected)
    assert not Contact.objects.exists()


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"eventName": None}, ("eventName", "required")),
        ({"eventName": ""}, ("eventName", "required")),
        ({"eventName": "x" * 256}, ("eventName", "too_long")),
        ({"eventName": 1}, ("eventName", "unsupported_type")),
        ({"properties": []}, ("properties", "unsupported_type")),
        ({"properties": "x"}, ("properties", "unsupported_type")),
        ({"eventTime": "yesterday"}, ("eventTime", "invalid_format")),
        ({"eventTime": "2026-01-15"}, ("eventTime", "invalid_format")),
        ({"eventTime": "2026-02-30T00:00:00Z"}, ("eventTime", "invalid_format")),
        ({"eventTime": "2999-01-01T00:00:00Z"}, ("eventTime", "invalid_format")),
        ({"eventTime": 1}, ("eventTime", "unsupported_type")),
        ({"eventID": "x" * 256}, ("eventID", "too_long")),
    ],
)
def test_a_bad_event_is_refused_by_name(send, problems, fields, expected):
    assert problems(send({"eventName": "x", "contact": JANE, **fields})) == [expected]
    assert not Event.objects.exists()


@pytest.mark.parametrize("value", [None, True, 1, 1.5, "", "text", [], [1], [None], {}, {"a": {"b": []}}])
@pytest.mark.parametrize(
    "place",
    ["eventName", "contact", "properties", "eventTime", "eventID", "id", "email", "phone", "contactID"],
)
def test_a_wrong_type_anywhere_is_no_failure(send, place, value):
    assert send({"eventName": "x", "contact": JANE, place: value}).status_code in (202, 400)
    assert send({"eventName": "x", place: value}).status_code in (202, 400, 404)


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"null",
        b"1",
        b'"x"',
        b"\xff",
        b'{"eventName":"\\u0000"}',
        b'{"a":1,"a":2}',
        b'{"a":NaN}',
        b"[" * 10_000,
        b'{"a":' * 10_000,
    ],
)
def test_a_malformed_body_is_a_problem(send, body):
    answer = send(body)
    assert answer.status_code == 400
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert set(answer.json()) == {"type", "title", "status", "detail", "instance"}
    assert answer.json()["title"] == "Malformed request"


def test_a_huge_body_is_413(send):
    answer = send(json.dumps({"eventName": "x", "contact": JANE, "properties": {"p": "x" * 10_000_000}}))
    assert (answer.status_code, answer.json()["status"]) == (413, 413)


@pytest.mark.parametrize("secret", ["", "wrong", "eyJ.a.b"])
def test_a_bad_token_is_401(send, secret):
    answer = send({"eventName": "x", "contact": JANE}, secret=secret)
    assert (answer.status_code, answer.json()["title"]) == (401, "Unauthorized")
    assert answer.headers["Content-Type"] == "application/problem+json"


def oauth_token(workspace, scope, scopes=("events:write", "events:read")):
    created = create_application(workspace.id, "shop", scopes)
    answer = Client().post(
        "/oauth2/token",
        {
            "grant_type": "client_credentials",
            "client_id": created.application.client_id,
            "client_secret": created.client_secret,
            "scope": scope,
        },
    )
    assert answer.status_code == 200, answer.content
    return answer.json()["access_token"]


def test_an_oauth_token_needs_the_scope_events_write(send, workspace):
    body = {"eventName": "x", "contact": JANE}
    assert send(body, secret=oauth_token(workspace, "events.write")).status_code == 202
    answer = send(body, secret=oauth_token(workspace, "events.read"))
    assert (answer.status_code, answer.json()["title"]) == (403, "Forbidden")
    assert "events.write" in answer.json()["detail"]


def test_a_key_needs_the_scope_too_and_a_jwt_does(send, workspace):
    reader = issue_api_key(workspace.id, "reader", ["contacts:write"]).secret
    assert send({"eventName": "x", "contact": JANE}, secret=reader).status_code == 403
    user, _ = create_user(username="jo", email="jo@example.com")
    add_member(workspace.id, user, role="editor")
    assert send({"eventName": "x", "contact": JANE}, secret=issue_tokens(user).access).status_code == 202


def test_a_key_that_pages_have_overwrites_nothing_and_lifts_no_opt_out(send, workspace):
    page = issue_api_key(workspace.id, "page", ["events:write"]).secret
    server = issue_api_key(workspace.id, "server", ["events:write", "contacts:write"]).secret
    contact = a_contact(workspace, email=JANE["email"])
    assert (
        send({"eventName": "x", "contact": {**JANE, "firstName": "Jane"}}, secret=server).status_code == 202
    )
    contact = set_consent(workspace.id, contact, "email", "opted_out")
    forged = {
        **JANE,
        "firstName": "Eve",
        "lastName": "Evil",
        "phoneNumber": "+15551234567",
        "tags": ["vip"],
        "optIns": [{"channel": "email", "createdAt": "2026-01-01T00:00:00Z"}],
    }
    assert send({"eventName": "x", "contact": forged}, secret=page).status_code == 202
    contact = get_contact(workspace.id, contact.id)
    assert (contact.first_name, contact.last_name, contact.phone) == ("Jane", "Evil", None)
    assert (contact.consent("email"), contact.tag_names) == ("opted_out", [])
    assert send({"eventName": "x", "contact": forged}, secret=server).status_code == 202
    assert get_contact(workspace.id, contact.id).first_name == "Eve"


def test_contacts_of_other_workspaces_do_not_exist(send, workspace):
    contact = a_contact(workspace, email="jane@example.com")
    stranger = issue_api_key(create_workspace("Other").id, "shop").secret
    assert send({"eventName": "x", "contact": {"id": str(contact.id)}}, secret=stranger).status_code == 404
    assert send({"eventName": "x", "contact": JANE}, secret=stranger).status_code == 202
    assert not Event.objects.filter(contact_id=contact.id, source="api").exists()


def test_the_limit_is_per_brand_and_the_body_of_a_429_has_the_wait(send, workspace):
    keys = [issue_api_key(workspace.id, name, rate_limit="1/minute").secret for name in "ab"]
    assert send({"eventName": "x", "contact": JANE}, secret=keys[0]).status_code == 202
    answer = send({"eventName": "x", "contact": JANE}, secret=keys[1])
    assert answer.status_code == 429
    assert answer.json()["type"].endswith("/rate-limit-exceeded")
    assert answer.json()["retryAfter"] > 0
    assert "X-RateLimit-Limit" not in answer.headers


def test_the_same_idempotency_key_gives_the_same_answer(send, workspace):
    body = {"eventName": "x", "contact": JANE}
    answers = [send(body, **{"Idempotency-Key": "k"}) for _ in range(2)]
    assert [(answer.status_code, answer.content) for answer in answers] == [(202, b"")] * 2
    assert only_event(workspace)
    other = send({**body, "eventName": "y"}, **{"Idempotency-Key": "k"})
    assert (other.status_code, other.json()["title"]) == (409, "Conflict")


@pytest.mark.parametrize("path", ["/v4/nothing", "/v4/track/", "/omnisend/v4/nothing"])
def test_an_unknown_route_is_404_in_this_format(send, path):
    answer = send({}, path=path)
    assert (answer.status_code, answer.json()["title"]) == (404, "Not found")


def test_the_whole_api_stands_under_its_prefix_too(send):
    assert send({"eventName": "x", "contact": JANE}, path="/omnisend/v4/track").status_code == 202


def test_other_methods_and_media_types_are_refused_in_this_format(key):
    headers = {"Authorization": f"Bearer {key}"}
    answer = Client().get("/v4/track", headers=headers)
    assert (answer.status_code, answer.json()["title"]) == (405, "Method not allowed")
    answer = Client().post("/v4/track", "a", content_type="text/plain", headers=headers)
    assert (answer.status_code, answer.json()["title"]) == (415, "Unsupported media type")


@pytest.mark.parametrize(
    ("contact", "field"),
    [
        ({"customProperties": {"size": "large"}}, "contact.customProperties.size"),
        ({"city": "Portland"}, "contact.city"),
    ],
)
def test_a_value_against_a_declared_field_is_refused_by_name(send, workspace, problems, contact, field):
    create_field(workspace.id, field.rpartition(".")[2], "integer")
    answer = send({"eventName": "x", "contact": {**JANE, **contact}})
    assert problems(answer) == [(field, "type_mismatch")]
    assert not Contact.objects.exists()


@pytest.mark.parametrize("used", ["", "x" * 256])
def test_a_bad_idempotency_key_is_refused(send, problems, used):
    answer = send({"eventName": "x", "contact": JANE}, **{"Idempotency-Key": used})
    assert problems(answer) == [("Idempotency-Key", "invalid_format")]
