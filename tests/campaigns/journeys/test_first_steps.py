"""An enrollment's first steps in the insert are those that a worker would take: the same rows, reasons and times."""

from datetime import time as time_of_day

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from campaigns.journeys import enrollment as enrolling
from campaigns.journeys import first_steps
from campaigns.journeys.definition.steps import SendStep
from campaigns.journeys.lifecycle import execute_campaign, start_trial
from campaigns.journeys.processor import process_due_enrollments
from campaigns.journeys.steps import STEP_HANDLERS
from campaigns.models import Decision, Enrollment, Message
from contacts.merging.merges import merge_contacts
from contacts.models import Consent, Contact
from events.processing.passes import apply_effects
from tests.campaigns.factories import (
    a_campaign,
    definition,
    ends,
    enrollments_of,
    marks,
    messages_of,
    node,
    on_event,
    work,
)
from tests.campaigns.messages import a_template, deliver_ready, use_channel
from tests.campaigns.rows import a_suppression
from tests.contacts.factories import a_contact
from tests.segments.factories import send, tell

pytestmark = pytest.mark.django_db

WAIT = node("wait", "wait", duration="1d")
GOAL = {"goal": {"eventType": "buy", "within": "7d"}}
VIP = {"type": "tag", "value": "vip"}
SAME_ORDER = {"match": {"property": "order", "trigger": "order"}}
PEOPLE = {
    "vip": {"attributes": {"renewal": "2026-05-20", "timezone": "Asia/Tokyo"}, "tags": ("vip",)},
    "late": {"attributes": {"renewal": "2026-04-01"}},
    "blank": {},
}


def no_settings(workspace):
    """Leave the workspace as it is."""


def quiet(workspace):
    use_channel(workspace, "email", quiet_from=time_of_day(10), quiet_until=time_of_day(14), time_zone="UTC")


def capped(workspace):
    use_channel(workspace, "email", cap_count=1, cap_hours=24)


def opted_out(workspace):
    for contact in workspace_contacts(workspace):
        Consent.objects.create(workspace=workspace, contact=contact, channel="email", status="opted_out")


def suppressed(workspace):
    a_suppression(workspace, "vip@example.test")


def needs_opt_in(workspace):
    use_channel(workspace, "email", requires_opt_in=True)


def mail(workspace, id_="send", body="<p>Hello {{ contact.email }}", **more):
    template = a_template(workspace, body)
    return node(id_, "send", channel="email", templateId=str(template.id), **more)


def branches(workspace):
    choice = node("choice", "branch", branches=[{"handle": "vip", "condition": VIP}])
    edges = [("choice", "send", "vip"), ("choice", "wait", "else"), ("send", "wait")]
    return definition(choice, mail(workspace), WAIT, edges=edges)


def arms(workspace):
    split = node("split", "split", arms=[{"handle": "a", "weight": 30}, {"handle": "b", "weight": 30}])
    return definition(split, mail(workspace), WAIT, edges=[("split", "send", "a"), ("split", "wait", "b")])


def awaited(workspace, **more):
    step = node("await", "waitForEvent", eventType="paid", timeout="2d", **more)
    return definition(
        step, mail(workspace), WAIT, edges=[("await", "send", "event"), ("await", "wait", "timeout")]
    )


FLOWS = {
    "wait": lambda workspace: definition(WAIT, mail(workspace)),
    "time of day": lambda workspace: definition(node("wait", "wait", timeOfDay="09:00"), mail(workspace)),
    "date": lambda workspace: definition(
        node("wait", "wait", until={"field": "attributes.renewal", "offset": "-3d", "at": "09:00"}),
        mail(workspace),
    ),
    "event": awaited,
    "event of the order": lambda workspace: awaited(workspace, **SAME_ORDER),
    "send": lambda workspace: definition(mail(workspace)),
    "send, wait": lambda workspace: definition(mail(workspace), WAIT),
    "two sends": lambda workspace: definition(
        mail(workspace), mail(workspace, "more", transactional=True), WAIT
    ),
    "fault": lambda workspace: definition(mail(workspace, body="{{ contact.firstName | upcase"), WAIT),
    "lacks a value": lambda workspace: definition(mail(workspace, body="{{ event.properties.nope }}"), WAIT),
    "webhook": lambda workspace: definition(
        node("call", "webhook", url="https://example.test/{{ contact.id }}", body='{"a": 1}'), WAIT
    ),
    "branch": branches,
    "split": arms,
    "exit": lambda workspace: definition(node("out", "exit", reason="enough")),
    "goal": lambda workspace: definition(mail(workspace), WAIT, **GOAL),
    "state exit": lambda workspace: definition(mail(workspace), WAIT, exits=[{"condition": VIP}]),
    "change, send": lambda workspace: definition(
        WAIT | {"id": "short", "data": {"duration": "1s"}},
        node("set", "update", attributes={"a": 1}),
        mail(workspace),
    ),
    "send, mark": lambda workspace: definition(mail(workspace), marks(), WAIT),
    "once": lambda workspace: definition(mail(workspace), WAIT, reentry={"mode": "once"}),
}
SETTINGS = [no_settings, quiet, capped, opted_out, suppressed, needs_opt_in]


@pytest.mark.parametrize("flow", FLOWS)
def test_the_first_steps_in_the_insert_are_those_of_a_worker(workspace, time, monkeypatch, flow):
    assert_alike(workspace, FLOWS[flow], time, monkeypatch)


@pytest.mark.parametrize("settings", SETTINGS)
def test_what_keeps_a_message_back_keeps_one_of_the_insert_back(workspace, time, monkeypatch, settings):
    assert_alike(workspace, FLOWS["two sends"], time, monkeypatch, settings)


def assert_alike(workspace, flow, time, monkeypatch, settings=no_settings):
    """Let the same happen twice to the same people: with first steps in the insert, and with a worker for all."""
    people = [a_contact(workspace, f"{name}@example.test", **more) for name, more in PEOPLE.items()]
    campaign = a_campaign(workspace, flow(workspace))
    settings(workspace)
    for person in people:
        tell(workspace, person, "go", order="A")
    time.go(seconds=1)
    tell(workspace, people[0], "buy", "paid", order="A")

    def happen(excluded_steps):
        before = transaction.savepoint()
        with monkeypatch.context() as patched:
            patched.setattr(first_steps, "_EXCLUDED_STEPS", excluded_steps)
            apply_effects(workspace.id)
            steps = [enrollment.steps_taken for enrollment in enrollments_of(campaign)]
            work(workspace)
            rows = decisions_and_messages(campaign)
        transaction.savepoint_rollback(before)
        return rows, steps

    at_once, _ = happen(first_steps._EXCLUDED_STEPS)
    later, steps = happen(frozenset(STEP_HANDLERS))
    assert set(steps) == {0}
    assert at_once == later
    assert at_once["runs"]


def decisions_and_messages(campaign):
    """Return all that is known of a campaign's enrollments, but for ids that are drawn."""
    enrollments = {enrollment.id: enrollment for enrollment in enrollments_of(campaign)}
    names = ("step", "kind", "reason", "event_id", "decided_at")
    return {
        "runs": sorted((enrollment.contact_id, state_of(enrollment)) for enrollment in enrollments.values()),
        "decisions": {
            enrollment.contact_id: [
                (
                    [getattr(decision, name) for name in names],
                    {**decision.detail, "messageId": bool(decision.message_id)},
                )
                for decision in Decision.objects.filter(enrollment_id=enrollment.id).order_by("id")
            ]
            for enrollment in enrollments.values()
        },
        "messages": sorted(
            (
                message.contact_id,
                message.key.partition(":")[2],
                message.status,
                message.send_at,
                message.address,
                message.body,
                message.priority,
            )
            for message in messages_of(campaign)
        ),
    }


DRAWN = ("id", "key", "event_id", "resumed_by_event_id", "error")


def state_of(enrollment):
    return [
        (field.attname, getattr(enrollment, field.attname))
        for field in Enrollment._meta.concrete_fields
        if field.attname not in DRAWN
    ]


def workspace_contacts(workspace):
    return Contact.objects.in_workspace(workspace.id)


def test_a_enrollment_that_waits_is_written_once_and_calls_no_worker(workspace, jane, monkeypatch):
    campaign = a_campaign(workspace, definition(WAIT))
    called = []
    monkeypatch.setattr(enrolling.enrollment_wake_ups, "wake", lambda _: called.append(True))
    with CaptureQueriesContext(connection) as queries:
        send(workspace, jane, "go")
    (enrollment,) = enrollments_of(campaign)
    assert (enrollment.step, enrollment.steps_taken, bool(enrollment.arrived_at), called) == (
        "wait",
        0,
        True,
        [],
    )
    written = [
        query["sql"]
        for query in queries
        if "campaigns_enrollment" in query["sql"] and "SELECT" not in query["sql"][:6]
    ]
    assert [sql.split()[0] for sql in written if "WITH" not in sql] == ["INSERT"]


def test_a_message_is_ready_once_the_effects_are_applied(workspace, jane, mailoutbox):
    campaign = a_campaign(workspace, definition(mail(workspace), WAIT))
    send(workspace, jane, "go")
    assert [message.status for message in messages_of(campaign)] == ["QUEUED"]
    deliver_ready(workspace.id, "email")
    assert len(mailoutbox) == 1
    work(workspace)
    deliver_ready(workspace.id, "email")
    assert (len(mailoutbox), len(messages_of(campaign))) == (1, 1)


def test_what_changes_the_contact_or_tells_the_stream_is_left_to_a_worker(workspace, jane):
    campaigns = [
        a_campaign(workspace, definition(step, WAIT))
        for step in (
            marks(),
            node("set", "update", attributes={"plan": "pro"}),
            node("tag", "tag", add=["vip"]),
        )
    ]
    send(workspace, jane, "go")
    assert [
        [enrollment.steps_taken for enrollment in enrollments_of(campaign)] for campaign in campaigns
    ] == [[0]] * 3
    process_due_enrollments(workspace.id, at_most_seconds=30)
    assert [[enrollment.step for enrollment in enrollments_of(campaign)] for campaign in campaigns] == [
        ["wait"]
    ] * 3


def test_a_first_step_that_fails_lets_the_others_in_and_is_tried_again(workspace, jane, time, monkeypatch):
    john = a_contact(workspace, "john@example.test")
    campaign = a_campaign(workspace, definition(mail(workspace), WAIT))
    real = STEP_HANDLERS[SendStep]

    def fail(context, enrollments):
        outcomes = real(context, enrollments)
        if any(enrollment.contact_id == jane.id for enrollment in enrollments):
            raise ValueError("nope")
        return outcomes

    with monkeypatch.context() as patched:
        patched.setitem(STEP_HANDLERS, SendStep, fail)
        tell(workspace, jane, "go")
        send(workspace, john, "go")
        states = {
            enrollment.contact_id: (enrollment.step, enrollment.steps_taken, enrollment.attempts)
            for enrollment in enrollments_of(campaign)
        }
        assert states == {jane.id: ("send", 0, 0), john.id: ("wait", 1, 0)}
        process_due_enrollments(workspace.id, at_most_seconds=30)
        assert [enrollment.error for enrollment in enrollments_of(campaign, jane)] == ["ValueError: nope"]
    time.go(minutes=1)
    work(workspace)
    assert {enrollment.step for enrollment in enrollments_of(campaign)} == {"wait"}
    assert sorted(message.contact_id for message in messages_of(campaign)) == sorted([jane.id, john.id])


def test_a_trial_begins_with_a_worker(workspace, jane):
    campaign = a_campaign(workspace, definition(mail(workspace), WAIT))
    start_trial(workspace.id, campaign, jane, skips_waits=True)
    assert messages_of(campaign) == []
    work(workspace)
    assert ends(campaign) == [("completed", "end_of_workflow")]
    assert len(messages_of(campaign)) == 1


def test_the_enrollment_of_whom_others_were_merged_into_begins_with_a_worker(workspace, jane):
    john = a_contact(workspace, "john@example.test")
    merge_contacts(workspace.id, jane, john)
    work(workspace)
    campaign = a_campaign(workspace, definition(mail(workspace), WAIT, reentry={"mode": "once"}))
    send(workspace, jane, "go")
    assert (messages_of(campaign), [enrollment.steps_taken for enrollment in enrollments_of(campaign)]) == (
        [],
        [0],
    )
    work(workspace)
    assert len(messages_of(campaign)) == 1


def test_who_is_let_in_by_hand_begins_with_a_worker(workspace, jane):
    """An event whose effects were applied before the commit found no enrollment; a worker looks back for it."""
    campaign = a_campaign(workspace, definition(mail(workspace), trigger={"type": "MANUAL"}))
    execute_campaign(workspace.id, campaign, jane)
    assert (messages_of(campaign), [enrollment.steps_taken for enrollment in enrollments_of(campaign)]) == (
        [],
        [0],
    )
    work(workspace)
    assert (ends(campaign), len(messages_of(campaign))) == ([("completed", "end_of_workflow")], 1)


def test_of_very_many_messages_some_are_left_to_a_worker(workspace, monkeypatch):
    monkeypatch.setattr(first_steps, "MAX_MESSAGES", 3)
    campaign = a_campaign(workspace, definition(mail(workspace), mail(workspace, "more"), WAIT))
    people = [a_contact(workspace, f"p{number}@example.test") for number in range(4)]
    for person in people:
        tell(workspace, person, "go")
    apply_effects(workspace.id)
    assert len(messages_of(campaign)) == 3
    assert sorted(enrollment.step for enrollment in enrollments_of(campaign)) == [
        "more",
        "more",
        "more",
        "send",
    ]
    work(workspace)
    assert (len(messages_of(campaign)), {enrollment.step for enrollment in enrollments_of(campaign)}) == (
        8,
        {"wait"},
    )


def test_what_enrollments_of_many_campaigns_send_is_reserved_at_once(workspace, jane):
    def statements(count):
        for _ in range(count):
            a_campaign(workspace, definition(mail(workspace), trigger=on_event(f"go {count}")))
        tell(workspace, jane, f"go {count}")
        with CaptureQueriesContext(connection) as queries:
            apply_effects(workspace.id)
        assert Message.objects.filter(event_id__isnull=False).count() >= count
        return len(queries)

    statements(2)
    assert statements(3) == statements(6)
