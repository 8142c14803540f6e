import threading
import time
from decimal import Decimal

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from contacts.models import Contact, ContactScore
from contacts.references import ContactReference
from events.models import EffectsLevel, EventBatch, ParkedEffect
from events.processing.parked_effects import retry_parked
from events.processing.passes import apply_effects, lock_lane, process_wake_up
from events.processing.wake_ups import INTERVAL_SECONDS
from events.stream.outbox import enqueue_events, lane_of
from events.stream.recording import record_events
from events.stream.types import IncomingEvent, SchemaPolicy
from scoring.models import ScoreEntry
from scoring.rules import save_rule
from tests.scoring.factories import a_rule
from tests.workspaces.factories import WorkspaceFactory

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def workspace(db):
    return WorkspaceFactory()


def send(workspace, *names, person="jane"):
    who = ContactReference(identifiers=(("email", f"{person}@example.test"),), if_missing="create")
    return record_events(
        workspace.id, [IncomingEvent(name, who) for name in names], schema_policy=SchemaPolicy.OPEN
    )


def points(workspace):
    return dict(ContactScore.objects.filter(workspace=workspace).values_list("contact_id", "points"))


def test_effects_are_applied_once_and_the_outbox_is_empty(workspace):
    a_rule(workspace, "buy", 5)
    (outcome, _) = send(workspace, "buy", "buy")
    assert apply_effects(workspace.id) == "done"
    assert apply_effects(workspace.id) == "nothing"
    assert points(workspace) == {outcome.event.contact_id: 10}
    assert not EventBatch.objects.exists()


def test_a_commit_asks_for_a_wake_up_and_a_rollback_does_not(workspace, wake_ups):
    def fail():
        with transaction.atomic():
            send(workspace, "lost")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    time.sleep(3 * INTERVAL_SECONDS)
    # One that a test before asked for may come only now.
    assert workspace.id not in wake_ups
    send(workspace, "kept")
    time.sleep(3 * INTERVAL_SECONDS)
    assert wake_ups.count(workspace.id) == 1


def test_a_lane_that_somebody_holds_is_left_alone_and_taken_up_afterwards(workspace):
    a_rule(workspace, "buy", 1)
    (outcome,) = send(workspace, "buy")
    holding, release = threading.Event(), threading.Event()

    def hold():
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(
                    "SELECT pg_advisory_xact_lock(hashtextextended(%s, %s))",
                    [str(workspace.id), lane_of(outcome.event.contact_id)],
                )
                holding.set()
                release.wait(10)
        finally:
            connection.close()

    holder = threading.Thread(target=hold)
    holder.start()
    assert holding.wait(10)
    try:
        assert apply_effects(workspace.id) == "nothing"
        # A wake-up that finds the lane held must come again: the holder may have looked already.
        assert process_wake_up(workspace.id, at_most_seconds=5) == "held"
        # Ingestion never touches that lock.
        send(workspace, "buy")
    finally:
        release.set()
        holder.join()
    assert apply_effects(workspace.id) == "done"
    assert points(workspace) == {outcome.event.contact_id: 2}


def test_a_wake_up_is_answered_by_one_pass_unless_the_pass_was_full(workspace, settings):
    settings.EFFECTS_BATCH_SIZE = 4
    a_rule(workspace, "buy", 1)
    for _ in range(10):
        (outcome,) = send(workspace, "buy")
    with CaptureQueriesContext(connection) as full:
        assert process_wake_up(workspace.id, at_most_seconds=5) == "done"
    assert points(workspace) == {outcome.event.contact_id: 10}
    send(workspace, "buy")
    with CaptureQueriesContext(connection) as light:
        assert process_wake_up(workspace.id, at_most_seconds=5) == "done"

    def looks(captured):
        return sum("GROUP BY lane" in query["sql"] for query in captured)

    assert (looks(full), looks(light)) == (3, 1)


def test_workers_in_parallel_apply_everything_once(workspace):
    a_rule(workspace, "buy", 1)
    people, events_each = 40, 25
    failures = []

    def work(job):
        try:
            job()
        except Exception as error:
            failures.append(error)
        finally:
            connection.close()

    def ingest():
        for _ in range(events_each):
            for person in range(people):
                send(workspace, "buy", person=str(person))

    def apply():
        while ingesting.is_alive() or EventBatch.objects.exists():
            apply_effects(workspace.id)

    ingesting = threading.Thread(target=work, args=[ingest])
    workers = [threading.Thread(target=work, args=[apply]) for _ in range(3)]
    for thread in (ingesting, *workers):
        thread.start()
    for thread in (ingesting, *workers):
        thread.join(60)
    assert not failures
    assert set(points(workspace).values()) == {Decimal(events_each)}
    assert ScoreEntry.objects.count() == people * events_each


@pytest.mark.parametrize("is_first", [True, False])
def test_an_edit_of_the_rules_waits_for_the_run_that_began_under_the_old_ones(workspace, is_first):
    if not is_first:
        a_rule(workspace, "look", 1)
    running, edited = threading.Event(), threading.Event()

    def edit():
        try:
            running.wait(10)
            a_rule(workspace, "buy", 1)
            edited.set()
        finally:
            connection.close()

    editor = threading.Thread(target=edit)
    editor.start()
    with lock_lane(workspace.id, 0):
        running.set()
        assert not edited.wait(0.5)
    assert edited.wait(10)
    editor.join()


class TestFailures:
    """A failing effect: the culprit is parked, the rest goes on."""

    @pytest.fixture(autouse=True)
    def _effects(self, settings):
        settings.EVENT_EFFECTS = [
            "tests.events.effects.fail_on_poison",
            "scoring.effects.apply_scoring_rules",
        ]

    def test_the_one_bad_event_is_parked_and_the_others_are_done(self, workspace):
        a_rule(workspace, "buy", 1)
        outcomes = send(workspace, *["buy"] * 20, "poison", *["buy"] * 20)
        apply_effects(workspace.id)
        parked = ParkedEffect.objects.get()
        assert parked.subject == f"event:{outcomes[20].event.id}"
        assert parked.effect == "tests.events.effects.fail_on_poison"
        assert "poison" in parked.error
        assert set(points(workspace).values()) == {40}

    def test_what_was_parked_is_tried_again_and_nothing_else_twice(self, workspace, settings):
        a_rule(workspace, "buy", 1)
        a_rule(workspace, "poison", 7)
        send(workspace, "buy", "poison")
        apply_effects(workspace.id)
        assert set(points(workspace).values()) == {8}
        settings.EVENT_EFFECTS = ["scoring.effects.apply_scoring_rules"]
        assert retry_parked(ParkedEffect.objects.all()) == 1
        apply_effects(workspace.id)
        assert set(points(workspace).values()) == {8}
        assert not ParkedEffect.objects.exists()

    def test_a_rule_that_fails_is_parked_and_then_retried(self, workspace):
        good, bad = a_rule(workspace, "buy", 1), a_rule(workspace, "buy", 3)
        # A condition that no service would have saved.
        type(bad).objects.filter(id=bad.id).update(
            condition={"field": "metadata.a", "operator": "gone", "value": 1}
        )
        send(workspace, "buy")
        apply_effects(workspace.id)
        send(workspace, "buy")
        apply_effects(workspace.id)
        assert set(points(workspace).values()) == {2}
        assert set(ParkedEffect.objects.values_list("subject", flat=True)) == {f"rule:{bad.id}"}
        save_rule(bad, condition=None)
        retry_parked(ParkedEffect.objects.all())
        apply_effects(workspace.id)
        assert set(points(workspace).values()) == {8}
        assert good.points == 1


@pytest.mark.parametrize("repeats", [(False, True), (True, False), (True, True)])
def test_an_event_that_waits_twice_is_no_repeat_if_it_comes_for_the_first_time(
    workspace, repeats, settings, monkeypatch
):
    seen = []
    monkeypatch.setattr("tests.events.effects.look", lambda batch: seen.extend(batch.events))
    settings.EVENT_EFFECTS = ["tests.events.effects.look"]
    (outcome,) = send(workspace, "buy")
    EventBatch.objects.all().delete()
    pair = outcome.event.id, outcome.event.contact_id
    for is_repeat in repeats:
        enqueue_events(workspace.id, [pair], level=EffectsLevel.ALL, is_repeat=is_repeat)
    apply_effects(workspace.id)
    assert [(event.id, event.is_repeat) for event in seen] == [(outcome.event.id, all(repeats))]


def test_events_of_a_contact_that_is_gone_by_then_are_nobodys(workspace):
    a_rule(workspace, "buy", 1)
    send(workspace, "buy")
    Contact.objects.all().delete()
    assert apply_effects(workspace.id) == "done"
    assert points(workspace) == {}
