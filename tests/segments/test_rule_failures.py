"""A rule that fails is parked alone; the others go on, and so does ingestion."""

from dataclasses import replace

import pytest
from django.db import connection

from events.models import Event, ParkedEffect
from events.processing.passes import apply_effects
from segments.build import run_build
from segments.definitions import rebuild_segment, update_segment
from segments.models import Segment
from tests.contacts.factories import a_contact
from tests.segments.factories import a_segment, did, none_of, send, tell, told, who_is_in

pytestmark = pytest.mark.django_db(transaction=True)

# Two of these add up to more than a numeric can hold.
_HUGE = "9" + "0" * 131071


def spend(workspace, contact):
    """Have a contact buy for more than can be added up."""
    for _ in range(2):
        tell(workspace, contact, "buy")
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE events_event SET properties = jsonb_build_object('price', %s::text::numeric)"
            " WHERE workspace_id = %s AND name = 'buy' AND contact_id = %s",
            [_HUGE, workspace.id, contact.id],
        )


def big_spenders(workspace):
    # A window, for the aggregates over all time would be what fails.
    return a_segment(
        workspace,
        did("buy", aggregate="sum", property="properties.price", operator="gt", value=5, timeWindow="7d"),
    )


def test_only_the_segment_that_fails_is_parked(workspace, jane):
    spenders = big_spenders(workspace)
    buyers = [a_segment(workspace, did("buy", operator="gte", value=number)) for number in (1, 2, 3)]
    spend(workspace, jane)
    apply_effects(workspace.id)
    spenders.refresh_from_db()
    assert spenders.parked_at is not None
    assert "overflow" in spenders.error
    assert [who_is_in(one) for one in buyers] == [{jane.id}, {jane.id}, set()]
    assert not ParkedEffect.objects.exists()
    assert told(buyers[0], jane) == ["segment.entered"]


def test_a_parked_segment_is_left_out_until_it_is_built_again(workspace, jane):
    spenders = big_spenders(workspace)
    spend(workspace, jane)
    apply_effects(workspace.id)
    john = a_contact(workspace, "john@example.test")
    send(workspace, john, "buy", price=6)
    assert who_is_in(spenders) == set()
    Event.objects.filter(contact=jane, name="buy").delete()
    rebuild_segment(workspace.id, spenders)
    run_build(workspace.id, spenders.id)
    assert who_is_in(spenders) == {john.id}
    assert (spenders.parked_at, spenders.error) == (None, "")
    send(workspace, jane, "buy", price=6)
    assert who_is_in(spenders) == {john.id, jane.id}


def test_a_build_that_fails_says_why_and_leaves_what_serves_alone(workspace, jane):
    segment = a_segment(workspace, did("buy"))
    spend(workspace, jane)
    apply_effects(workspace.id)
    rule = did("buy", aggregate="sum", property="properties.price", operator="gt", value=5, timeWindow="7d")
    update_segment(workspace.id, segment, raw=rule)
    run_build(workspace.id, segment.id)
    segment.refresh_from_db()
    assert (segment.build, "overflow" in segment.error) == ("failed", True)
    assert who_is_in(segment) == {jane.id}
    update_segment(workspace.id, segment, raw=none_of(did("buy")))
    run_build(workspace.id, segment.id)
    assert who_is_in(segment) == set()
    assert segment.error == ""


def test_a_draft_that_fails_on_an_event_fails_alone(workspace, jane):
    segment = a_segment(workspace, did("buy"))
    rule = did("buy", aggregate="sum", property="properties.price", operator="gt", value=5, timeWindow="7d")
    update_segment(workspace.id, segment, raw=rule)
    spend(workspace, jane)
    apply_effects(workspace.id)
    segment.refresh_from_db()
    assert (segment.build, segment.parked_at) == ("failed", None)
    assert who_is_in(segment) == {jane.id}


def test_a_rule_that_cannot_be_read_any_more_is_parked(workspace, jane):
    segment = a_segment(workspace, did("buy"))
    other = a_segment(workspace, did("buy"))
    Segment.objects.filter(id=segment.id).update(rule={"type": "moon"})
    update_segment(workspace.id, other, description="and the rules are read again")
    send(workspace, jane, "buy")
    segment.refresh_from_db()
    assert segment.parked_at is not None
    assert "InvalidCondition" in segment.error
    assert who_is_in(other) == {jane.id}


def test_a_segment_that_takes_too_long_is_parked(workspace, jane, settings):
    limits = replace(settings.TIMEOUTS["effects"], statement_seconds=1)
    settings.TIMEOUTS = {**settings.TIMEOUTS, "effects": limits}
    slow = a_segment(workspace, did("buy", timeWindow="7d"))
    other = a_segment(workspace, did("buy"))
    with connection.cursor() as cursor:
        # What only the one rule writes takes long.
        cursor.execute(
            "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS"
            " $$BEGIN PERFORM pg_sleep(2); RETURN NEW; END$$;"
            f" CREATE TRIGGER dawdle BEFORE INSERT ON events_timer FOR EACH ROW"
            f" WHEN (NEW.timer_key = '{slow.version}') EXECUTE FUNCTION dawdle()"
        )
    try:
        send(workspace, jane, "buy")
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TRIGGER dawdle ON events_timer; DROP FUNCTION dawdle()")
    slow.refresh_from_db()
    assert "timeout" in slow.error
    assert who_is_in(other) == {jane.id}
