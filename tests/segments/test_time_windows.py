"""Time alone lets contacts in and puts them out, at the very moment."""

from datetime import timedelta

import pytest

from contacts.crud import update_contact
from contacts.references import ContactChanges
from events.models import Event, Timer
from events.processing.passes import apply_effects
from events.tasks import process_due_timers
from tests.contacts.factories import a_contact
from tests.segments.factories import (
    a_segment,
    attribute,
    did,
    every,
    in_segment,
    none_of,
    send,
    stays,
    tell,
    told,
    who_is_in,
)

pytestmark = pytest.mark.django_db(transaction=True)

DAY = timedelta(days=1)
TICK = timedelta(microseconds=1)


def test_an_event_lapses_at_its_moment_and_not_before(workspace, time, jane):
    active = a_segment(workspace, did("login", timeWindow="7d"))
    came = time.now()
    send(workspace, jane, "login")
    time.moment = came + 7 * DAY - TICK
    assert process_due_timers() == "nothing"
    assert who_is_in(active) == {jane.id}
    time.moment = came + 7 * DAY
    assert process_due_timers() == "done"
    assert who_is_in(active) == set()
    assert stays(active, jane) == [(came, came + 7 * DAY)]
    assert told(active, jane) == ["segment.entered", "segment.exited"]


def test_a_later_event_postpones_the_lapse(workspace, time, jane):
    active = a_segment(workspace, did("login", timeWindow="7d"))
    first = time.now()
    send(workspace, jane, "login")
    time.go(days=3)
    send(workspace, jane, "login")
    time.go(days=4)
    process_due_timers()
    assert who_is_in(active) == {jane.id}
    time.go(days=3)
    process_due_timers()
    assert who_is_in(active) == set()
    assert stays(active, jane) == [(first, first + 10 * DAY)]


def test_a_rule_on_inactivity_lets_contacts_in_as_time_passes(workspace, time, jane):
    lost = a_segment(workspace, every(did("login"), none_of(did("login", timeWindow="30d"))))
    came = time.now()
    send(workspace, jane, "login")
    assert who_is_in(lost) == set()
    time.go(days=30)
    process_due_timers()
    assert who_is_in(lost) == {jane.id}
    send(workspace, jane, "login")
    assert who_is_in(lost) == set()
    assert stays(lost, jane) == [(came + 30 * DAY, came + 30 * DAY)]


def test_after_downtime_every_moment_is_caught_up(workspace, time, jane):
    once = a_segment(workspace, did("login", operator="eq", value=1, timeWindow="7d"))
    start = time.now()
    for _ in range(3):
        send(workspace, jane, "login")
        time.go(days=1)
    assert stays(once, jane) == [(start, start + DAY)]
    time.moment = start + 60 * DAY
    process_due_timers()
    assert who_is_in(once) == set()
    assert stays(once, jane) == [(start, start + DAY), (start + 8 * DAY, start + 9 * DAY)]
    moments = Event.objects.filter(workspace=workspace, name__startswith="segment.").order_by("id")
    assert [event.occurred_at for event in moments] == [start, start + DAY, start + 8 * DAY, start + 9 * DAY]
    assert [event.received_at for event in moments][-1] == time.now()


def test_what_builds_on_a_segment_changes_at_the_same_moment(workspace, time, jane):
    active = a_segment(workspace, did("login", timeWindow="7d"))
    asleep = a_segment(workspace, every(in_segment(active, "not_in"), did("login")))
    start = time.now()
    send(workspace, jane, "login")
    time.moment = start + 20 * DAY
    process_due_timers()
    assert stays(asleep, jane) == [(start + 7 * DAY, None)]
    assert who_is_in(asleep) == {jane.id}


def test_an_event_that_was_evaluated_before_an_older_lapse_counts(workspace, time, jane):
    """A backlog of lapses may be worked off late: the answer is that of now all the same."""
    active = a_segment(workspace, did("login", timeWindow="7d"))
    send(workspace, jane, "login")
    Timer.objects.filter(workspace=workspace).update(due_at=time.now() + 8 * DAY)
    time.go(days=7, hours=1)
    send(workspace, jane, "login")
    Timer.objects.filter(workspace=workspace).update(due_at=time.now() - timedelta(hours=1))
    process_due_timers()
    assert who_is_in(active) == {jane.id}
    time.go(days=7)
    process_due_timers()
    assert who_is_in(active) == set()


def test_a_late_event_counts_from_when_it_happened(workspace, time, jane):
    active = a_segment(workspace, did("login", timeWindow="7d"))
    time.go(days=10)
    happened = time.now() - 5 * DAY
    send(workspace, jane, "login", at=happened)
    assert who_is_in(active) == {jane.id}
    time.go(days=2)
    process_due_timers()
    assert who_is_in(active) == set()


def test_dates_of_the_contact_go_by(workspace, time, jane):
    birthday = a_segment(workspace, attribute("attributes.renewal", "within", "+3d"))
    renewal = time.now() + 10 * DAY
    update_contact(workspace.id, jane, ContactChanges(attributes={"renewal": renewal.isoformat()}))
    apply_effects(workspace.id)
    assert who_is_in(birthday) == set()
    for days, expected in ((7, {jane.id}), (3, set())):
        time.go(days=days)
        process_due_timers()
        assert who_is_in(birthday) == expected
    assert stays(birthday, jane) == [(renewal - 3 * DAY, renewal)]


def test_what_falls_due_for_many_at_once_is_decided_for_each(workspace, time):
    people = [a_contact(workspace, f"person{number}@example.test") for number in range(25)]
    active = a_segment(workspace, did("login", timeWindow="1d"))
    for person in people:
        tell(workspace, person, "login")
    apply_effects(workspace.id)
    assert who_is_in(active) == {person.id for person in people}
    tell(workspace, people[0], "login")
    time.go(hours=12)
    send(workspace, people[1], "login")
    time.go(hours=12)
    process_due_timers()
    assert who_is_in(active) == {people[1].id}
    left = Timer.objects.filter(workspace=workspace).values_list("contact_id", flat=True)
    assert set(left) == {people[1].id}
