"""Workers, events, merges and erasures at the same time: nothing is lost, nothing happens twice."""

import threading
from functools import partial
from time import sleep

import pytest

from campaigns.journeys import enrollment as enrolling
from campaigns.journeys import goals_and_exits, processor
from campaigns.journeys.lifecycle import (
    activate_campaign,
    archive_campaign,
    create_campaign,
    execute_campaign,
    pause_campaign,
    resume_campaign,
    update_campaign,
)
from campaigns.journeys.processor import process_due_enrollments
from campaigns.models import (
    Broadcast,
    CampaignVersion,
    Decision,
    Enrollment,
    Message,
    SentEmail,
    Template,
)
from config import clock
from contacts.crud import delete_contact
from contacts.erasure.erasures import erase_person, resolve_erasures
from contacts.merging.merges import merge_contacts, undo_merge
from contacts.references import ContactReference
from events.models import Event
from events.processing.passes import apply_effects
from events.stream.recording import record_events
from events.stream.types import IncomingEvent, SchemaPolicy
from events.tasks import process_due_timers
from segments.definitions import create_segment
from segments.models import Segment
from tests.campaigns.factories import (
    a_campaign,
    decided,
    definition,
    ends,
    enrollments_of,
    marks,
    messages_of,
    node,
    sends,
    work,
)
from tests.campaigns.messages import deliver_ready
from tests.contacts.factories import a_contact
from tests.segments.factories import send, tell
from tests.segments.test_races import at_once, paused

transactional = pytest.mark.django_db(transaction=True)
PEOPLE, EACH = 12, 4


@pytest.fixture
def john(workspace):
    return a_contact(workspace, "john@example.test")


def steps(workspace, done):
    """Take enrollments on for as long as some come."""
    while process_due_enrollments(workspace.id, at_most_seconds=30) == "done" or not done.is_set():
        sleep(0.01)


@transactional
def test_workers_that_share_the_work_send_each_message_once(workspace):
    people = [a_contact(workspace, f"p{number}@example.test") for number in range(PEOPLE)]
    campaign = a_campaign(workspace, definition(marks(), sends(workspace)))
    edited = definition(sends(workspace, "first"), sends(workspace, "second"))
    done = threading.Event()

    def produce():
        for round_ in range(EACH):
            for person in people:
                tell(workspace, person, "go")
            if round_ == EACH // 2:
                update_campaign(workspace.id, campaign, definition=edited)
                activate_campaign(workspace.id, campaign)
        done.set()

    def effects():
        while apply_effects(workspace.id) == "done" or not done.is_set():
            sleep(0.01)

    at_once(produce, effects, effects, partial(steps, workspace, done), partial(steps, workspace, done))
    work(workspace)
    enrollments = enrollments_of(campaign)
    assert len(enrollments) == PEOPLE * EACH
    assert {enrollment.end_reason for enrollment in enrollments} == {"end_of_workflow"}
    old, new = (
        [
            enrollment
            for enrollment in enrollments
            if (enrollment.version_id == campaign.active_version_id) is is_old
        ]
        for is_old in (True, False)
    )
    assert len(new) >= PEOPLE * (EACH // 2 - 1)
    wanted = [(enrollment.id, "send") for enrollment in old] + [
        (enrollment.id, step) for enrollment in new for step in ("first", "second")
    ]
    assert sorted(Message.objects.values_list("enrollment_id", "step")) == sorted(wanted)


@transactional
@pytest.mark.parametrize("mode", ["once", "afterwards", "interval"])
def test_two_that_would_start_the_same_enrollment_start_one(workspace, jane, mode):
    reentry = {"mode": mode, **({"days": 1} if mode == "interval" else {})}
    campaign = a_campaign(workspace, definition(node("wait", "wait", duration="1d"), reentry=reentry))
    barrier = threading.Barrier(6)

    def start():
        barrier.wait(timeout=30)
        execute_campaign(workspace.id, campaign, jane)

    at_once(*[start] * 6)
    assert len(enrollments_of(campaign)) == 1


@transactional
@pytest.mark.parametrize(
    ("mode", "more", "wanted"),
    [
        ("once", {}, 1),
        ("afterwards", {}, 1),
        ("interval", {"days": 1}, 1),
        ("key", {"property": "order"}, 2),
        ("every", {}, 12),
    ],
)
def test_events_of_one_instant_from_everywhere_start_what_the_reentry_lets_in(
    workspace, jane, mode, more, wanted
):
    raw = definition(node("wait", "wait", duration="1d"), reentry={"mode": mode, **more})
    campaign = a_campaign(workspace, raw)
    instant = clock.now()
    done = threading.Event()
    barrier = threading.Barrier(3)

    def produce(number):
        barrier.wait(timeout=30)
        for place in range(4):
            tell(workspace, jane, "go", at=instant, order=(number + place) % 2)

    def effects():
        while apply_effects(workspace.id) == "done" or not done.is_set():
            sleep(0.01)

    def all_producers():
        at_once(*(partial(produce, number) for number in range(3)))
        done.set()

    at_once(all_producers, effects, effects, partial(steps, workspace, done))
    work(workspace)
    assert len(enrollments_of(campaign)) == wanted
    assert len(decided(campaign, "entered")) == wanted
    assert len(decided(campaign, "entered", "not_entered")) == 12


@transactional
def test_an_event_that_comes_twice_at_once_starts_one_enrollment(workspace, jane):
    campaign = a_campaign(workspace)
    barrier = threading.Barrier(4)
    who, instant = ContactReference(id=str(jane.id)), clock.now()

    def post():
        barrier.wait(timeout=30)
        record_events(
            workspace.id,
            [IncomingEvent("go", who, {}, occurred_at=instant, message_id="the same")],
            schema_policy=SchemaPolicy.OPEN,
        )
        apply_effects(workspace.id)
        process_due_enrollments(workspace.id, at_most_seconds=30)

    at_once(*[post] * 4)
    work(workspace)
    assert len(enrollments_of(campaign)) == 1
    assert Event.objects.filter(workspace=workspace, name="mark").count() == 1


@transactional
def test_a_campaign_that_is_paused_during_a_step_goes_no_further_until_it_is_resumed(
    workspace, jane, monkeypatch
):
    awaits = node("await", "waitForEvent", eventType="paid", timeout="2d")
    edges = [("begin", "send"), ("send", "await"), ("await", "mark", "event")]
    raw = definition(marks("begin"), sends(workspace), awaits, marks(), edges=edges)
    campaign = a_campaign(workspace, raw)
    send(workspace, jane, "go")
    arrived, may_go = paused(monkeypatch, processor._DueEnrollmentProcessor, "_save")

    def pause():
        assert arrived.wait(timeout=30)
        # It does not wait for the worker.
        pause_campaign(workspace.id, campaign)
        may_go.set()

    at_once(partial(process_due_enrollments, workspace.id, at_most_seconds=30), pause)
    send(workspace, jane, "paid")
    work(workspace)
    deliver_ready(workspace.id, "email")
    assert [
        (message.status, enrollment.step)
        for message, enrollment in zip(messages_of(campaign), enrollments_of(campaign), strict=True)
    ] == [("QUEUED", "await")]
    resume_campaign(workspace.id, campaign)
    work(workspace)
    deliver_ready(workspace.id, "email")
    assert ends(campaign) == [("completed", "end_of_workflow")]
    assert [message.status for message in messages_of(campaign)] == ["SENT"]


@transactional
def test_a_campaign_that_is_archived_during_a_step_sends_nothing_of_it(workspace, jane, monkeypatch):
    raw = definition(marks(), sends(workspace), node("wait", "wait", duration="1d"))
    campaign = a_campaign(workspace, raw)
    send(workspace, jane, "go")
    arrived, may_go = paused(monkeypatch, processor._DueEnrollmentProcessor, "_save")

    def archive():
        assert arrived.wait(timeout=30)
        # It waits for the worker, who goes on meanwhile.
        threading.Timer(0.5, may_go.set).start()
        archive_campaign(workspace.id, campaign)

    at_once(partial(process_due_enrollments, workspace.id, at_most_seconds=30), archive)
    deliver_ready(workspace.id, "email")
    assert ends(campaign) == [("exited", "campaign_archived")]
    assert [(message.status, message.error) for message in messages_of(campaign)] == [
        ("CANCELLED", "campaign_archived")
    ]


@transactional
def test_messages_that_are_cancelled_while_they_are_claimed_leave_or_do_not(workspace, mailoutbox):
    people = [a_contact(workspace, f"p{number}@example.test") for number in range(PEOPLE)]
    goal = {"eventType": "buy", "within": "7d"}
    campaign = a_campaign(
        workspace, definition(sends(workspace), node("wait", "wait", duration="1d"), goal=goal)
    )
    for person in people:
        tell(workspace, person, "go")
    work(workspace)
    for person in people:
        tell(workspace, person, "buy")
    at_once(
        partial(apply_effects, workspace.id),
        partial(deliver_ready, workspace.id, "email"),
        partial(apply_effects, workspace.id),
        partial(deliver_ready, workspace.id, "email"),
    )
    work(workspace)
    deliver_ready(workspace.id, "email")
    assert set(ends(campaign)) == {("converted", "goal")}
    messages = messages_of(campaign)
    assert {message.status for message in messages} <= {"SENT", "CANCELLED"}
    decisions = decided(campaign, "sent", "not_sent")
    assert sorted(kind for kind, _ in decisions) == sorted(
        "sent" if message.status == "SENT" else "not_sent" for message in messages
    )
    assert len(mailoutbox) == sum(message.status == "SENT" for message in messages)


@transactional
def test_two_that_activate_at_once_make_one_version_and_one_broadcast(workspace, jane):
    segment = create_segment(workspace.id, name="Press", evaluation=Segment.Evaluation.STATIC)
    raw = definition(trigger={"type": "SCHEDULE", "segmentId": str(segment.id), "at": None})
    campaign = create_campaign(workspace.id, name="Press", definition=raw, type="BROADCAST")
    barrier = threading.Barrier(4)

    def activate():
        barrier.wait(timeout=30)
        activate_campaign(workspace.id, campaign)

    at_once(*[activate] * 4)
    assert list(CampaignVersion.objects.values_list("number", flat=True)) == [1]
    assert Broadcast.objects.count() == 1


@transactional
def test_a_contact_that_is_merged_during_a_step_is_written_to_once(workspace, jane, monkeypatch, mailoutbox):
    john = a_contact(workspace, "john@example.test")
    steps = marks(), sends(workspace), node("wait", "wait", duration="1d")
    raw = definition(*steps, reentry={"mode": "once"})
    campaign = a_campaign(workspace, raw)
    for person in (jane, john):
        send(workspace, person, "go")
    arrived, may_go = paused(monkeypatch, processor._DueEnrollmentProcessor, "check_pending_events")
    monkeypatch.setattr(processor, "BATCH_SIZE", 1)

    def merge():
        assert arrived.wait(timeout=30)
        merge_contacts(workspace.id, jane, john)
        may_go.set()

    at_once(partial(process_due_enrollments, workspace.id, at_most_seconds=30), merge)
    work(workspace)
    deliver_ready(workspace.id, "email")
    assert sorted(ends(campaign)) == [("exited", "merged"), ("open", "")]
    # What the younger enrollment had in the queue is cancelled, if it had any.
    assert len(mailoutbox) == 1


@transactional
def test_two_waits_want_two_events_also_where_a_worker_finds_the_first_beside_the_effects(
    workspace, jane, monkeypatch
):
    first, second = (node(id_, "waitForEvent", eventType="paid", timeout="2d") for id_ in ("first", "second"))
    edges = [("first", "second", "event"), ("second", "mark", "event")]
    a_campaign(workspace, definition(first, second, marks(), edges=edges))
    send(workspace, jane, "go")
    work(workspace)
    tell(workspace, jane, "paid")
    Enrollment.objects.update(wake_at=clock.now())
    arrived, may_go = paused(monkeypatch, goals_and_exits._EventMatcher, "_resume")

    def step():
        assert arrived.wait(timeout=30)
        process_due_enrollments(workspace.id, at_most_seconds=30)
        may_go.set()

    at_once(partial(apply_effects, workspace.id), step)
    work(workspace)
    (enrollment,) = Enrollment.objects.all()
    assert (enrollment.status, enrollment.step) == ("open", "second")
    send(workspace, jane, "paid")
    work(workspace)
    assert ends(enrollment.campaign) == [("completed", "end_of_workflow")]


@transactional
def test_of_a_person_who_is_erased_during_a_step_nothing_is_left(workspace, jane, monkeypatch):
    a_campaign(
        workspace, definition(marks("begin"), sends(workspace), marks(), node("wait", "wait", duration="1d"))
    )
    send(workspace, jane, "go")
    arrived, may_go = paused(monkeypatch, processor._DueEnrollmentProcessor, "_save")

    def erase():
        assert arrived.wait(timeout=30)
        # It waits for the worker, who goes on meanwhile.
        threading.Timer(0.5, may_go.set).start()
        erase_person(workspace.id, jane)

    at_once(partial(process_due_enrollments, workspace.id, at_most_seconds=30), erase)
    work(workspace)
    deliver_ready(workspace.id, "email")
    resolve_erasures()
    for model in (Enrollment, Message, Decision, SentEmail):
        assert not model.objects.exists(), model
    assert not Event.objects.filter(contact_id=jane.id).exists()


@transactional
def test_a_template_that_is_broken_during_a_step_does_not_change_what_is_reserved(
    workspace, jane, monkeypatch
):
    second = sends(workspace, "second")
    campaign = a_campaign(
        workspace, definition(marks(), sends(workspace), node("wait", "wait", duration="1s"), second)
    )
    send(workspace, jane, "go")
    arrived, may_go = paused(monkeypatch, processor._DueEnrollmentProcessor, "_save")

    def break_():
        assert arrived.wait(timeout=30)
        Template.objects.update(body="{% if %}")
        may_go.set()

    at_once(partial(process_due_enrollments, workspace.id, at_most_seconds=30), break_)
    sleep(1.1)
    work(workspace)
    deliver_ready(workspace.id, "email")
    assert [(message.step, message.status, message.body) for message in messages_of(campaign)] == [
        ("send", "SENT", "<p>Hello")
    ]
    assert decided(campaign, "not_sent") == [("not_sent", "template_broken")]


@transactional
def test_a_goal_that_comes_while_a_worker_has_the_enrollment_ends_it_after_the_step(
    workspace, jane, monkeypatch
):
    goal = {"eventType": "buy", "within": "7d"}
    campaign = a_campaign(workspace, definition(marks(), node("wait", "wait", duration="1d"), goal=goal))
    send(workspace, jane, "go")
    arrived, may_go = paused(monkeypatch, processor._DueEnrollmentProcessor, "_save")

    def buy():
        assert arrived.wait(timeout=30)
        tell(workspace, jane, "buy")
        # The effects wait for the worker, who goes on meanwhile.
        threading.Timer(0.5, may_go.set).start()
        apply_effects(workspace.id)

    at_once(partial(process_due_enrollments, workspace.id, at_most_seconds=30), buy)
    assert ends(campaign) == [("converted", "goal")]
    assert Event.objects.filter(workspace=workspace, name="mark").count() == 1


@transactional
def test_a_goal_that_comes_while_somebody_is_let_in_is_not_passed_over(workspace, jane, monkeypatch):
    """Its effects find no enrollment yet, and no lane is held by who lets in by hand."""
    goal = {"eventType": "buy", "within": "7d"}
    wait = node("wait", "wait", duration="1d")
    campaign = a_campaign(workspace, definition(sends(workspace), wait, goal=goal))
    arrived, may_go = paused(monkeypatch, enrolling, "_insert")

    def buy():
        assert arrived.wait(timeout=30)
        send(workspace, jane, "buy")
        may_go.set()

    at_once(partial(execute_campaign, workspace.id, campaign, jane), buy)
    work(workspace)
    assert ends(campaign) == [("converted", "goal")]
    assert messages_of(campaign) == []


@transactional
def test_a_contact_that_is_deleted_while_a_worker_has_its_enrollment_gets_nothing_more(
    workspace, jane, monkeypatch
):
    campaign = a_campaign(
        workspace, definition(marks(), node("wait", "wait", duration="1d"), marks("mark 2"))
    )
    send(workspace, jane, "go")
    arrived, may_go = paused(monkeypatch, processor._DueEnrollmentProcessor, "_save")

    def delete():
        assert arrived.wait(timeout=30)
        delete_contact(workspace.id, jane)
        may_go.set()

    at_once(partial(process_due_enrollments, workspace.id, at_most_seconds=30), delete)
    apply_effects(workspace.id)
    process_due_timers()
    assert ends(campaign) == [("exited", "erased")]


WAITING = (node("wait", "wait", duration="1d"),)


@pytest.mark.django_db
def test_a_merged_contacts_enrollment_goes_on_with_the_survivor(workspace, jane, john, time):
    campaign = a_campaign(workspace, definition(*WAITING, sends(workspace)))
    send(workspace, john, "go")
    work(workspace)
    merge_contacts(workspace.id, jane, john)
    work(workspace)
    time.go(days=1)
    work(workspace)
    assert ends(campaign) == [("completed", "end_of_workflow")]
    assert [(message.contact_id, message.address) for message in messages_of(campaign)] == [
        (jane.id, "jane@example.test")
    ]


@pytest.mark.django_db
def test_of_two_enrollments_that_become_one_persons_the_older_goes_on(workspace, jane, john, time):
    raw = definition(*WAITING, sends(workspace), reentry={"mode": "once"})
    campaign = a_campaign(workspace, raw)
    send(workspace, john, "go")
    time.go(minutes=1)
    send(workspace, jane, "go")
    work(workspace)
    merge_contacts(workspace.id, jane, john)
    work(workspace)
    assert ends(campaign) == [("open", ""), ("exited", "merged")]
    time.go(days=2)
    work(workspace)
    assert [message.contact_id for message in messages_of(campaign)] == [jane.id]
    send(workspace, jane, "go")
    assert len(enrollments_of(campaign)) == 2


@pytest.mark.django_db
def test_a_worker_that_is_faster_than_the_merges_effects_sends_once_too(workspace, jane, john, time):
    campaign = a_campaign(workspace, definition(*WAITING, sends(workspace), reentry={"mode": "once"}))
    for person in (john, jane):
        send(workspace, person, "go")
        time.go(seconds=1)
    work(workspace)
    time.go(days=2)
    merge_contacts(workspace.id, jane, john)
    process_due_enrollments(workspace.id, at_most_seconds=30)
    work(workspace)
    assert len(messages_of(campaign)) == 1
    assert ends(campaign) == [("completed", "end_of_workflow"), ("exited", "merged")]


@pytest.mark.django_db
def test_enrollments_that_may_be_beside_one_another_all_go_on_after_a_merge(workspace, jane, john, time):
    campaign = a_campaign(workspace, definition(*WAITING, sends(workspace)))
    for person in (john, jane):
        send(workspace, person, "go")
    work(workspace)
    merge_contacts(workspace.id, jane, john)
    work(workspace)
    time.go(days=2)
    work(workspace)
    assert len(messages_of(campaign)) == 2


@pytest.mark.django_db
def test_who_was_in_it_before_the_merge_does_not_come_in_once_more(workspace, jane, john):
    campaign = a_campaign(workspace, definition(reentry={"mode": "once"}))
    send(workspace, john, "go")
    work(workspace)
    merge_contacts(workspace.id, jane, john)
    send(workspace, jane, "go")
    work(workspace)
    assert len(enrollments_of(campaign)) == 1


@pytest.mark.django_db
def test_the_survivors_event_lets_a_merged_contacts_enrollment_go_on(workspace, jane, john):
    goal = {"eventType": "buy", "within": "7d"}
    waits = node("await", "waitForEvent", eventType="paid", timeout="2d")
    converting = a_campaign(workspace, definition(*WAITING, goal=goal))
    waiting = a_campaign(workspace, definition(waits, marks(), edges=[("await", "mark", "event")]))
    send(workspace, john, "go")
    work(workspace)
    merge_contacts(workspace.id, jane, john)
    send(workspace, jane, "buy", "paid")
    work(workspace)
    assert ends(converting) == [("converted", "goal")]
    assert ends(waiting) == [("completed", "end_of_workflow")]
    assert Event.objects.filter(workspace=workspace, name="mark").count() == 1


@pytest.mark.django_db
def test_after_the_undo_an_enrollment_is_its_contacts_own_again(workspace, jane, john, time):
    campaign = a_campaign(workspace, definition(*WAITING, sends(workspace)))
    send(workspace, john, "go")
    work(workspace)
    merge = merge_contacts(workspace.id, jane, john)
    work(workspace)
    undo_merge(workspace.id, merge)
    work(workspace)
    time.go(days=2)
    work(workspace)
    assert [message.contact_id for message in messages_of(campaign)] == [john.id]


@pytest.mark.django_db
def test_who_is_deleted_in_the_middle_leaves(workspace, jane, time):
    campaign = a_campaign(workspace, definition(*WAITING, sends(workspace)))
    send(workspace, jane, "go")
    work(workspace)
    delete_contact(workspace.id, jane)
    process_due_timers()
    assert ends(campaign) == [("exited", "erased")]
    time.go(days=2)
    work(workspace)
    assert messages_of(campaign) == []
