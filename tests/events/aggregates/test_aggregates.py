"""All-time aggregates: kept by the effects, built from the stream, the same either way."""

from datetime import timedelta

import pytest
from django.db import connection

from config import clock
from contacts.references import ContactReference
from events.aggregates.registry import (
    build_aggregates,
    built_aggregates,
    match_events_to_aggregates,
    register_aggregates,
)
from events.models import Aggregate, ContactAggregate, EventBatch
from events.processing.passes import EffectEvent, apply_effects, bump_rules_version, lock_lane
from events.rules import aggregates_of_rule, parse_rule
from events.stream.outbox import LANE_COUNT, enqueue_events, lane_of
from events.stream.recording import record_events
from events.stream.types import IncomingEvent, SchemaPolicy

pytestmark = pytest.mark.django_db(transaction=True)

RULE = {
    "operator": "AND",
    "conditions": [
        {"type": "event", "eventType": "buy", "operator": "gte", "value": 3},
        {
            "type": "event",
            "eventType": "buy",
            "aggregate": "sum",
            "property": "metadata.amount",
            "filters": [{"field": "metadata.sku", "operator": "in", "value": ["A", "B"]}],
            "operator": "gte",
            "value": 100.0,
        },
        {
            "type": "event",
            "eventType": "buy",
            "aggregate": "last",
            "property": "metadata.sku",
            "operator": "eq",
            "value": "A",
        },
        {"type": "event", "eventType": "buy", "timeWindow": "7d"},
    ],
}
SPECS = aggregates_of_rule(parse_rule(RULE))
COLUMNS = [
    "aggregate_id", "contact_id", "count", "numbers", "total", "minimum", "maximum",
    "first_at", "first_event_id", "first_value", "last_at", "last_event_id", "last_value",
]  # fmt: skip


def send(workspace, number, *, sku="A", days_ago=0.0, person="jane"):
    who = ContactReference(identifiers=(("email", f"{person}@example.test"),), if_missing="create")
    event = IncomingEvent(
        "buy", who, {"amount": number, "sku": sku}, occurred_at=clock.now() - timedelta(days=days_ago)
    )
    return record_events(workspace.id, [event], schema_policy=SchemaPolicy.OPEN)[0].event


def build(workspace):
    bump_rules_version(workspace.id)
    register_aggregates(workspace.id, SPECS)
    for lane in range(LANE_COUNT):
        with lock_lane(workspace.id, lane):
            build_aggregates(workspace.id, lane, SPECS)


def state(workspace):
    return sorted(ContactAggregate.objects.filter(workspace=workspace).values_list(*COLUMNS))


def recounted(workspace):
    """Return the aggregates as a build from nothing makes them."""
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE events_contactaggregate")
    Aggregate.objects.update(lanes_built=0)
    build(workspace)
    return state(workspace)


def test_what_the_effects_add_up_is_what_the_stream_says(workspace):
    assert len(SPECS) == 3
    build(workspace)
    assert built_aggregates(workspace.id) == SPECS
    send(workspace, 60, days_ago=3)
    send(workspace, 40.5, sku="B", days_ago=30)
    apply_effects(workspace.id)
    send(workspace, 7, sku="C", days_ago=1)
    send(workspace, "many", days_ago=50)
    send(workspace, 1, person="joe")
    apply_effects(workspace.id)
    kept = state(workspace)
    assert len(kept) == 6
    assert kept == recounted(workspace)


def test_a_build_leaves_what_still_waits_to_the_effects(workspace):
    send(workspace, 60, days_ago=3)
    apply_effects(workspace.id)
    send(workspace, 40, days_ago=1)
    build(workspace)
    assert {row[2] for row in state(workspace)} == {1}
    apply_effects(workspace.id)
    assert {row[2] for row in state(workspace)} == {2}
    assert state(workspace) == recounted(workspace)


def test_a_lane_that_is_not_built_yet_is_not_counted_in(workspace):
    register_aggregates(workspace.id, SPECS)
    event = send(workspace, 60)
    apply_effects(workspace.id)
    assert state(workspace) == []
    with lock_lane(workspace.id, lane_of(event.contact_id)):
        build_aggregates(workspace.id, lane_of(event.contact_id), SPECS)
    send(workspace, 40)
    apply_effects(workspace.id)
    assert {row[2] for row in state(workspace)} == {2}
    assert built_aggregates(workspace.id) == set()


def test_a_repeated_event_is_counted_once(workspace):
    build(workspace)
    event = send(workspace, 60)
    apply_effects(workspace.id)
    once = state(workspace)
    enqueue_events(workspace.id, [(event.id, event.contact_id)], level=2, is_repeat=True)
    second = send(workspace, 5, sku="B", days_ago=2)
    apply_effects(workspace.id)
    assert not EventBatch.objects.exists()
    assert state(workspace) != once
    assert second.id in {row[8] for row in state(workspace)}
    assert state(workspace) == recounted(workspace)


def test_matching_tells_whom_the_events_of_a_batch_touch(workspace):
    jane, joe = send(workspace, 1), send(workspace, 1, sku="Z", person="joe")
    events = [EffectEvent(e.id, e.contact_id, e.name, e.occurred_at, e.source, 0, 2) for e in (jane, joe)]
    touched = match_events_to_aggregates(workspace.id, events, SPECS)
    by_filter = {spec.filters is not None: contacts for spec, contacts in touched.items()}
    assert by_filter[True] == {jane.contact_id}
    assert by_filter[False] == {jane.contact_id, joe.contact_id}


def test_numbers_of_any_size_are_counted(workspace):
    build(workspace)
    send(workspace, 1e300)
    apply_effects(workspace.id)
    assert max(row[4] for row in state(workspace)) == 10**300
