"""A number that the database spells as an integer of hundreds of digits poisons nothing that is read later."""

import json
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from config.db.fields import JSONField
from events.processing.passes import apply_effects
from segments.build import run_build
from segments.models import Segment
from tests.native import NativeClient
from tests.segments.factories import attribute, did, every, who_is_in
from tests.workspaces.factories import WorkspaceFactory

pytestmark = pytest.mark.django_db(transaction=True)
HUGE = [1e308, -1e308, 1e19, -1e19, 1.8446744073709552e19]


@pytest.fixture
def api(db):
    return NativeClient(WorkspaceFactory())


def test_a_column_is_read_as_it_was_taken_in():
    field = JSONField()
    numbers = [*HUGE, 2**63 - 1, -(2**63), 0, 1.5, True, None, "1e400"]
    written = "[" + ", ".join(map(_as_the_database_spells_it, numbers)) + "]"
    read = field.from_db_value(written, None, None)  # type: ignore[arg-type]  # of no concern here
    assert [(type(one), one) for one in read] == [(type(one), one) for one in numbers]


@pytest.mark.parametrize("number", HUGE)
def test_contacts_and_events_are_shown(api, number):
    contact = api.post("contacts", {"email": "ada@example.test", "attributes": {"n": number}}).json()
    assert contact["attributes"] == {"n": number}
    path = f"contacts/{contact['id']}"
    assert api.patch(path, {"attributes": {"m": number}}).json()["attributes"] == {"n": number, "m": number}
    event = {"type": "paid", "contactId": contact["id"], "metadata": {"n": number, "of": [{"n": number}]}}
    assert api.post("events", event).status_code == 201
    apply_effects(api.workspace.id)
    assert api.get("contacts").json()["data"][0]["attributes"] == {"n": number, "m": number}
    assert api.get(path).json()["events"][0]["metadata"]
    assert api.get("events", type="paid").json()[0]["metadata"] == event["metadata"]


@pytest.mark.parametrize("number", HUGE)
def test_rules_compare_with_it_and_say_why(api, number):
    contact = api.post("contacts", {"email": "ada@example.test", "attributes": {"n": number}}).json()["id"]
    api.post("events", {"type": "paid", "contactId": contact, "metadata": {"n": number}})
    rule = every(
        attribute("attributes.n", "eq", number),
        did("paid", aggregate="max", property="metadata.n", operator="in", value=[number]),
        did("paid", filters=[{"field": "metadata.n", "operator": "between", "value": [number, number]}]),
    )
    made = api.post("segments", {"name": "Huge", "evaluation": "DYNAMIC", "rules": rule}).json()
    scoring = {"name": "Huge", "eventType": "paid", "delta": 1}
    condition = {"field": "metadata.n", "operator": "eq", "value": number}
    assert api.post("scoring-rules", {**scoring, "condition": condition}).status_code == 201
    assert api.get("scoring-rules").json()[0]["condition"] == condition
    run_build(api.workspace.id, made["id"])
    apply_effects(api.workspace.id)
    segment = Segment.objects.get(id=made["id"])
    assert (segment.error, who_is_in(segment)) == ("", {UUID(contact)})
    path = f"segments/{segment.id}"
    assert api.get(path).json()["segment"]["rules"] == rule
    assert api.get(f"{path}/contacts/{contact}/explanation").json()["matches"]
    assert api.post(f"{path}/impact", {"rules": rule}).json()["stay"] == 1
    assert api.post(f"{path}/rebuild", {}).status_code == 202


def _as_the_database_spells_it(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        return f"{Decimal(repr(value)):f}"
    return json.dumps(value)
