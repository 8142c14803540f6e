"""Merging by the native API."""

from uuid import uuid4

import pytest

from contacts.models import Merge
from tests.contacts.factories import a_contact
from tests.native import NativeClient
from tests.workspaces.factories import WorkspaceFactory, a_key

pytestmark = pytest.mark.django_db


@pytest.fixture
def workspace():
    return WorkspaceFactory()


@pytest.fixture
def api(workspace):
    return NativeClient(workspace)


@pytest.fixture
def jane(workspace):
    return a_contact(workspace, "jane@x.test", first_name="Jane", tags=("b",), consents={"sms": "opted_in"})


@pytest.fixture
def other(workspace):
    return a_contact(
        workspace,
        "other@x.test",
        last_name="Doe",
        attributes={"city": "Bonn"},
        identifiers=(("phone", "+12025550100"),),
        tags=("a", "b"),
        consents={"sms": "opted_out", "email": "opted_in"},
    )


def merged(api, survivor, other):
    answer = api.post(f"contacts/{survivor.id}/merge", {"contactId": str(other.id)})
    assert answer.status_code == 201, answer.content
    return answer.json()


def test_a_merge_answers_with_its_record(api, jane, other):
    merge = merged(api, jane, other)

    stored = Merge.objects.get()
    assert merge == {
        "id": str(stored.id),
        "survivorId": str(jane.id),
        "mergedId": str(other.id),
        "takenOver": {"lastName": "Doe", "attributes": {"city": "Bonn"}},
        "by": stored.by,
        "mergedAt": merge["mergedAt"],
        "undoneAt": None,
        "status": "done",
        "progress": 1.0,
    }
    assert merge["mergedAt"].endswith("Z")
    assert stored.by.startswith("key:")


def test_any_id_answers_as_the_survivor_with_all_that_the_person_is(api, jane, other):
    merged(api, jane, other)

    by_survivor, by_merged = (api.get(f"contacts/{contact.id}").json() for contact in (jane, other))
    assert by_survivor == by_merged
    assert (by_merged["id"], by_merged["email"], by_merged["phone"]) == (
        str(jane.id),
        "jane@x.test",
        "+12025550100",
    )
    assert [
        (identifier["type"], identifier["value"], identifier["primary"])
        for identifier in by_merged["identities"]
    ] == [
        ("email", "jane@x.test", True),
        ("email", "other@x.test", False),
        ("phone", "+12025550100", True),
    ]
    assert [tag["name"] for tag in by_merged["tags"]] == ["a", "b"]
    assert {one["channel"]: one["status"] for one in by_merged["consents"]} == {
        "EMAIL": "OPTED_IN",
        "SMS": "OPTED_OUT",
    }


def test_the_list_leaves_the_merged_ones_out(api, jane, other):
    merge = merged(api, jane, other)
    listed = api.get("contacts").json()
    assert [row["id"] for row in listed["data"]] == [str(jane.id)]
    assert listed["pagination"]["total"] == 1

    api.post(f"merges/{merge['id']}/undo", {})
    assert api.get("contacts").json()["pagination"]["total"] == 2


@pytest.mark.parametrize("word", ["other@x.test", "Doe", "2025550100", "ot"])
def test_a_person_is_found_by_what_a_merged_contact_has(api, jane, other, word):
    merged(api, jane, other)
    assert [row["id"] for row in api.get("contacts", search=word).json()["data"]] == [str(jane.id)]


def test_a_person_is_listed_under_a_merged_contacts_tag(api, jane, other):
    tags = {tag["name"]: tag["id"] for tag in api.get(f"contacts/{other.id}").json()["tags"]}
    lonely = a_contact(api.workspace, tags=("a",))
    merged(api, jane, other)
    by_number = api.get("contacts", tagId=tags["a"]).json()
    assert [row["id"] for row in by_number["data"]] == [str(lonely.id), str(jane.id)]
    assert by_number["pagination"]["total"] == 2
    first = api.get("contacts", tagId=tags["a"], limit=1).json()
    second = api.get("contacts", tagId=tags["a"], limit=1, after=first["pagination"]["next"]).json()
    assert [row["id"] for page in (first, second) for row in page["data"]] == [str(lonely.id), str(jane.id)]


def test_an_undo_parts_them_and_the_list_of_merges_remembers(api, jane, other):
    first = merged(api, jane, other)
    undone = api.post(f"merges/{first['id']}/undo", {})
    assert undone.status_code == 200
    assert undone.json()["undoneAt"]
    assert api.get(f"contacts/{other.id}").json()["email"] == "other@x.test"

    second = merged(api, jane, other)
    for one in (jane, other):
        listed = api.get(f"contacts/{one.id}/merges").json()
        assert [merge["id"] for merge in listed] == [second["id"], first["id"]]


def test_refusals_have_their_status(api, workspace, jane, other):
    foreign, third = a_contact(WorkspaceFactory()), a_contact(workspace)
    merge = merged(api, jane, other)

    def refused(survivor, body):
        answer = api.post(f"contacts/{survivor}/merge", body)
        return answer.status_code, answer.json()["error"]

    assert refused(third.id, {"contactId": str(other.id)}) == (
        409,
        f"The contact was merged into {jane.id} already",
    )
    assert refused(jane.id, {"contactId": str(jane.id)})[0] == 400
    # By any of its ids it is the survivor, who cannot be merged into itself.
    assert refused(other.id, {"contactId": str(jane.id)})[0] == 400
    for unknown in (foreign.id, uuid4(), "jane@x.test"):
        assert refused(unknown, {"contactId": str(third.id)})[0] == 404
        assert refused(third.id, {"contactId": str(unknown)})[0] == 404
    for malformed in ({}, {"contactId": None}, {"contactId": 5}):
        assert refused(jane.id, malformed)[0] == 400
    for unknown in (uuid4(), "x"):
        assert api.post(f"merges/{unknown}/undo", {}).status_code == 404
    assert api.post(f"merges/{merge['id']}/undo", {}).status_code == 200
    assert api.post(f"merges/{merge['id']}/undo", {}).status_code == 409


@pytest.mark.parametrize("scope", ["contacts:read", "events:write"])
def test_writing_needs_the_scope(workspace, jane, other, scope):
    api = NativeClient(workspace, secret=a_key(workspace, scopes=[scope]).secret)
    assert api.post(f"contacts/{jane.id}/merge", {"contactId": str(other.id)}).status_code == 403
    assert api.post(f"merges/{uuid4()}/undo", {}).status_code == 403
    expected = 200 if scope == "contacts:read" else 403
    assert api.get(f"contacts/{jane.id}/merges").status_code == expected
