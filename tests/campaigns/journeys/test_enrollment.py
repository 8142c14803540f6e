"""Who comes into a campaign, who does not, and why."""

from datetime import timedelta
from typing import get_args

import pytest
from django.db import transaction

from campaigns import effects
from campaigns.journeys.lifecycle import (
    activate_campaign,
    execute_campaign,
    pause_campaign,
    resume_campaign,
    start_trial,
    update_campaign,
)
from campaigns.models import CampaignSet, Decision, Enrollment
from config import clock
from contacts.crud import delete_contact, untag_contact, update_contact
from contacts.merging.merges import merge_contacts
from contacts.references import ContactChanges, ContactReference
from contacts.signals import Kind
from events.models import EffectsLevel, Event, EventDefinition, ParkedEffect
from events.names import SYSTEM_EVENTS, contact_event
from events.processing.parked_effects import retry_parked
from events.processing.passes import EffectBatch, EffectEvent, apply_effects
from events.stream.derived_events import DerivedEvent, record_derived_events
from events.stream.outbox import enqueue_events
from events.stream.recording import record_events
from events.stream.types import IncomingEvent, SchemaPolicy
from tests.campaigns.factories import (
    a_campaign,
    admissions,
    definition,
    ends,
    enrollments_of,
    node,
    on_event,
    work,
)
from tests.contacts.factories import a_contact, tag_contact
from tests.segments.factories import a_segment, did, send, tell

pytestmark = pytest.mark.django_db

MORE_THAN_TEN = {"field": "properties.amount", "operator": "gt", "value": 10}
ENTERED = ("entered", "")


@pytest.mark.parametrize("mode", ["afterwards", "interval"])
def test_who_comes_again_is_let_in_though_the_clock_was_set_back(workspace, jane, time, mode):
    reentry = {"mode": mode, **({"days": 1} if mode == "interval" else {})}
    campaign = a_campaign(workspace, definition(node("out", "exit"), reentry=reentry))
    for _ in range(3):
        execute_campaign(workspace.id, campaign, jane)
        work(workspace)
        time.go(days=1, seconds=1)
    assert len(enrollments_of(campaign)) == 3
    for number in range(4, 7):
        time.go(days=-2)
        Enrollment.objects.update(started_at=clock.now() - timedelta(days=2))
        execute_campaign(workspace.id, campaign, jane)
        work(workspace)
        assert len(enrollments_of(campaign)) == number


def refused(reason):
    return ("not_entered", reason)


def test_an_event_starts_an_enrollment(workspace, jane):
    campaign = a_campaign(workspace)
    send(workspace, jane, "go", "other")
    work(workspace)
    assert ends(campaign) == [("completed", "end_of_workflow")]
    assert admissions(campaign) == [ENTERED]
    assert Event.objects.filter(workspace=workspace, name="mark", contact=jane, source="system").count() == 1


def test_a_condition_that_does_not_hold_is_on_record(workspace, jane):
    campaign = a_campaign(workspace, definition(trigger=on_event("go", MORE_THAN_TEN)))
    send(workspace, jane, "go", amount=5)
    send(workspace, jane, "go", amount=50)
    assert admissions(campaign) == [ENTERED, refused("condition_not_met")]


def test_campaigns_to_which_an_event_means_nothing_share_a_row(workspace, jane):
    listening = [a_campaign(workspace, definition(trigger=on_event("go", MORE_THAN_TEN))) for _ in range(3)]
    every = a_campaign(workspace, definition(reentry={"mode": "every"}))
    send(workspace, jane, "go", amount=5)
    send(workspace, jane, "go", amount=6)
    refusals = Decision.objects.filter(workspace=workspace, kind="not_entered").select_related("campaign_set")
    assert [set(decision.campaign_ids) for decision in refusals] == [
        {campaign.id for campaign in listening}
    ] * 2
    assert {decision.contact_id for decision in refusals} == {jane.id}
    assert len({decision.event_id for decision in refusals}) == 2
    assert CampaignSet.objects.get().campaign_ids == sorted(campaign.id for campaign in listening)
    for campaign in listening:
        assert admissions(campaign) == [refused("condition_not_met")] * 2
    assert admissions(every) == [ENTERED] * 2


def test_each_reason_has_a_row_of_its_own(workspace, jane):
    small = a_campaign(workspace, definition(trigger=on_event("go", MORE_THAN_TEN)))
    first, second = (a_campaign(workspace, definition(reentry={"mode": "once"})) for _ in range(2))
    paused = a_campaign(workspace)
    pause_campaign(workspace.id, paused)
    for _ in range(2):
        send(workspace, jane, "go", amount=5)
    event = Event.objects.filter(workspace=workspace, name="go").latest("received_at")
    rows = Decision.objects.filter(workspace=workspace, event_id=event.id, kind="not_entered")
    assert {row.reason: set(row.campaign_ids) for row in rows} == {
        "condition_not_met": {small.id},
        "already_entered": {first.id, second.id},
        "paused": {paused.id},
    }
    assert rows.filter(campaign_set=None).count() == 2


def test_what_was_refused_with_others_is_not_decided_again(workspace, jane):
    both = [a_campaign(workspace, definition(trigger=on_event("go", MORE_THAN_TEN))) for _ in range(2)]
    send(workspace, jane, "go", amount=5)
    late = a_campaign(workspace, definition(trigger=on_event("go", MORE_THAN_TEN)))
    (recorded,) = Event.objects.filter(workspace=workspace, name="go").values_list("id", "contact_id")
    enqueue_events(workspace.id, [recorded], level=EffectsLevel.ALL, is_repeat=True)
    work(workspace)
    for campaign in both:
        assert admissions(campaign) == [refused("condition_not_met")]
    assert admissions(late) == []  # what happened before its time is no news to it, though it comes again


def test_a_condition_may_ask_about_the_contact(workspace, jane):
    rule = {"operator": "AND", "conditions": [MORE_THAN_TEN, {"type": "tag", "value": "vip"}]}
    campaign = a_campaign(workspace, definition(trigger=on_event("go", rule)))
    send(workspace, jane, "go", amount=50)
    tag_contact(workspace.id, jane, "vip")
    send(workspace, jane, "go", amount=50)
    assert admissions(campaign) == [ENTERED, refused("condition_not_met")]


def test_the_same_event_twice_starts_one_enrollment(workspace, jane):
    campaign = a_campaign(workspace)
    event = IncomingEvent("go", ContactReference(id=str(jane.id)), {}, message_id="m1")
    for _ in range(2):
        record_events(workspace.id, [event], schema_policy=SchemaPolicy.OPEN)
        work(workspace)
    assert len(enrollments_of(campaign)) == 1
    (recorded,) = Event.objects.filter(workspace=workspace, name="go").values_list("id", "contact_id")
    enqueue_events(workspace.id, [recorded], level=EffectsLevel.ALL, is_repeat=True)
    work(workspace)
    assert len(enrollments_of(campaign)) == 1
    assert admissions(campaign) == [ENTERED]


@pytest.mark.parametrize(
    ("reentry", "at_once", "after_the_end"),
    [
        ({"mode": "once"}, [ENTERED, refused("already_entered")], refused("already_entered")),
        ({"mode": "afterwards"}, [ENTERED, refused("already_running")], ENTERED),
        ({"mode": "every"}, [ENTERED, ENTERED], ENTERED),
        ({"mode": "interval", "days": 2}, [ENTERED, refused("too_soon")], refused("too_soon")),
        (
            {"mode": "key", "property": "order"},
            [ENTERED, refused("already_entered")],
            refused("already_entered"),
        ),
    ],
)
def test_two_events_in_one_instant_and_a_third_after_the_end(
    workspace, jane, time, reentry, at_once, after_the_end
):
    campaign = a_campaign(workspace, definition(reentry=reentry))
    tell(workspace, jane, "go", "go", order="A")
    apply_effects(workspace.id)
    assert admissions(campaign) == sorted(at_once)
    work(workspace)
    time.go(minutes=1)
    send(workspace, jane, "go", order="A")
    assert admissions(campaign) == sorted([*at_once, after_the_end])


def test_many_events_are_decided_some_at_a_time_and_alike(workspace, jane, monkeypatch):
    monkeypatch.setattr(effects, "_MAX_PAIRS_PER_STATEMENT", 4)
    modes = ({"mode": "once"}, {"mode": "every"})
    once, every = (a_campaign(workspace, definition(reentry=mode)) for mode in modes)
    send(workspace, jane, *["go"] * 7)
    assert admissions(once) == [ENTERED, *[refused("already_entered")] * 6]
    assert admissions(every) == [ENTERED] * 7


def test_another_key_and_another_day_come_in(workspace, jane, time):
    by_key = a_campaign(workspace, definition(reentry={"mode": "key", "property": "order.id"}))
    by_day = a_campaign(workspace, definition(reentry={"mode": "interval", "days": 2}))
    send(workspace, jane, "go", order={"id": 7})
    send(workspace, jane, "go", order={"id": "7"})
    send(workspace, jane, "go", order={"id": 8})
    send(workspace, jane, "go")
    assert admissions(by_key) == sorted(
        [ENTERED, ENTERED, refused("already_entered"), refused("value_missing")]
    )
    time.go(days=2, seconds=1)
    send(workspace, jane, "go")
    assert len(enrollments_of(by_day)) == 2


def test_history_starts_nothing_unless_it_is_ticked(workspace, jane):
    campaign = a_campaign(workspace)
    with_history = a_campaign(workspace, definition(includesHistory=True))
    record_events(
        workspace.id,
        [IncomingEvent("go", ContactReference(id=str(jane.id)))],
        schema_policy=SchemaPolicy.OPEN,
        level=EffectsLevel.SCORES_AND_SEGMENTS,
    )
    work(workspace)
    assert admissions(campaign) == [refused("history")]
    assert admissions(with_history) == [ENTERED]


def test_an_event_that_came_too_late_starts_nothing(workspace, jane, time):
    campaign = a_campaign(workspace)
    EventDefinition.objects.create(workspace=workspace, name="go", late_after_hours=1)
    early = time.moment
    time.go(hours=2)
    send(workspace, jane, "go", at=early)
    tell(workspace, jane, "go")
    # What waits for its effects is not late by that.
    time.go(hours=2)
    work(workspace)
    assert admissions(campaign) == [ENTERED, refused("late_event")]


def test_a_segment_a_tag_an_attribute_and_a_new_contact_are_triggers(workspace, jane):
    segment = a_segment(workspace, did("buy"))
    campaigns = {
        "in": {"type": "SEGMENT_ENTER", "segmentId": str(segment.id)},
        "made": {"type": "CONTACT_CREATED"},
        "tagged": {"type": "TAG_ADDED", "tag": "vip"},
        "untagged": {"type": "TAG_REMOVED", "tag": "vip"},
        "moved": {"type": "ATTRIBUTE_CHANGED", "field": "attributes.city"},
        "to Bern": {
            "type": "ATTRIBUTE_CHANGED",
            "field": "attributes.city",
            "condition": {"type": "attribute", "field": "attributes.city", "operator": "eq", "value": "Bern"},
        },
    }
    campaigns = {
        name: a_campaign(workspace, definition(trigger=trigger)) for name, trigger in campaigns.items()
    }
    send(workspace, jane, "buy")
    john = a_contact(workspace, "john@example.test")
    tag_contact(workspace.id, jane, "vip", "other")
    untag_contact(workspace.id, jane, "vip")
    for city in ("Basel", "Bern"):
        update_contact(workspace.id, jane, ContactChanges(attributes={"city": city}))
        work(workspace)
    update_contact(workspace.id, jane, ContactChanges(attributes={"town": "Bern"}))
    work(workspace)
    entered = {
        name: [enrollment.contact_id for enrollment in enrollments_of(campaign)]
        for name, campaign in campaigns.items()
    }
    assert entered.pop("made")[-1] == john.id
    assert entered == {
        "in": [jane.id],
        "tagged": [jane.id],
        "untagged": [jane.id],
        "moved": [jane.id, jane.id],
        "to Bern": [jane.id],
    }


@pytest.mark.parametrize(
    ("trigger", "values", "enters"),
    [
        ({"type": "TAG_ADDED", "tag": "vip"}, {"tags": ("vip",)}, True),
        ({"type": "TAG_ADDED", "tag": "vip"}, {"tags": ("vip-gold",)}, False),
        ({"type": "TAG_REMOVED", "tag": "vip"}, {"tags": ("vip",)}, False),
        ({"type": "ATTRIBUTE_CHANGED", "field": "attributes.city"}, {"attributes": {"city": "Bern"}}, True),
        ({"type": "ATTRIBUTE_CHANGED", "field": "attributes.city"}, {"attributes": {"town": "Bern"}}, False),
        ({"type": "ATTRIBUTE_CHANGED", "field": "attributes.city"}, {"attributes": {"city": None}}, False),
        ({"type": "ATTRIBUTE_CHANGED", "field": "attributes.city"}, {"attributes": {"city": False}}, True),
        ({"type": "ATTRIBUTE_CHANGED", "field": "firstName"}, {"first_name": "John"}, True),
        ({"type": "ATTRIBUTE_CHANGED", "field": "email"}, {}, True),
        (
            {
                "type": "ATTRIBUTE_CHANGED",
                "field": "attributes.city",
                "condition": {"field": "properties.old.attributes.city", "operator": "exists"},
            },
            {"attributes": {"city": "Bern"}},
            False,
        ),
        (
            {
                "type": "ATTRIBUTE_CHANGED",
                "field": "attributes.city",
                "condition": {"field": "properties.new.attributes.city", "operator": "eq", "value": "Bern"},
            },
            {"attributes": {"city": "Bern"}},
            True,
        ),
    ],
)
def test_what_a_new_contact_comes_with_has_changed_from_nothing(workspace, trigger, values, enters):
    campaign = a_campaign(workspace, definition(trigger=trigger))
    a_contact(workspace, "john@example.test", **values)
    work(workspace)
    assert len(enrollments_of(campaign)) == enters


@pytest.mark.parametrize(
    ("before", "after", "enters"),
    [
        ({"city": "Bern"}, {"city": "Basel"}, True),
        ({"city": "Bern"}, {"city": None}, True),
        ({"city": "Bern"}, {"city": "Bern"}, False),
        ({}, {"city": None}, False),
        ({"city": None}, {"city": "Bern"}, True),
        ({"city": 1}, {"city": True}, True),
    ],
)
def test_an_attribute_has_changed_if_it_reads_otherwise(workspace, before, after, enters):
    jane = a_contact(workspace, "jane@example.test", attributes=before)
    work(workspace)
    trigger = {"type": "ATTRIBUTE_CHANGED", "field": "attributes.city"}
    campaign = a_campaign(workspace, definition(trigger=trigger))
    update_contact(workspace.id, jane, ContactChanges(attributes=after))
    work(workspace)
    assert len(enrollments_of(campaign)) == enters


def test_what_a_merge_brings_together_has_not_changed(workspace, jane):
    john = a_contact(workspace, "john@example.test", attributes={"city": "Bern"}, tags=("vip",))
    work(workspace)
    triggers = (
        {"type": "ATTRIBUTE_CHANGED", "field": "attributes.city"},
        {"type": "TAG_ADDED", "tag": "vip"},
    )
    campaigns = [a_campaign(workspace, definition(trigger=trigger)) for trigger in triggers]
    merge_contacts(workspace.id, jane, john)
    work(workspace)
    assert [enrollments_of(campaign) for campaign in campaigns] == [[], []]


def test_nobody_can_forge_what_only_the_system_tells(workspace, jane):
    campaign = a_campaign(workspace, definition(trigger={"type": "CONTACT_CREATED"}))
    work(workspace)
    before = len(enrollments_of(campaign))
    send(workspace, jane, "contact.created")
    assert len(enrollments_of(campaign)) == before


@pytest.mark.parametrize("name", ["message.click", "form.submitted", "telegram.message_received"])
def test_a_trigger_believes_of_the_system_what_the_system_tells(workspace, jane, name):
    campaign = a_campaign(workspace, definition(trigger=on_event(name)))
    send(workspace, jane, name)
    assert admissions(campaign) == [refused("condition_not_met")]
    record_derived_events(
        workspace.id, [DerivedEvent(name, jane.id, clock.now(), {}, cause_id=None, depth=0)], now=clock.now()
    )
    apply_effects(workspace.id)
    assert sorted(admissions(campaign)) == [ENTERED, refused("condition_not_met")]


def test_a_name_that_only_looks_like_the_system_s_is_anybody_s(workspace, jane):
    campaign = a_campaign(workspace, definition(trigger=on_event("form.abandoned")))
    send(workspace, jane, "form.abandoned")
    assert admissions(campaign) == [ENTERED]


@pytest.mark.parametrize("kind", get_args(Kind))
def test_every_change_of_a_contact_is_believed_of_the_system_only(workspace, jane, kind):
    apply_effects(workspace.id)
    campaign = a_campaign(workspace, definition(trigger=on_event(contact_event(kind))))
    send(workspace, jane, contact_event(kind))
    assert ENTERED not in admissions(campaign)


def test_what_the_system_tells_of_is_listed(workspace, jane):
    """Every name that events of the system have had in a rich day is among those that only it is believed in."""
    tag_contact(workspace.id, jane, "vip")
    update_contact(workspace.id, jane, ContactChanges(first_name="Jane", consents={"email": "opted_out"}))
    names = set(Event.objects.filter(workspace=workspace, source="system").values_list("name", flat=True))
    assert names
    assert names <= SYSTEM_EVENTS


def test_a_paused_campaign_lets_nobody_in_and_goes_on_afterwards(workspace, jane):
    campaign = a_campaign(workspace, definition())
    tell(workspace, jane, "go")
    apply_effects(workspace.id)
    pause_campaign(workspace.id, campaign)
    send(workspace, jane, "go")
    work(workspace)
    assert ends(campaign) == [("open", "")]
    resume_campaign(workspace.id, campaign)
    work(workspace)
    assert ends(campaign) == [("completed", "end_of_workflow")]
    assert admissions(campaign) == [ENTERED, refused("paused")]


def test_outside_its_period_it_lets_nobody_in(workspace, jane, time):
    opens = time.moment.replace(hour=13)
    campaign = a_campaign(workspace, starts_at=opens, ends_at=opens.replace(hour=14))
    for _ in range(3):
        send(workspace, jane, "go")
        time.go(hours=1)
    assert admissions(campaign) == [ENTERED, refused("outside_period"), refused("outside_period")]


def test_a_enrollment_keeps_the_version_on_which_it_started(workspace, jane):
    raw = definition()
    campaign = a_campaign(workspace, raw)
    tell(workspace, jane, "go")
    apply_effects(workspace.id)
    edited = definition({"id": "mark", "type": "record", "data": {"eventType": "edited"}})
    update_campaign(workspace.id, campaign, definition=edited)
    send(workspace, jane, "go")
    activate_campaign(workspace.id, campaign)
    send(workspace, jane, "go")
    work(workspace)
    marks = Event.objects.filter(workspace=workspace, name__in=("mark", "edited"))
    assert sorted(marks.values_list("name", flat=True)) == ["edited", "mark", "mark"]


def test_somebody_may_start_it_for_a_contact(workspace, jane):
    campaign = a_campaign(workspace, definition(trigger={"type": "MANUAL"}, reentry={"mode": "once"}))
    first = execute_campaign(workspace.id, campaign, jane)
    assert first.enrollment_id is not None
    again = execute_campaign(workspace.id, campaign, jane)
    assert (again.enrollment_id, again.reason) == (None, "already_entered")
    assert start_trial(workspace.id, campaign, jane).enrollment_id is not None


def test_who_is_deleted_before_the_effects_does_not_come_in(workspace, jane):
    campaign = a_campaign(workspace)
    tell(workspace, jane, "go")
    delete_contact(workspace.id, jane)
    work(workspace)
    assert enrollments_of(campaign) == []


def test_an_old_event_that_is_erased_while_its_effects_are_applied_holds_nobody_up(workspace, jane, time):
    john = a_contact(workspace, "john@example.test")
    campaign = a_campaign(workspace)
    old = clock.now() - timedelta(days=30)
    for contact in (jane, john):
        tell(workspace, contact, "go", at=old)
    events = [
        EffectEvent(
            *(event.id, event.contact_id, event.name, event.occurred_at, event.source, 0),
            level=EffectsLevel.SCORES_AND_SEGMENTS,
            received_at=event.received_at,
            is_late=True,
        )
        for event in Event.objects.filter(name="go").order_by("id")
    ]
    Event.objects.filter(id=events[0].id).delete()
    with transaction.atomic():
        effects.apply_campaigns(EffectBatch(workspace.id, events, clock.now()))
    assert refused("late_event") in admissions(campaign)
    assert enrollments_of(campaign) == []


def test_history_that_is_parked_beside_what_happens_stays_history(workspace, jane, monkeypatch):
    john = a_contact(workspace, "john@example.test")
    campaign = a_campaign(workspace)

    def fail(*_, **__):
        raise ValueError("no")

    with monkeypatch.context() as patch:
        patch.setattr(effects, "enroll", fail)
        who = [ContactReference(id=str(contact.id)) for contact in (jane, john)]
        events = [IncomingEvent("go", reference) for reference in who]
        record_events(workspace.id, events[:1], schema_policy=SchemaPolicy.OPEN)
        record_events(
            workspace.id, events[1:], schema_policy=SchemaPolicy.OPEN, level=EffectsLevel.SCORES_AND_SEGMENTS
        )
        apply_effects(workspace.id)
    activate_campaign(workspace.id, campaign)
    retry_parked(ParkedEffect.objects.all())
    work(workspace)
    assert [enrollment.contact_id for enrollment in enrollments_of(campaign)] == [jane.id]
    assert admissions(campaign) == [ENTERED, refused("history")]


def test_a_campaign_that_fails_is_parked_alone_and_decides_later_what_it_missed(workspace, jane, monkeypatch):
    fine, broken = a_campaign(workspace), a_campaign(workspace)
    real = effects.enroll

    def fail(workspace_id, active_campaigns, *arguments, **options):
        if any(active_campaign.campaign_id == broken.id for active_campaign in active_campaigns):
            raise ValueError("no")
        return real(workspace_id, active_campaigns, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(effects, "enroll", fail)
        send(workspace, jane, "go")
    send(workspace, jane, "go")
    broken.refresh_from_db()
    assert (len(enrollments_of(fine)), len(enrollments_of(broken))) == (2, 0)
    assert (broken.error, broken.parked_at is None) == ("ValueError: no", False)
    activate_campaign(workspace.id, broken)
    assert retry_parked(ParkedEffect.objects.all()) == 2
    work(workspace)
    assert (len(enrollments_of(fine)), len(enrollments_of(broken))) == (2, 2)


def test_a_trigger_by_a_change_decides_nothing_about_other_changes(workspace, jane):
    mine, _ = (a_segment(workspace, {"type": "tag", "value": tag}) for tag in ("mine", "other"))
    triggers = [
        {"type": "TAG_ADDED", "tag": "mine"},
        {"type": "TAG_REMOVED", "tag": "mine"},
        {"type": "ATTRIBUTE_CHANGED", "field": "attributes.plan"},
        {
            "type": "ATTRIBUTE_CHANGED",
            "field": "attributes.plan",
            "condition": {
                "type": "property",
                "field": "properties.new.attributes.plan",
                "operator": "eq",
                "value": "pro",
            },
        },
        {"type": "SEGMENT_ENTER", "segmentId": str(mine.id)},
        {"type": "SEGMENT_EXIT", "segmentId": str(mine.id)},
    ]
    work(workspace)
    campaigns = [a_campaign(workspace, definition(trigger=trigger)) for trigger in triggers]
    paused = a_campaign(workspace, definition(trigger=triggers[0]))
    pause_campaign(workspace.id, paused)

    tag_contact(workspace.id, jane, "other")
    untag_contact(workspace.id, jane, "other")
    update_contact(workspace.id, jane, ContactChanges(attributes={"colour": "red"}))
    a_contact(workspace, "john@example.test", attributes={"colour": "red"}, tags=("other",))
    work(workspace)
    assert [admissions(campaign) for campaign in (*campaigns, paused)] == [[]] * 7

    tag_contact(workspace.id, jane, "mine")
    update_contact(workspace.id, jane, ContactChanges(attributes={"plan": "free"}))
    work(workspace)
    untag_contact(workspace.id, jane, "mine")
    work(workspace)
    # Of a change that is the trigger's own there is a row, also if it fails the condition.
    assert [admissions(campaign) for campaign in campaigns] == [
        [ENTERED],
        [ENTERED],
        [ENTERED],
        [refused("condition_not_met")],
        [ENTERED],
        [ENTERED],
    ]
    assert admissions(paused) == [refused("paused")]
