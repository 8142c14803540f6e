"""Contacts of v3, v5 and `/api`: made, found, changed, tagged and deleted."""

import json

import pytest
from django.test import Client

from contacts.models import Contact, Identifier
from workspaces.services import create_workspace, issue_api_key

ADA = {
    "identifiers": [
        {"type": "phone", "id": "+15005550006", "channels": {"sms": {"status": "unsubscribed"}}},
        {
            "type": "email",
            "id": "Ada@Example.com",
            "channels": {"email": {"status": "subscribed", "statusDate": "2026-01-15T10:00:00Z"}},
            "consent": {"source": "form", "ip": "203.0.113.5"},
            "sendWelcomeMessage": False,
        },
    ],
    "firstName": "Ada",
    "tags": ["vip"],
    "country": "Spain",
    "customProperties": {"plan": "pro", "pets": ["dog", "cat"]},
}


@pytest.fixture
def ask(key):
    def ask(method, path, body=None, *, secret=key, **parameters):
        options = {"headers": {"X-API-KEY": secret}, "query_params": parameters}
        if body is not None:
            options |= {"data": json.dumps(body), "content_type": "application/json"}
        return getattr(Client(), method)(path, **options)

    return ask


@pytest.fixture
def ada(ask):
    answer = ask("post", "/v5/contacts", ADA)
    assert answer.status_code == 201, answer.json()
    return answer.json()


@pytest.mark.parametrize("base", ["/v5", "/api", "/omnisend/v5", "/omnisend/api"])
def test_a_contact_is_made_once_and_then_updated(ask, base):
    made = ask("post", f"{base}/contacts", ADA)
    again = ask("post", f"{base}/contacts", {"identifiers": ADA["identifiers"][1:], "lastName": "Byron"})
    assert (made.status_code, again.status_code) == (201, 200)
    body = again.json()
    assert body["contactID"] == body["id"] == made.json()["id"]
    assert (body["firstName"], body["lastName"], body["country"]) == ("Ada", "Byron", "Spain")
    assert (body["email"], body["phone"], body["status"]) == (
        "ada@example.com",
        ["+15005550006"],
        "subscribed",
    )
    known = {(each["type"], each["id"]) for each in body["identifiers"]}
    assert known == {("email", "ada@example.com"), ("phone", "+15005550006")}
    channels = {
        name: said["status"] for each in body["identifiers"] for name, said in each["channels"].items()
    }
    assert channels == {"email": "subscribed", "sms": "unsubscribed"}
    assert body["customProperties"] == {"plan": "pro", "pets": ["dog", "cat"]}
    assert body["tags"] == ["vip"]
    assert Contact.objects.get().attributes["emailConsent"] == {
        "status": "opted_in",
        "createdAt": "2026-01-15T10:00:00Z",
        "source": "form",
        "ip": "203.0.113.5",
    }


def test_v3_answers_in_short_and_takes_flat_identifiers(ask):
    flat = {"email": "ada@example.com", "status": "unsubscribed", "statusDate": "2026-01-15T10:00:00Z"}
    answer = ask("post", "/v3/contacts", flat)
    contact = Contact.objects.get()
    assert answer.json() == {"contactID": str(contact.id), "email": "ada@example.com"}
    assert contact.consent("email") == "opted_out"


@pytest.mark.parametrize("text", ["id", "ada@example.com", "ADA@example.com", "+15005550006"])
def test_a_contact_is_read_by_its_id_and_by_its_identifiers(ask, ada, text):
    found = ask("get", f"/v5/contacts/{ada['id'] if text == 'id' else text}")
    assert found.json() == ada


def test_a_contact_is_read_by_the_id_that_the_vendor_gave_it(ask, ada):
    Identifier.objects.create(
        workspace=Contact.objects.get().workspace,
        contact_id=ada["id"],
        kind="external_id",
        value="60d5ec49f1b2c72d9c8b8888",
    )
    assert ask("get", "/v5/contacts/60d5ec49f1b2c72d9c8b8888").json()["email"] == "ada@example.com"


@pytest.mark.parametrize("text", ["60d5ec49f1b2c72d9c8b8888", "bob@example.com", "+15005550007"])
def test_an_unknown_contact_is_a_404_in_the_version_s_own_format(ask, ada, text):
    new, old = ask("get", f"/v5/contacts/{text}"), ask("get", f"/v3/contacts/{text}")
    assert (new.status_code, new.json()["title"]) == (404, "Not found")
    assert (old.status_code, old.json()) == (404, {"error": "There is no contact with this id."})


def test_a_list_is_narrowed_and_paged(ask, ada, key):
    for number in range(3):
        ask("post", "/v3/contacts", {"email": f"p{number}@example.com", "tags": [f"t{number}"]})

    def emails(**parameters):
        return [each["email"] for each in ask("get", "/v5/contacts", **parameters).json()["contacts"]]

    assert emails(email="ada@example.com") == emails(phone="+15005550006") == ["ada@example.com"]
    assert emails(tag="t1") == ["p1@example.com"]
    assert emails(tag="none") == emails(email="nobody@example.com") == []
    newest_first = ["p2@example.com", "p1@example.com", "p0@example.com", "ada@example.com"]
    assert emails() == newest_first
    assert emails(limit=2, offset=1) == newest_first[1:3]
    first = ask("get", "/v3/contacts", limit=3).json()
    assert first["paging"]["previous"] is None
    second = Client().get(first["paging"]["next"], headers={"X-API-KEY": key})
    assert [each["email"] for each in second.json()["contacts"]] == newest_first[3:]
    assert second.json()["paging"]["next"] is None
    cursors = ask("get", "/api/contacts", limit=3).json()["paging"]
    assert (cursors["hasMore"], cursors["limit"]) == (True, 3)
    rest = ask("get", "/api/contacts", limit=3, after=cursors["cursors"]["after"]).json()
    assert [each["email"] for each in rest["contacts"]] == newest_first[3:]
    back = ask("get", "/api/contacts", limit=3, before=rest["paging"]["cursors"]["before"]).json()
    assert [each["email"] for each in back["contacts"]] == newest_first[:3]
    assert back["paging"]["cursors"]["before"] is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("limit", "0"),
        ("limit", "251"),
        ("limit", "x"),
        ("offset", "-1"),
        ("status", "maybe"),
        ("sort", "email"),
    ],
)
def test_a_parameter_that_cannot_be_kept_is_refused_by_name(ask, name, value):
    answer = ask("get", "/v5/contacts", **{name: value})
    assert (answer.status_code, [each["field"] for each in answer.json()["errors"]]) == (400, [name])


def test_a_patch_sets_what_is_sent(ask, ada):
    changed = ask(
        "patch", f"/v5/contacts/{ada['id']}", {"firstName": None, "city": "Madrid", "tags": ["new"]}
    )
    assert changed.json()["tags"] == ["vip", "new"]
    assert (changed.json()["firstName"], changed.json()["city"]) == ("", "Madrid")
    assert changed.json()["country"] == "Spain"
    by_email = ask("patch", "/api/contacts", {"customProperties": {"plan": None}}, email="ada@example.com")
    assert by_email.json()["customProperties"] == {"pets": ["dog", "cat"]}


def test_an_identifier_of_somebody_else_is_a_409_and_in_v3_ignored(ask, ada):
    bob = ask("post", "/v3/contacts", {"email": "bob@example.com"}).json()["contactID"]
    taken = {"identifiers": [{"type": "phone", "id": "+15005550006"}]}
    assert ask("patch", f"/v5/contacts/{bob}", taken).status_code == 409
    assert ask("post", f"/v5/contacts/{bob}/identifiers", taken["identifiers"][0]).status_code == 409
    assert ask("patch", f"/v3/contacts/{bob}", taken).json() == {"contactID": bob, "email": "bob@example.com"}


def test_v3_does_not_change_the_address(ask, ada):
    sent = {
        "identifiers": [
            {"type": "email", "id": "else@example.com", "channels": {"email": {"status": "unsubscribed"}}}
        ]
    }
    assert ask("patch", f"/v3/contacts/{ada['id']}", sent).json()["email"] == "ada@example.com"
    assert Contact.objects.get().consent("email") == "opted_out"


def test_tags_and_identifiers_are_added_and_removed(ask, ada):
    path = f"/v5/contacts/{ada['id']}"
    assert ask("post", f"{path}/tags", {"tag": "new"}).json()["tags"] == ["vip", "new"]
    assert ask("delete", f"{path}/tags/vip").status_code == 204
    added = ask("post", f"{path}/identifiers", {"type": "email", "id": "ada2@example.com"}).json()
    assert added["email"] == "ada2@example.com"
    selection = {"contactIDs": [ada["id"]], "emails": ["nobody@example.com"], "tags": ["a", "b"]}
    assert ask("post", "/api/contacts/tags", selection).status_code == 202
    assert ask("get", path).json()["tags"] == ["new", "a", "b"]
    assert ask("delete", "/api/contacts/tags", selection).status_code == 202
    assert ask("get", path).json()["tags"] == ["new"]


def test_a_contact_is_deleted(ask, ada):
    assert ask("delete", "/v5/contacts/ada@example.com").status_code == 204
    assert not Contact.objects.exists()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "identifiers"),
        ({"identifiers": []}, "identifiers"),
        ({"identifiers": [{"type": "email", "id": "no address"}]}, "identifiers[0].id"),
        ({"identifiers": [{"type": "fax", "id": "1"}]}, "identifiers[0].type"),
        ({"identifiers": [{"id": "a@b.example"}]}, "identifiers[0].type"),
        ({"identifiers": [7]}, "identifiers[0]"),
        ({"email": "a@b.example", "gender": "x"}, "gender"),
        ({"email": "a@b.example", "status": "maybe"}, "status"),
        ({"email": "a@b.example", "customProperties": {"a b": 1}}, "customProperties.a b"),
        ({"email": "a@b.example", "customProperties": {"a": {}}}, "customProperties.a"),
        ({"email": "a@b.example", "tags": [""]}, "tags[0]"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_what_is_wrong_is_named(ask, body, field):
    new, old = ask("post", "/v5/contacts", body), ask("post", "/v3/contacts", body)
    assert [each["field"] for each in new.json()["errors"]] == [field]
    assert (old.status_code, [*old.json()["fields"]]) == (400, [field])
    assert not Contact.objects.exists()


def test_who_may_not_read_contacts_is_told_the_id_alone(ask, workspace):
    writer = issue_api_key(workspace.id, "writer", scopes=["contacts:write"]).secret
    answer = ask("post", "/v5/contacts", ADA, secret=writer)
    contact_id = str(Contact.objects.get().id)
    assert answer.json() == {"contactID": contact_id, "id": contact_id}
    assert ask("get", "/v5/contacts", secret=writer).status_code == 403
    reader = issue_api_key(workspace.id, "reader", scopes=["contacts:read"]).secret
    assert ask("delete", f"/v5/contacts/{contact_id}", secret=reader).status_code == 403
    assert ask("get", "/v5/contacts", secret=reader, segmentID="x").status_code == 403


def test_a_contact_of_another_workspace_is_a_404(ask, ada):
    other = issue_api_key(create_workspace("Other").id, "other").secret
    for method in ("get", "patch", "delete"):
        body = {} if method == "patch" else None
        assert ask(method, f"/v5/contacts/{ada['id']}", body, secret=other).status_code == 404
    selection = {"contactIDs": [ada["id"]], "tags": ["x"]}
    assert ask("post", "/v5/contacts/tags", selection, secret=other).status_code == 202
    assert ask("get", f"/v5/contacts/{ada['id']}").json() == ada


def test_a_page_costs_the_same_however_many_are_on_it(ask, ada, django_assert_max_num_queries):
    for number in range(12):
        ask(
            "post", "/v3/contacts", {"email": f"p{number}@example.com", "tags": ["t"], "status": "subscribed"}
        )
    with django_assert_max_num_queries(12):
        assert len(ask("get", "/v5/contacts").json()["contacts"]) == 13


def test_many_contacts_are_tagged_by_a_few_statements(ask, django_assert_max_num_queries):
    emails = [f"p{number}@example.com" for number in range(40)]
    batch = {"method": "POST", "endpoint": "contacts", "items": [{"email": each} for each in emails]}
    assert ask("post", "/v5/batches", batch).status_code == 201
    with django_assert_max_num_queries(30):
        assert ask("post", "/v5/contacts/tags", {"emails": emails, "tags": ["a"]}).status_code == 202
    assert {tuple(each.tag_names) for each in Contact.objects.all()} == {("a",)}
