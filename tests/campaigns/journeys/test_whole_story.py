"""From an event to its message: report and trace tell what the services and workers really did."""

import pytest

from campaigns.journeys.lifecycle import start_trial
from campaigns.reporting.report import campaign_report
from campaigns.reporting.trace import ProcessingState, trace_event
from events.models import Event
from tests.campaigns.factories import (
    a_campaign,
    definition,
    enrollments_of,
    marks,
    messages_of,
    node,
    sends,
    work,
)
from tests.campaigns.messages import deliver_ready
from tests.contacts.factories import a_contact
from tests.segments.factories import a_segment, did, tell

pytestmark = pytest.mark.django_db


def event_of(workspace, name):
    return Event.objects.get(workspace=workspace, name=name)


def test_an_event_is_traced_to_the_message_that_was_sent(workspace, jane):
    buyers = a_segment(workspace, did("buy"), "Buyers")
    trigger = {"type": "SEGMENT_ENTER", "segmentId": str(buyers.id)}
    campaign = a_campaign(workspace, definition(sends(workspace), trigger=trigger), name="Thanks")
    tell(workspace, jane, "buy")
    assert trace_event(event_of(workspace, "buy")).state is ProcessingState.WAITING
    work(workspace)
    assert deliver_ready(workspace.id, "email") == 1
    work(workspace)

    trace = trace_event(event_of(workspace, "buy"))
    assert trace.state is ProcessingState.APPLIED
    assert {"segment.entered", "message.sent"} <= {event.name for event in trace.derived_events}
    (enrollment,), (message,) = trace.enrollments, trace.messages
    assert (enrollment.status, message.status, message) == ("completed", "SENT", messages_of(campaign)[0])
    kinds = [decision.kind for decision in trace.decisions]
    assert {"entered", "step", "sent", "ended"} <= set(kinds)
    assert trace.campaigns == {campaign.id: "Thanks"}

    report = campaign_report(campaign)
    assert (report.entered, report.enrollments["completed"], report.ended) == (1, 1, {"end_of_workflow": 1})
    assert report.messages["email"].by_status == {"SENT": 1}


def test_a_enrollments_way_is_told_in_its_order(workspace, jane):
    names = [f"mark{number}" for number in range(12)]
    campaign = a_campaign(workspace, definition(*(marks(name) for name in names)))
    tell(workspace, jane, "go")
    work(workspace)
    (enrollment,) = enrollments_of(campaign)
    way = trace_event(event_of(workspace, "go")).decisions
    assert [
        entry.step for entry in way if entry.kind == "step" and entry.enrollment_id == enrollment.id
    ] == names
    assert [entry.kind for entry in way][-1] == "ended"


def test_who_got_nothing_is_traced_and_counted_with_the_reason(workspace):
    nobody = a_contact(workspace)
    campaign = a_campaign(workspace, definition(sends(workspace), reentry={"mode": "once"}))
    for _ in range(2):
        tell(workspace, nobody, "go")
        work(workspace)
    first, second = Event.objects.filter(workspace=workspace, name="go").order_by("id")
    assert ("not_sent", "no_address") in [
        (decision.kind, decision.reason) for decision in trace_event(first).decisions
    ]
    assert [(decision.kind, decision.reason) for decision in trace_event(second).decisions] == [
        ("not_entered", "already_entered")
    ]
    report = campaign_report(campaign)
    assert (report.entered, report.not_entered) == (1, {"already_entered": 1})
    assert (report.not_sent, report.messages) == ({"no_address": 1}, {})


def test_the_ways_that_enrollments_took_are_counted(workspace):
    split = node("ab", "split", arms=[{"handle": "a", "weight": 50}, {"handle": "b", "weight": 50}])
    vip = {"type": "tag", "value": "vip"}
    which = node("which", "branch", branches=[{"handle": "vip", "condition": vip}])
    campaign = a_campaign(
        workspace,
        definition(split, which, marks(), edges=[("ab", "which", "a"), ("which", "mark", "else")]),
    )
    for number in range(20):
        tell(workspace, a_contact(workspace, f"p{number}@example.test"), "go")
    work(workspace)
    taken = {(step.step, step.handle): step.count for step in campaign_report(campaign).steps if step.handle}
    assert set(taken) == {("ab", "a"), ("ab", "b"), ("which", "else")}
    assert taken["ab", "a"] + taken["ab", "b"] == 20
    assert taken["which", "else"] == taken["ab", "a"]


def test_a_trial_is_in_no_report(workspace, jane):
    campaign = a_campaign(workspace, definition(sends(workspace)))
    start_trial(workspace.id, campaign, jane)
    work(workspace)
    (message,) = messages_of(campaign)
    assert message.is_test
    report = campaign_report(campaign)
    assert (report.entered, sum(report.enrollments.values()), report.messages, report.steps) == (0, 0, {}, [])
