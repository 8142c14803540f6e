import json
from urllib.parse import urlencode

import pytest

from contacts.models import Field
from contacts.profiles.fields import create_field
from workspaces.services import create_workspace


def test_the_newer_generation_creates_one_field(newer):
    answer = newer.post(
        "fields", {"name": "code", "type": "text", "format": {"text": "regex", "pattern": "^[a-z]+$"}}
    )
    assert answer.status_code == 201
    field = answer.json()["data"]
    assert set(field) == {"uuid", "name", "type", "format", "created_at"}
    assert field["format"] == {"text": "regex", "pattern": "^[a-z]+$"}
    assert newer.get(f"fields/{field['uuid']}").json() == {"data": field}


def test_the_older_generation_creates_a_list(older):
    answer = older.post(
        "fields", {"fields": [{"name": "age", "type": "integer"}, {"name": "born", "type": "date"}]}
    )
    assert answer.status_code == 201
    assert [(field["name"], field["type"]) for field in answer.json()["data"]] == [
        ("age", "integer"),
        ("born", "date"),
    ]
    assert older.get("fields").json() == answer.json()
    assert older.get(f"fields/{answer.json()['data'][0]['uuid']}").json() == answer.json()["data"][0]


def test_a_list_with_a_bad_field_creates_none(older):
    answer = older.post(
        "fields", {"fields": [{"name": "age", "type": "integer"}, {"name": "age", "type": "text"}]}
    )
    assert answer.status_code == 422
    assert not Field.objects.exists()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": "x"}, "type"),
        ({"name": 1, "type": "text"}, "name"),
        ({"name": "email", "type": "text"}, "name"),
        ({"name": "created_at", "type": "text"}, "name"),
        ({"name": "taken", "type": "text"}, "name"),
        ({"name": "x", "type": "float"}, "type"),
        ({"name": "x", "type": []}, "type"),
        ({"name": "x", "type": "text", "format": []}, "format"),
        ({"name": "x", "type": "text", "format": {"text": "regex"}}, "format"),
        ({"name": "x", "type": "text", "format": {"text": "regex", "pattern": "("}}, "format"),
        ({"name": "x", "type": "text", "format": {"text": 1}}, "format"),
        ({"name": "x", "type": "text", "format": {"text": ["email"]}}, "format"),
    ],
)
def test_a_bad_field_is_422(workspace, newer, body, field):
    create_field(workspace.id, "taken", "text")
    answer = newer.post("fields", body)
    assert answer.status_code == 422
    assert next(iter(answer.json()["errors"])) == field


@pytest.mark.parametrize("fields", [None, [], {}, "x", [1], [{}], [{"name": "x", "type": "text"}] * 101])
def test_bad_lists_are_422(older, fields):
    assert older.post("fields", {"fields": fields}).status_code == 422


def test_a_field_is_renamed_and_reformatted(workspace, either):
    field = create_field(workspace.id, "site", "text")
    answer = either.post(f"fields/{field.id}", {"name": "home", "type": "text", "format": {"text": "url"}})
    assert answer.status_code == 200
    field.refresh_from_db()
    assert (field.name, field.format) == ("home", {"text": "url"})
    assert either.post(f"fields/{field.id}", {"name": "site"}).status_code == 200
    field.refresh_from_db()
    assert (field.name, field.format) == ("site", {"text": "url"})


def test_a_type_does_not_change(workspace, either):
    field = create_field(workspace.id, "site", "text")
    assert list(either.post(f"fields/{field.id}", {"type": "date"}).json()["errors"]) == ["type"]


def test_the_list_is_searched_filtered_and_paged(workspace, newer):
    for field in (("age", "integer"), ("plan", "text"), ("plane", "text"), ("born", "date")):
        create_field(workspace.id, *field)

    def names(**query):
        answer = newer.get(f"fields?{urlencode(query, doseq=True)}").json()
        return [field["name"] for field in answer["data"]], answer["meta"]["total"]

    wanted = {"id": "type", "value": ["text", "date"]}
    assert names(search="PLAN") == (["plan", "plane"], 2)
    assert names(filters=json.dumps([wanted])) == (["plan", "plane", "born"], 3)
    assert names(**{"filters[]": json.dumps(wanted)}) == (["plan", "plane", "born"], 3)
    assert names(per_page=3, page=2) == (["born"], 4)


@pytest.mark.parametrize(
    "filters",
    ["x", "[1]", '{"id":"name"}', '[{"id":"type","value":["float"]}]', '{"id":"type","value":[[]]}'],
)
def test_bad_filters_are_422(newer, filters):
    assert newer.get(f"fields?{urlencode({'filters': filters})}").status_code == 422


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_unknown_and_foreign_fields_are_404(either, method):
    foreign = create_field(create_workspace("Others").id, "site", "text")
    for field in (foreign.id, "nonsense", "%00"):
        answer = either.request(method, f"fields/{field}", {} if method == "POST" else None)
        assert (answer.status_code, answer.json()) == (404, {"message": "Not found."})


def test_fields_that_the_api_does_not_know_are_ignored(newer):
    answer = newer.post("fields", {"name": "plan", "type": "text", "label": "Plan"})
    assert (answer.status_code, answer.json()["data"]["name"]) == (201, "plan")


@pytest.mark.parametrize("format", [{}, {"text": None}, None])
def test_a_format_without_values_is_none(newer, format):
    answer = newer.post("fields", {"name": "born", "type": "date", "format": format})
    assert (answer.status_code, answer.json()["data"]["format"]) == (201, None)
