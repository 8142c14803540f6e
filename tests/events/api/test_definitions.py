import pytest

from tests.native import NativeClient
from tests.workspaces.factories import WorkspaceFactory

pytestmark = pytest.mark.django_db

DEFINITION = {
    "name": "purchase",
    "description": "A sale",
    "properties": [
        {"name": "amount", "type": "number", "description": "in euros", "suggestedValues": []},
        {"name": "currency", "type": "string", "description": "", "suggestedValues": ["EUR", "USD"]},
    ],
}


@pytest.fixture
def api():
    return NativeClient(WorkspaceFactory())


def test_a_definition_is_created_shown_changed_and_deleted(api):
    answer = api.post("event-definitions", DEFINITION)

    assert answer.status_code == 201
    definition = answer.json()
    assert {name: definition[name] for name in DEFINITION} == DEFINITION
    assert definition["declared"] is True
    path = f"event-definitions/{definition['id']}"
    assert api.get(path).json() == definition
    assert api.get("event-definitions").json() == [definition]

    changed = api.patch(path, {"description": "", "properties": [{"name": "amount", "type": "number"}]})
    assert changed.status_code == 200
    assert changed.json()["description"] == ""
    assert [each["name"] for each in changed.json()["properties"]] == ["amount"]

    assert api.delete(path).status_code == 204
    assert api.get(path).status_code == 404
    assert api.get("event-definitions").json() == []
    assert api.post("event-definitions", DEFINITION).status_code == 201


def test_a_name_is_declared_once(api):
    api.post("event-definitions", DEFINITION)

    assert api.post("event-definitions", DEFINITION).status_code == 409


def test_what_was_merely_seen_is_listed_and_can_be_declared(api):
    api.post("events", {"type": "purchase", "metadata": {"amount": 5}})

    (seen,) = api.get("event-definitions").json()
    assert (seen["name"], seen["declared"]) == ("purchase", False)
    assert api.get("event-definitions", declared="true").json() == []
    assert api.post("event-definitions", DEFINITION).status_code == 201
    (declared,) = api.get("event-definitions", declared="true", search="PURCH").json()
    assert declared["id"] == seen["id"]


def test_the_list_pages_by_name(api):
    for name in ("a", "b", "c"):
        api.post("event-definitions", {"name": name})

    assert [each["name"] for each in api.get("event-definitions", limit=2).json()] == ["a", "b"]
    assert [each["name"] for each in api.get("event-definitions", after="b").json()] == ["c"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": 5}, "name"),
        ({"name": " "}, "name"),
        ({"name": "x", "description": []}, "description"),
        ({"name": "x", "properties": {}}, "properties"),
        ({"name": "x", "properties": ["p"]}, "properties.0"),
        ({"name": "x", "properties": [{"name": "p", "type": "colour"}]}, "properties.0.type"),
        ({"name": "x", "properties": [{"name": "p", "type": ["string"]}]}, "properties.0.type"),
        ({"name": "x", "properties": [{"name": "p", "type": "string"}] * 2}, "properties"),
    ],
)
def test_a_wrong_type_is_refused_by_name(api, body, field):
    answer = api.post("event-definitions", body)

    assert answer.status_code == 400
    assert field in answer.json()["details"]
    assert api.get("event-definitions").json() == []


@pytest.mark.parametrize("definition_id", ["x", "01234567-89ab-7def-8123-456789abcdef"])
def test_a_definition_that_is_not_there_is_a_404(api, definition_id):
    for answer in (
        api.get(f"event-definitions/{definition_id}"),
        api.patch(f"event-definitions/{definition_id}", {}),
        api.delete(f"event-definitions/{definition_id}"),
    ):
        assert (answer.status_code, answer.json()) == (404, {"error": "Event definition not found"})
