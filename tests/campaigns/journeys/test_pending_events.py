"""No step is taken past what has happened already, though the effects are still to come; nothing leaves after it."""

import itertools
from collections import Counter
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from campaigns.journeys import pending_events
from campaigns.journeys.processor import process_due_enrollments
from campaigns.models import Decision, Message
from config import clock
from contacts.merging.merges import merge_contacts
from contacts.references import ContactReference
from events.models import EffectsLevel, Event, EventBatch
from events.processing.passes import apply_effects
from events.processing.regrouping import regroup_imported
from events.stream.outbox import enqueue_events, lane_of
from events.stream.recording import record_events
from events.stream.types import IncomingEvent, SchemaPolicy
from tests.campaigns.factories import (
    a_campaign,
    decided,
    definition,
    ends,
    marks,
    messages_of,
    node,
    sends,
    work,
)
from tests.campaigns.messages import deliver_ready, use_channel
from tests.contacts.factories import a_contact, tag_contact
from tests.plans import entries_read
from tests.segments.factories import send, tell
from tests.workspaces.factories import WorkspaceFactory

pytestmark = pytest.mark.django_db

GOAL = {"goal": {"eventType": "buy", "within": "7d"}}
STOP = {"exits": [{"eventType": "buy"}]}
WAIT = node("wait", "wait", duration="1d")
DEAR = {"field": "properties.amount", "operator": "gt", "value": 10}
VIP = {"type": "tag", "value": "vip"}


def step(workspace):
    """Take on what is due, while the workers of effects stand still."""
    process_due_enrollments(workspace.id, at_most_seconds=30)


@pytest.mark.parametrize(
    ("rule", "end"), [(GOAL, ("converted", "goal")), (STOP, ("exited", "exit_rule"))], ids=["goal", "exit"]
)
def test_who_has_bought_gets_no_message_though_the_effects_wait(workspace, jane, time, rule, end):
    campaign = a_campaign(workspace, definition(WAIT, sends(workspace), **rule))
    send(workspace, jane, "go")
    work(workspace)
    time.go(days=1)
    tell(workspace, jane, "buy")
    step(workspace)
    assert (messages_of(campaign), ends(campaign)) == ([], [end])
    work(workspace)
    assert (messages_of(campaign), ends(campaign)) == ([], [end])
    assert decided(campaign, "ended") == [("ended", end[1])]
    assert Decision.objects.get(kind="ended").event_id is not None


def test_an_event_that_waited_beside_the_trigger_ends_the_enrollment_before_its_first_step(
    workspace, jane, time
):
    campaign = a_campaign(workspace, definition(sends(workspace), **GOAL))
    tell(workspace, jane, "go")
    time.go(seconds=1)
    tell(workspace, jane, "buy")
    work(workspace)
    assert (messages_of(campaign), ends(campaign)) == ([], [("converted", "goal")])


def test_a_trigger_that_comes_late_finds_what_followed_it_in_the_stream(workspace, jane, time):
    campaign = a_campaign(workspace, definition(sends(workspace), **GOAL))
    send(workspace, jane, "buy")
    send(workspace, jane, "go", at=time.moment - timedelta(hours=1))
    work(workspace)
    assert (messages_of(campaign), ends(campaign)) == ([], [("converted", "goal")])


def test_what_came_before_the_trigger_ends_nothing(workspace, jane, time):
    campaign = a_campaign(workspace, definition(sends(workspace), **GOAL))
    tell(workspace, jane, "buy")
    time.go(seconds=1)
    send(workspace, jane, "go")
    step(workspace)
    assert len(messages_of(campaign)) == 1


@pytest.mark.parametrize(("days", "sent"), [(6, 0), (8, 1)])
def test_a_goal_that_waits_counts_within_its_window(workspace, jane, time, days, sent):
    wait = node("wait", "wait", duration=f"{days}d")
    campaign = a_campaign(workspace, definition(wait, sends(workspace), **GOAL))
    send(workspace, jane, "go")
    work(workspace)
    time.go(days=days)
    tell(workspace, jane, "buy")
    step(workspace)
    assert len(messages_of(campaign)) == sent


@pytest.mark.parametrize(("amount", "sent"), [(50, 0), (5, 1)])
def test_a_condition_on_the_event_is_held_against_it(workspace, jane, amount, sent):
    goal = {**GOAL["goal"], "condition": DEAR}
    campaign = a_campaign(workspace, definition(marks(), sends(workspace), goal=goal))
    send(workspace, jane, "go")
    tell(workspace, jane, "buy", amount=amount)
    step(workspace)
    assert len(messages_of(campaign)) == sent


@pytest.mark.parametrize("tags", [("vip",), ()])
def test_where_the_contact_decides_too_the_step_waits_for_the_effects(workspace, time, tags):
    jane = a_contact(workspace, "jane@example.test", tags=tags)
    campaign = a_campaign(
        workspace, definition(marks(), sends(workspace), exits=[{"eventType": "buy", "condition": VIP}])
    )
    send(workspace, jane, "go")
    tell(workspace, jane, "buy")
    step(workspace)
    assert (messages_of(campaign), ends(campaign)) == ([], [("open", "")])
    apply_effects(workspace.id)
    time.go(seconds=5)
    work(workspace)
    assert len(messages_of(campaign)) == (0 if tags else 1)
    assert ends(campaign) == [("exited", "exit_rule") if tags else ("completed", "end_of_workflow")]


def test_a_wait_does_not_time_out_past_a_goal_that_waits(workspace, jane, time):
    awaits = node("await", "waitForEvent", eventType="paid", timeout="1d")
    left = node("left", "exit", reason="unpaid")
    campaign = a_campaign(workspace, definition(awaits, left, edges=[("await", "left", "timeout")], **GOAL))
    send(workspace, jane, "go")
    work(workspace)
    time.go(days=1)
    tell(workspace, jane, "buy")
    step(workspace)
    assert ends(campaign) == [("converted", "goal")]


def test_another_contacts_event_ends_nothing(workspace, jane):
    john = a_contact(workspace, "john@example.test")
    campaign = a_campaign(workspace, definition(sends(workspace), **GOAL))
    send(workspace, jane, "go")
    tell(workspace, john, "buy")
    step(workspace)
    assert len(messages_of(campaign)) == 1


def test_the_survivors_event_counts_for_the_enrollment_of_whom_was_merged_into_it(workspace, jane, time):
    john = a_contact(workspace, "john@example.test")
    campaign = a_campaign(workspace, definition(WAIT, sends(workspace), **GOAL))
    send(workspace, john, "go")
    work(workspace)
    merge_contacts(workspace.id, jane, john)
    work(workspace)
    time.go(days=1)
    tell(workspace, jane, "buy")
    step(workspace)
    assert (messages_of(campaign), ends(campaign)) == ([], [("converted", "goal")])


def test_where_nothing_waits_it_costs_one_statement_for_all(time):
    def statements(**more):
        workspace = WorkspaceFactory()
        people = [a_contact(workspace, f"person{number}@example.test") for number in range(3)]
        campaign = a_campaign(workspace, definition(WAIT, marks(), **more))
        for person in people:
            send(workspace, person, "go")
        work(workspace)
        time.go(days=1)
        with CaptureQueriesContext(connection) as queries:
            step(workspace)
        assert ends(campaign) == [("completed", "end_of_workflow")] * 3
        return len(queries)

    assert statements(**GOAL) == statements() + 1


def import_history(workspace, batches, contact, name="visit"):
    """Have a huge import wait, with all effects: each batch a transaction of its own."""
    who = ContactReference(id=str(contact.id))
    for number in range(batches):
        record_events(
            workspace.id,
            [
                IncomingEvent(name, who, occurred_at=clock.now(), message_id=f"{number}-{place}")
                for place in range(6)
            ],
            schema_policy=SchemaPolicy.OPEN,
            source="import",
        )


@pytest.mark.parametrize("is_regrouped", [False, True], ids=["as recorded", "regrouped"])
def test_a_huge_import_that_waits_is_not_read_at_each_step(workspace, jane, time, is_regrouped):
    others = (a_contact(workspace, f"other{number}@example.test") for number in itertools.count())
    other = next(each for each in others if lane_of(each.id) == lane_of(jane.id))
    campaign = a_campaign(
        workspace, definition(WAIT, marks(), node("again", "wait", duration="1d"), sends(workspace), **GOAL)
    )
    send(workspace, jane, "go")
    work(workspace)
    time.go(days=1)
    import_history(workspace, 200, other, "buy")
    if is_regrouped:
        regroup_imported(workspace.id)
        assert EventBatch.objects.filter(first_contact_id=other.id).exists()
    with CaptureQueriesContext(connection) as queries:
        read = entries_read(lambda: step(workspace))
    assert Event.objects.filter(name="mark").exists()
    looked_up = sum((counts for sql, counts in read.items() if "events_eventbatch" in sql), Counter())
    assert sum(count for name, count in looked_up.items() if name.startswith("events_event_")) < 10
    assert looked_up.total() < 250
    assert len(queries) < 60
    # Its own event is found among all that, wherever it waits.
    time.go(days=1)
    tell(workspace, jane, "buy")
    step(workspace)
    assert (messages_of(campaign), ends(campaign)) == ([], [("converted", "goal")])


@pytest.mark.parametrize("way", ["sent", "imported", "regrouped", "again"])
@pytest.mark.parametrize("most", [0, 32], ids=["many wait", "few wait"])
@pytest.mark.parametrize("is_merged", [False, True], ids=["", "merged"])
def test_an_event_is_found_however_it_waits(workspace, jane, time, monkeypatch, way, most, is_merged):
    monkeypatch.setattr(pending_events, "MOST_BATCHES", most)
    john = a_contact(workspace, "john@example.test")
    campaign = a_campaign(workspace, definition(WAIT, sends(workspace), **GOAL))
    send(workspace, jane, "go")
    work(workspace)
    time.go(days=1)
    who = john if is_merged else jane
    if way == "sent":
        tell(workspace, who, "buy")
    else:
        import_history(workspace, 1, who, "buy")
    if way == "again":
        waiting = list(Event.objects.filter(name="buy").values_list("id", "contact_id"))
        EventBatch.objects.all().delete()
        enqueue_events(workspace.id, waiting, level=EffectsLevel.ALL, is_repeat=True)
    if is_merged:
        merge_contacts(workspace.id, jane, john)
    if way == "regrouped":
        regroup_imported(workspace.id)
    step(workspace)
    assert (messages_of(campaign), ends(campaign)) == ([], [("converted", "goal")])


def test_what_has_had_its_effects_does_not_wait(workspace, jane, time, monkeypatch):
    monkeypatch.setattr(pending_events, "MOST_BATCHES", 0)
    goal = {**GOAL["goal"], "condition": VIP}
    campaign = a_campaign(workspace, definition(WAIT, sends(workspace), goal=goal))
    send(workspace, jane, "go")
    send(workspace, jane, "buy")
    work(workspace)
    time.go(days=1)
    tag_contact(workspace.id, jane, "vip")
    tell(workspace, jane, "other")
    step(workspace)
    assert len(messages_of(campaign)) == 1


# What is reserved already


def deferred(workspace):
    """Have e-mail wait for the morning."""
    return use_channel(workspace, "email", quiet_from="00:00", quiet_until="23:59", time_zone="UTC")


def of_marketing(workspace):
    step = sends(workspace)
    del step["data"]["transactional"]
    return step


@pytest.mark.parametrize("more", [(WAIT,), ()], ids=["under way", "at its end"])
def test_a_queued_message_of_who_has_bought_does_not_leave(workspace, jane, time, more):
    deferred(workspace)
    campaign = a_campaign(workspace, definition(of_marketing(workspace), *more, **GOAL))
    send(workspace, jane, "go")
    work(workspace)
    assert [message.status for message in messages_of(campaign)] == ["QUEUED"]
    send(workspace, jane, "buy")
    time.go(days=2, hours=12)
    deliver_ready(workspace.id, "email")
    assert [(message.status, message.error) for message in messages_of(campaign)] == [("CANCELLED", "goal")]
    assert ("not_sent", "goal") in decided(campaign)
    assert ends(campaign) == [("converted", "goal")]


def test_an_exit_condition_cancels_what_is_queued_when_it_is_found(workspace, jane, time):
    deferred(workspace)
    exits = [{"condition": {"type": "tag", "value": "done"}}]
    tagged = node("tag", "tag", add=["done"], remove=[])
    campaign = a_campaign(workspace, definition(of_marketing(workspace), tagged, WAIT, exits=exits))
    send(workspace, jane, "go")
    work(workspace)
    assert ends(campaign) == [("exited", "exit_rule")]
    assert [message.error for message in messages_of(campaign)] == ["exit_rule"]


@pytest.mark.parametrize("last", [(), (node("bye", "exit", reason="goal"),)], ids=["end", "exit step"])
def test_what_is_queued_leaves_when_the_enrollment_came_to_its_end_by_itself(workspace, jane, time, last):
    deferred(workspace)
    campaign = a_campaign(workspace, definition(of_marketing(workspace), *last, **GOAL))
    send(workspace, jane, "go")
    work(workspace)
    assert [message.status for message in messages_of(campaign)] == ["QUEUED"]


def test_calls_of_webhooks_and_what_has_left_stay_as_they_are(workspace, jane, time):
    calls = node("call", "webhook", url="https://example.test/hook", body="{}")
    campaign = a_campaign(workspace, definition(calls, sends(workspace), WAIT, **GOAL))
    send(workspace, jane, "go")
    work(workspace)
    Message.objects.filter(channel="email").update(status="SENT")
    send(workspace, jane, "buy")
    assert sorted((message.channel, message.status) for message in messages_of(campaign)) == [
        ("email", "SENT"),
        ("webhook", "QUEUED"),
    ]
