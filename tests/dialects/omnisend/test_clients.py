"""What clients were seen to send, and to make of the answers, when they were run against a server."""

import json

import pytest
from django.test import Client

from contacts.merging.merges import merge_contacts
from contacts.models import Contact, Import
from events.models import Event
from tests.segments.factories import a_segment


@pytest.fixture
def ask(key):
    def ask(method, path, body=None, **parameters):
        options = {"headers": {"X-API-KEY": key}, "query_params": parameters}
        if body is not None:
            options |= {"data": json.dumps(body), "content_type": "application/json"}
        return getattr(Client(), method)(path, **options)

    return ask


def test_v3_answers_what_its_own_document_says(ask):
    """The Python client takes everything else than a 200 for an error."""
    for _ in range(2):
        assert ask("post", "/v3/contacts", {"email": "ada@example.com"}).status_code == 200
    batch = {"method": "POST", "endpoint": "contacts", "items": [{"email": "bob@example.com"}]}
    assert ask("post", "/v3/batches", batch).status_code == 200
    event = {"systemName": "placed_order", "email": "ada@example.com"}
    recorded = ask("post", "/v3/events", event)
    assert (recorded.status_code, recorded.content) == (204, b"")
    (known,) = [each for each in ask("get", "/v3/events").json() if each["systemName"] == "placed_order"]
    assert ask("post", f"/v3/events/{known['eventID']}", {"email": "ada@example.com"}).status_code == 204
    batch = {"method": "POST", "endpoint": "events", "items": [event]}
    created = ask("post", "/v3/batches", batch)
    assert created.status_code == 200
    item = ask("get", f"/v3/batches/{created.json()['batchID']}/items/0").json()
    assert item["responseCode"] == 204
    assert Event.objects.filter(name="placed_order").count() == 3


@pytest.mark.parametrize("base", ["/v3", "/v5"])
@pytest.mark.parametrize(("status", "consent"), [("subscribed", "opted_in"), ("unsubscribed", "opted_out")])
def test_a_status_alone_is_that_of_the_email_channel(ask, base, status, consent):
    """The PHP client changes it by the contact's id, without the address beside it."""
    contact_id = ask("post", f"{base}/contacts", {"email": "ada@example.com"}).json()["contactID"]
    body = {"status": status, "statusDate": "2026-01-15T10:00:00Z"}
    assert ask("patch", f"{base}/contacts/{contact_id}", body).status_code == 200
    contact = Contact.objects.get()
    assert contact.consent("email") == consent
    assert contact.attributes["emailConsent"] == {"status": consent, "createdAt": "2026-01-15T10:00:00Z"}


def test_a_channel_s_own_status_goes_before_that_of_the_contact(ask):
    channels = {"email": {"status": "unsubscribed"}}
    identifier = {"type": "email", "id": "ada@example.com", "channels": channels}
    ask("post", "/v5/contacts", {"identifiers": [identifier], "status": "subscribed"})
    ask("post", "/v5/contacts", {"phone": "+15005550006", "status": "subscribed"})
    assert [each.consent("email") for each in Contact.objects.order_by("id")] == ["opted_out", None]


@pytest.mark.parametrize("base", ["/v3", "/v5"])
@pytest.mark.parametrize("shape", ["flat", "identifiers"])
def test_a_status_that_is_older_than_what_is_known_changes_nothing(ask, base, shape):
    """The documentation says so of `statusDate`, which the clients send with every status."""

    def say(status, date=None):
        dated = {"status": status} | ({"statusDate": date} if date else {})
        flat = {"email": "ada@example.com", **dated}
        listed = {"identifiers": [{"type": "email", "id": flat["email"], "channels": {"email": dated}}]}
        assert ask("post", f"{base}/contacts", flat if shape == "flat" else listed).status_code < 300
        return Contact.objects.get().consent("email")

    assert say("subscribed", "2020-03-01T00:00:00Z") == "opted_in"
    assert say("unsubscribed", "2020-02-01T00:00:00Z") == "opted_in"
    assert say("unsubscribed", "2020-04-01T00:00:00Z") == "opted_out"
    assert say("subscribed", "2020-03-15T00:00:00Z") == "opted_out"
    channels = ask("get", "/v5/contacts/ada@example.com").json()["identifiers"][0]["channels"]
    assert channels["email"]["statusDate"] == "2020-04-01T00:00:00Z"
    # What nobody dates is said now, and what is dated ahead, too.
    assert say("subscribed") == "opted_in"
    assert say("unsubscribed", "2020-05-01T00:00:00Z") == "opted_in"
    assert say("unsubscribed", "2100-01-01T00:00:00Z") == "opted_out"
    assert say("subscribed") == "opted_in"


def test_an_opt_out_that_is_put_into_an_answer_counts(ask):
    path = "/v5/contacts/ada@example.com"
    ask("post", "/v3/contacts", {"email": "ada@example.com", "status": "subscribed"})
    told = ask("get", path).json()
    told["status"] = told["identifiers"][0]["channels"]["email"]["status"] = "unsubscribed"
    assert ask("patch", path, told).json()["status"] == "unsubscribed"


def test_where_and_when_somebody_opted_in_is_kept(ask):
    """As the Python client sends it, beside a flat address."""
    ask(
        "post",
        "/v3/contacts",
        {
            "email": "ada@example.com",
            "status": "subscribed",
            "statusDate": "2026-11-28T22:04:00+00:00",
            "optInDate": "2020-01-01T10:00:00",
            "optInIP": "203.0.113.5",
        },
    )
    proof = {"status": "opted_in", "createdAt": "2020-01-01T10:00:00", "ip": "203.0.113.5"}
    assert Contact.objects.get().attributes["emailConsent"] == proof


@pytest.mark.parametrize("base", ["/v3", "/v5"])
@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("1990-01-02", "1990-01-02"),
        ("1990-01-02T00:00:00", "1990-01-02"),
        ("1990-01-02T00:00:00.000Z", "1990-01-02"),
        ("1990-01-02 00:00:00+02:00", "1990-01-02"),
        (None, None),
    ],
)
def test_a_birthdate_at_midnight_is_a_day(ask, base, sent, kept):
    """The Python client and the n8n node know times only, no days."""
    assert ask("post", f"{base}/contacts", {"email": "a@b.example", "birthdate": sent}).status_code < 300
    assert ask("get", "/v5/contacts/a@b.example").json()["birthdate"] == kept


@pytest.mark.parametrize(
    "sent", ["1990-01-01T23:00:00Z", "1990-02-30T00:00:00", "1990-01-02T00:00", "1990-01-02x", "00:00:00"]
)
def test_a_birthdate_of_which_the_day_is_a_guess_is_refused(ask, sent):
    answer = ask("post", "/v3/contacts", {"email": "a@b.example", "birthdate": sent})
    assert (answer.status_code, [*answer.json()["fields"]]) == (400, ["birthdate"])


@pytest.mark.parametrize("base", ["/v3", "/v5", "/api"])
def test_an_answer_sent_back_changes_nothing(ask, base):
    """The MCP server has whoever edits a contact send back what it was told."""
    first = {
        "identifiers": [
            {"type": "email", "id": "ada@example.com", "channels": {"email": {"status": "subscribed"}}},
            {"type": "phone", "id": "+15005550006", "channels": {"sms": {"status": "unsubscribed"}}},
        ],
        "firstName": "Ada",
        "tags": ["vip"],
        "birthdate": "1990-01-02",
        "customProperties": {"plan": "pro", "pets": ["dog"]},
    }
    contact_id = ask("post", f"{base}/contacts", first).json()["contactID"]
    for kind, added in (("phone", "+15005550007"), ("phone", "+15005550001"), ("email", "eva@example.com")):
        ask("post", f"/v5/contacts/{contact_id}/identifiers", {"type": kind, "id": added})
    told = ask("get", f"{base}/contacts/{contact_id}").json()
    assert (told["email"], told["phone"][0]) == ("eva@example.com", "+15005550001")
    assert ask("patch", f"{base}/contacts/{contact_id}", told).status_code == 200
    again = ask("get", f"{base}/contacts/{contact_id}").json()
    assert again == told | {"updatedAt": again["updatedAt"]}
    assert ask("post", f"{base}/contacts", told).json()["contactID"] == contact_id


def test_what_is_wrong_with_a_number_of_a_list_is_named(ask):
    answer = ask("post", "/v5/contacts", {"email": "a@b.example", "phone": ["+15005550006", "x"]})
    assert [each["field"] for each in answer.json()["errors"]] == ["phone[1]"]


def test_a_gender_that_is_not_known_is_left_out(ask):
    """The schema of the vendor's contacts, by which a connector reads them, has no null there."""
    ask("post", "/v3/contacts", {"email": "a@b.example"})
    ask("post", "/v3/contacts", {"email": "c@d.example", "gender": "f"})
    c, a = ask("get", "/v3/contacts").json()["contacts"]
    assert (c["gender"], "gender" in a) == ("f", False)


def test_a_phone_that_there_is_not_is_left_out(ask):
    """One PHP client has a text there, and fails on a list, an empty one too."""
    ask("post", "/v3/contacts", {"email": "a@b.example"})
    ask("post", "/v3/contacts", {"email": "c@d.example", "phone": "+15005550006"})
    c, a = ask("get", "/v3/contacts").json()["contacts"]
    assert (c["phone"], c["phoneNumber"]) == (["+15005550006"], "+15005550006")
    assert not {"phone", "phoneNumber"} & a.keys()


def test_contacts_are_listed_by_their_status(ask, workspace):
    """The MCP server, the n8n node and the Node client have it among their filters."""
    for name, status in (("in", "subscribed"), ("out", "unsubscribed"), ("none", "nonSubscribed")):
        ask("post", "/v3/contacts", {"email": f"{name}@example.com", "status": status})
    ask("post", "/v5/contacts", {"phone": "+15005550006"})

    def emails(status):
        return [each["email"] for each in ask("get", "/v5/contacts", status=status).json()["contacts"]]

    assert emails("subscribed") == ["in@example.com"]
    assert emails("unsubscribed") == ["out@example.com"]
    assert emails("nonSubscribed") == [None, "none@example.com"]
    contacts = {each.email: each for each in Contact.objects.all()}
    # Who opted out speaks for both.
    merge_contacts(workspace.id, contacts["in@example.com"], contacts["out@example.com"])
    assert (emails("subscribed"), emails("unsubscribed")) == ([], ["in@example.com"])


def test_contacts_are_listed_since_they_changed(ask):
    ask("post", "/v3/contacts", {"email": "a@b.example"})
    assert len(ask("get", "/v5/contacts", updatedAtFrom="2020-01-01T00:00:00Z").json()["contacts"]) == 1
    assert ask("get", "/v5/contacts", updatedAtFrom="2100-01-01T00:00:00Z").json()["contacts"] == []
    for wrong in ("yesterday", "2020-01-01T00:00:00", ""):
        answer = ask("get", "/v5/contacts", updatedAtFrom=wrong)
        assert [each["field"] for each in answer.json()["errors"]] == ["updatedAtFrom"]


def test_the_members_of_a_segment_are_listed(ask, workspace):
    """The n8n node asks for them below the segment."""
    for number in range(3):
        ask("post", "/v3/contacts", {"email": f"p{number}@example.com", "tags": ["vip"] if number else []})
    segment = a_segment(workspace, {"type": "tag", "value": "vip", "operator": "has"})
    for base in ("/v5", "/api"):
        path = f"{base}/segments/{segment.id}/contacts"
        page = ask("get", path, limit=1).json()
        assert [each["email"] for each in page["contacts"]] == ["p2@example.com"]
        assert [each["email"] for each in ask("get", path).json()["contacts"]] == [
            "p2@example.com",
            "p1@example.com",
        ]
    assert ask("get", "/v5/segments/s1/contacts", limit=10).status_code == 404
    assert ask("get", f"/v5/segments/{segment.id}").status_code == 404


def test_batches_are_listed_by_status_and_day(ask):
    batch = {"method": "POST", "endpoint": "contacts", "items": [{"email": "a@b.example"}]}
    made = ask("post", "/v3/batches", batch).json()["batchID"]
    day = Import.objects.get().started_at.date().isoformat()

    def listed(**parameters):
        answer = ask("get", "/v3/batches", endpoint="contacts", **parameters)
        return [each["batchID"] for each in answer.json()["batches"]]

    assert listed() == listed(status="finished") == listed(dateFrom=day, dateTo=day) == [made]
    assert listed(status="pending") == listed(status="inProgress") == listed(status="stopped") == []
    assert listed(dateFrom="2100-01-01") == listed(dateTo="2020-01-01") == []
    for wrong in ({"status": "done"}, {"dateFrom": "2020"}, {"dateTo": "2020-02-30"}):
        answer = ask("get", "/v3/batches", endpoint="contacts", **wrong)
        assert (answer.status_code, [*answer.json()["fields"]]) == (400, [*wrong])
    assert ask("get", "/v3/batches", endpoint="products").status_code == 404


def test_the_next_page_of_batches_is_of_the_same_ones(ask, key):
    for endpoint, item in (
        ("contacts", {"email": "a@b.example"}),
        ("events", {"systemName": "x", "email": "a@b.example"}),
    ):
        for _ in range(2):
            ask("post", "/v3/batches", {"method": "POST", "endpoint": endpoint, "items": [item]})
    first = ask("get", "/v3/batches", endpoint="contacts", status="finished", limit=1).json()
    second = Client().get(first["paging"]["next"], headers={"X-API-KEY": key}).json()
    assert [each["endpoint"] for each in first["batches"] + second["batches"]] == ["contacts"] * 2
    assert second["paging"]["next"] is None
    assert Client().get(second["paging"]["previous"], headers={"X-API-KEY": key}).json() == first


def test_what_is_wrong_with_an_item_is_told_by_the_names_of_the_version(ask):
    event = {"systemName": "x", "email": "a@b.example", "fields": {"total": 1}}
    ask("post", "/v3/events", event)
    batch = {"method": "POST", "endpoint": "events", "items": [event | {"fields": {"total": "many"}}]}
    created = ask("post", "/v3/batches", batch).json()
    (error,) = ask("get", f"/v3/batches/{created['batchID']}/items").json()["errors"]
    assert error["response"]["error"].startswith("fields.total ")
