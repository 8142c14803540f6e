from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from django.db import DataError, connection
from django.test.utils import CaptureQueriesContext

from config import clock, ids
from contacts.errors import ContactNotFound
from contacts.models import Contact
from contacts.references import ContactChanges, ContactReference
from events.errors import (
    EventNotDefined,
    InvalidEventName,
    InvalidEventTime,
    InvalidPropertyValue,
    PropertyTypeLocked,
    SchemaMismatch,
    UnknownProperty,
)
from events.models import EffectsLevel, Event, EventBatch, EventDefinition, EventProperty
from events.stream import outbox
from events.stream.definitions import PropertySpec, create_definition, delete_definition, replace_definition
from events.stream.recording import record_events
from events.stream.types import IncomingEvent, SchemaPolicy
from tests.stream import record_event
from tests.workspaces.factories import WorkspaceFactory

OPEN, DECLARED, LEARNED = SchemaPolicy.OPEN, SchemaPolicy.DECLARED, SchemaPolicy.LEARNED


def send(workspace, *events, policy=OPEN, **options):
    return record_events(workspace.id, events, schema_policy=policy, **options)


def test_an_event_its_batch_and_the_birth_of_its_contact_are_recorded_together(workspace, jane):
    outcome = record_event(workspace, IncomingEvent("signup", jane, {"plan": "pro"}), schema_policy=OPEN)
    contact = Contact.objects.get()
    assert outcome.status == "recorded"
    assert outcome.contact_created
    assert outcome.event.contact_id == contact.id
    names = list(Event.objects.order_by("id").values_list("name", "source"))
    assert names == [("contact.created", "system"), ("signup", "api")]
    (batch,) = EventBatch.objects.all()
    assert set(batch.event_ids) == set(Event.objects.values_list("id", flat=True))


def test_an_id_carries_the_time_at_which_the_event_occurred(workspace):
    past = datetime(2026, 1, 15, 10, 0, tzinfo=UTC)
    outcome = record_event(workspace, IncomingEvent("visit", occurred_at=past), schema_policy=OPEN)
    assert outcome.event.id.int >> 80 == int(past.timestamp() * 1000)
    assert Event.objects.get().occurred_at == past


@pytest.mark.parametrize("year", [1970, 2009, 2024])
def test_any_past_has_its_partition(workspace, year):
    moment = datetime(year, 6, 15, tzinfo=UTC)
    assert record_event(workspace, IncomingEvent("visit", occurred_at=moment), schema_policy=OPEN)
    assert Event.objects.get().occurred_at == moment


def test_a_clock_that_is_a_little_ahead_means_now(workspace):
    ahead = clock.now() + timedelta(minutes=4)
    outcome = record_event(workspace, IncomingEvent("visit", occurred_at=ahead), schema_policy=OPEN)
    assert outcome.event.occurred_at <= clock.now()


@pytest.mark.parametrize("offset", [timedelta(minutes=6), timedelta(days=-365 * 80)])
def test_a_time_that_cannot_be_is_refused(workspace, offset):
    with pytest.raises(InvalidEventTime):
        record_event(workspace, IncomingEvent("visit", occurred_at=clock.now() + offset), schema_policy=OPEN)


@pytest.mark.parametrize("name", ["", "  ", "x" * 256])
def test_a_name_that_is_none_is_refused(workspace, name):
    with pytest.raises(InvalidEventName):
        record_event(workspace, IncomingEvent(name), schema_policy=OPEN)


def test_items_of_one_batch_keep_their_order(workspace):
    send(workspace, *(IncomingEvent(f"step {place:03}") for place in range(200)))
    names = list(Event.objects.order_by("id").values_list("name", flat=True))
    assert names == sorted(names)


def test_each_item_has_its_own_outcome_and_a_refused_one_changes_nothing(workspace, jane):
    stranger = ContactReference(id=str(uuid4()))
    outcomes = send(
        workspace,
        IncomingEvent("a", jane),
        IncomingEvent("b", stranger),
        IncomingEvent(""),
        IncomingEvent("c"),
    )
    assert [outcome.status for outcome in outcomes] == ["recorded", "refused", "refused", "recorded"]
    assert isinstance(outcomes[1].error, ContactNotFound)
    assert set(Event.objects.values_list("name", flat=True)) == {"a", "c", "contact.created"}


def test_a_refused_single_event_leaves_no_trace(workspace):
    create_definition(workspace.id, "buy", properties=[PropertySpec("total", "number")])
    jane = ContactReference(identifiers=(("email", "jane@example.test"),), if_missing="create")
    with pytest.raises(UnknownProperty):
        record_event(workspace, IncomingEvent("buy", jane, {"toatl": 1}), schema_policy=DECLARED)
    assert not Contact.objects.exists()
    assert not Event.objects.exists()
    assert not EventBatch.objects.exists()


@pytest.mark.parametrize("timestamp", [None, datetime(2026, 3, 1, tzinfo=UTC)])
def test_a_senders_key_removes_duplicates_within_and_across_requests(workspace, jane, timestamp):
    event = IncomingEvent("buy", jane, {"n": 1}, occurred_at=timestamp, message_id="order-1")
    first, again = send(workspace, event, event)
    (later,) = send(workspace, event)
    assert [first.status, again.status, later.status] == ["recorded", "duplicate", "duplicate"]
    assert first.event.id == again.event.id == later.event.id
    assert Event.objects.filter(name="buy").count() == 1
    assert sum(batch.event_ids.count(first.event.id) for batch in EventBatch.objects.all()) == 1


def test_a_key_with_a_time_slightly_ahead_comes_to_the_same_id_when_tried_again(workspace):
    event = IncomingEvent("buy", occurred_at=clock.now() + timedelta(minutes=2), message_id="order-1")
    first, later = send(workspace, event)[0], send(workspace, event)[0]
    assert (first.status, later.status) == ("recorded", "duplicate")


@pytest.mark.parametrize("copy_from", [10, 10_000], ids=["copied", "inserted"])
@pytest.mark.parametrize("repeated", ["nothing", "one of before", "one of the batch", "all"])
def test_what_is_not_new_in_a_large_batch_is_a_duplicate(workspace, jane, monkeypatch, repeated, copy_from):
    monkeypatch.setattr(outbox, "COPY_FROM", copy_from)
    at = datetime(2026, 3, 1, 12, tzinfo=UTC)
    properties = [{"n": n, "note": 'a "quoted" \\ tab\té', "deep": {"x": [1.5, None]}} for n in range(20)]
    events = [
        IncomingEvent("büy", jane if n % 2 else None, properties[n], {"sessionId": "s"}, at, f"k\t{n}")
        for n in range(20)
    ]
    before = {"one of before": [events[7]], "all": events}.get(repeated, [])
    send(workspace, *before)
    incoming = [*events, events[3]] if repeated == "one of the batch" else events
    outcomes = send(workspace, *incoming)
    expected = ["duplicate" if event in before else "recorded" for event in events]
    expected += ["duplicate"] * (len(incoming) - len(events))
    assert [outcome.status for outcome in outcomes] == expected
    stored = Event.objects.exclude(source="system").order_by("properties__n")
    assert [event.properties for event in stored] == properties
    contact = Contact.objects.get()
    assert {
        (event.name, event.contact_id, event.message_id, event.occurred_at, *event.context.values())
        for event in stored
    } == {("büy", contact.id if n % 2 else None, f"k\t{n}", at, "s") for n in range(20)}
    queued = [event_id for batch in EventBatch.objects.all() for event_id in batch.event_ids]
    assert sorted(queued) == sorted(Event.objects.filter(contact=contact).values_list("id", flat=True))


def test_a_large_batch_with_what_cannot_be_stored_is_as_wrong_as_a_small_one(workspace, monkeypatch):
    monkeypatch.setattr(outbox, "COPY_FROM", 10)
    events = [IncomingEvent("buy", properties={"note": "a\x00b" if n == 7 else ""}) for n in range(20)]
    with pytest.raises(DataError):
        send(workspace, *events)


def test_keys_of_two_workspaces_are_apart(workspace):
    other = WorkspaceFactory()
    event = IncomingEvent("buy", occurred_at=datetime(2026, 3, 1, tzinfo=UTC), message_id="order-1")
    assert [send(each, event)[0].status for each in (workspace, other)] == ["recorded", "recorded"]


def test_the_number_of_statements_does_not_grow_with_the_batch(workspace):
    counts = {}
    for size in (1, 10, 300):
        events = [
            IncomingEvent(
                "buy", ContactReference(identifiers=(("email", f"{size}-{n}@x.test"),), if_missing="create")
            )
            for n in range(size)
        ]
        send(workspace, IncomingEvent("buy"))
        with CaptureQueriesContext(connection) as queries:
            send(workspace, *events)
        counts[size] = len(queries)
    assert counts[10] == counts[300]
    assert counts[1] <= counts[10]


@pytest.mark.django_db(transaction=True)
def test_a_single_send_takes_two_statements_and_four_where_it_makes_the_contact(jane):
    workspace = WorkspaceFactory()

    def statements(reference):
        with CaptureQueriesContext(connection) as queries:
            record_event(workspace, IncomingEvent("buy", reference, {"n": 1}), schema_policy=OPEN)
        return [query["sql"] for query in queries if query["sql"] not in ("BEGIN", "COMMIT")]

    statements(jane)
    assert len(statements(jane)) == 2
    stranger = ContactReference(identifiers=(("email", "joe@example.test"),), if_missing="create")
    assert len(statements(stranger)) <= 4


def test_anonymous_events_are_stored_and_turn_no_wheel(workspace):
    send(workspace, IncomingEvent("page_view"))
    assert Event.objects.get().contact_id is None
    assert not EventBatch.objects.exists()


def test_history_at_level_none_turns_no_wheel(workspace, jane):
    send(workspace, IncomingEvent("buy", jane), level=EffectsLevel.NONE)
    assert not EventBatch.objects.exists()


class TestDeclared:
    @pytest.fixture(autouse=True)
    def _definition(self, workspace):
        self.definition = create_definition(
            workspace.id,
            "buy",
            properties=[PropertySpec("total", "number"), PropertySpec("first", "boolean")],
        )

    def test_values_are_coerced_and_nulls_dropped(self, workspace):
        outcome = record_event(
            workspace, IncomingEvent("buy", None, {"total": " 12.5 ", "first": None}), schema_policy=DECLARED
        )
        assert outcome.event.properties == {"total": 12.5}
        assert Event.objects.get().properties == {"total": 12.5}

    def test_what_cannot_be_coerced_is_refused(self, workspace):
        with pytest.raises(InvalidPropertyValue):
            record_event(workspace, IncomingEvent("buy", None, {"total": "much"}), schema_policy=DECLARED)

    def test_a_name_that_nobody_declared_is_refused_even_when_it_was_seen(self, workspace):
        record_event(workspace, IncomingEvent("seen"), schema_policy=OPEN)
        with pytest.raises(EventNotDefined):
            record_event(workspace, IncomingEvent("seen"), schema_policy=DECLARED)

    def test_a_deleted_definition_takes_no_events_and_frees_its_name(self, workspace):
        delete_definition(self.definition)
        with pytest.raises(EventNotDefined):
            record_event(workspace, IncomingEvent("buy"), schema_policy=DECLARED)
        assert create_definition(workspace.id, "buy").id != self.definition.id


class TestLearned:
    def test_the_first_event_teaches_names_and_types(self, workspace):
        properties = {
            "n": 1,
            "x": 1.5,
            "b": True,
            "d": "2021-09-01",
            "u": "https://example.com/",
            "s": "lorem",
        }
        record_event(workspace, IncomingEvent("order", None, properties), schema_policy=LEARNED)
        types = dict(EventProperty.objects.values_list("name", "type"))
        assert types == {
            "n": "integer",
            "x": "number",
            "b": "boolean",
            "d": "date",
            "u": "url",
            "s": "string",
        }
        assert not EventDefinition.objects.get().is_declared

    def test_a_locked_type_refuses_and_all_problems_are_told(self, workspace):
        record_event(workspace, IncomingEvent("order", None, {"a": 1, "b": True}), schema_policy=LEARNED)
        with pytest.raises(SchemaMismatch) as caught:
            record_event(
                workspace, IncomingEvent("order", None, {"a": "x", "b": 3, "new": 1}), schema_policy=LEARNED
            )
        assert [problem.property for problem in caught.value.problems] == ["a", "b"]
        assert not EventProperty.objects.filter(name="new").exists()

    def test_an_observed_type_is_locked_by_the_first_learning_event(self, workspace):
        record_event(workspace, IncomingEvent("order", None, {"a": "text"}), schema_policy=OPEN)
        record_event(workspace, IncomingEvent("order", None, {"a": 1}), schema_policy=LEARNED)
        assert EventProperty.objects.values_list("type", "is_locked").get() == ("integer", True)

    def test_two_items_of_one_batch_agree_on_the_type(self, workspace):
        outcomes = send(
            workspace,
            IncomingEvent("o", None, {"a": 1}),
            IncomingEvent("o", None, {"a": "x"}),
            policy=LEARNED,
        )
        assert [outcome.status for outcome in outcomes] == ["recorded", "refused"]


def test_an_open_format_lists_what_it_sees_and_locks_nothing(workspace):
    record_event(
        workspace, IncomingEvent("visit", None, {"page": "/", "depth": {"a": 1}}), schema_policy=OPEN
    )
    record_event(workspace, IncomingEvent("visit", None, {"page": 7}), schema_policy=OPEN)
    assert EventProperty.objects.values_list("name", "type", "is_locked").get() == ("page", "string", False)


def test_an_event_saved_by_the_orm_gets_its_batch(workspace, jane):
    record_event(workspace, IncomingEvent("a", jane), schema_policy=OPEN)
    EventBatch.objects.all().delete()
    event = Event.objects.create(workspace=workspace, name="by hand", contact=Contact.objects.get())
    assert EventBatch.objects.get().event_ids == [event.id]


def test_declaring_keeps_what_was_learned_and_never_changes_its_type(workspace):
    record_event(workspace, IncomingEvent("order", None, {"a": 1, "b": True}), schema_policy=LEARNED)
    with pytest.raises(PropertyTypeLocked):
        create_definition(workspace.id, "order", properties=[PropertySpec("a", "string")])
    definition = create_definition(workspace.id, "order", properties=[PropertySpec("a", "integer")])
    replace_definition(definition, properties=[PropertySpec("c", "string")])
    assert set(EventProperty.objects.values_list("name", flat=True)) == {"b", "c"}
    assert EventDefinition.objects.count() == 1


def test_each_change_of_a_contact_in_one_call_is_an_occurrence_of_its_own(workspace):
    """Concurrent requests are one call: whoever waits for `plan` to become `b` must hear of it."""

    def with_plan(plan, **more):
        changes = ContactChanges(attributes={"plan": plan}, **more)
        reference = ContactReference(
            identifiers=(("email", "ann@example.test"),),
            if_missing="create",
            update_matched=True,
            changes=changes,
        )
        return IncomingEvent("order", reference)

    send(
        workspace,
        with_plan("a", tags=("t",)),
        with_plan("b", consents={"email": "opted_in"}),
        with_plan("b"),
        with_plan("a", tags=("t", "u"), consents={"email": "opted_out"}),
    )
    send(workspace, with_plan("c"), with_plan("a"))

    told = Event.objects.filter(source="system").order_by("id").values_list("name", "properties")
    plans = [(name, each["new"]["attributes"]) for name, each in told if "attributes" in each["new"]]
    assert plans == [
        ("contact.created", {"plan": "a"}),
        *(("contact.updated", {"plan": plan}) for plan in ("b", "a", "c", "a")),
    ]
    assert [each["new"]["tags"] for name, each in told if name == "contact.tagged"] == [["t"], ["u"]]
    assert [name for name, _ in told if name.endswith("subscribed")] == [
        "contact.subscribed",
        "contact.unsubscribed",
    ]
    assert Contact.objects.get().attributes == {"plan": "a"}


def test_an_estimated_time_names_no_event_its_key_does(workspace, jane):
    moment = datetime(2026, 1, 15, 10, tzinfo=UTC)
    for seconds in (0, 1, 7):
        at = moment + timedelta(seconds=seconds)
        incoming = IncomingEvent("a", jane, occurred_at=at, message_id="m1", is_time_estimated=True)
        outcome = record_event(workspace, incoming, schema_policy=OPEN)
        assert outcome.status == ("recorded" if seconds == 0 else "duplicate")
    event = Event.objects.get(source="api")
    assert event.occurred_at == moment
    assert ids.time_of(event.id) == moment
