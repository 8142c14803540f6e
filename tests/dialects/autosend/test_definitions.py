"""Event definitions: declare, list, read, replace, delete softly."""

import pytest

from events.models import Event, EventDefinition
from events.stream.definitions import create_definition
from events.stream.types import IncomingEvent, SchemaPolicy
from tests.dialects.autosend.conftest import ORDER
from tests.stream import record_event
from tests.workspaces.factories import WorkspaceFactory, a_key


def code_of(response):
    assert response.json()["success"] is False
    return response.status_code, response.json()["error"]["code"]


def test_a_definition(project, order):
    assert order == {
        "id": order["id"],
        "eventName": "order_completed",
        "description": "An order was paid",
        "properties": [
            {"propertyName": "order_total", "type": "number", "suggestedValues": []},
            {"propertyName": "currency", "type": "string", "suggestedValues": ["USD", "EUR"]},
            {"propertyName": "is_first_purchase", "type": "boolean", "suggestedValues": []},
            {
                "propertyName": "paid_at",
                "type": "date",
                "description": "When the money came",
                "suggestedValues": [],
            },
        ],
        "createdAt": order["createdAt"],
        "updatedAt": order["updatedAt"],
    }
    assert project.get("/events/eventName/order_completed").json() == {"success": True, "data": order}


def test_creation_is_201_and_the_rest_may_be_left_out(project):
    response = project.post("/events", {"eventName": "send"})
    assert response.status_code == 201
    assert response.json()["data"]["description"] is None
    assert response.json()["data"]["properties"] == []


def test_the_list_is_newest_first_and_of_this_project(project):
    other = WorkspaceFactory()
    create_definition(other.id, "foreign")
    for name in ("first", "second"):
        project.post("/events", {"eventName": name})
    response = project.get("/events")
    assert [each["eventName"] for each in response.json()["data"]["events"]] == ["second", "first"]
    elsewhere = type(project)(other, a_key(other).secret)
    assert code_of(elsewhere.get("/events/eventName/first")) == (404, "EVENT_NOT_FOUND")


def test_a_name_is_taken_once(project, order):
    response = project.post("/events", ORDER)
    assert code_of(response) == (409, "EVENT_ALREADY_EXISTS")
    assert response.json()["error"]["message"] == "An event with this name already exists"


def test_a_hundred_at_most(project):
    EventDefinition.objects.bulk_create(
        EventDefinition(workspace=project.workspace, name=f"e{n}") for n in range(100)
    )
    assert code_of(project.post("/events", {"eventName": "one_more"})) == (403, "EVENT_LIMIT_REACHED")
    project.delete("/events/eventName/e1")
    assert project.post("/events", {"eventName": "one_more"}).status_code == 201


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "eventName"),
        *[({"eventName": name}, "eventName") for name in ("", "a b", "é", "x" * 65, "a\n", 5, ["a"])],
        ({"eventName": "e", "description": 5}, "description"),
        ({"eventName": "e", "properties": {}}, "properties"),
        ({"eventName": "e", "properties": ["a"]}, "properties[0]"),
        ({"eventName": "e", "properties": [{"type": "string"}]}, "properties[0].propertyName"),
        ({"eventName": "e", "properties": [{"propertyName": "p"}]}, "properties[0].type"),
        (
            {"eventName": "e", "properties": [{"propertyName": "p", "type": "integer"}]},
            "properties[0].type",
        ),
        ({"eventName": "e", "properties": [{"propertyName": "p", "type": []}]}, "properties[0].type"),
        (
            {"eventName": "e", "properties": [{"propertyName": "p", "type": "string"}] * 2},
            "properties[1].propertyName",
        ),
        (
            {
                "eventName": "e",
                "properties": [{"propertyName": f"p{n}", "type": "string"} for n in range(51)],
            },
            "properties",
        ),
        (
            {
                "eventName": "e",
                "properties": [{"propertyName": "p", "type": "number", "suggestedValues": ["1"]}],
            },
            "properties[0].suggestedValues",
        ),
        (
            {
                "eventName": "e",
                "properties": [{"propertyName": "p", "type": "string", "suggestedValues": [1]}],
            },
            "properties[0].suggestedValues[0]",
        ),
    ],
)
def test_a_wrong_shape(project, body, field):
    response = project.post("/events", body)
    assert code_of(response) == (400, "VALIDATION_FAILED")
    assert response.json()["error"]["details"][0]["field"] == field
    assert not EventDefinition.objects.exists()


def test_fifty_properties_fit(project):
    properties = [{"propertyName": f"p{n}", "type": "date"} for n in range(50)]
    assert project.post("/events", {"eventName": "e", "properties": properties}).status_code == 201


def test_a_patch_replaces_what_it_gives(project, order):
    path = "/events/eventName/order_completed"
    answer = project.patch(path, {"description": None}).json()["data"]
    assert answer["description"] is None
    assert answer["properties"] == order["properties"]
    answer = project.patch(path, {"properties": [{"propertyName": "foo", "type": "string"}]}).json()["data"]
    assert [each["propertyName"] for each in answer["properties"]] == ["foo"]
    assert answer == project.get(path).json()["data"]
    assert answer["id"] == order["id"]


@pytest.mark.parametrize("body", [{"eventName": "other"}, {"properties": [{"propertyName": "a b"}]}])
def test_a_patch_of_a_wrong_shape(project, order, body):
    assert code_of(project.patch("/events/eventName/order_completed", body)) == (400, "VALIDATION_FAILED")


def test_a_type_is_locked(project, order):
    body = {"properties": [{"propertyName": "order_total", "type": "string"}]}
    assert code_of(project.patch("/events/eventName/order_completed", body)) == (409, "PROPERTY_TYPE_LOCKED")
    answer = project.get("/events/eventName/order_completed").json()["data"]
    assert answer["properties"] == order["properties"]


def test_a_finer_type_survives_a_patch(project, order):
    definition = EventDefinition.objects.get(name="order_completed")
    definition.properties.filter(name="order_total").update(type="integer")
    definition.properties.filter(name="paid_at").update(type="date")
    answer = project.get("/events/eventName/order_completed").json()["data"]["properties"]
    assert [each["type"] for each in answer] == ["number", "string", "boolean", "date"]
    response = project.patch("/events/eventName/order_completed", {"properties": answer})
    assert response.json()["data"]["properties"] == answer
    assert definition.properties.get(name="order_total").type == "integer"
    assert definition.properties.get(name="paid_at").type == "date"


def test_deletion_is_soft_and_frees_the_name(project, order, jane):
    assert project.send(email="jane@example.com").status_code == 201
    response = project.delete("/events/eventName/order_completed")
    assert response.status_code == 200
    assert response.json() == {"success": True, "data": order}
    for answer in (
        project.get("/events/eventName/order_completed"),
        project.delete("/events/eventName/order_completed"),
        project.patch("/events/eventName/order_completed", {}),
        project.send(email="jane@example.com"),
    ):
        assert code_of(answer) == (404, "EVENT_NOT_FOUND")
    assert project.get("/events").json()["data"]["events"] == []
    assert Event.objects.filter(name="order_completed").count() == 1
    again = project.post("/events", ORDER)
    assert again.status_code == 201
    assert again.json()["data"]["id"] != order["id"]


def test_what_was_merely_seen_is_unknown_until_declared(project, jane):
    record_event(
        project.workspace,
        IncomingEvent("seen", properties={"total": 1, "other": "x"}),
        schema_policy=SchemaPolicy.OPEN,
    )
    assert project.get("/events").json()["data"]["events"] == []
    assert code_of(project.get("/events/eventName/seen")) == (404, "EVENT_NOT_FOUND")
    send = {"eventName": "seen", "email": "jane@example.com"}
    assert code_of(project.post("/events/send", send)) == (404, "EVENT_NOT_FOUND")
    body = {"eventName": "seen", "properties": [{"propertyName": "total", "type": "number"}]}
    answer = project.post("/events", body)
    assert answer.status_code == 201
    assert [each["propertyName"] for each in answer.json()["data"]["properties"]] == ["total"]
    assert project.post("/events/send", {**send, "eventProperties": {"total": "2"}}).status_code == 201
    refused = project.post("/events/send", {**send, "eventProperties": {"other": "x"}})
    assert code_of(refused) == (400, "UNKNOWN_PROPERTY")


def test_the_list_costs_the_same_whatever_its_length(project, django_assert_max_num_queries):
    for n in range(5):
        project.post("/events", {"eventName": f"e{n}", "properties": ORDER["properties"]})
    with django_assert_max_num_queries(4):
        project.get("/events")


def test_fields_that_the_api_does_not_know_are_ignored(project):
    declared = {
        "eventName": "e",
        "tags": [],
        "properties": [{"propertyName": "p", "type": "string", "label": "P"}],
    }
    shown = project.post("/events", declared).json()["data"]
    assert "tags" not in shown
    assert project.patch("/events/eventName/e", shown).json()["data"]["properties"] == shown["properties"]
    assert code_of(project.patch("/events/eventName/e", {"eventName": "f"})) == (400, "VALIDATION_FAILED")
