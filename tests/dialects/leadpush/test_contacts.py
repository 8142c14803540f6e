import re
import uuid

import pytest

from contacts.models import Contact
from contacts.profiles.fields import create_field
from events.models import Event
from tests.contacts.factories import set_identity_field


def object_of(caller, answer):
    """Return the object in an answer: bare in the older generation, wrapped in the newer."""
    body = answer.json()
    return body if "/workspaces/" in caller.base else body["data"]


def test_create_answers_the_contact(either):
    sent = {"email": " Ada@Example.com ", "first_name": "Ada", "plan": "pro"}
    answer = either.post("contacts", {"attributes": sent})
    assert answer.status_code == 201
    contact = object_of(either, answer)
    assert set(contact) == {"uuid", "subscribed", "attributes", "provider", "created_at", "updated_at"}
    assert contact["subscribed"] is True
    assert contact["provider"] is None
    assert contact["attributes"] == {
        "email": "ada@example.com",
        "phone": None,
        "first_name": "Ada",
        "last_name": None,
        "plan": "pro",
    }
    for name in ("created_at", "updated_at"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", contact[name])


@pytest.mark.parametrize("subscribed", [True, False])
def test_create_takes_subscribed(either, subscribed):
    answer = either.post("contacts", {"subscribed": subscribed, "attributes": {"email": "a@example.com"}})
    assert object_of(either, answer)["subscribed"] is subscribed


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "attributes.email"),
        ({"attributes": {}}, "attributes.email"),
        ({"attributes": []}, "attributes.email"),
        ({"attributes": {"email": None}}, "attributes.email"),
        ({"attributes": {"email": ""}}, "attributes.email"),
        ({"attributes": {"email": "nonsense"}}, "attributes.email"),
        ({"attributes": {"email": 1}}, "attributes.email"),
        ({"attributes": {"email": True}}, "attributes.email"),
        ({"attributes": {"email": ["a@example.com"]}}, "attributes.email"),
        ({"attributes": {"phone": "+15551234567"}}, "attributes.email"),
        ({"attributes": [1]}, "attributes"),
        ({"attributes": "{}"}, "attributes"),
        ({"attributes": {"email": "a@example.com", "phone": "none"}}, "attributes.phone"),
        ({"attributes": {"email": "a@example.com", "first_name": 1}}, "attributes.first_name"),
        ({"attributes": {"email": "a@example.com", "first_name": "x" * 256}}, "attributes.first_name"),
        ({"attributes": {"email": "a@example.com", "x": {}}}, "attributes.x"),
        ({"attributes": {"email": "a@example.com", "": 1}}, "attributes."),
        ({"attributes": {"email": "a@example.com"}, "subscribed": "yes"}, "subscribed"),
        ([], "body"),
        (b"{", "body"),
    ],
)
def test_a_bad_body_is_422_and_changes_nothing(either, body, field):
    for path in ("contacts", "contacts/upsert"):
        answer = either.post(path, body)
        assert answer.status_code == 422
        assert list(answer.json()["errors"]) == [field]
    assert not Contact.objects.exists()


def test_an_identity_that_is_taken_is_422(either, contact):
    answer = either.post("contacts", {"attributes": {"email": "PERSON@example.com"}})
    message = "The email has already been taken."
    assert answer.status_code == 422
    assert answer.json() == {"message": message, "errors": {"attributes.email": [message]}}


def test_declared_fields_are_checked_and_shown_as_null(workspace, either):
    create_field(workspace.id, "age", "integer")
    create_field(workspace.id, "mailchimp", "text")
    bad = either.post("contacts", {"attributes": {"email": "a@example.com", "age": "old"}})
    assert list(bad.json()["errors"]) == ["attributes.age"]
    good = either.post("contacts", {"attributes": {"email": "a@example.com", "age": 7}})
    attributes = object_of(either, good)["attributes"]
    assert (attributes["age"], attributes["mailchimp"]) == (7, None)


@pytest.mark.parametrize("path", ["id", "person@example.com", "PERSON@example.com%20"])
def test_get_finds_by_uuid_and_identity(either, contact, path):
    answer = either.get(f"contacts/{contact.id if path == 'id' else path}")
    assert answer.status_code == 200
    assert object_of(either, answer)["uuid"] == str(contact.id)


def test_a_value_with_a_slash_finds_its_contact(either):
    either.post("contacts", {"attributes": {"email": "team/a@example.test"}})
    answer = either.get("contacts/team%2Fa%40example.test")
    assert object_of(either, answer)["attributes"]["email"] == "team/a@example.test"


def test_a_trailing_slash_is_no_part_of_a_value(either, contact):
    for path in ("contacts/person@example.com/", "contacts/", f"contacts/{contact.id}/events/"):
        answer = either.request("GET", path)
        assert (answer.status_code, answer.json()) == (404, {"message": "Not found."})


def test_update_changes_only_what_is_given(either, contact):
    either.post(f"contacts/{contact.id}", {"attributes": {"first_name": "Ada", "plan": "pro"}})
    answer = either.post("contacts/person@example.com", {"attributes": {"plan": None, "last_name": "L"}})
    attributes = object_of(either, answer)["attributes"]
    assert (attributes["first_name"], attributes["last_name"]) == ("Ada", "L")
    assert "plan" not in attributes
    assert object_of(either, either.post(f"contacts/{contact.id}", {}))["attributes"] == attributes


def test_update_sets_a_new_identity_value(either, contact):
    answer = either.post(f"contacts/{contact.id}", {"attributes": {"email": "new@example.com"}})
    assert object_of(either, answer)["attributes"]["email"] == "new@example.com"


def test_update_clears_a_phone_but_not_the_identity(either, contact):
    either.post(f"contacts/{contact.id}", {"attributes": {"phone": "+1 555 123 4567"}})
    cleared = either.post(f"contacts/{contact.id}", {"attributes": {"phone": None, "first_name": None}})
    assert object_of(either, cleared)["attributes"]["phone"] is None
    assert either.post(f"contacts/{contact.id}", {"attributes": {"email": None}}).status_code == 422


def test_update_to_a_taken_identity_is_422(either, contact):
    other = object_of(either, either.post("contacts", {"attributes": {"email": "b@example.com"}}))
    answer = either.post(f"contacts/{other['uuid']}", {"attributes": {"email": "person@example.com"}})
    assert answer.status_code == 422


def test_update_takes_subscribed(either, contact):
    changed = either.post(f"contacts/{contact.id}", {"subscribed": False})
    assert object_of(either, changed)["subscribed"] is False


def test_subscribe_and_unsubscribe_take_no_body(either, contact):
    for word, subscribed in (("unsubscribe", False), ("subscribe", True), ("subscribe", True)):
        answer = either.post(f"contacts/person@example.com/{word}")
        assert answer.status_code == 200
        assert object_of(either, answer)["subscribed"] is subscribed


def test_upsert_makes_a_contact_then_changes_it(either):
    body = {"attributes": {"email": "A@example.com", "first_name": "Ada", "plan": "pro"}}
    made = either.post("contacts/upsert", body)
    changed = either.post("contacts/upsert", {"attributes": {"email": "a@example.com", "plan": "max"}})
    assert (made.status_code, changed.status_code) == (201, 200)
    assert object_of(either, made)["subscribed"] is True
    assert object_of(either, changed)["uuid"] == object_of(either, made)["uuid"]
    assert object_of(either, changed)["attributes"]["plan"] == "max"
    assert object_of(either, changed)["attributes"]["first_name"] == "Ada"
    assert either.get("contacts/upsert").status_code == 404


def test_a_custom_identity_field_names_contacts(workspace, either):
    create_field(workspace.id, "customer_no", "integer")
    set_identity_field(workspace, "customer_no")
    made = either.post("contacts", {"attributes": {"customer_no": 42, "email": "a@example.com"}})
    assert object_of(either, made)["attributes"]["customer_no"] == 42
    assert either.post("contacts", {"attributes": {"customer_no": "42"}}).status_code == 422
    again = either.post("contacts/upsert", {"attributes": {"customer_no": 42, "plan": "pro"}})
    assert (again.status_code, object_of(either, again)["uuid"]) == (200, object_of(either, made)["uuid"])
    assert object_of(either, either.get("contacts/42"))["uuid"] == object_of(either, made)["uuid"]
    missing = either.post("contacts", {"attributes": {"email": "b@example.com"}})
    assert list(missing.json()["errors"]) == ["attributes.customer_no"]


def test_delete_answers_nothing_and_leaves_the_events(either, contact):
    either.send(contact.id, {"event_name": "x"})
    answer = either.request("DELETE", "contacts/person@example.com")
    assert (answer.status_code, answer.content) == (204, b"")
    assert either.get(f"contacts/{contact.id}").status_code == 404
    assert Event.objects.filter(name="x").exists()


def test_the_list_is_paged(either):
    for n in range(12):
        either.post("contacts", {"attributes": {"email": f"{n}@example.com"}})
    first, second = either.get("contacts").json(), either.get("contacts?page=2").json()
    assert [c["attributes"]["email"] for c in first["data"]] == [f"{n}@example.com" for n in range(10)]
    assert first["meta"] == {"current_page": 1, "per_page": 10, "total": 12, "last_page": 2, "has_next": True}
    assert len(second["data"]) == 2
    assert second["meta"]["has_next"] is False


def test_a_list_takes_a_fixed_number_of_statements(newer, django_assert_max_num_queries):
    for n in range(30):
        newer.post("contacts", {"attributes": {"email": f"{n}@example.com"}})
    with django_assert_max_num_queries(10):
        newer.get("contacts?per_page=100")


@pytest.mark.parametrize(
    ("method", "suffix"), [("GET", ""), ("POST", ""), ("DELETE", ""), ("POST", "/subscribe")]
)
def test_other_workspaces_contacts_are_404(either, foreign_contact, method, suffix):
    for path in (foreign_contact.id, "theirs@example.com", uuid.uuid4(), "%00"):
        answer = either.request(method, f"contacts/{path}{suffix}", {} if method == "POST" else None)
        assert (answer.status_code, answer.json()) == (404, {"message": "Not found."})
    assert Contact.objects.filter(id=foreign_contact.id).exists()


def test_fields_that_the_api_does_not_know_are_ignored(either):
    body = {"attributes": {"email": "a@example.com"}, "tags": [], "provider": "mailchimp"}
    assert either.post("contacts", body).status_code == 201
    assert either.post("contacts/upsert", body).status_code in (200, 201)
    assert either.post("contacts/a@example.com", body).status_code == 200


def test_an_attribute_may_have_any_name(either):
    answer = either.post("contacts", {"attributes": {"email": "a@example.com", "non_field_errors": []}})
    assert (answer.status_code, [*answer.json()["errors"]]) == (422, ["attributes.non_field_errors"])
