"""A name is one name, however its accents were typed: composed (NFC) or not (NFD)."""

import json
import unicodedata

import pytest

from contacts.crud import untag_contact, update_contact
from contacts.models import Field, Tag
from contacts.profiles.fields import create_field
from contacts.references import ContactChanges
from events.models import Event, EventDefinition
from events.rules.parser import parse_rule
from events.stream.definitions import create_definition
from tests.contacts.factories import a_contact
from tests.native import NativeClient

COMPOSED, APART = (unicodedata.normalize(form, "café_gekauft") for form in ("NFC", "NFD"))


@pytest.fixture
def api(workspace):
    return NativeClient(workspace)


def test_the_two_are_two_texts():
    assert COMPOSED != APART


def test_an_event_is_found_by_either_name(api):
    assert api.post("events", {"type": APART, "metadata": {APART: 1}}).json()["type"] == COMPOSED
    api.post("events", {"type": COMPOSED, "metadata": {COMPOSED: 1}})
    for name in (COMPOSED, APART):
        assert len(api.get("events", type=name).json()) == 2
        assert Event.objects.filter(name=name, source="api").count() == 2
    definition = EventDefinition.objects.get()
    assert (definition.name, [one.name for one in definition.properties.all()]) == (COMPOSED, [COMPOSED])


def test_a_message_id_is_one(api):
    items = [
        {"type": "x", "messageId": key, "timestamp": "2026-01-15T10:00:00Z"} for key in (COMPOSED, APART)
    ]
    items += [{"type": "x", "messageId": key} for key in (f"{COMPOSED}2", f"{APART}2")]
    results = api.post("events/batch", {"events": items}).json()["results"]
    assert [outcome["status"] for outcome in results] == ["recorded", "duplicate"] * 2


def test_a_key_in_two_spellings_is_a_key_twice(api):
    body = json.dumps({"type": "x", "metadata": {COMPOSED: 1, APART: 2}})
    assert api.post("events", body).status_code == 400


def test_a_value_stays_as_it_was_sent(api):
    assert api.post("events", {"type": "x", "metadata": {"name": APART}}).json()["metadata"] == {
        "name": APART
    }


def test_a_tag_an_attribute_and_a_field_are_one(api, workspace):
    contact = a_contact(workspace, tags=(APART,), attributes={COMPOSED: 1})
    update_contact(workspace.id, contact, ContactChanges(tags=(COMPOSED,)))
    assert [tag.name for tag in Tag.objects.all()] == [COMPOSED]
    shown = api.patch(f"contacts/{contact.id}", {"attributes": {APART: 2}, "tags": [APART]}).json()
    assert (shown["attributes"], [tag["name"] for tag in shown["tags"]]) == ({COMPOSED: 2}, [COMPOSED])
    untag_contact(workspace.id, contact, APART)
    assert api.get(f"contacts/{contact.id}").json()["tags"] == []
    create_field(workspace.id, name=APART, type="text")
    assert Field.objects.get(name=APART).name == COMPOSED


def test_a_declared_event_is_one(workspace):
    create_definition(workspace.id, APART)
    assert EventDefinition.objects.get(name=APART).name == COMPOSED


@pytest.mark.parametrize(
    "leaf",
    [
        {"type": "event", "eventType": "{}"},
        {"type": "tag", "value": "{}"},
        {"type": "attribute", "field": "attributes.{}", "operator": "eq", "value": 1},
        {
            "type": "event",
            "eventType": "x",
            "aggregate": "sum",
            "property": "metadata.{}",
            "operator": "gt",
            "value": 1,
        },
        {"type": "event", "eventType": "x", "filters": [{"field": "metadata.{}", "operator": "exists"}]},
    ],
)
def test_a_rule_means_both(leaf):
    rules = [
        parse_rule(json.loads(json.dumps(leaf).replace("{}", json.dumps(name)[1:-1])))
        for name in (COMPOSED, APART)
    ]
    assert rules[0] == rules[1]
