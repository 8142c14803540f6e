"""Items of a batch that its parser refused are kept, shown by cause, and replayed by the same parser."""

import json
from base64 import b64encode

import pytest
from django.test import Client

from config import clock
from config.observability.metrics.process_files import REGISTRY
from contacts.erasure.erasures import erase_person, resolve_erasures
from contacts.models import Contact, Identifier
from events.models import Event, RefusedEvent
from events.replay import causes, replay_batch, replayable
from events.stream.definitions import PropertySpec, create_definition
from events.stream.item_formats import item_formats
from tests.contacts.factories import a_contact
from tests.native import NativeClient
from workspaces.models import Workspace
from workspaces.services import create_workspace, issue_api_key

pytestmark = pytest.mark.django_db(transaction=True)
WHEN = "2026-05-04T10:00:00.000Z"
AT = "2026-05-04 10:00:00+00:00"
# By format: where its batches go, the batch, and an item that is right; what makes that wrong; what its key is.
FORMATS = {
    "native": (
        lambda workspace: f"/api/workspaces/{workspace.id}/events/batch",
        lambda items: {"events": items},
        {"type": "paid", "timestamp": WHEN, "messageId": "k1"},
        {"timestamp": "yesterday"},
    ),
    "segment": (
        lambda workspace: "/v1/batch",
        lambda items: {"batch": items, "context": {"locale": "en"}},
        {"type": "track", "event": "paid", "userId": "u1", "timestamp": WHEN, "messageId": "k1"},
        {"timestamp": "yesterday"},
    ),
    "omnisend-v5": (
        lambda workspace: "/v5/batches",
        lambda items: {"method": "POST", "endpoint": "events", "items": items},
        {
            "eventName": "paid",
            "origin": "api",
            "eventVersion": "",
            "eventTime": WHEN,
            "eventID": "6f1f2b64-5a46-4f58-8f0e-000000000001",
            "contact": {"email": "u1@example.test"},
        },
        {"eventTime": "yesterday"},
    ),
    "omnisend-v3": (
        lambda workspace: "/v3/batches",
        lambda items: {"method": "POST", "endpoint": "events", "items": items},
        {"name": "paid", "email": "u1@example.test", "fields": {}},
        {"email": "nobody"},
    ),
}
every_format = pytest.mark.parametrize("name", FORMATS)


@pytest.fixture
def workspace():
    return create_workspace("Shop")


def send(workspace, name, items, key=None, **headers):
    path, batch, _, _ = FORMATS[name]
    secret = key or issue_api_key(workspace.id, "shop").secret
    basic = b64encode(f"{secret}:".encode()).decode()
    answer = Client().post(
        path(workspace),
        json.dumps(batch(items)),
        content_type="application/json",
        headers={"Authorization": f"Basic {basic}" if name == "segment" else f"Bearer {secret}", **headers},
    )
    assert answer.status_code in (200, 201), answer.content
    return answer


def refused_count():
    return REGISTRY.get_sample_value("headrace_events_total", {"outcome": "refused"}) or 0


def replay(workspace):
    return replay_batch(workspace.id, replayable(workspace.id))


def recorded():
    return list(Event.objects.filter(name="paid"))


def test_the_formats_are_all_that_have_batches():
    assert set(item_formats()) == set(FORMATS)


@every_format
def test_what_the_parser_refuses_is_kept_by_cause_and_stays(workspace, name):
    *_, right, wrong = FORMATS[name]
    bad = [{**right, **wrong}, {**right, **wrong}, "text", None, 5, [right]]
    before = refused_count()
    send(workspace, name, [*bad, right])
    assert refused_count() - before == len(bad)
    assert len(recorded()) == 1
    rows = list(RefusedEvent.objects.order_by("id"))
    assert [(row.format, row.item) for row in rows] == [(name, item) for item in bad]
    found = causes(replayable(workspace.id))
    assert sum(cause.count for cause in found if not cause.name) == 4
    assert ("paid", 2) in [(cause.name, cause.count) for cause in found]
    (field,) = wrong
    assert any(field in cause.error or "time" in cause.error for cause in found if cause.name == "paid")
    # No replay mends a wrong shape: it is refused again, for the same.
    assert (replay(workspace).recorded, replay(workspace).refused) == (0, len(bad))
    again = list(RefusedEvent.objects.order_by("id"))
    assert [(row.code, row.error) for row in again] == [(row.code, row.error) for row in rows]
    assert {row.attempts for row in again} == {2}
    assert len(recorded()) == 1


@every_format
def test_once_its_parser_takes_it_it_is_recorded_once_with_its_own_id_and_time(workspace, name, monkeypatch):
    *_, right, wrong = FORMATS[name]
    (field,) = wrong
    send(workspace, name, [{**right, **wrong}])
    row = RefusedEvent.objects.get()
    own = item_formats()[name]
    parse = type(own).parse

    def laxer(self, item, shared, received_at):
        return parse(self, {**item, field: right[field]}, shared, received_at)

    monkeypatch.setattr(type(own), "parse", laxer)
    assert replay(workspace).recorded == 1
    assert not RefusedEvent.objects.exists()
    (event,) = recorded()
    assert event.received_at == row.received_at
    if name != "omnisend-v3":  # which has neither
        assert str(event.occurred_at) == AT
        assert event.message_id in ("k1", right.get("eventID"))
    # Kept, and replayed, once more: it is known by its key, or by that of the row.
    RefusedEvent.objects.bulk_create([row])
    replayed = replay(workspace)
    assert (replayed.recorded, replayed.duplicates) == (0, 1)
    monkeypatch.undo()
    if name != "omnisend-v3":
        send(workspace, name, [right])
    assert len(recorded()) == 1


def test_what_a_batch_says_of_all_its_items_is_said_in_the_replay(workspace):
    definition = create_definition(workspace.id, "paid", properties=[PropertySpec("amount", "integer")])
    path, batch, *_ = FORMATS["omnisend-v3"]
    item = {"email": "nobody", "fields": {"amount": 5}}
    secret = issue_api_key(workspace.id, "shop").secret
    body = {**batch([item]), "eventID": str(definition.id)}
    Client().post(
        path(workspace), body, content_type="application/json", headers={"Authorization": f"Bearer {secret}"}
    )
    send(workspace, "segment", [{"type": "track", "event": "paid", "userId": ["u1"]}])
    RefusedEvent.objects.filter(format="omnisend-v3").update(item={**item, "email": "u1@example.test"})
    RefusedEvent.objects.filter(format="segment").update(
        item={"type": "track", "event": "paid", "userId": "u1"}
    )
    assert replay(workspace).recorded == 2
    contexts = [event.context for event in Event.objects.filter(name="paid").order_by("received_at")]
    assert contexts[1] == {"locale": "en"}


def test_what_came_with_a_pages_key_only_fills_in_when_it_is_replayed(workspace):
    Workspace.objects.filter(id=workspace.id).update(allowed_origins=["https://shop.example"])
    jane = a_contact(workspace, "jane@example.test", identifiers=(("external_id", "u1"),))
    Contact.objects.filter(id=jane.id).update(first_name="Jane")
    page_key = issue_api_key(workspace.id, "page", scopes=["events:write"]).secret
    call = {"type": "identify", "userId": "u1", "traits": {"firstName": "Mallory", "email": "m@example.test"}}
    send(workspace, "segment", [{**call, "timestamp": "yesterday"}], page_key, Origin="https://shop.example")
    assert RefusedEvent.objects.get().is_public
    RefusedEvent.objects.update(item=call)
    assert replay(workspace).recorded == 1
    jane.refresh_from_db()
    assert jane.first_name == "Jane"
    assert not Identifier.objects.filter(value="m@example.test").exists()


NAMING = {
    "an e-mail": {"email": "Gone@Example.Test "},
    "a phone": {"traits": {"mobile": "+49 (151) 23456789"}},
    "a phone in letters": {"call": "+1-800-FLOWERS"},
    "a phone with a remark": {"call": "0049 151 23456789 (mobile)"},
    "a user id": {"userId": 4711},
    "a device": {"deep": [[{"id": "device-9"}]]},
    "a word of a text": {"note": "Call <gone@example.test>, please"},
    "a key": {"gone@example.test": True},
    "a text of JSON": {"payload": '{"email":"gone@example.test"}'},
    "an own field": {"member": "M-77"},
}


def somebody(workspace):
    return a_contact(
        workspace,
        "gone@example.test",
        identifiers=(
            ("phone", "+4915123456789"),
            ("phone", "+1-800-FLOWERS"),
            ("external_id", "4711"),
            ("anonymous_id", "device-9"),
            ("memberNumber", "M-77"),
        ),
    )


@pytest.mark.parametrize("naming", NAMING)
@every_format
def test_what_names_an_erased_person_is_not_kept(workspace, name, naming):
    Workspace.objects.filter(id=workspace.id).update(identity_field="memberNumber")
    erase_person(workspace.id, somebody(workspace))
    other = {"type": 5, "email": "other@example.test"}
    send(workspace, name, [NAMING[naming], other])
    assert [row.item for row in RefusedEvent.objects.all()] == [other]


@pytest.mark.parametrize("naming", NAMING)
def test_what_names_a_person_goes_with_the_erasure(workspace, naming):
    Workspace.objects.filter(id=workspace.id).update(identity_field="memberNumber")
    person = somebody(workspace)
    other = {"type": 5, "email": "other@example.test"}
    send(workspace, "native", [NAMING[naming], {"ref": str(person.id).upper()}, other])
    assert RefusedEvent.objects.count() == 3
    erase_person(workspace.id, person)
    assert [row.item for row in RefusedEvent.objects.all()] == [other]


def test_an_erased_contacts_id_is_not_kept_though_it_is_long_ago(workspace, settings):
    settings.ERASURE_SETTLE_SECONDS = 0
    person = somebody(workspace)
    erase_person(workspace.id, person)
    resolve_erasures()
    send(workspace, "native", [{"type": "paid", "contactId": str(person.id)}, {"contactId": str(person.id)}])
    assert not RefusedEvent.objects.exists()


def test_what_was_under_way_during_an_erasure_goes_afterwards(workspace):
    """The erasure did not see the row, and its writer not the tombstone."""
    person = somebody(workspace)
    items = send_none(workspace)
    erase_person(workspace.id, person)
    RefusedEvent.objects.bulk_create(
        RefusedEvent(
            workspace_id=workspace.id,
            format="native",
            item=item,
            schema_policy="open",
            received_at=clock.now(),
        )
        for item in items
    )
    resolve_erasures()
    assert [row.item for row in RefusedEvent.objects.all()] == [{"email": "other@example.test"}]


def send_none(workspace):
    return [{"email": "gone@example.test"}, {"userId": "4711"}, {"email": "other@example.test"}]


def test_an_event_that_is_understood_is_not_kept_either_whatever_refused_it(workspace):
    """Its form is told first, before anybody has looked for its contact."""
    erase_person(workspace.id, somebody(workspace))
    call = {"type": "track", "event": "paid", "messageId": "m" * 300, "properties": {"quantity": 4711}}
    send(workspace, "segment", [{**call, "userId": 4711}, {**call, "userId": "u1"}])
    (kept,) = RefusedEvent.objects.all()
    # A number is a number where the identifiers are known.
    assert kept.incoming["contact"]["identifiers"] == [["external_id", "u1"]]


def test_too_much_to_be_looked_up_is_not_kept_where_anybody_was_erased(workspace, monkeypatch):
    monkeypatch.setattr("contacts.mentions.MAX_TEXTS", 20)
    items = [{"n": [f"{item}-{text}" for text in range(8)]} for item in range(4)]
    send(workspace, "native", items)
    assert RefusedEvent.objects.count() == 4
    RefusedEvent.objects.all().delete()
    erase_person(workspace.id, somebody(workspace))
    send(workspace, "native", items)
    assert RefusedEvent.objects.count() == 2


def test_the_workspace_chooses_and_the_limits_hold(workspace, settings):
    settings.QUARANTINE_EVENTS = 3
    items = [{"n": number} for number in range(5)]
    send(workspace, "native", [*items, {"text": "x" * 100_000}, {"text": "a"}])
    assert [row.item for row in RefusedEvent.objects.order_by("id")] == [{"n": 3}, {"n": 4}, {"text": "a"}]
    RefusedEvent.objects.all().delete()
    Workspace.objects.update(quarantine="none")
    send(workspace, "native", items)
    assert not RefusedEvent.objects.exists()


def test_a_batch_that_is_refused_or_answered_again_keeps_nothing_more(workspace):
    key = issue_api_key(workspace.id, "shop").secret
    for _ in range(2):
        send(workspace, "native", [{"n": 1}], key, **{"Idempotency-Key": "once"})
    assert RefusedEvent.objects.count() == 1


def test_the_api_shows_what_was_sent(workspace):
    send(workspace, "native", [{"type": "paid", "timestamp": 5}])
    api = NativeClient(workspace)
    (row,) = api.get("refused-events").json()["data"]
    assert (row["type"], row["format"], row["event"]) == ("paid", "native", None)
    assert row["item"] == {"type": "paid", "timestamp": 5}
    assert api.get("refused-events/causes").json()[0]["message"].startswith("timestamp: ")
    answer = api.post("refused-events/replay", {}).json()
    assert (answer["recorded"], answer["refused"]) == (0, 1)


def test_what_a_format_kept_that_is_no_more_stays(workspace):
    row = RefusedEvent(
        workspace_id=workspace.id, format="old", item={}, schema_policy="open", received_at=clock.now()
    )
    RefusedEvent.objects.bulk_create([row])
    assert replay(workspace).refused == 1
    assert RefusedEvent.objects.get().code == "unknown_format"


def test_a_call_that_leaves_us_out_is_not_recorded_by_a_replay(workspace):
    send(workspace, "segment", [{"type": "track", "event": "paid"}])
    RefusedEvent.objects.update(
        item={"type": "track", "event": "paid", "userId": "u1", "integrations": {"All": False}}
    )
    assert replay(workspace).refused == 1
    assert RefusedEvent.objects.get().code == "not_for_us"
