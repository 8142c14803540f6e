"""A merge in the stream: events stay with whom they came with, and run in the lane of whom that reads as."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import OperationalError, connection, transaction
from django.test import override_settings

from config import clock
from contacts.crud import create_contact, update_contact
from contacts.merging.merges import merge_contacts, undo_merge
from contacts.models import Contact
from contacts.references import ContactChanges, ContactReference
from events import lane_changes
from events.aggregates.registry import build_aggregates, register_aggregates
from events.models import Aggregate, ContactAggregate, EffectsLevel, Event, EventBatch, Timer
from events.processing.passes import apply_effects, bump_rules_version, lock_lane
from events.processing.timers import schedule_timers
from events.rules import aggregates_of_rule, parse_rule
from events.stream.outbox import LANE_COUNT, lane_of
from events.stream.queries import list_events
from events.stream.recording import record_events
from events.stream.types import IncomingEvent, SchemaPolicy
from tests.native import NativeClient
from tests.stream import record_event
from tests.workspaces.factories import WorkspaceFactory

pytestmark = pytest.mark.django_db(transaction=True)

SEEN: list = []
RULE = {
    "operator": "AND",
    "conditions": [
        {"type": "event", "eventType": "buy", "operator": "gte", "value": 3},
        {
            "type": "event",
            "eventType": "buy",
            "aggregate": "sum",
            "property": "metadata.amount",
            "operator": "gte",
            "value": 9,
        },
    ],
}
SPECS = aggregates_of_rule(parse_rule(RULE))


def see(batch):
    """Note what an effect is told."""
    SEEN.append(batch)


@pytest.fixture(autouse=True)
def _seeing():
    SEEN.clear()
    with override_settings(
        EVENT_EFFECTS=["events.effects.maintain_aggregates", "tests.events.test_lane_changes.see"]
    ):
        yield


@pytest.fixture
def pair(workspace):
    """Two contacts of different lanes."""
    jane = a_person(workspace, "jane")
    other = a_person(workspace, "other")
    while lane_of(other.id) == lane_of(jane.id):
        Contact.objects.filter(id=other.id).delete()
        other = a_person(workspace, "other")
    EventBatch.objects.all().delete()
    Timer.objects.all().delete()  # of one that was deleted again
    return jane, other


def a_person(workspace, name):
    return create_contact(workspace, ContactChanges(identifiers=(("email", f"{name}@example.test"),)))


def send(workspace, name, amount=1, days_ago=0):
    reference = ContactReference(identifiers=(("email", f"{name}@example.test"),))
    at = clock.now() - timedelta(days=days_ago)
    incoming = IncomingEvent("buy", reference, {"amount": amount}, occurred_at=at)
    return record_event(workspace, incoming, schema_policy=SchemaPolicy.OPEN).event


def build(workspace, lanes=range(LANE_COUNT)):
    bump_rules_version(workspace.id)
    register_aggregates(workspace.id, SPECS)
    for lane in lanes:
        with lock_lane(workspace.id, lane):
            build_aggregates(workspace.id, lane, SPECS)


def totals(contact):
    """Return (count, total) of each of a contact's aggregates."""
    return sorted(ContactAggregate.objects.filter(contact_id=contact.id).values_list("count", "total"))


def events_seen(name="buy"):
    return [event for batch in SEEN for event in batch.events if event.name == name]


@pytest.mark.parametrize("by_id", [False, True])
def test_an_event_stays_with_whom_it_came_with_and_runs_in_the_survivors_lane(workspace, pair, by_id):
    jane, other = pair
    merge_contacts(workspace.id, jane, other)
    EventBatch.objects.all().delete()
    reference = ContactReference(id=str(other.id)) if by_id else None
    by_mail = ContactReference(identifiers=(("email", "other@example.test"),))
    incoming = IncomingEvent("buy", reference or by_mail)
    event = record_event(workspace, incoming, schema_policy=SchemaPolicy.OPEN).event
    assert (event.contact_id, event.survivor_id) == (other.id, jane.id)
    assert Event.objects.get(id=event.id).contact_id == other.id
    assert [batch.lane for batch in EventBatch.objects.all()] == [lane_of(jane.id)]
    apply_effects(workspace.id)
    assert [event.contact_id for event in events_seen()] == [jane.id]


def test_a_merge_is_told_once_and_starts_no_campaign(workspace, pair):
    jane, other = pair
    merge = merge_contacts(workspace.id, jane, other)
    told = Event.objects.get(name="contact.merged")
    assert (told.contact_id, told.source) == (jane.id, "system")
    assert told.properties["new"]["merged_id"] == str(other.id)
    assert {batch.level for batch in EventBatch.objects.all()} == {EffectsLevel.SCORES_AND_SEGMENTS}
    apply_effects(workspace.id)
    assert [batch.identities_changed for batch in SEEN] == [{jane.id}]
    undo_merge(workspace.id, merge)
    assert {batch.lane for batch in EventBatch.objects.all()} == {lane_of(jane.id), lane_of(other.id)}
    assert {batch.level for batch in EventBatch.objects.all()} == {EffectsLevel.SCORES_AND_SEGMENTS}
    SEEN.clear()
    apply_effects(workspace.id)
    assert set().union(*(batch.identities_changed for batch in SEEN)) == {jane.id, other.id}


def test_nobody_can_forge_a_merge(workspace, pair):
    jane, _ = pair
    incoming = IncomingEvent("contact.merged", ContactReference(id=str(jane.id)))
    record_event(workspace, incoming, schema_policy=SchemaPolicy.OPEN)
    apply_effects(workspace.id)
    assert events_seen("contact.merged")
    assert not any(batch.identities_changed for batch in SEEN)


def test_what_waits_in_the_old_lane_is_handed_over(workspace, pair):
    jane, other = pair
    lane = send(workspace, "other") and EventBatch.objects.get().lane
    assert lane == lane_of(other.id)
    merge = merge_contacts(workspace.id, jane, other)
    with lane_held_elsewhere(workspace, lane_of(jane.id)):
        apply_effects(workspace.id)
        assert events_seen() == []
    apply_effects(workspace.id)
    assert [event.contact_id for event in events_seen()] == [jane.id]
    send(workspace, "other")
    undo_merge(workspace.id, merge)
    SEEN.clear()
    with lane_held_elsewhere(workspace, lane_of(other.id)):
        apply_effects(workspace.id)
        assert events_seen() == []
    apply_effects(workspace.id)
    assert [event.contact_id for event in events_seen()] == [other.id]
    assert not EventBatch.objects.exists()


class lane_held_elsewhere:  # noqa: N801  (read as a function)
    """Hold a lane in another connection."""

    def __init__(self, workspace, lane):
        self.workspace, self.lane = workspace, lane
        self.held, self.done = threading.Event(), threading.Event()
        self.pool = ThreadPoolExecutor(1)

    def __enter__(self):
        self.future = self.pool.submit(self._hold)
        assert self.held.wait(10)

    def __exit__(self, *_):
        self.done.set()
        self.future.result(10)
        self.pool.shutdown()

    def _hold(self):
        try:
            with lock_lane(self.workspace.id, self.lane):
                self.held.set()
                self.done.wait(10)
        finally:
            connection.close()


def test_a_merge_waits_for_the_effects_and_not_for_ever(workspace, pair, monkeypatch):
    jane, other = pair
    monkeypatch.setattr(lane_changes, "WAIT_SECONDS", 0.2)
    for lane in (lane_of(jane.id), lane_of(other.id)):
        with lane_held_elsewhere(workspace, lane), pytest.raises(OperationalError):
            merge_contacts(workspace.id, jane, other)
    merge_contacts(workspace.id, jane, other)


def test_a_merged_contact_has_no_timers(workspace, pair):
    jane, other = pair
    timer_key, later = jane.id, clock.now() + timedelta(days=1)
    schedule_timers(workspace.id, [(timer_key, jane.id, later), (timer_key, other.id, later)])
    merge_contacts(workspace.id, jane, other)
    assert [due.contact_id for due in Timer.objects.all()] == [jane.id]


def test_aggregates_stay_with_whom_the_events_came_with(workspace, pair):
    jane, other = pair
    build(workspace)
    for name in ("jane", "other"):
        send(workspace, name)
    merge = merge_contacts(workspace.id, jane, other)
    for name in ("jane", "other", "other"):
        send(workspace, name)
    apply_effects(workspace.id)
    assert (totals(jane), totals(other)) == ([(2, 0), (2, 2)], [(3, 0), (3, 3)])
    undo_merge(workspace.id, merge)
    send(workspace, "other")
    apply_effects(workspace.id)
    assert (totals(jane), totals(other)) == ([(2, 0), (2, 2)], [(4, 0), (4, 4)])


@pytest.mark.parametrize("built", [{"jane"}, {"other"}])
def test_aggregates_are_right_while_only_one_of_the_lanes_is_built(workspace, pair, built):
    jane, other = pair
    lanes = {"jane": lane_of(jane.id), "other": lane_of(other.id)}
    for name in ("jane", "other"):
        send(workspace, name)
    apply_effects(workspace.id)
    build(workspace, [lanes[name] for name in built])
    merge = merge_contacts(workspace.id, jane, other)
    send(workspace, "other")
    apply_effects(workspace.id)
    if built == {"jane"}:
        assert totals(other) == [(2, 0), (2, 2)]
    undo_merge(workspace.id, merge)
    send(workspace, "other")
    apply_effects(workspace.id)
    if built == {"other"}:
        assert totals(other) == [(3, 0), (3, 3)]
    build(workspace)
    assert (totals(jane), totals(other)) == ([(1, 0), (1, 1)], [(3, 0), (3, 3)])
    assert Aggregate.objects.count() == 2


def test_a_timeline_is_the_whole_persons_by_any_of_its_ids(workspace, pair):
    jane, other = pair
    sent = [send(workspace, name, days_ago=days) for days, name in enumerate(["jane", "other"] * 3)]
    merge = merge_contacts(workspace.id, jane, other)
    ids = [event.id for event in sorted(sent, key=lambda event: event.id, reverse=True)]
    for contact in pair:
        pages = [
            list_events(workspace.id, contact_id=contact.id, name="buy", limit=4, before=before)
            for before in (None, ids[3])
        ]
        assert [[event.id for event in page] for page in pages] == [ids[:4], ids[4:]]
        by_number = list_events(
            workspace.id, contact_id=contact.id, name="buy", limit=4, offset=4, newest_first=False
        )
        assert [event.id for event in by_number] == ids[::-1][4:]
    undo_merge(workspace.id, merge)
    assert len(list_events(workspace.id, contact_id=other.id, name="buy", limit=9)) == 3


def test_answers_name_the_survivor(workspace, pair):
    jane, other = pair
    update_contact(workspace.id, jane, ContactChanges(first_name="Jane"))
    merge_contacts(workspace.id, jane, other)
    api = NativeClient(workspace)
    answer = api.post("events", {"type": "buy", "contactId": str(other.id)})
    assert answer.status_code == 201, answer.content
    brief = {"id": str(jane.id), "email": "jane@example.test", "firstName": "Jane", "lastName": None}
    assert (answer.json()["contactId"], answer.json()["contact"]) == (str(jane.id), brief)
    listed = api.get("events", contactId=str(other.id), type="buy").json()
    assert [event["contact"] for event in listed] == [brief]
    assert api.get(f"events/{answer.json()['id']}").json()["contactId"] == str(jane.id)


def test_a_survivor_without_an_address_is_shown_with_the_merged_ones(workspace, pair):
    _, other = pair
    survivor = create_contact(workspace, ContactChanges(first_name="S"))
    merge_contacts(workspace.id, survivor, other)
    answer = NativeClient(workspace).post("events", {"type": "buy", "contactId": str(other.id)})
    assert answer.json()["contact"]["email"] == "other@example.test"


def at_once(*calls):
    """Run calls in a connection each, all started together; an exception is a result too."""
    start = threading.Barrier(len(calls))

    def run(call):
        try:
            start.wait(10)
            return call()
        except Exception as error:  # the test looks at it
            return error
        finally:
            connection.close()

    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result(60) for future in [pool.submit(run, call) for call in calls]]


def test_of_two_merges_of_one_contact_at_once_one_is_refused(workspace):
    for number in range(5):
        people = [a_person(workspace, f"{name}{number}") for name in ("a", "b", "c")]
        results = at_once(
            lambda people=people: merge_contacts(workspace.id, people[0], people[2]),
            lambda people=people: merge_contacts(workspace.id, people[1], people[2]),
        )
        assert sorted(type(result).__name__ for result in results) == ["AlreadyMerged", "Merge"]


def test_merges_of_two_contacts_into_each_other_at_once_make_no_circle(workspace):
    for number in range(5):
        one, two = a_person(workspace, f"a{number}"), a_person(workspace, f"b{number}")
        results = at_once(
            lambda one=one, two=two: merge_contacts(workspace.id, one, two),
            lambda one=one, two=two: merge_contacts(workspace.id, two, one),
        )
        assert sorted(type(result).__name__ for result in results) == ["Merge", "MergeCycle"]


def test_chains_merged_at_once_are_flat(workspace):
    for number in range(5):
        first, second, third = (a_person(workspace, f"{name}{number}") for name in ("a", "b", "c"))
        results = at_once(
            lambda one=first, two=second: merge_contacts(workspace.id, one, two),
            lambda two=second, three=third: merge_contacts(workspace.id, two, three),
        )
        assert not [result for result in results if isinstance(result, Exception)], results
        reads_as = dict(Contact.objects.values_list("id", "merged_into_id"))
        assert [reads_as[one.id] for one in (first, second, third)] == [None, first.id, first.id]


def test_one_of_two_undos_at_once_is_refused(workspace, pair):
    merge = merge_contacts(workspace.id, *pair)
    results = at_once(*[lambda: undo_merge(workspace.id, merge)] * 2)
    assert sorted(type(result).__name__ for result in results) == ["Merge", "MergeUndone"]


def test_events_that_come_in_during_merges_are_counted_once_each(workspace, pair):
    jane, other = pair
    build(workspace)
    rounds = 8

    def ingest():
        for _ in range(rounds * 3):
            for name in ("jane", "other"):
                send(workspace, name)
        return "sent"

    def update():
        for number in range(rounds * 2):
            changes = ContactChanges(attributes={"n": number})
            reference = ContactReference(
                identifiers=(("email", "other@example.test"),), update_matched=True, changes=changes
            )
            record_events(workspace.id, [IncomingEvent("seen", reference)], schema_policy=SchemaPolicy.OPEN)
        return "updated"

    def regroup():
        for _ in range(rounds):
            undo_merge(workspace.id, merge_contacts(workspace.id, jane, other))
        return "merged"

    def work():
        for _ in range(rounds * 2):
            apply_effects(workspace.id)
        return "applied"

    assert at_once(ingest, regroup, work, update) == ["sent", "merged", "applied", "updated"]
    apply_effects(workspace.id)
    assert not EventBatch.objects.exists()
    assert (totals(jane), totals(other)) == ([(24, 0), (24, 24)],) * 2
    counted = [event.id for event in events_seen()]
    assert len(counted) == len(set(counted)) == 48
    for batch in SEEN:
        survivors = {event.contact_id for event in batch.events}
        assert survivors <= {jane.id, other.id}


def test_nothing_of_a_merge_that_is_rolled_back_is_left(workspace, pair):
    def merge_and_fail():
        with transaction.atomic():
            merge_contacts(workspace.id, *pair)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        merge_and_fail()
    assert not Contact.objects.exclude(merged_into=None).exists()
    assert not EventBatch.objects.exists()


def test_another_workspaces_lanes_are_not_waited_for(workspace, pair, monkeypatch):
    jane, other = pair
    monkeypatch.setattr(lane_changes, "WAIT_SECONDS", 0.2)
    with lane_held_elsewhere(WorkspaceFactory(), lane_of(jane.id)):
        merge_contacts(workspace.id, jane, other)
