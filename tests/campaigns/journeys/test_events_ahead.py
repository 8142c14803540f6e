"""Senders whose clocks are ahead of ours: their events happened at receipt, for every kind of condition."""

from datetime import UTC, datetime, timedelta

import pytest

from campaigns.journeys.processor import process_due_enrollments
from config import clock
from contacts.models import ContactScore
from events.models import Event
from events.processing.passes import apply_effects
from scoring.verification import verify_contacts
from segments.memberships import explain_membership
from segments.verification import verify_segments
from tests.campaigns.factories import a_campaign, admissions, definition, ends, marks, on_event, work
from tests.contacts.factories import a_contact
from tests.native import NativeClient
from tests.scoring.factories import a_rule
from tests.segments.factories import VirtualClock, a_segment, did, none_of, tell, who_is_in

pytestmark = pytest.mark.django_db(transaction=True)

# The last second of a month: the id of what is sent now is of the next one, and in another partition.
NOW = datetime(2026, 5, 31, 23, 59, 59, 250_000, tzinfo=UTC)
IN_AN_HOUR = did("buy", operator="gte", value=1, timeWindow="1h")
HOLDING = [
    IN_AN_HOUR,
    did("buy", operator="gte", value=1),
    did("buy", operator="eq", value=1, timeWindow={"from": "2026-05-31", "to": "2026-06-01"}),
    did("buy", operator="gte", value=1, timeWindow={"from": "2026-05-31T23:00:00Z"}),
    did("buy", aggregate="last", operator="within", value="1h"),
    did("buy", aggregate="first", operator="after", value="2026-05-31", timeWindow="1d"),
    did("buy", aggregate="sum", property="metadata.amount", operator="gte", value=10, timeWindow="1d"),
    did("buy", aggregate="last", property="metadata.plan", operator="eq", value="pro", timeWindow="1d"),
    did("buy", aggregate="distinct", property="metadata.plan", operator="eq", value=1, timeWindow="1d"),
]
NOT_HOLDING = [
    none_of(did("buy", timeWindow="30d")),
    did("buy", operator="eq", value=0, timeWindow="30d"),
    did("buy", operator="lt", value=1, timeWindow={"to": "2026-06-30"}),
]


@pytest.fixture
def time(monkeypatch):
    virtual = VirtualClock(NOW)
    monkeypatch.setattr(clock, "now", virtual.now)
    return virtual


@pytest.fixture
def jane(time, workspace):
    return a_contact(workspace, "jane@example.test")


def sent(jane, at):
    return {
        "events": [
            {
                "type": "buy",
                "contactId": str(jane.id),
                "metadata": {"amount": 10, "plan": "pro"},
                "messageId": "order-1",
                "timestamp": at.isoformat(),
            }
        ]
    }


@pytest.mark.parametrize("ahead", [0.001, 0.2, 1, 60, 300])
def test_an_event_whose_sender_is_ahead_counts_everywhere(workspace, time, jane, ahead):
    holding = [a_segment(workspace, raw) for raw in HOLDING]
    not_holding = [a_segment(workspace, raw) for raw in NOT_HOLDING]
    a_rule(workspace, "buy", 5, IN_AN_HOUR)
    started = a_campaign(workspace, definition(trigger=on_event("buy", IN_AN_HOUR)))
    apply_effects(workspace.id)
    api, at = NativeClient(workspace), time.now() + timedelta(seconds=ahead)

    (first,) = api.post("events/batch", sent(jane, at)).json()["results"]
    apply_effects(workspace.id)

    event = Event.objects.get(workspace=workspace, name="buy")
    assert (event.occurred_at, first["status"]) == (time.now(), "recorded")
    assert [who_is_in(segment) for segment in holding] == [{jane.id}] * len(holding)
    assert [who_is_in(segment) for segment in not_holding] == [set()] * len(not_holding)
    for segment in (*holding, *not_holding):
        explanation = explain_membership(workspace.id, segment, jane.id)
        assert explanation.is_member == explanation.matches
    assert ContactScore.objects.get(contact=jane).points == 5
    assert admissions(started) == [("entered", "")]
    # Long after, when the sender's time has passed, it is the same event.
    time.go(hours=2)
    (again,) = api.post("events/batch", sent(jane, at)).json()["results"]
    assert again == {**first, "status": "duplicate"}
    apply_effects(workspace.id)
    assert Event.objects.filter(workspace=workspace, name="buy").count() == 1
    assert ContactScore.objects.get(contact=jane).points == 5
    assert verify_segments(workspace.id).is_sound
    assert verify_contacts(workspace.id, [jane.id]) == []


@pytest.mark.parametrize("ahead", [0.2, 300])
@pytest.mark.parametrize(
    ("more", "end"),
    [
        ({"exits": [{"condition": IN_AN_HOUR}]}, ("exited", "exit_rule")),
        ({"exits": [{"eventType": "buy", "condition": IN_AN_HOUR}]}, ("exited", "exit_rule")),
        ({"goal": {"eventType": "buy", "within": "7d"}}, ("converted", "goal")),
    ],
    ids=["exit condition", "exit event", "goal"],
)
@pytest.mark.parametrize("is_applied", [True, False], ids=["applied", "waiting"])
def test_an_event_whose_sender_is_ahead_ends_enrollments(workspace, time, jane, ahead, more, end, is_applied):
    campaign = a_campaign(workspace, definition(marks(), **more))
    tell(workspace, jane, "go")
    apply_effects(workspace.id)
    time.go(milliseconds=10)
    at = time.now() + timedelta(seconds=ahead)
    assert NativeClient(workspace).post("events/batch", sent(jane, at)).status_code == 200
    if is_applied:
        apply_effects(workspace.id)
    process_due_enrollments(workspace.id, at_most_seconds=30)
    work(workspace)
    time.go(seconds=5)
    work(workspace)
    assert ends(campaign) == [end]
    assert not Event.objects.filter(workspace=workspace, name="mark").exists()
