"""Contact lists: made, listed, changed, filled, searched and deleted."""

import pytest

from campaigns.models import Suppression
from contacts.erasure.erasures import erase_person
from contacts.merging.merges import merge_contacts
from contacts.models import Contact
from segments.definitions import create_segment
from segments.models import Membership, Segment
from segments.static_members import add_members
from tests.contacts.factories import a_contact
from tests.segments.factories import attribute
from tests.segments.factories import every as every_condition
from tests.workspaces.factories import WorkspaceFactory, a_key

NEWS = {"name": "Newsletter", "description": "Weekly", "type": "list"}
NOT_FOUND = {"message": "Contact list not found", "code": "CONTACT_LIST_NOT_FOUND"}


@pytest.fixture
def news(project):
    answer = project.post("/contact-lists", NEWS)
    assert answer.status_code == 201, answer.json()
    return answer.json()["data"]


def with_rule(workspace):
    rule = every_condition(attribute("email", "contains", "example"))
    return create_segment(workspace.id, name="Pro", raw=rule)


def add(project, news, **body):
    return project.post("/contact-lists/contacts/bulk-add", {"contactListId": news["id"], **body})


def search(project, news, **body):
    return project.post("/contact-lists/contacts/search", {"contactListId": news["id"], **body})


def details(answer):
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "VALIDATION_FAILED"), answer.json()
    return {each["field"]: each["message"] for each in answer.json()["error"]["details"]}


def test_a_list_is_a_static_segment(project, news):
    segment = Segment.objects.get()
    assert (segment.name, segment.description, segment.is_static) == ("Newsletter", "Weekly", True)
    assert news == {
        "id": str(segment.id),
        **NEWS,
        "contactCount": 0,
        "createdAt": news["createdAt"],
        "updatedAt": news["updatedAt"],
    }
    assert project.get(f"/contact-lists/{news['id']}").json() == {"success": True, "data": news}


def test_lists_are_listed_oldest_first_without_segments_that_have_a_rule(project, news, jane):
    add_members(project.workspace.id, Segment.objects.get(), contact_ids=[jane.id])
    with_rule(project.workspace)
    create_segment(WorkspaceFactory().id, name="Theirs", evaluation=Segment.Evaluation.STATIC)
    offers = project.post("/contact-lists", {"name": "Offers"}).json()["data"]
    listed = {"success": True, "data": {"lists": [{**news, "contactCount": 1}, offers]}}
    assert project.get("/contact-lists").json() == project.get("/contact-lists?type=list").json() == listed
    assert "must be list" in details(project.get("/contact-lists?type=segment"))["type"]


def test_a_name_is_taken_once(project, news):
    answer = project.post("/contact-lists", NEWS)
    assert answer.status_code == 409
    assert answer.json()["error"]["code"] == "CONTACT_LIST_ALREADY_EXISTS"
    offers = project.post("/contact-lists", {"name": "Offers"}).json()["data"]
    assert project.patch(f"/contact-lists/{offers['id']}", {"name": "Newsletter"}).status_code == 409


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"name": None}, "name", "name is required"),
        ({"name": 5}, "name", "name must be a string"),
        ({"name": " "}, "name", "The name must be"),
        ({"name": "x" * 201}, "name", "name must have at most 200 characters"),
        ({"description": "x" * 501}, "description", "description must have at most 500 characters"),
        ({"type": "segment"}, "type", "type must be list"),
        ({"filterCriteria": {"logicalOperator": "AND"}}, "filterCriteria", "filterCriteria cannot be set"),
        ({"parentId": "x"}, "parentId", "parentId cannot be set"),
    ],
)
def test_a_list_of_another_shape_is_refused(project, changes, field, message):
    assert message in details(project.post("/contact-lists", {**NEWS, **changes}))[field]
    assert not Segment.objects.exists()


def test_a_list_is_changed_and_deleted(project, news, jane):
    path = f"/contact-lists/{news['id']}"
    changed = project.patch(path, {"name": "Letters"})
    assert (changed.status_code, changed.json()["data"]["name"]) == (200, "Letters")
    assert changed.json()["data"]["description"] == "Weekly"
    assert project.patch(path, {"description": None}).json()["data"]["description"] == ""
    deleted = project.delete(path)
    assert (deleted.status_code, deleted.json()) == (
        200,
        {"success": True, "message": "Contact list deleted successfully"},
    )
    assert project.get(path).json()["error"] == NOT_FOUND
    assert Contact.objects.get() == jane


@pytest.mark.parametrize("kind", ["rule", "foreign", "none"])
def test_what_is_no_list_of_the_project(project, kind):
    foreign = create_segment(WorkspaceFactory().id, name="Theirs", evaluation=Segment.Evaluation.STATIC)
    list_id = {"rule": with_rule(project.workspace).id, "foreign": foreign.id, "none": "GLOBAL_CONTACT_LIST"}[
        kind
    ]
    named = {"contactListId": str(list_id)}
    for answer in [
        project.get(f"/contact-lists/{list_id}"),
        project.patch(f"/contact-lists/{list_id}", {"name": "x"}),
        project.delete(f"/contact-lists/{list_id}"),
        project.post("/contact-lists/contacts/search", named),
        project.post("/contact-lists/contacts/bulk-add", {**named, "emails": ["a@b.example"]}),
        project.post(f"/contact-lists/{list_id}/contacts/remove", {"emails": ["a@b.example"]}),
    ]:
        assert (answer.status_code, answer.json()["error"]) == (404, NOT_FOUND)
    assert Segment.objects.count() == 2
    assert not Contact.objects.exists()


def test_addresses_are_put_on_a_list(project, news, jane):
    Suppression.objects.create(workspace=project.workspace, address="john@example.com")
    add(project, news, emails=["jane@example.com"])
    a_contact(project.workspace, "known@example.com")
    erase_person(project.workspace.id, a_contact(project.workspace, "zaphod@example.com"))
    emails = ["JANE@example.com", "known@example.com", "john@example.com", "nobody", "zaphod@example.com"]
    answer = add(project, news, emails=[*emails, "john@example.com"])
    assert answer.status_code == 200
    data = answer.json()["data"]
    assert {name: data[name] for name in ("added", "created", "alreadyInList", "totalContactsInList")} == {
        "added": 1,
        "created": 1,
        "alreadyInList": 1,
        "totalContactsInList": 3,
    }
    assert [each["email"] for each in data["validation"]["invalid"]] == ["nobody"]
    assert data["validation"]["suppressed"] == [{"email": "john@example.com", "status": "suppressed"}]
    assert {each["email"] for each in data["validation"]["valid"]} >= {
        "jane@example.com",
        "known@example.com",
    }
    (error,) = data["errors"]
    assert error.startswith("zaphod@example.com: ")
    assert {each["email"] for each in data["contacts"]} == {
        *("jane@example.com", "known@example.com", "john@example.com")
    }
    assert all(each["listIds"] == [news["id"]] for each in data["contacts"])
    assert Membership.objects.count() == 3


def test_ids_are_put_on_a_list(project, news, jane):
    other = a_contact(project.workspace, "j.smith@example.com")
    merge_contacts(project.workspace.id, jane, other)
    foreign = a_contact(WorkspaceFactory(), "theirs@example.com")
    ids = [str(jane.id), str(other.id), str(foreign.id), "x", "x"]
    data = add(project, news, contactIds=ids).json()["data"]
    assert (data["added"], data["created"], data["alreadyInList"]) == (1, 0, 0)
    assert data["errors"] == [f"{foreign.id}: Contact not found", "x: Contact not found"]
    assert data["validation"] == {"valid": [], "invalid": [], "suppressed": []}
    assert [each["id"] for each in data["contacts"]] == [str(jane.id)]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"emails": ["a@b.example"], "contactIds": ["x"]},
        {"emails": "a@b.example"},
        {"emails": [5]},
        {"emails": ["a@b.example"] * 1001},
    ],
    ids=["neither", "both", "no array", "no text", "too many"],
)
def test_an_addition_of_another_shape_is_refused(project, news, body):
    assert details(add(project, news, **body))
    assert not Membership.objects.exists()


def test_who_may_not_read_suppressions_is_not_told_of_them(project, news):
    Suppression.objects.create(workspace=project.workspace, address="john@example.com")
    scopes = ["segments:write", "contacts:write", "contacts:read"]
    weak = type(project)(project.workspace, a_key(project.workspace, scopes=scopes).secret)
    data = add(weak, news, emails=["john@example.com"]).json()["data"]
    assert data["validation"]["suppressed"] == []
    assert data["created"] == 1


def test_the_contacts_of_a_list_are_paged_and_searched(project, news):
    emails = [f"p{n}@{'x' if n % 2 else 'y'}.example" for n in range(5)]
    for email in emails:
        add(project, news, emails=[email])
    a_contact(project.workspace, "other@x.example")

    first = search(project, news, limit=2).json()["data"]
    assert [each["email"] for each in first["contacts"]] == emails[:2]
    assert first["pagination"] == {"page": 1, "limit": 2, "total": 5, "pages": 3}
    last = search(project, news, limit=2, page=3).json()["data"]
    assert [each["email"] for each in last["contacts"]] == emails[4:]
    found = search(project, news, email="@X.").json()["data"]
    assert [each["email"] for each in found["contacts"]] == ["p1@x.example", "p3@x.example"]
    assert found["pagination"] == {"page": 1, "limit": 20, "total": 2, "pages": 1}


def test_a_merged_contact_is_on_the_list_as_its_survivor(project, news, jane):
    other = a_contact(project.workspace, "j.smith@example.com")
    add(project, news, emails=["jane@example.com"])
    merge_contacts(project.workspace.id, other, jane)
    for email in (None, "jane", "j.smith"):
        (found,) = search(project, news, email=email).json()["data"]["contacts"]
        assert found["id"] == str(other.id)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"page": 0}, "page"),
        ({"page": "1"}, "page"),
        ({"page": True}, "page"),
        ({"limit": 101}, "limit"),
        ({"limit": 1.5}, "limit"),
        ({"email": 5}, "email"),
        ({"contactListId": None}, "contactListId"),
    ],
)
def test_a_search_of_another_shape_is_refused(project, news, body, field):
    assert field in details(search(project, news, **body))
