"""The stream names the event that let a contact into a segment, or out of it, and no other."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from contacts.crud import update_contact
from contacts.merging.merges import merge_contacts
from contacts.models import Contact
from contacts.references import ContactChanges
from events.models import EffectsLevel, Event, EventBatch
from events.processing import passes
from events.processing.passes import apply_effects
from events.stream.recording import record_events
from events.stream.types import IncomingEvent, SchemaPolicy
from scoring.models import ScoringRule
from scoring.rules import save_rule
from segments.models import Membership, MembershipPeriod
from tests.contacts.factories import a_contact, by_email, tag_contact
from tests.native import NativeClient
from tests.segments.factories import a_segment, attribute, did, every, in_segment, none_of, send

pytestmark = pytest.mark.django_db


def moves(segment, name="segment.entered"):
    """Return the news of a segment, each with its cause."""
    of_segment = Event.objects.filter(
        workspace_id=segment.workspace_id, name=name, properties__segmentId=str(segment.id)
    )
    return [
        (move, Event.objects.filter(workspace_id=segment.workspace_id, id=move.cause_id).first())
        for move in of_segment.order_by("id")
    ]


def cause(segment, name="segment.entered"):
    """Return the only move's cause, None if it was time."""
    ((move, by),) = moves(segment, name)
    if by is not None:
        assert move.depth == by.depth + 1
        assert move.occurred_at >= by.received_at
    return by


def record(workspace, *incoming, **options):
    """Record events in one call, and return them."""
    outcomes = record_events(workspace.id, list(incoming), schema_policy=SchemaPolicy.OPEN, **options)
    assert all(outcome.status == "recorded" for outcome in outcomes), outcomes
    return [Event.objects.get(workspace=workspace, id=outcome.event.id) for outcome in outcomes]


def of(contact, name, at=None, **properties):
    return IncomingEvent(name, by_email(contact), properties, occurred_at=at)


@pytest.fixture
def settled(workspace, jane):
    """Return a contact whose creation has been seen to."""
    apply_effects(workspace.id)
    return "jane@example.test"


def one_by_one(monkeypatch):
    """Let a pass take no more than the lane's oldest batch."""
    monkeypatch.setattr(passes.settings, "EFFECTS_BATCH_SIZE", 1)


@pytest.mark.parametrize("passes", ["one", "several"])
def test_a_new_contacts_first_event_is_the_cause_and_not_its_creation(workspace, monkeypatch, passes):
    segment = a_segment(workspace, did("buy", timeWindow="7d"))
    everybody = a_segment(workspace, none_of(did("leave")))
    if passes == "several":
        one_by_one(monkeypatch)
    person = a_contact(workspace, "new@example.test")
    (bought,) = record(workspace, of("new@example.test", "buy"))
    apply_effects(workspace.id)
    assert cause(segment) == bought
    assert cause(everybody).name == "contact.created"
    assert person.id == bought.contact_id


def test_over_the_api_each_event_of_a_batch_has_its_entry_in_its_trace(workspace, monkeypatch):
    """One pass has the creation and the purchase, another the creation alone, with the purchase on record."""
    api = NativeClient(workspace)
    segment = a_segment(workspace, did("buy", timeWindow="7d"), "Buyers")
    one_by_one(monkeypatch)
    bought = []
    for number in range(12):
        email = f"c{number}@example.test"
        contact = api.post("contacts", {"email": email}).json()
        if number % 3 == 0:
            apply_effects(workspace.id)
        answer = api.post(
            "events/batch",
            {
                "events": [
                    {"type": "buy", "contactId": contact["id"]},
                    {"type": "look", "contactId": contact["id"]},
                ]
            },
        )
        assert answer.status_code < 300, answer.json()
        bought.append(Event.objects.get(workspace=workspace, contact_id=contact["id"], name="buy"))
    apply_effects(workspace.id)
    for event in bought:
        trace = api.get(f"events/{event.id}/trace").json()
        assert [(one["segment"]["name"], one["entered"]) for one in trace["segments"]] == [("Buyers", True)]
        assert trace["segments"][0]["at"] >= trace["receivedAt"]
        created = Event.objects.get(workspace=workspace, contact_id=event.contact_id, name="contact.created")
        assert api.get(f"events/{created.id}/trace").json()["segments"] == []
    assert Membership.objects.filter(workspace=workspace, version=segment.version).count() == 12


def test_of_several_events_the_one_that_fulfils_the_rule_is_the_cause(workspace, settled):
    thrice = a_segment(workspace, did("buy", timeWindow="7d", operator="gte", value=3))
    ever = a_segment(workspace, did("buy", operator="gte", value=4))
    spent = a_segment(
        workspace,
        did("buy", timeWindow="7d", aggregate="sum", property="metadata.total", operator="gte", value=25),
    )
    bought = record(workspace, *(of(settled, "buy", total=10) for _ in range(6)))
    apply_effects(workspace.id)
    assert cause(thrice) == bought[2]
    assert cause(ever) == bought[3]
    assert cause(spent) == bought[2]


def test_an_event_that_the_rule_does_not_count_is_no_cause(workspace, settled):
    big = {"field": "metadata.total", "operator": "gte", "value": 100}
    segment = a_segment(
        workspace, did("buy", timeWindow="7d", filters={"operator": "AND", "conditions": [big]})
    )
    _, counts, _ = record(workspace, *(of(settled, "buy", total=total) for total in (5, 500, 6)))
    apply_effects(workspace.id)
    assert cause(segment) == counts


def test_who_leaves_because_of_an_event_left_by_it(workspace, settled):
    idle = a_segment(workspace, none_of(did("buy", timeWindow="7d")))
    bought, _, _ = record(workspace, of(settled, "buy"), of(settled, "look"), of(settled, "buy"))
    apply_effects(workspace.id)
    assert cause(idle, "segment.exited") == bought


def test_an_exit_by_time_has_no_cause(workspace, time, settled):
    segment = a_segment(workspace, did("buy", timeWindow="1d"))
    send(workspace, Contact.objects.get(), "buy")
    # To the very moment, and with an event of the contact in the same run.
    time.go(days=1)
    send(workspace, Contact.objects.get(), "look")
    assert cause(segment, "segment.exited") is None


def test_a_change_of_the_contact_that_the_rule_reads_is_the_cause(workspace, settled, jane):
    segment = a_segment(workspace, every(did("buy"), attribute("attributes.plan", "eq", "pro")))
    record(workspace, of(settled, "buy"))
    update_contact(workspace.id, jane, ContactChanges(attributes={"plan": "pro"}))
    update_contact(workspace.id, jane, ContactChanges(attributes={"colour": "red"}))
    record(workspace, of(settled, "look"))
    apply_effects(workspace.id)
    changed = cause(segment)
    assert (changed.name, changed.properties["new"]) == ("contact.updated", {"attributes": {"plan": "pro"}})


def test_an_event_after_the_change_is_the_cause(workspace, settled, jane):
    segment = a_segment(workspace, every(did("buy"), {"type": "tag", "value": "vip"}))
    tag_contact(workspace.id, jane, "vip")
    (bought,) = record(workspace, of(settled, "buy"))
    apply_effects(workspace.id)
    assert cause(segment) == bought


def test_the_event_that_earned_the_points_is_the_cause(workspace, settled):
    save_rule(ScoringRule(workspace=workspace, name="Looks", event_name="look", points=10))
    segment = a_segment(workspace, attribute("score", "gte", 30))
    looked = record(workspace, *(of(settled, "look") for _ in range(5)), of(settled, "buy"))
    apply_effects(workspace.id)
    assert cause(segment) == looked[2]


def test_a_segment_on_a_segment_has_the_cause_of_the_one_below(workspace, settled):
    below = a_segment(workspace, did("buy", timeWindow="7d"))
    above = a_segment(workspace, in_segment(below))
    bought, _ = record(workspace, of(settled, "buy"), of(settled, "look"))
    apply_effects(workspace.id)
    assert cause(below) == bought
    assert cause(above) == bought


def test_an_event_that_came_late_is_the_cause_and_dates_nothing_back(workspace, time, settled):
    segment = a_segment(workspace, did("buy", timeWindow="7d", operator="gte", value=2))
    send(workspace, Contact.objects.get(), "buy")
    time.go(hours=5)
    (late,) = record(workspace, of(settled, "buy", at=time.now() - timedelta(hours=4)))
    apply_effects(workspace.id)
    assert cause(segment) == late
    assert MembershipPeriod.objects.get(workspace=workspace, segment=segment).entered_at == time.now()


def test_a_merge_that_changes_it_is_the_cause(workspace, settled, jane):
    segment = a_segment(workspace, did("buy", timeWindow="7d", operator="gte", value=2))
    one = a_segment(workspace, did("buy", timeWindow="7d", operator="eq", value=1))
    other = a_contact(workspace, "other@example.test")
    record(workspace, of(settled, "buy"), of("other@example.test", "buy"))
    apply_effects(workspace.id)
    merge_contacts(workspace.id, jane, other)
    record(workspace, of(settled, "look"))
    apply_effects(workspace.id)
    assert cause(segment).name == "contact.merged"
    # Who was merged away leaves by it too, and nothing is started by that.
    gone = [by.name for _, by in moves(one, "segment.exited")]
    assert gone == ["contact.merged", "contact.merged"]
    assert not EventBatch.objects.exists()


def test_what_an_event_caused_is_of_its_level(workspace, settled):
    segment = a_segment(workspace, did("buy", timeWindow="7d"))
    record(workspace, of(settled, "buy"), level=EffectsLevel.SCORES_AND_SEGMENTS, source="import")
    record(workspace, of(settled, "buy"))
    levels = []
    original = passes._claim_work
    effects_taken = lambda *arguments: levels.append(original(*arguments)) or levels[-1]  # noqa: E731
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passes, "_claim_work", effects_taken)
        apply_effects(workspace.id)
    ((entered, _),) = moves(segment)
    assert levels[1].events == {str(entered.id): (EffectsLevel.SCORES_AND_SEGMENTS, False)}


def test_an_entry_waits_for_the_receipt_of_its_cause(workspace, settled, monkeypatch):
    """An event that is recorded while contacts are evaluated counts already: the entry is not of before it."""
    segment = a_segment(workspace, did("buy", timeWindow="7d"))
    original = passes._claim_work
    late = []

    def take(*arguments):
        taken = original(*arguments)
        if not late:
            late.append(None)
            late[0] = record(workspace, of(settled, "buy", at=Event.objects.latest("id").occurred_at))[0]
        return taken

    record(workspace, of(settled, "look"))
    tag_contact(workspace.id, Contact.objects.get(), "any")
    a_segment(workspace, every(did("buy", timeWindow="7d"), {"type": "tag", "value": "any"}))
    monkeypatch.setattr(passes, "_claim_work", take)
    apply_effects(workspace.id)
    for one in (segment,):
        assert cause(one) == late[0]
        assert Membership.objects.get(workspace=workspace, version=one.version).since >= late[0].received_at


def test_causes_by_rules_of_one_shape_are_found_together(workspace, settled):
    """What each rule counts of two purchases is asked of all rules at once: the statements are as many as for two."""
    taken = []
    for number, rules in enumerate((2, 20)):
        names = [f"buy {number} {place}" for place in range(rules)]
        segments = [
            a_segment(workspace, did(name, value=2, operator="gte", timeWindow="7d"), name) for name in names
        ]
        record(workspace, *(of(settled, name) for name in names for _ in range(3)))
        with CaptureQueriesContext(connection) as captured:
            apply_effects(workspace.id)
        taken.append(sum("SELECT b.place FROM" in each["sql"] for each in captured))
        for segment in segments:
            events = Event.objects.filter(workspace=workspace, name=segment.name).order_by(
                "received_at", "id"
            )
            assert cause(segment) == events[1]
    assert taken[0] == taken[1] > 0
