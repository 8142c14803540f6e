"""What happened while no worker ran is decided as of its moments, in their order."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from events.models import EffectsLevel, Event, EventBatch, Timer
from events.processing.passes import _apply_pass, apply_effects
from events.stream.outbox import enqueue_events
from events.tasks import process_due_timers
from segments import catch_up
from segments.memberships import members_at
from tests.scoring.factories import a_rule
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

SECOND, HOUR, DAY = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)


def decaying(workspace, name="buy", points=30, lost=10, days=1):
    return a_rule(workspace, event_name=name, points=points, decay_points=lost, decay_days=days)


def score(operator, value):
    return attribute("score", operator, value)


def test_each_threshold_is_passed_at_its_moment(workspace, time, jane):
    decaying(workspace)
    at_least = {least: a_segment(workspace, score("gte", least)) for least in (30, 20, 10)}
    between = a_segment(workspace, score("between", [10, 20]))
    start = time.now()
    send(workspace, jane, "buy")
    time.moment = start + 3 * DAY + 5 * HOUR
    process_due_timers()
    assert {least: stays(segment, jane) for least, segment in at_least.items()} == {
        30: [(start, start + 1 * DAY)],
        20: [(start, start + 2 * DAY)],
        10: [(start, start + 3 * DAY)],
    }
    assert stays(between, jane) == [(start + 1 * DAY, start + 3 * DAY)]
    assert told(between, jane) == ["segment.entered", "segment.exited"]
    assert not Timer.objects.filter(workspace=workspace).exists()


def test_a_decay_that_was_put_off_is_told_when_it_came(workspace, time, jane):
    decaying(workspace, points=10, lost=20, days=2)
    scored = a_segment(workspace, score("gt", 0))
    start = time.now()
    send(workspace, jane, "buy")
    time.go(days=1)
    send(workspace, jane, "buy")
    time.moment = start + 5 * DAY
    process_due_timers()
    assert stays(scored, jane) == [(start, start + 3 * DAY)]


def test_a_decay_a_moment_ago_is_told_when_it_came(workspace, time, jane):
    decaying(workspace)
    scored = a_segment(workspace, score("gte", 30))
    start = time.now()
    send(workspace, jane, "buy")
    time.moment = start + DAY + SECOND
    process_due_timers()
    assert stays(scored, jane) == [(start, start + DAY)]


def test_scores_and_windows_go_together(workspace, time, jane):
    """At a lapse the score is what it was then, not what it has come to since."""
    decaying(workspace)
    lost = a_segment(workspace, every(score("gte", 20), none_of(did("login", timeWindow="36h"))))
    never = a_segment(workspace, every(score("gte", 30), none_of(did("login", timeWindow="36h"))))
    other = a_segment(workspace, in_segment(lost))
    start = time.now()
    send(workspace, jane, "login", "buy")
    time.moment = start + 10 * DAY
    process_due_timers()
    assert stays(lost, jane) == [(start + 36 * HOUR, start + 48 * HOUR)]
    assert stays(other, jane) == stays(lost, jane)
    assert stays(never, jane) == []


def test_the_past_is_decided_without_rewriting_a_score(workspace, time, jane):
    decaying(workspace)
    scored = a_segment(workspace, score("gte", 20))
    start = time.now()
    send(workspace, jane, "buy")
    time.moment = start + 10 * DAY
    with CaptureQueriesContext(connection) as captured:
        process_due_timers()
    assert stays(scored, jane) == [(start, start + 2 * DAY)]
    assert not [each["sql"] for each in captured if "UPDATE contacts_contactscore" in each["sql"]]


def test_points_earned_later_do_not_count_for_an_earlier_moment(workspace, time, jane):
    decaying(workspace, points=10, lost=10, days=2)
    a_rule(workspace, event_name="visit", points=1)
    scored = a_segment(workspace, score("gte", 10))
    start = time.now()
    send(workspace, jane, "buy")
    time.moment = start + 3 * DAY
    tell(workspace, jane, "buy", *["visit"] * 4)
    time.moment = start + 3 * DAY + HOUR
    apply_effects(workspace.id)
    assert who_is_in(scored) == {jane.id}
    assert stays(scored, jane) == [(start, start + 2 * DAY), (time.now(), None)]


def test_an_entry_and_exit_within_one_outage_are_published(workspace, time, jane):
    recent = a_segment(workspace, did("buy", timeWindow="10s"))
    other = a_segment(workspace, in_segment(recent))
    came = time.now()
    tell(workspace, jane, "buy")
    time.go(minutes=5)
    apply_effects(workspace.id)
    assert who_is_in(recent) == set()
    assert stays(recent, jane) == stays(other, jane) == [(came, came + 10 * SECOND)]
    assert told(recent, jane) == ["segment.entered", "segment.exited"]
    was_in = members_at(workspace.id, recent, came + 5 * SECOND)
    assert [member.contact_id for member in was_in] == [jane.id]
    # The next runs have nothing to add.
    apply_effects(workspace.id)
    process_due_timers()
    assert stays(recent, jane) == [(came, came + 10 * SECOND)]


def test_every_entry_and_exit_of_an_outage_is_published(workspace, time, jane):
    recent = a_segment(workspace, did("buy", timeWindow="10s"))
    silent = a_segment(workspace, every(did("buy"), none_of(did("buy", timeWindow="10s"))))
    moments = []
    for pause in (4, 60, 8, 60):
        moments.append(time.now())
        tell(workspace, jane, "buy")
        time.go(seconds=pause)
    apply_effects(workspace.id)
    first, second, third, fourth = moments
    assert stays(recent, jane) == [(first, second + 10 * SECOND), (third, fourth + 10 * SECOND)]
    assert stays(silent, jane) == [(second + 10 * SECOND, third), (fourth + 10 * SECOND, None)]
    assert who_is_in(silent) == {jane.id}


def test_an_outage_shorter_than_the_window_makes_no_difference(workspace, time, jane):
    active = a_segment(workspace, did("buy", timeWindow="7d"))
    tell(workspace, jane, "buy")
    time.go(hours=5)
    apply_effects(workspace.id)
    assert stays(active, jane) == [(time.now(), None)]


def test_what_was_late_when_it_came_let_nobody_in(workspace, time, jane):
    recent = a_segment(workspace, did("buy", timeWindow="10s"))
    happened = time.now()
    time.go(minutes=5)
    send(workspace, jane, "buy", at=happened)
    assert stays(recent, jane) == []
    tell(workspace, jane, "buy", at=time.now() - 3 * SECOND)
    came = time.now()
    time.go(minutes=5)
    apply_effects(workspace.id)
    assert stays(recent, jane) == [(came, came + 7 * SECOND)]


def test_what_an_outage_let_in_has_its_cause_and_its_level(workspace, time, jane):
    recent = a_segment(workspace, did("buy", timeWindow="10s"))
    tell(workspace, jane, "visit", "buy")
    EventBatch.objects.update(level=EffectsLevel.SCORES_AND_SEGMENTS)
    time.go(minutes=5)
    # One pass: what follows waits.
    _apply_pass(workspace.id)
    entered, exited = Event.objects.filter(name__startswith="segment.").order_by("occurred_at")
    assert (entered.cause_id, entered.depth) == (Event.objects.get(name="buy").id, 1)
    assert (exited.cause_id, exited.depth) == (None, 0)
    levels = {batch.event_ids[0]: batch.level for batch in EventBatch.objects.all()}
    assert levels[entered.id] == EffectsLevel.SCORES_AND_SEGMENTS
    assert who_is_in(recent) == set()


def test_a_retried_event_publishes_no_second_entry(workspace, time, jane):
    recent = a_segment(workspace, did("buy", timeWindow="10s"))
    send(workspace, jane, "buy")
    time.go(minutes=5)
    process_due_timers()
    before = stays(recent, jane)
    event = Event.objects.get(name="buy")
    enqueue_events(workspace.id, [(event.id, jane.id)], level=EffectsLevel.ALL, is_repeat=True)
    apply_effects(workspace.id)
    assert len(before) == 1
    assert stays(recent, jane) == before


def test_what_is_applied_at_once_is_not_looked_up_again(workspace, time, jane, monkeypatch):
    recent = a_segment(workspace, did("buy", timeWindow="10s"))
    asked = []
    real = catch_up._received_before
    monkeypatch.setattr(catch_up, "_received_before", lambda *given: asked.append(given) or real(*given))
    send(workspace, jane, "buy")
    tell(workspace, jane, "buy")
    time.go(seconds=4)
    apply_effects(workspace.id)
    assert who_is_in(recent) == {jane.id}
    assert asked == []
    tell(workspace, jane, "buy")
    time.go(seconds=20)
    apply_effects(workspace.id)
    assert len(asked) == 1
