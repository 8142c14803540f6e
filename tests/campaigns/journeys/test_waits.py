"""Enrollments that wait: for a time, for a date, for an event; and goals and exits meanwhile."""

from datetime import UTC, datetime, timedelta
from datetime import time as time_of_day
from zoneinfo import ZoneInfo

import pytest

from campaigns.journeys import processor
from campaigns.journeys.definition.triggers import DateTrigger
from campaigns.journeys.lifecycle import activate_campaign, execute_campaign, update_campaign
from campaigns.journeys.local_time import contact_date_moment, next_time_of_day, occurrence_after
from campaigns.models import Enrollment
from contacts.crud import update_contact
from contacts.references import ContactChanges
from events.models import EffectsLevel, Event
from events.processing.passes import apply_effects
from events.stream.recording import record_events
from events.stream.types import IncomingEvent, SchemaPolicy
from tests.campaigns.factories import a_campaign, decided, definition, ends, enrollments_of, marks, node, work
from tests.contacts.factories import a_contact, by_email
from tests.segments.factories import send, tell

pytestmark = pytest.mark.django_db

BERN = ZoneInfo("Europe/Zurich")


def marked(workspace):
    events = Event.objects.filter(workspace=workspace, name__startswith="mark")
    return list(events.order_by("id").values_list("name", flat=True))


def awaits(name, **more):
    return node("await", "waitForEvent", eventType=name, timeout="2d", **more)


def paid_or_not(**more):
    return definition(
        awaits("paid", **more),
        marks("mark paid"),
        marks("mark unpaid"),
        edges=[("await", "mark paid", "event"), ("await", "mark unpaid", "timeout")],
    )


SAME_ORDER = {"match": {"property": "order_id", "trigger": "order_id"}}


@pytest.mark.parametrize("is_there_already", [True, False])
def test_nobody_else_ends_a_wait_for_what_the_system_tells(workspace, jane, time, is_there_already):
    a_campaign(
        workspace,
        definition(
            awaits("message.click"),
            marks("mark clicked"),
            edges=[("await", "mark clicked", "event")],
            goal={"eventType": "form.submitted", "within": "7d"},
        ),
    )
    send(workspace, jane, "go")
    if not is_there_already:
        work(workspace)
    time.go(milliseconds=1)
    send(workspace, jane, "message.click", "form.submitted")
    work(workspace)
    time.go(hours=1)
    work(workspace)
    (enrollment,) = Enrollment.objects.filter(workspace=workspace)
    assert (enrollment.status, marked(workspace)) == ("open", [])


def test_a_duration_begins_when_the_enrollment_comes_to_it(workspace, jane, time):
    campaign = a_campaign(workspace, definition(node("wait", "wait", duration="2d"), marks()))
    send(workspace, jane, "go")
    time.go(milliseconds=1)
    work(workspace)
    time.go(days=2, seconds=-1)
    work(workspace)
    assert marked(workspace) == []
    time.go(seconds=1)
    work(workspace)
    assert marked(workspace) == ["mark"]
    assert [kind for kind, _ in decided(campaign)] == ["entered", "waits", "resumed", "step", "ended"]


def test_a_time_of_day_is_where_the_contact_lives(workspace, time):
    moment = time.moment.replace(hour=12)
    tokyo = a_contact(workspace, "tokyo@example.test", attributes={"timezone": "Asia/Tokyo"})
    utc = a_contact(workspace, "utc@example.test")
    campaign = a_campaign(workspace, definition(node("wait", "wait", timeOfDay="09:00"), marks()))
    for person in (tokyo, utc):
        send(workspace, person, "go")
    work(workspace)
    wakes = {enrollment.contact_id: enrollment.wake_at for enrollment in enrollments_of(campaign)}
    assert wakes == {
        tokyo.id: moment + timedelta(hours=12),
        utc.id: moment + timedelta(hours=21),
    }


def test_a_date_of_the_contact_is_waited_for_wherever_it_moves(workspace, time):
    jane = a_contact(workspace, "jane@example.test", attributes={"renewal": "2026-05-20"})
    wait = node("wait", "wait", until={"field": "attributes.renewal", "offset": "-3d", "at": "09:00"})
    campaign = a_campaign(workspace, definition(wait, marks()))
    send(workspace, jane, "go")
    work(workspace)
    assert [enrollment.wake_at for enrollment in enrollments_of(campaign)] == [
        datetime(2026, 5, 17, 9, tzinfo=UTC)
    ]
    for day, moment in (("2026-06-20", datetime(2026, 6, 17, 9, tzinfo=UTC)), ("2026-05-10", None)):
        update_contact(workspace.id, jane, ContactChanges(attributes={"renewal": day}))
        work(workspace)
        assert next(enrollment.wake_at for enrollment in enrollments_of(campaign)) == (
            moment or datetime(2026, 5, 7, 9, tzinfo=UTC)
        )
    time.go(days=6)
    work(workspace)
    assert marked(workspace) == ["mark"]


def test_who_has_no_such_date_leaves(workspace, jane):
    wait = node("wait", "wait", until={"field": "attributes.renewal"})
    campaign = a_campaign(workspace, definition(wait, marks()))
    send(workspace, jane, "go")
    work(workspace)
    assert (ends(campaign), marked(workspace)) == ([("exited", "value_missing")], [])


def test_only_the_event_that_belongs_to_it_lets_an_enrollment_go_on(workspace, jane, time):
    campaign = a_campaign(workspace, paid_or_not(**SAME_ORDER))
    send(workspace, jane, "go", order_id=1)
    send(workspace, jane, "go", order_id=2)
    work(workspace)
    send(workspace, jane, "paid", order_id="2")
    work(workspace)
    assert marked(workspace) == ["mark paid"]
    time.go(days=2)
    work(workspace)
    assert marked(workspace) == ["mark paid", "mark unpaid"]
    resumed = [enrollment.resumed_by_event_id for enrollment in enrollments_of(campaign)]
    assert resumed.count(None) == 1


def test_another_contacts_event_is_none_of_its_business(workspace, jane):
    john = a_contact(workspace, "john@example.test")
    a_campaign(workspace, paid_or_not(**SAME_ORDER))
    send(workspace, jane, "go", order_id=1)
    work(workspace)
    send(workspace, john, "paid", order_id=1)
    work(workspace)
    assert marked(workspace) == []


@pytest.mark.parametrize("order", [("go", "paid"), ("paid", "go")])
def test_an_event_in_the_very_instant_of_the_trigger_counts(workspace, jane, time, order):
    campaign = a_campaign(workspace, paid_or_not(**SAME_ORDER))
    tell(workspace, jane, *order, order_id=1)
    work(workspace)
    assert marked(workspace) == ["mark paid"]
    assert ends(campaign) == [("completed", "end_of_workflow")]


def test_what_came_before_the_trigger_does_not_count(workspace, jane, time):
    a_campaign(workspace, paid_or_not(**SAME_ORDER))
    send(workspace, jane, "paid", order_id=1)
    time.go(seconds=1)
    send(workspace, jane, "go", order_id=1)
    work(workspace)
    assert marked(workspace) == []


def test_an_event_that_comes_while_the_enrollment_is_on_its_way_to_wait_is_not_missed(
    workspace, jane, time, monkeypatch
):
    """The effects look when the enrollment does not wait yet; the enrollment has looked when the event was
    not there yet.
    """
    a_campaign(workspace, paid_or_not())
    tell(workspace, jane, "go")
    apply_effects(workspace.id)
    # The enrollment arrives and is noted as waiting; what it does next it does in another transaction.
    assert processor.process_batch(workspace.id) == 1
    tell(workspace, jane, "paid")
    work(workspace)
    assert marked(workspace) == ["mark paid"]


def test_an_event_whose_effects_wait_counts_before_the_time_out(workspace, jane, time):
    a_campaign(workspace, paid_or_not())
    send(workspace, jane, "go")
    work(workspace)
    time.go(days=1)
    tell(workspace, jane, "paid")
    time.go(days=1)
    while processor.process_batch(workspace.id):
        pass
    assert marked(workspace) == ["mark paid"]


def test_an_event_waited_for_may_have_a_condition(workspace, jane):
    a_campaign(
        workspace, paid_or_not(condition={"field": "properties.amount", "operator": "gt", "value": 10})
    )
    send(workspace, jane, "go")
    work(workspace)
    send(workspace, jane, "paid", amount=5)
    work(workspace)
    assert marked(workspace) == []
    send(workspace, jane, "paid", amount=50)
    work(workspace)
    assert marked(workspace) == ["mark paid"]


def test_two_waits_for_one_name_want_two_events(workspace, jane, time):
    second = node("again", "waitForEvent", eventType="paid", timeout="2d")
    raw = definition(
        awaits("paid"), second, marks("mark"), edges=[("await", "again", "event"), ("again", "mark", "event")]
    )
    a_campaign(workspace, raw)
    send(workspace, jane, "go")
    work(workspace)
    send(workspace, jane, "paid")
    work(workspace)
    assert marked(workspace) == []
    send(workspace, jane, "paid")
    work(workspace)
    assert marked(workspace) == ["mark"]


@pytest.mark.parametrize("is_correlated", [True, False])
def test_an_event_after_the_time_out_is_too_late_though_no_worker_has_come_yet(
    workspace, jane, time, is_correlated
):
    a_campaign(workspace, paid_or_not(**(SAME_ORDER if is_correlated else {})))
    send(workspace, jane, "go", order_id=1)
    work(workspace)
    time.go(days=2, seconds=1)
    send(workspace, jane, "paid", order_id=1)
    work(workspace)
    assert marked(workspace) == ["mark unpaid"]


def test_a_enrollment_that_lacks_what_it_is_to_be_told_by_leaves(workspace, jane):
    campaign = a_campaign(workspace, paid_or_not(**SAME_ORDER))
    send(workspace, jane, "go")
    work(workspace)
    assert ends(campaign) == [("exited", "value_missing")]


def test_an_edit_while_enrollments_wait_leaves_them_as_they_began(workspace, jane, time):
    campaign = a_campaign(workspace, paid_or_not(**SAME_ORDER))
    send(workspace, jane, "go", order_id=1)
    work(workspace)
    update_campaign(workspace.id, campaign, definition=definition(marks("mark new")))
    activate_campaign(workspace.id, campaign)
    send(workspace, jane, "paid", order_id=1)
    send(workspace, jane, "go", order_id=1)
    work(workspace)
    assert sorted(marked(workspace)) == ["mark new", "mark paid"]


GOAL = {"goal": {"eventType": "buy", "within": "7d"}}


def test_the_goal_ends_an_enrollment_as_converted(workspace, jane, time):
    campaign = a_campaign(workspace, definition(node("wait", "wait", duration="3d"), marks(), **GOAL))
    send(workspace, jane, "go")
    work(workspace)
    send(workspace, jane, "buy")
    assert ends(campaign) == [("converted", "goal")]
    time.go(days=3)
    work(workspace)
    assert marked(workspace) == []


@pytest.mark.parametrize(("days", "end"), [(6, ("converted", "goal")), (8, ("completed", "end_of_workflow"))])
def test_the_goal_counts_within_its_window_also_after_the_end(workspace, jane, time, days, end):
    campaign = a_campaign(workspace, definition(marks(), **GOAL))
    send(workspace, jane, "go")
    work(workspace)
    time.go(days=days)
    send(workspace, jane, "buy")
    assert ends(campaign) == [end]


def test_what_starts_an_enrollment_is_not_its_goal(workspace, jane):
    goal = {"eventType": "go", "within": "7d"}
    campaign = a_campaign(workspace, definition(node("wait", "wait", duration="3d"), goal=goal))
    send(workspace, jane, "go")
    assert ends(campaign) == [("open", "")]


def test_an_exit_event_ends_an_enrollment(workspace, jane):
    condition = {"field": "properties.all", "operator": "eq", "value": True}
    raw = definition(
        node("wait", "wait", duration="3d"), exits=[{"eventType": "stop", "condition": condition}]
    )
    campaign = a_campaign(workspace, raw)
    send(workspace, jane, "go")
    send(workspace, jane, "stop")
    assert ends(campaign) == [("open", "")]
    send(workspace, jane, "stop", all=True)
    assert ends(campaign) == [("exited", "exit_rule")]


def test_history_starts_no_enrollment_but_one_under_way_takes_note_of_it(workspace, jane):
    campaign = a_campaign(workspace, definition(node("wait", "wait", duration="3d"), **GOAL))
    send(workspace, jane, "go")
    record_events(
        workspace.id,
        [IncomingEvent("buy", by_email("jane@example.test"))],
        schema_policy=SchemaPolicy.OPEN,
        level=EffectsLevel.SCORES_AND_SEGMENTS,
    )
    work(workspace)
    assert ends(campaign) == [("converted", "goal")]


# Moments


@pytest.mark.parametrize(
    ("value", "offset", "at", "moment"),
    [
        ("2026-05-20", 0, None, "2026-05-20T00:00+02:00"),
        ("2026-05-20", -3, "09:00", "2026-05-17T09:00+02:00"),
        # The clocks go on an hour on the 29th of March, and a day is a day.
        ("2026-03-30", -2, "09:00", "2026-03-28T09:00+01:00"),
        ("2026-05-20T15:00:00Z", -1, None, "2026-05-19T17:00+02:00"),
        ("2026-05-20T23:00:00Z", 0, "09:00", "2026-05-21T09:00+02:00"),
        ("soon", 0, None, None),
        (20, 0, None, None),
        (None, 0, None, None),
        ("0001-01-01", -10, None, None),
    ],
)
def test_a_date_becomes_a_moment(value, offset, at, moment):
    found = contact_date_moment(value, timedelta(days=offset), at and time_of_day.fromisoformat(at), BERN)
    assert found == (moment and datetime.fromisoformat(moment))


def test_in_the_hour_that_the_clocks_skip_it_is_as_if_they_had_not_yet():
    half_past_two = time_of_day(2, 30)
    # 2 o'clock becomes 3 o'clock.
    day = datetime(2026, 3, 28, 23, tzinfo=UTC)
    assert next_time_of_day(half_past_two, BERN, day) == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
    assert contact_date_moment("2026-03-29", timedelta(), half_past_two, BERN) == datetime(
        2026, 3, 29, 1, 30, tzinfo=UTC
    )


def test_in_the_hour_that_comes_twice_the_first_counts():
    half_past_two = time_of_day(2, 30)
    # 3 o'clock becomes 2 o'clock.
    first = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert next_time_of_day(half_past_two, BERN, first - timedelta(hours=5)) == first
    assert next_time_of_day(half_past_two, BERN, first) == first
    tomorrow = datetime(2026, 10, 26, 1, 30, tzinfo=UTC)
    assert next_time_of_day(half_past_two, BERN, first + timedelta(minutes=1)) == tomorrow
    assert contact_date_moment("2026-10-25", timedelta(), half_past_two, BERN) == first


@pytest.mark.parametrize("more", [{}, {"trigger": {"type": "MANUAL"}}])
def test_who_waits_for_what_its_beginning_does_not_name_leaves(workspace, jane, more):
    campaign = a_campaign(
        workspace, {**paid_or_not(**SAME_ORDER), **({"triggers": [more["trigger"]]} if more else {})}
    )
    execute_campaign(workspace.id, campaign, jane)
    work(workspace)
    assert ends(campaign) == [("exited", "value_missing")]


def test_a_yearly_date_comes_every_year():
    trigger = DateTrigger("birthday", timedelta(days=-3), time_of_day(9), is_yearly=True)
    after = datetime(2026, 5, 17, 7, tzinfo=UTC)  # 9 o'clock there
    assert occurrence_after("1990-05-20", trigger, BERN, after - timedelta(seconds=1)) == after
    assert occurrence_after("1990-05-20", trigger, BERN, after) == datetime(2027, 5, 17, 7, tzinfo=UTC)
    # Of an early January, three days before is another year; the 29th of February is the 28th in others.
    assert occurrence_after("1990-01-02", trigger, BERN, after) == datetime(2026, 12, 30, 8, tzinfo=UTC)
    assert occurrence_after("2000-02-29", trigger, BERN, after) == datetime(2027, 2, 25, 8, tzinfo=UTC)


def test_a_time_of_day_is_today_or_tomorrow():
    noon = datetime(2026, 5, 1, 10, tzinfo=UTC)
    assert next_time_of_day(time_of_day(12), BERN, noon) == noon
    assert next_time_of_day(time_of_day(11), BERN, noon) == noon + timedelta(hours=23)
