"""Workers, events, merges and erasures at the same time: nothing is lost, nothing happens twice."""

import threading
from functools import partial
from time import sleep

import pytest

from campaigns.models import Message
from campaigns.services import stepping
from campaigns.services.campaigns import activate_campaign, execute_campaign, update_campaign
from campaigns.services.stepping import run_due
from contacts.services import delete_contact, merge_contacts, undo_merge
from events.models import Event
from events.services import apply_effects
from events.tasks import wake_due
from tests.campaigns.factories import (
    a_campaign,
    definition,
    ends,
    marks,
    messages_of,
    node,
    runs_of,
    sends,
    work,
)
from tests.contacts.factories import a_contact
from tests.segments.factories import send, tell
from tests.segments.test_races import at_once, paused

transactional = pytest.mark.django_db(transaction=True)
PEOPLE, EACH = 12, 4


@pytest.fixture
def john(workspace):
    return a_contact(workspace, "john@example.test")


def steps(workspace, done):
    """Take runs on for as long as some come."""
    while run_due(workspace.id, at_most_seconds=30) == "done" or not done.is_set():
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
                update_campaign(workspace, campaign, definition=edited)
                activate_campaign(workspace, campaign)
        done.set()

    def effects():
        while apply_effects(workspace.id) == "done" or not done.is_set():
            sleep(0.01)

    at_once(produce, effects, effects, partial(steps, workspace, done), partial(steps, workspace, done))
    work(workspace)
    runs = runs_of(campaign)
    assert len(runs) == PEOPLE * EACH
    assert {run.end_reason for run in runs} == {"end_of_workflow"}
    old, new = (
        [run for run in runs if (run.version_id == campaign.version_id) is is_old] for is_old in (True, False)
    )
    assert len(new) >= PEOPLE * (EACH // 2 - 1)
    wanted = [(run.id, "send") for run in old] + [
        (run.id, step) for run in new for step in ("first", "second")
    ]
    assert sorted(Message.objects.values_list("run_id", "step")) == sorted(wanted)


@transactional
@pytest.mark.parametrize("mode", ["once", "afterwards", "interval"])
def test_two_that_would_start_the_same_run_start_one(workspace, jane, mode):
    reentry = {"mode": mode, **({"days": 1} if mode == "interval" else {})}
    campaign = a_campaign(workspace, definition(node("wait", "wait", duration="1d"), reentry=reentry))
    barrier = threading.Barrier(6)

    def start():
        barrier.wait(timeout=30)
        execute_campaign(workspace, campaign, jane)

    at_once(*[start] * 6)
    assert len(runs_of(campaign)) == 1


@transactional
def test_a_goal_that_comes_while_a_worker_has_the_run_ends_it_after_the_step(workspace, jane, monkeypatch):
    goal = {"eventType": "buy", "within": "7d"}
    campaign = a_campaign(workspace, definition(marks(), node("wait", "wait", duration="1d"), goal=goal))
    send(workspace, jane, "go")
    arrived, may_go = paused(monkeypatch, stepping._Taking, "_save")

    def buy():
        assert arrived.wait(timeout=30)
        tell(workspace, jane, "buy")
        # The effects wait for the worker, who goes on meanwhile.
        threading.Timer(0.5, may_go.set).start()
        apply_effects(workspace.id)

    at_once(partial(run_due, workspace.id, at_most_seconds=30), buy)
    assert ends(campaign) == [("converted", "goal")]
    assert Event.objects.filter(workspace=workspace, name="mark").count() == 1


@transactional
def test_a_contact_that_is_deleted_while_a_worker_has_its_run_gets_nothing_more(workspace, jane, monkeypatch):
    campaign = a_campaign(
        workspace, definition(marks(), node("wait", "wait", duration="1d"), marks("mark 2"))
    )
    send(workspace, jane, "go")
    arrived, may_go = paused(monkeypatch, stepping._Taking, "_save")

    def delete():
        assert arrived.wait(timeout=30)
        delete_contact(workspace, jane)
        may_go.set()

    at_once(partial(run_due, workspace.id, at_most_seconds=30), delete)
    apply_effects(workspace.id)
    wake_due()
    assert ends(campaign) == [("exited", "erased")]


WAITING = (node("wait", "wait", duration="1d"),)


@pytest.mark.django_db
def test_a_merged_contacts_run_goes_on_with_the_survivor(workspace, jane, john, time):
    campaign = a_campaign(workspace, definition(*WAITING, sends(workspace)))
    send(workspace, john, "go")
    work(workspace)
    merge_contacts(workspace, jane, john)
    work(workspace)
    time.go(days=1)
    work(workspace)
    assert ends(campaign) == [("completed", "end_of_workflow")]
    assert [(one.contact_id, one.address) for one in messages_of(campaign)] == [
        (jane.id, "jane@example.test")
    ]


@pytest.mark.django_db
def test_of_two_runs_that_become_one_persons_the_older_goes_on(workspace, jane, john, time):
    raw = definition(*WAITING, sends(workspace), reentry={"mode": "once"})
    campaign = a_campaign(workspace, raw)
    send(workspace, john, "go")
    time.go(minutes=1)
    send(workspace, jane, "go")
    work(workspace)
    merge_contacts(workspace, jane, john)
    work(workspace)
    assert ends(campaign) == [("open", ""), ("exited", "merged")]
    time.go(days=2)
    work(workspace)
    assert [one.contact_id for one in messages_of(campaign)] == [jane.id]
    send(workspace, jane, "go")
    assert len(runs_of(campaign)) == 2


@pytest.mark.django_db
def test_a_worker_that_is_faster_than_the_merges_effects_sends_once_too(workspace, jane, john, time):
    campaign = a_campaign(workspace, definition(*WAITING, sends(workspace), reentry={"mode": "once"}))
    for person in (john, jane):
        send(workspace, person, "go")
        time.go(seconds=1)
    work(workspace)
    time.go(days=2)
    merge_contacts(workspace, jane, john)
    run_due(workspace.id, at_most_seconds=30)
    work(workspace)
    assert len(messages_of(campaign)) == 1
    assert ends(campaign) == [("completed", "end_of_workflow"), ("exited", "merged")]


@pytest.mark.django_db
def test_runs_that_may_be_beside_one_another_all_go_on_after_a_merge(workspace, jane, john, time):
    campaign = a_campaign(workspace, definition(*WAITING, sends(workspace)))
    for person in (john, jane):
        send(workspace, person, "go")
    work(workspace)
    merge_contacts(workspace, jane, john)
    work(workspace)
    time.go(days=2)
    work(workspace)
    assert len(messages_of(campaign)) == 2


@pytest.mark.django_db
def test_who_was_in_it_before_the_merge_does_not_come_in_once_more(workspace, jane, john):
    campaign = a_campaign(workspace, definition(reentry={"mode": "once"}))
    send(workspace, john, "go")
    work(workspace)
    merge_contacts(workspace, jane, john)
    send(workspace, jane, "go")
    work(workspace)
    assert len(runs_of(campaign)) == 1


@pytest.mark.django_db
def test_the_survivors_event_lets_a_merged_contacts_run_go_on(workspace, jane, john):
    goal = {"eventType": "buy", "within": "7d"}
    waits = node("await", "waitForEvent", eventType="paid", timeout="2d")
    converting = a_campaign(workspace, definition(*WAITING, goal=goal))
    waiting = a_campaign(workspace, definition(waits, marks(), edges=[("await", "mark", "event")]))
    send(workspace, john, "go")
    work(workspace)
    merge_contacts(workspace, jane, john)
    send(workspace, jane, "buy", "paid")
    work(workspace)
    assert ends(converting) == [("converted", "goal")]
    assert ends(waiting) == [("completed", "end_of_workflow")]
    assert Event.objects.filter(workspace=workspace, name="mark").count() == 1


@pytest.mark.django_db
def test_after_the_undo_a_run_is_its_contacts_own_again(workspace, jane, john, time):
    campaign = a_campaign(workspace, definition(*WAITING, sends(workspace)))
    send(workspace, john, "go")
    work(workspace)
    merge = merge_contacts(workspace, jane, john)
    work(workspace)
    undo_merge(workspace, merge)
    work(workspace)
    time.go(days=2)
    work(workspace)
    assert [one.contact_id for one in messages_of(campaign)] == [john.id]


@pytest.mark.django_db
def test_who_is_deleted_in_the_middle_leaves(workspace, jane, time):
    campaign = a_campaign(workspace, definition(*WAITING, sends(workspace)))
    send(workspace, jane, "go")
    work(workspace)
    delete_contact(workspace, jane)
    wake_due()
    assert ends(campaign) == [("exited", "erased")]
    time.go(days=2)
    work(workspace)
    assert messages_of(campaign) == []
