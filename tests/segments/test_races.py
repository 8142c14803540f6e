"""Events flow while rules are built, edited and published, and nothing is lost or told twice."""

import threading
from collections import Counter
from functools import partial

import pytest
from django.db import connection

from contacts.crud import delete_contact
from contacts.models import Contact
from events.models import Event, EventBatch, Timer
from events.processing import passes as runner
from events.processing.passes import apply_effects
from events.tasks import process_due_timers
from segments import effects, evaluation, static_members
from segments.build import run_build
from segments.definitions import create_segment, update_segment
from segments.models import Membership, MembershipPeriod
from segments.static_members import add_members
from segments.verification import verify_segments
from tests.contacts.factories import a_contact
from tests.segments.factories import a_segment, did, none_of, stays, tell, who_is_in
from tests.threads import at_once

pytestmark = pytest.mark.django_db(transaction=True)

PEOPLE, EACH = 24, 6


@pytest.fixture
def people(workspace):
    return [a_contact(workspace, f"person{number}@example.test") for number in range(PEOPLE)]


def stream(workspace, people):
    """Have each contact buy so often as its place says, modulo EACH, while workers apply what follows."""
    done = threading.Event()

    def produce():
        for round_ in range(EACH):
            for place, person in enumerate(people):
                if round_ < place % EACH:
                    tell(workspace, person, "buy")
        done.set()

    def work():
        while not done.is_set() or EventBatch.objects.exists():
            apply_effects(workspace.id)

    return produce, work


def buyers(people, least):
    return {person.id for place, person in enumerate(people) if place % EACH >= least}


def news_of(segment):
    """Return how often each contact was told to have entered, less how often to have left."""
    news = Counter()
    for name, contact_id in Event.objects.filter(
        workspace_id=segment.workspace_id,
        name__in=("segment.entered", "segment.exited"),
        properties__segmentId=str(segment.id),
    ).values_list("name", "contact_id"):
        news[contact_id] += 1 if name == "segment.entered" else -1
    return news


def assert_told_as_it_is(segment):
    news = news_of(segment)
    assert {contact_id for contact_id, balance in news.items() if balance == 1} == who_is_in(segment)
    assert set(news.values()) <= {0, 1}


def test_two_workers_decide_each_contact_once(workspace, people):
    segments = [a_segment(workspace, did("buy", operator="gte", value=least)) for least in (1, 3, 5)]
    produce, work = stream(workspace, people)
    at_once(produce, work, work)
    for segment, least in zip(segments, (1, 3, 5), strict=True):
        assert who_is_in(segment) == buyers(people, least)
        assert_told_as_it_is(segment)


def test_a_segment_is_built_while_events_flow(workspace, people):
    found = []

    def build():
        found.append(create_segment(workspace.id, name="Built", raw=did("buy", operator="gte", value=3)))
        run_build(workspace.id, found[0].id)

    produce, work = stream(workspace, people)
    at_once(produce, work, build)
    assert who_is_in(found[0]) == buyers(people, 3)
    assert_told_as_it_is(found[0])


def test_a_rule_is_edited_while_events_flow(workspace, people):
    segment = a_segment(workspace, did("buy", operator="gte", value=1))

    def edit():
        for least in (2, 4, 3):
            update_segment(workspace.id, segment, raw=did("buy", operator="gte", value=least))
            run_build(workspace.id, segment.id)

    produce, work = stream(workspace, people)
    at_once(produce, work, edit)
    assert who_is_in(segment) == buyers(people, 3)
    assert_told_as_it_is(segment)


def test_contacts_that_come_amid_a_build_are_in(workspace, people):
    made = []

    def make():
        made.extend(a_contact(workspace, f"late{number}@example.test") for number in range(20))

    segment = create_segment(workspace.id, name="Strangers", raw=none_of(did("buy")))
    at_once(make, lambda: run_build(workspace.id, segment.id))
    apply_effects(workspace.id)
    assert who_is_in(segment) == set(Contact.objects.filter(workspace=workspace).values_list("id", flat=True))
    assert len(made) == 20
    assert connection.is_usable()


def paused(monkeypatch, place, name):
    """Have the first call of a function wait; return the events that it is there, and that it may go on."""
    arrived, may_go = threading.Event(), threading.Event()
    real = getattr(place, name)

    def wait(*arguments, **options):
        if not arrived.is_set():
            arrived.set()
            assert may_go.wait(timeout=30)
        return real(*arguments, **options)

    monkeypatch.setattr(place, name, wait)
    return arrived, may_go


def left_of(workspace, contact_id):
    """Return what segments still hold of a contact."""
    kept = {"workspace": workspace, "contact_id": contact_id}
    return (
        Membership.objects.filter(**kept).count(),
        MembershipPeriod.objects.filter(**kept, left_at=None).count(),
        Timer.objects.filter(**kept).count(),
    )


def test_a_contact_that_is_deleted_while_it_is_evaluated_is_in_no_segment(workspace, jane, monkeypatch):
    segment = a_segment(workspace, did("buy", timeWindow="7d"))
    tell(workspace, jane, "buy")
    arrived, may_go = paused(monkeypatch, effects, "publish_changes")

    def delete():
        assert arrived.wait(timeout=30)
        delete_contact(workspace.id, jane)
        may_go.set()

    at_once(partial(apply_effects, workspace.id), delete)
    process_due_timers()
    assert left_of(workspace, jane.id) == (0, 0, 0)
    assert news_of(segment) == {jane.id: 0}
    assert process_due_timers() == "nothing"


def test_a_contact_that_is_deleted_while_a_segment_is_built_is_not_in_it(workspace, jane, monkeypatch):
    tell(workspace, jane, "buy")
    apply_effects(workspace.id)
    segment = create_segment(workspace.id, name="Built", raw=did("buy", timeWindow="7d"))
    arrived, may_go = paused(monkeypatch, evaluation, "merged_ids")

    def delete():
        assert arrived.wait(timeout=30)
        delete_contact(workspace.id, jane)
        may_go.set()

    at_once(partial(run_build, workspace.id, segment.id), delete)
    process_due_timers()
    assert who_is_in(segment) == set()
    assert left_of(workspace, jane.id) == (0, 0, 0)


def test_a_contact_that_is_deleted_while_it_is_put_into_a_list_is_not_in_it(workspace, jane, monkeypatch):
    segment = create_segment(workspace.id, name="List", evaluation="STATIC")
    # Right after it was found, before it is put in.
    arrived, may_go = paused(monkeypatch, static_members, "_keep")

    def delete():
        assert arrived.wait(timeout=30)
        delete_contact(workspace.id, jane)
        may_go.set()

    at_once(partial(add_members, workspace.id, segment, contact_ids=[jane.id]), delete)
    apply_effects(workspace.id)
    process_due_timers()
    assert left_of(workspace, jane.id) == (0, 0, 0)


@pytest.mark.parametrize("place", ["_lock_waiting_lanes", "_claim_work", "_load"])
def test_an_event_that_comes_while_a_worker_takes_its_batches_counts(workspace, jane, monkeypatch, place):
    segments = [
        a_segment(workspace, did("buy", operator="gte", value=1, timeWindow="1d")),
        a_segment(workspace, none_of(did("buy", timeWindow="30d"))),
    ]
    apply_effects(workspace.id)
    tell(workspace, jane, "look")
    arrived, may_go = paused(monkeypatch, runner, place)

    def buy():
        assert arrived.wait(timeout=30)
        tell(workspace, jane, "buy")
        may_go.set()

    at_once(partial(apply_effects, workspace.id), buy)
    assert [who_is_in(segment) for segment in segments] == [{jane.id}, set()]
    # Nobody is in before it did what brought it in.
    assert stays(segments[0], jane)[0][0] >= Event.objects.get(name="buy").occurred_at
    assert not EventBatch.objects.exists()
    assert verify_segments(workspace.id).is_sound
