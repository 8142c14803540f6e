"""A trace follows one event through all that it turned, with each thing's own time."""

import pytest

from campaigns.reporting.trace import ContactResolution, ProcessingState, trace_event
from contacts.merging.merges import merge_contacts
from contacts.models import Contact
from events.models import Event, ParkedEffect
from events.processing.passes import apply_effects
from events.stream.definitions import PropertySpec, create_definition
from events.stream.derived_events import DerivedEvent, record_derived_events
from events.stream.types import IncomingEvent, SchemaPolicy
from scoring.models import ScoringRule
from scoring.rules import save_rule
from tests.campaigns.rows import a_campaign_row, a_decision, a_message, an_enrollment
from tests.contacts.factories import a_contact, by_email
from tests.segments.factories import a_segment, did
from tests.stream import record_event
from tests.workspaces.factories import WorkspaceFactory

pytestmark = pytest.mark.django_db


def recorded(workspace, name="buy", email="jane@example.test", **properties):
    incoming = IncomingEvent(name, by_email(email), properties)
    outcome = record_event(workspace, incoming, schema_policy=SchemaPolicy.OPEN)
    return Event.objects.get(workspace=workspace, id=outcome.event.id)


def caused(event, name, depth=1):
    """Record what follows from an event, and return it."""
    consequence = DerivedEvent(name, event.contact_id, event.occurred_at, cause_id=event.id, depth=depth)
    record_derived_events(event.workspace_id, [consequence], now=event.received_at)
    return Event.objects.get(workspace_id=event.workspace_id, cause_id=event.id, name=name)


def test_scores_and_segments_are_told_with_their_rules(workspace, jane):
    save_rule(ScoringRule(workspace=workspace, name="Buyers earn", event_name="buy", points=7))
    a_segment(workspace, did("buy"), "Buyers")
    event = recorded(workspace)
    assert trace_event(event).state is ProcessingState.WAITING
    apply_effects(workspace.id)
    other = recorded(workspace)
    apply_effects(workspace.id)

    trace = trace_event(event)
    assert trace.state is ProcessingState.APPLIED
    assert [(entry.points, rule) for entry, rule in trace.scores] == [(7, "Buyers earn")]
    assert [(event.name, event.properties["segmentName"]) for event in trace.derived_events] == [
        ("segment.entered", "Buyers")
    ]
    # The second purchase let nobody in.
    assert trace_event(other).derived_events == []


def test_a_rule_that_was_deleted_keeps_its_name(workspace, jane):
    rule = save_rule(ScoringRule(workspace=workspace, name="Buyers earn", event_name="buy", points=7))
    event = recorded(workspace)
    apply_effects(workspace.id)
    ScoringRule.with_deleted.filter(id=rule.id).update(deleted_at=event.received_at)
    assert [name for _, name in trace_event(event).scores] == ["Buyers earn"]


def test_what_followed_from_a_consequence_is_a_part_of_it(workspace, jane):
    event = recorded(workspace)
    entered = caused(event, "segment.entered")
    sent = caused(entered, "message.sent", depth=2)
    caused(recorded(workspace), "segment.exited")
    campaign = a_campaign_row(workspace, "Thanks")
    enrollment = an_enrollment(campaign, jane, event_id=entered.id)
    entry = a_decision(campaign, jane, "entered", event_id=entered.id, enrollment_id=enrollment.id)
    later = a_decision(campaign, jane, "not_sent", "suppressed", enrollment_id=enrollment.id, step="mail")
    refusal = a_decision(campaign, jane, "not_entered", "already_running", event_id=event.id)
    a_decision(campaign, jane, "entered")
    message = a_message(jane, campaign, enrollment_id=enrollment.id)
    a_message(jane, campaign)

    trace = trace_event(event)
    assert trace.derived_events == [entered, sent]
    assert trace.enrollments == [enrollment]
    assert trace.decisions == [entry, later, refusal]
    assert trace.messages == [message]
    assert trace.campaigns == {campaign.id: "Thanks"}


def test_a_circle_of_causes_ends(workspace, jane):
    event = recorded(workspace)
    first = caused(event, "x.happened")
    Event.objects.filter(id=event.id).update(cause_id=first.id)
    event.refresh_from_db()
    assert trace_event(event).derived_events == [first]


def test_how_the_contact_was_found(workspace, jane):
    known = trace_event(recorded(workspace))
    assert (known.resolved, known.contact_id) == (ContactResolution.KNOWN, jane.id)
    event = recorded(workspace, email="new@example.test")
    new = trace_event(event)
    assert (new.resolved, new.contact_id) == (ContactResolution.CREATED, event.contact_id)
    again = trace_event(recorded(workspace, email="new@example.test"))
    assert again.resolved is ContactResolution.KNOWN

    merge_contacts(workspace.id, jane, Contact.objects.get(id=event.contact_id))
    merged = trace_event(Event.objects.get(id=again.event.id))
    assert (merged.resolved, merged.contact_id) == (ContactResolution.MERGED, jane.id)

    outcome = record_event(workspace, IncomingEvent("look"), schema_policy=SchemaPolicy.OPEN)
    nobody = trace_event(Event.objects.get(id=outcome.event.id))
    assert (nobody.resolved, nobody.contact_id) == (ContactResolution.NOBODY, None)


def test_the_schema_says_what_does_not_fit_it(workspace, jane):
    create_definition(workspace.id, "buy", properties=[PropertySpec("amount", "integer")])
    event = recorded(workspace, amount="many", colour="red")
    Event.objects.filter(id=event.id).update(properties={"amount": "many", "colour": "red", "none": None})
    event.refresh_from_db()
    schema = trace_event(event).schema
    assert schema.is_declared
    assert schema.problems["amount"] == "not of the type integer"
    good = recorded(workspace, amount=5)
    assert trace_event(good).schema.problems == {}
    Event.objects.filter(id=good.id).update(name="never seen")
    good.refresh_from_db()
    unknown = trace_event(good).schema
    assert (unknown.definition_id, unknown.is_declared, unknown.problems) == (None, False, {})


def test_what_is_parked_is_told(workspace, jane):
    event = recorded(workspace)
    apply_effects(workspace.id)
    parked = ParkedEffect.objects.create(
        workspace=workspace, effect="x.y", subject="rule:1", event_ids=[event.id], error="no"
    )
    trace = trace_event(event)
    assert (trace.state, trace.parked) == (ProcessingState.PARKED, [parked])


def test_another_workspaces_rows_stay_out(workspace, jane):
    event = recorded(workspace)
    other = WorkspaceFactory()
    john = a_contact(other)
    theirs = a_campaign_row(other)
    an_enrollment(theirs, john, event_id=event.id)
    a_decision(theirs, john, "entered", event_id=event.id)
    a_message(john, event_id=event.id)
    trace = trace_event(event)
    assert (trace.enrollments, trace.decisions, trace.messages) == ([], [], [])


def test_its_cost_is_the_depth_not_the_number(workspace, jane, django_assert_max_num_queries):
    event = recorded(workspace)
    for number in range(5):
        caused(event, f"x.happened{number}")
    with django_assert_max_num_queries(15):
        assert len(trace_event(event).derived_events) == 5
