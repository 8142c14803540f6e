"""Transactional e-mails and suppressions."""

import json
from urllib.parse import urlencode

import pytest

from campaigns.models import Message, Suppression
from contacts.crud import set_consent
from contacts.models import Consent, Contact
from tests.campaigns.rows import a_suppression
from workspaces.services import create_workspace, issue_api_key

EMAIL = {
    "from": "Acme <shop@acme.example>",
    "subject": "Your code {{ code }}",
    "html": "<p>{% if %} 482910 &amp; {{ x }}</p>",
    "text": "482910 & {{ x }}",
    "to": ["Person@Example.com", "new@example.com"],
    "reply_to": "help@acme.example",
    "headers": {"X-Correlation-ID": "abc-123", "Auto-Submitted": "auto-generated"},
}


def errors(answer):
    assert answer.status_code == 422, answer.content
    return answer.json()["errors"]


def test_each_recipient_gets_a_message(either, contact):
    answer = either.post("emails", EMAIL)
    assert answer.status_code == 202, answer.content
    person, new = Message.objects.order_by("-address")
    common = {"type": "to", "from": "Acme <shop@acme.example>", "status": "pending"}
    assert answer.json() == {
        "data": {
            "accepted": True,
            "message_count": 2,
            "messages": [
                {"uuid": str(person.id), "recipient": "person@example.com", **common},
                {"uuid": str(new.id), "recipient": "new@example.com", **common},
            ],
        }
    }
    assert person.contact_id == contact.id
    assert Contact.objects.get(id=new.contact_id).email == "new@example.com"
    assert not Consent.objects.exists()
    # The API has no templates: what is sent is what came.
    assert (person.subject, person.text) == (EMAIL["subject"], EMAIL["text"])
    assert person.body == EMAIL["html"]
    assert person.is_transactional
    assert person.headers == {**EMAIL["headers"], "From": EMAIL["from"], "Reply-To": EMAIL["reply_to"]}


def test_an_address_gets_it_once(newer):
    answer = newer.post("emails", {**EMAIL, "to": ["a@b.example", " A@B.example ", "c@d.example"]})
    assert [each["recipient"] for each in answer.json()["data"]["messages"]] == ["a@b.example", "c@d.example"]


def test_what_asks_for_nothing_is_no_refusal(newer):
    plain = {"from": "shop@acme.example", "subject": "x", "text": "x", "to": ["a@b.example"]}
    harmless = {"bcc": [], "headers": [], "html": None, "reply_to": None, "unheard_of": 1}
    assert newer.post("emails", {**plain, **harmless}).status_code == 202
    assert Message.objects.get().headers == {"From": "shop@acme.example"}


def test_consent_is_not_asked_for_and_suppressions_are(newer, contact):
    set_consent(newer.workspace.id, contact, "email", Consent.Status.OPTED_OUT)
    Suppression.objects.create(workspace=newer.workspace, address="new@example.com")
    answer = newer.post("emails", EMAIL)
    assert answer.status_code == 202
    assert answer.json()["data"]["message_count"] == 1
    states = {each["recipient"]: (each["status"], each["uuid"]) for each in answer.json()["data"]["messages"]}
    assert states == {
        "person@example.com": ("pending", str(Message.objects.get().id)),
        "new@example.com": ("suppressed", None),
    }
    refused = newer.post("emails", {**EMAIL, "to": ["new@example.com"]})
    assert errors(refused) == {"to.0": ["The to.0 field cannot be written to: suppressed."]}


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"from": None}, "from", "The from field is required."),
        ({"from": "nobody"}, "from", "The from field must be a valid email address."),
        ({"from": "a@b.example, c@d.example"}, "from", "The from field must be a valid email address."),
        ({"from": {"email": "a@b.example"}}, "from", "The from field must be a string."),
        ({"subject": None}, "subject", "The subject field is required."),
        ({"subject": "  "}, "subject", "The subject field is required."),
        ({"subject": "x" * 999}, "subject", "The subject field must not be greater than 998 characters."),
        ({"html": "", "text": None}, "html", "The html field is required when text is not present."),
        ({"html": 5}, "html", "The html field must be a string."),
        ({"html": "x" * 200_001}, "html", "The html field must not be greater than 200000 characters."),
        ({"html": "{{" * 90_000}, "html", "The html field cannot be sent: "),
        ({"html": "<p>" * 6_000}, "to.0", "cannot be written to: template_broken (body: more than 5000 tags"),
        ({"to": None}, "to", "The to field is required."),
        ({"to": []}, "to", "The to field must have between 1 and 50 items."),
        ({"to": "a@b.example"}, "to", "The to field must be an array."),
        (
            {"to": [f"p{n}@b.example" for n in range(51)]},
            "to",
            "The to field must have between 1 and 50 items.",
        ),
        ({"to": ["a@b.example", "b"]}, "to.1", "The to.1 field must be a valid email address."),
        ({"bcc": ["a@b.example"]}, "bcc", "The bcc field cannot be set: each recipient gets a message"),
        ({"reply_to": "x"}, "reply_to", "The reply to field must be a valid email address."),
        ({"headers": ["X: y"]}, "headers", "The headers field must be an object."),
        (
            {"headers": {"Bcc": "a@b.example"}},
            "headers.Bcc",
            "The headers.Bcc field cannot be set: it is set by",
        ),
        (
            {"headers": {"X-Leadpush-Tracking": "none"}},
            "headers.X-Leadpush-Tracking",
            "the header is reserved",
        ),
        (
            {"headers": {"X-A": "a\nb"}},
            "headers.X-A",
            "The headers.X-A field cannot be set: it must be a line",
        ),
        ({"headers": {"X-A": 5}}, "headers.X-A", "The headers.X-A field must be a string."),
    ],
)
def test_what_cannot_be_sent_is_refused_by_name(newer, changes, field, message):
    (found,) = errors(newer.post("emails", {**EMAIL, **changes}))[field]
    assert message in found
    assert not Message.objects.exists()
    assert field == "to.0" or not Contact.objects.exists()


def test_a_repetition_under_its_key_is_answered_once(newer):
    first, second = (newer.post("emails", EMAIL, **{"Idempotency-Key": "k"}) for _ in range(2))
    assert first.json() == second.json()
    assert Message.objects.count() == 2


def test_a_suppression_is_made_once(either):
    answer = either.post("suppressions", {"email": " Blocked@Example.com ", "type": "complaint"})
    assert answer.status_code == 201, answer.content
    shown = answer.json() if either.base.startswith("/v1") else answer.json()["data"]
    row = Suppression.objects.get()
    assert shown == {
        "uuid": str(row.id),
        "email": "blocked@example.com",
        "type": "complaint",
        "created_at": shown["created_at"],
    }
    assert (row.channel, row.address, row.reason) == ("email", "blocked@example.com", "complaint")
    again = either.post("suppressions", {"email": "blocked@example.com"})
    assert (again.status_code, again.json()) == (200, answer.json())
    assert either.get(f"suppressions/{row.id}").json() == answer.json()


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        ({}, "email", "The email field is required."),
        ({"email": "x"}, "email", "The email field must be a valid email address."),
        ({"email": 5}, "email", "The email field must be a string."),
        (
            {"email": "a@b.example", "type": "x"},
            "type",
            "The type field must be one of bounce, complaint, manual.",
        ),
        (
            {"email": "a@b.example", "type": []},
            "type",
            "The type field must be one of bounce, complaint, manual.",
        ),
    ],
)
def test_a_suppression_of_another_shape_is_refused(newer, body, field, message):
    assert errors(newer.post("suppressions", body)) == {field: [message]}
    assert not Suppression.objects.exists()


def test_suppressions_are_listed_searched_and_paged(either):
    for email, reason in [("a@x.example", "bounce"), ("b@y.example", "manual"), ("c@x.example", "manual")]:
        a_suppression(either.workspace, address=email, reason=reason)
    a_suppression(either.workspace, address="https://hook.example/", channel="webhook")
    a_suppression(create_workspace("Others"), address="d@x.example")

    first = either.get("suppressions?per_page=2").json()
    assert [row["email"] for row in first["data"]] == ["a@x.example", "b@y.example"]
    assert first["meta"] == {"current_page": 1, "per_page": 2, "total": 3, "last_page": 2, "has_next": True}
    bounced, manual = {"id": "type", "value": ["bounce"]}, {"id": "type", "value": "manual"}
    for parameters, emails in [
        ({"search": "X.ex"}, ["a@x.example", "c@x.example"]),
        ({"search": "x.", "page": 2, "per_page": 1}, ["c@x.example"]),
        ({"filters": json.dumps([bounced])}, ["a@x.example"]),
        ({"filters[]": json.dumps(manual)}, ["b@y.example", "c@x.example"]),
    ]:
        answer = either.get(f"suppressions?{urlencode(parameters)}").json()
        assert [row["email"] for row in answer["data"]] == emails, parameters
    # The types of contact fields are none of suppressions.
    wrong = json.dumps([{"id": "type", "value": ["text"]}])
    assert list(errors(either.get(f"suppressions?{urlencode({'filters': wrong})}"))) == ["filters"]


def test_a_suppression_elsewhere_is_not_found(newer):
    rows = [
        a_suppression(create_workspace("Others"), address="d@x.example"),
        a_suppression(newer.workspace, address="https://hook.example/", channel="webhook"),
    ]
    for name in [*(row.id for row in rows), "x"]:
        answer = newer.get(f"suppressions/{name}")
        assert (answer.status_code, answer.json()) == (404, {"message": "Not found."})


@pytest.mark.parametrize(
    ("scopes", "sends", "suppresses", "reads"),
    [
        (["messages:write"], 403, 201, 403),
        (["messages:read"], 403, 403, 200),
        (["messages:write", "contacts:write"], 202, 201, 403),
    ],
)
def test_the_scopes(newer, scopes, sends, suppresses, reads):
    key = issue_api_key(newer.workspace.id, "weak", scopes=scopes).secret
    assert newer.post("emails", EMAIL, key=key).status_code == sends
    assert newer.post("suppressions", {"email": "a@b.example"}, key=key).status_code == suppresses
    assert newer.get("suppressions", key=key).status_code == reads
