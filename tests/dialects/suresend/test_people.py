"""People, which senders look up or make before the first event."""

import json

import pytest
from django.test import Client

from contacts.models import Contact
from workspaces.services import create_workspace, issue_api_key

BASE = "/api/partner/people"
JANE = {
    "firstName": "Jane",
    "lastName": "Doe",
    "emails": [{"value": "Jane@Example.com", "type": "work"}],
    "stage": "lead",
}


@pytest.fixture
def ask(key):
    def ask(method, path="", body=None, *, secret=key, **parameters):
        address = f"{BASE}{path}"
        options = {"headers": {"Authorization": f"Bearer {secret}"}, "query_params": parameters}
        if body is not None:
            options |= {"data": json.dumps(body), "content_type": "application/json"}
        return getattr(Client(), method)(address, **options)

    return ask


@pytest.fixture
def jane(ask):
    answer = ask("post", body=JANE)
    assert answer.status_code == 201, answer.json()
    return answer.json()


def test_a_person_is_made_once_and_then_returned_unchanged(ask, jane):
    assert (jane["name"], jane["stage"], jane["tags"]) == ("Jane Doe", "lead", [])
    assert jane["emails"] == [
        {"value": "jane@example.com", "type": "work", "status": "active", "isPrimary": True}
    ]
    again = ask(
        "post", body={"person": {"name": "Other", "emails": ["jane@example.com"], "phones": ["+15551234567"]}}
    )
    assert (again.status_code, again.json()) == (200, jane)
    assert Contact.objects.count() == 1


def test_a_person_is_found_by_email_phone_and_words(ask, jane):
    ask("post", body={"name": "Bob Ray", "phones": ["+1 555 123 4567"]})
    for parameters, names in [
        ({"email": "JANE@example.com"}, ["Jane Doe"]),
        ({"phone": "+15551234567"}, ["Bob Ray"]),
        ({"query": "doe"}, ["Jane Doe"]),
        ({"email": "jane@example.com", "query": "ray"}, []),
    ]:
        assert [person["name"] for person in ask("get", "/search", **parameters).json()["people"]] == names
    assert ask("get", "/search").status_code == 422
    assert [person["name"] for person in ask("get").json()["people"]] == ["Bob Ray", "Jane Doe"]


def test_pages_follow_one_another(ask):
    for number in range(3):
        ask("post", body={"name": f"Person {number}"})
    first = ask("get", limit=2).json()
    second = ask("get", limit=2, after=first["next"]).json()
    assert [len(page["people"]) for page in (first, second)] == [2, 1]
    assert second["next"] is None
    assert ask("get", limit=0).status_code == 422


def test_a_put_sets_what_is_sent_and_null_removes(ask, jane):
    path = f"/{jane['id']}"
    answer = ask("put", path, {"stage": None, "source": "web", "emails": ["new@example.com"]})
    assert answer.status_code == 200, answer.json()
    changed = answer.json()
    assert (changed["name"], changed["stage"], changed["source"]) == ("Jane Doe", None, "web")
    assert [(email["value"], email["isPrimary"]) for email in changed["emails"]] == [
        ("new@example.com", True),
        ("jane@example.com", False),
    ]
    assert ask("get", path).json() == changed


def test_tags_come_and_go(ask, jane):
    path = f"/{jane['id']}/tags"
    assert ask("post", path, {"tags": ["vip", "buyer"]}).json()["tags"] == ["buyer", "vip"]
    assert ask("delete", f"{path}/vip").json()["tags"] == ["buyer"]
    assert ask("delete", f"{path}/none").status_code == 200
    assert ask("post", path, {"tags": "vip"}).status_code == 422


def test_a_deleted_person_is_gone(ask, jane):
    path = f"/{jane['id']}"
    assert ask("delete", path).status_code == 204
    assert ask("get", path).status_code == 404
    assert ask("delete", path).json() == {"error": "Person not found"}


@pytest.mark.parametrize(
    "body",
    [{}, {"person": {}}, {"emails": ["nobody"]}, {"firstName": 7}, {"person": "Jane"}],
    ids=["empty", "wrapped", "address", "type", "text"],
)
def test_a_bad_person_is_refused(ask, body):
    answer = ask("post", body=body)
    assert (answer.status_code, "errors" in answer.json()) == (422, True)


def test_nobody_reads_another_workspaces_people_nor_without_the_scope(ask, jane, workspace):
    other = issue_api_key(create_workspace("Other").id, "other").secret
    assert ask("get", f"/{jane['id']}", secret=other).status_code == 404
    assert ask("get", secret=other).json()["people"] == []
    sender = issue_api_key(workspace.id, "sender", scopes=["events:write"]).secret
    assert ask("get", secret=sender).status_code == 403
    assert ask("post", body=JANE, secret=sender).status_code == 403
