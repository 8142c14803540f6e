"""Contacts: create, upsert, read, delete, find, change in bulk."""

import pytest

from contacts.models import Contact
from tests.workspaces.factories import WorkspaceFactory, a_key

JOHN = {
    "email": "John.Doe@Example.com",
    "firstName": "John",
    "lastName": "Doe",
    "userId": "user_12345",
    "customFields": {
        "company": "Acme Corp",
        "isPremium": True,
        "loginCount": 42,
        "trialEndsAt": "2024-03-01",
    },
}


def code_of(response):
    assert response.json()["success"] is False
    return response.status_code, response.json()["error"]["code"]


def test_a_contact(project):
    response = project.post("/contacts", JOHN)
    assert response.status_code == 201
    john = response.json()["data"]
    assert john == {
        **JOHN,
        "id": str(Contact.objects.get().id),
        "email": "john.doe@example.com",
        "listIds": [],
        "projectId": str(project.workspace.id),
        "createdAt": john["createdAt"],
        "updatedAt": john["updatedAt"],
    }
    assert project.get(f"/contacts/{john['id']}").json() == {"success": True, "data": john}


def test_an_email_alone_will_do(project):
    john = project.post("/contacts", {"email": "john@example.com", "userId": "", "listIds": []}).json()[
        "data"
    ]
    assert (john["firstName"], john["lastName"], john["userId"], john["customFields"]) == (
        None,
        None,
        None,
        {},
    )


def test_creating_one_who_exists_is_refused(project):
    project.post("/contacts", JOHN)
    response = project.post("/contacts", {"email": "JOHN.doe@example.com"})
    assert code_of(response) == (409, "CONTACT_ALREADY_EXISTS")
    assert response.json()["error"]["message"] == "A contact with this email already exists"
    taken = project.post("/contacts", {"email": "other@example.com", "userId": "user_12345"})
    assert code_of(taken) == (409, "CONTACT_ALREADY_EXISTS")
    assert Contact.objects.count() == 1


def test_an_upsert_creates_then_changes_what_it_names(project):
    created = project.post("/contacts/email", JOHN)
    assert created.status_code == 200
    changes = {
        "email": "john.doe@example.com",
        "lastName": "Roe",
        "customFields": {"company": None, "plan": "pro"},
    }
    changed = project.post("/contacts/email", changes).json()["data"]
    assert changed["id"] == created.json()["data"]["id"]
    assert (changed["firstName"], changed["lastName"], changed["userId"]) == ("John", "Roe", "user_12345")
    assert changed["customFields"] == {
        "isPremium": True,
        "loginCount": 42,
        "trialEndsAt": "2024-03-01",
        "plan": "pro",
    }


def test_an_upsert_sets_another_user_id_unless_it_is_taken(project):
    project.post("/contacts", JOHN)
    changed = project.post("/contacts/email", {"email": JOHN["email"], "userId": "user_2"}).json()["data"]
    assert changed["userId"] == "user_2"
    project.post("/contacts", {"email": "jane@example.com", "userId": "hers"})
    taken = project.post("/contacts/email", {"email": JOHN["email"], "userId": "hers", "firstName": "X"})
    assert code_of(taken) == (409, "CONTACT_ALREADY_EXISTS")
    assert project.get(f"/contacts/{changed['id']}").json()["data"] == changed


@pytest.mark.parametrize("path", ["/contacts", "/contacts/email"])
@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "email"),
        ({"email": ""}, "email"),
        ({"email": "nobody"}, "email"),
        ({"email": 5}, "email"),
        ({"email": "a@b.example", "firstName": 5}, "firstName"),
        ({"email": "a@b.example", "firstName": "x" * 256}, "firstName"),
        ({"email": "a@b.example", "userId": 5}, "userId"),
        ({"email": "a@b.example", "userId": "x" * 600}, "userId"),
        ({"email": "a@b.example", "customFields": []}, "customFields"),
        ({"email": "a@b.example", "customFields": {"a": {"b": 1}}}, "customFields.a"),
        ({"email": "a@b.example", "customFields": {"": 1}}, "customFields."),
        ({"email": "a@b.example", "listIds": "a"}, "listIds"),
        ({"email": "a@b.example", "listIds": ["507f1f77bcf86cd799439011"]}, "listIds[0]"),
    ],
)
def test_a_wrong_shape(project, path, body, field):
    response = project.post(path, body)
    assert code_of(response) == (400, "VALIDATION_FAILED")
    assert response.json()["error"]["details"][0]["field"] == field
    assert not Contact.objects.exists()


@pytest.mark.parametrize(
    "contact_id",
    ["nobody", "email", "jane@example.com", "01234567-89ab-7def-8123-456789abcdef", "60d5ec49f1b2"],
)
def test_an_unknown_contact(project, jane, contact_id):
    for answer in (
        project.get(f"/contacts/{contact_id}/unsubscribe-groups"),
        project.delete(f"/contacts/{contact_id}"),
    ):
        assert answer.status_code == (405 if answer.json()["error"]["code"] == "METHOD_NOT_ALLOWED" else 404)
    if contact_id != "email":
        assert code_of(project.get(f"/contacts/{contact_id}")) == (404, "CONTACT_NOT_FOUND")
    assert Contact.objects.count() == 1


def test_another_projects_contacts_are_out_of_reach(project, jane):
    other = WorkspaceFactory()
    elsewhere = type(project)(other, a_key(other).secret)
    for answer in (elsewhere.get(f"/contacts/{jane.id}"), elsewhere.delete(f"/contacts/{jane.id}")):
        assert code_of(answer) == (404, "CONTACT_NOT_FOUND")
    assert elsewhere.post("/contacts/remove", {"emails": ["jane@example.com"]}).status_code == 200
    found = elsewhere.post("/contacts/search/emails", {"emails": ["jane@example.com"]})
    assert found.json()["data"]["contacts"] == []
    assert Contact.objects.count() == 1


def test_a_deletion_has_a_body(project, jane):
    response = project.delete(f"/contacts/{jane.id}")
    assert (response.status_code, response.json()) == (200, {"success": True})
    assert code_of(project.delete(f"/contacts/{jane.id}")) == (404, "CONTACT_NOT_FOUND")


@pytest.mark.parametrize("user_id", ["user_12345", "a/b c"])
def test_deletion_by_user_id(project, user_id):
    project.post("/contacts", {**JOHN, "userId": user_id})
    assert code_of(project.delete("/contacts/email/userId/other")) == (404, "CONTACT_NOT_FOUND")
    response = project.delete(f"/contacts/email/userId/{user_id}")
    assert (response.status_code, response.json()) == (200, {"success": True})
    assert not Contact.objects.exists()


@pytest.mark.parametrize("bare", [True, False])
def test_find_and_remove_by_email(project, jane, bare):
    project.post("/contacts", JOHN)
    emails = ["JANE@example.com", "nobody@example.com", "no address"]
    body = emails if bare else {"emails": emails}
    found = project.post("/contacts/search/emails", body)
    assert [each["id"] for each in found.json()["data"]["contacts"]] == [str(jane.id)]
    removed = project.post("/contacts/remove", body)
    assert (removed.status_code, removed.json()) == (200, {"success": True})
    assert [contact.email for contact in Contact.objects.all()] == ["john.doe@example.com"]


@pytest.mark.parametrize("path", ["/contacts/search/emails", "/contacts/remove"])
@pytest.mark.parametrize("body", [{}, {"emails": "a@b.example"}, {"emails": [1]}, [None], "5", '"a"'])
def test_emails_of_a_wrong_shape(project, path, body):
    assert code_of(project.post(path, body)) == (400, "VALIDATION_FAILED")


def test_a_search_costs_the_same_whatever_it_finds(project, django_assert_max_num_queries):
    emails = [f"p{n}@example.com" for n in range(10)]
    project.post("/contacts/bulk-update", {"contacts": [{"email": email} for email in emails]})
    with django_assert_max_num_queries(8):
        found = project.post("/contacts/search/emails", emails)
    assert len(found.json()["data"]["contacts"]) == 10


def test_bulk_update(project, jane):
    contacts = [JOHN, {"email": "jane@example.com", "firstName": "Jane"}]
    response = project.post("/contacts/bulk-update", {"contacts": contacts, "runWorkflow": False})
    assert response.status_code == 200
    assert response.json() == {
        "success": True,
        "data": {"successCount": 2, "failedCount": 0, "totalCount": 2},
    }
    assert project.get(f"/contacts/{jane.id}").json()["data"]["firstName"] == "Jane"


def test_bulk_update_tells_what_failed(project, jane):
    contacts = [
        JOHN,
        {"email": "nobody"},
        5,
        {"email": "jane@example.com", "userId": "user_12345", "firstName": "J"},
    ]
    data = project.post("/contacts/bulk-update", {"contacts": contacts}).json()["data"]
    assert (data["successCount"], data["failedCount"], data["totalCount"]) == (1, 3, 4)
    assert [(each["index"], each["code"]) for each in data["errors"]] == [
        (1, "VALIDATION_FAILED"),
        (2, "VALIDATION_FAILED"),
        (3, "CONTACT_ALREADY_EXISTS"),
    ]
    assert project.get(f"/contacts/{jane.id}").json()["data"]["firstName"] is None


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"contacts": []},
        {"contacts": {}},
        {"contacts": [{"email": "a@b.example"}] * 101},
        {"contacts": [JOHN], "runWorkflow": "no"},
    ],
)
def test_bulk_update_of_a_wrong_shape(project, body):
    assert code_of(project.post("/contacts/bulk-update", body)) == (400, "VALIDATION_FAILED")
    assert not Contact.objects.exists()


def test_fields_that_the_api_does_not_know_are_ignored(project):
    sent = {**JOHN, "phone": "+15551234567", "channels": [{}]}
    assert project.post("/contacts", sent).status_code == 201
    assert project.post("/contacts/email", sent).status_code == 200
    bulk = project.post("/contacts/bulk-update", {"contacts": [sent], "mode": "fast"}).json()["data"]
    assert (bulk["successCount"], bulk["failedCount"]) == (1, 0)
    found = project.post("/contacts/search/emails", {"emails": [JOHN["email"]], "limit": 1}).json()["data"]
    assert [each["email"] for each in found["contacts"]] == [JOHN["email"].lower()]
