"""Processes whose clocks differ, and clocks that are set back: what is in the stream has happened."""

from datetime import timedelta

import pytest

from events.models import Event
from events.processing.passes import apply_effects
from events.tasks import process_due_timers
from segments.memberships import explain_membership
from segments.preview import preview_rule
from segments.verification import verify_segments
from tests.segments.factories import a_segment, did, none_of, send, stays, tell, told, who_is_in

pytestmark = pytest.mark.django_db(transaction=True)

BOUGHT = did("buy", operator="gte", value=1, timeWindow="1d")
NEVER_BOUGHT = none_of(did("buy", timeWindow="30d"))
FIRST_BOUGHT = did("buy", aggregate="first", operator="within", value="1d")


@pytest.mark.parametrize("ahead", [0.001, 2, 299])
def test_what_a_process_recorded_whose_clock_is_ahead_counts(workspace, time, jane, ahead):
    segments = [a_segment(workspace, raw) for raw in (BOUGHT, NEVER_BOUGHT, FIRST_BOUGHT)]
    apply_effects(workspace.id)
    time.go(seconds=ahead)
    tell(workspace, jane, "buy")
    time.go(seconds=-ahead)
    apply_effects(workspace.id)
    assert [who_is_in(segment) for segment in segments] == [{jane.id}, set(), {jane.id}]
    for segment in segments:
        explanation = explain_membership(workspace.id, segment, jane.id)
        assert explanation.is_member == explanation.matches
    bought_at = Event.objects.get(name="buy").occurred_at
    assert stays(segments[0], jane) == [(bought_at, None)]
    assert verify_segments(workspace.id).is_sound


def test_a_clock_set_back_ends_no_membership(workspace, time, jane):
    segment = a_segment(workspace, BOUGHT)
    send(workspace, jane, "buy")
    time.go(seconds=-30)
    send(workspace, jane, "look", "buy")
    assert who_is_in(segment) == {jane.id}
    assert told(segment, jane) == ["segment.entered"]
    assert preview_rule(workspace.id, BOUGHT).count == 1
    assert verify_segments(workspace.id).is_sound


def test_who_came_in_by_a_clock_that_is_ahead_leaves_as_the_window_lapses(workspace, time, jane):
    segment = a_segment(workspace, BOUGHT)
    time.go(seconds=2)
    tell(workspace, jane, "buy")
    bought_at = Event.objects.get(name="buy").occurred_at
    time.go(seconds=-2)
    apply_effects(workspace.id)
    time.moment = bought_at + timedelta(days=1, microseconds=-1)
    process_due_timers()
    assert who_is_in(segment) == {jane.id}
    time.go(microseconds=1)
    process_due_timers()
    assert who_is_in(segment) == set()
