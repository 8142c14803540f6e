"""What came too late starts nothing, nor does anything that follows from it."""

from datetime import timedelta

import pytest

from campaigns.models import Enrollment
from contacts.models import Contact
from events.models import EffectsLevel, Event, EventDefinition
from events.processing.passes import apply_effects
from events.stream.definitions import create_definition
from events.stream.recording import record_events
from events.stream.types import IncomingEvent, SchemaPolicy
from scoring.models import ScoringRule
from scoring.rules import save_rule
from tests.campaigns.factories import (
    a_campaign,
    admissions,
    definition,
    enrollments_of,
    marks,
    node,
    on_event,
    sends,
    work,
)
from tests.contacts.factories import by_email
from tests.segments.factories import a_segment, attribute, did, in_segment, none_of

pytestmark = pytest.mark.django_db

NEW = "new@example.test"
OLD = timedelta(days=5)


@pytest.fixture(autouse=True)
def _settled(workspace, time, jane):
    apply_effects(workspace.id)


@pytest.fixture
def buy(workspace, time):
    """Return what records purchases in one call, each so long ago."""

    def record(*ages, who="jane@example.test", level=EffectsLevel.ALL, **properties):
        incoming = [
            IncomingEvent("buy", by_email(who), properties, occurred_at=time.now() - age) for age in ages
        ]
        outcomes = record_events(workspace.id, incoming, schema_policy=SchemaPolicy.OPEN, level=level)
        assert [message.status for message in outcomes] == ["recorded"] * len(ages)
        work(workspace)

    return record


def starts(campaign):
    return len(enrollments_of(campaign))


def listening(workspace, type_, **more):
    """Return a campaign that starts by a trigger of a type."""
    return a_campaign(workspace, definition(trigger={"type": type_, **more}))


@pytest.mark.parametrize(("age", "count"), [(timedelta(days=2), 1), (OLD, 0)])
def test_nobody_comes_into_a_campaign_by_a_segment_that_a_late_event_let_it_into(workspace, buy, age, count):
    buyers = a_segment(workspace, did("buy", timeWindow="30d"))
    idle = a_segment(workspace, none_of(did("buy", timeWindow="30d")))
    above = a_segment(workspace, in_segment(buyers))
    work(workspace)
    campaigns = [
        listening(workspace, "SEGMENT_ENTER", segmentId=str(buyers.id)),
        listening(workspace, "SEGMENT_EXIT", segmentId=str(idle.id)),
        listening(workspace, "SEGMENT_ENTER", segmentId=str(above.id)),
        a_campaign(workspace, definition(trigger=on_event("segment.entered"), reentry={"mode": "once"})),
    ]
    buy(age)
    assert [starts(campaign) for campaign in campaigns] == [count] * 4
    if not count:
        assert ("not_entered", "history") in admissions(campaigns[0])


def test_a_limit_of_its_own_counts_for_what_follows_too(workspace, buy):
    create_definition(workspace.id, "buy")
    EventDefinition.objects.filter(workspace=workspace, name="buy").update(late_after_hours=24 * 7)
    segment = a_segment(workspace, did("buy", timeWindow="30d"))
    campaign = listening(workspace, "SEGMENT_ENTER", segmentId=str(segment.id))
    buy(OLD)
    assert starts(campaign) == 1


def test_points_that_a_late_event_earned_start_nothing(workspace, buy):
    save_rule(ScoringRule(workspace=workspace, name="Buyers", event_name="buy", points=10))
    segment = a_segment(workspace, attribute("score", "gte", 10))
    campaign = listening(workspace, "SEGMENT_ENTER", segmentId=str(segment.id))
    buy(OLD)
    assert starts(campaign) == 0


def test_it_is_the_event_that_tips_the_scales_that_was_late_or_not(workspace, buy):
    segment = a_segment(workspace, did("buy", timeWindow="30d", operator="gte", value=2))
    campaign = listening(workspace, "SEGMENT_ENTER", segmentId=str(segment.id))
    buy(OLD, timedelta())
    assert starts(campaign) == 1
    buy(timedelta(), OLD, OLD, who=NEW)
    assert starts(campaign) == 1


def test_a_contact_that_only_a_late_event_tells_of_is_history_too(workspace, buy):
    created = listening(workspace, "CONTACT_CREATED")
    buy(OLD, OLD, who=NEW)
    assert Contact.objects.filter(workspace=workspace).count() == 2
    assert starts(created) == 0
    # Whoever does something now besides is new now.
    buy(OLD, timedelta(), who="third@example.test")
    assert starts(created) == 1


def test_what_a_campaign_does_for_a_late_event_starts_no_other(workspace, buy):
    own = definition(
        node("tag", "tag", add=["buyer"]),
        node("set", "update", attributes={"bought": True}),
        marks("told"),
        sends(workspace),
        trigger=on_event("buy"),
        includesHistory=True,
    )
    history = a_campaign(workspace, own)
    not_started = [
        listening(workspace, "TAG_ADDED", tag="buyer"),
        listening(workspace, "ATTRIBUTE_CHANGED", field="attributes.bought"),
        a_campaign(workspace, definition(trigger=on_event("told"))),
        a_campaign(workspace, definition(trigger=on_event("message.sent"))),
    ]
    buy(OLD)
    assert starts(history) == 1
    assert Enrollment.objects.get(campaign=history).level == EffectsLevel.SCORES_AND_SEGMENTS
    assert Event.objects.filter(workspace=workspace, name="told").count() == 1
    assert [starts(campaign) for campaign in not_started] == [0] * 3 + [starts(not_started[3])]
    buy(timedelta())
    assert starts(history) == 2
    assert [starts(campaign) for campaign in not_started[:3]] == [0, 0, 1]
    tagged = listening(workspace, "TAG_ADDED", tag="buyer")
    buy(timedelta(), who=NEW)
    assert starts(tagged) == 1


def test_an_import_that_a_campaign_takes_stays_an_import_in_what_follows(workspace, buy):
    a_campaign(workspace, definition(marks("told"), trigger=on_event("buy"), includesHistory=True))
    other = a_campaign(workspace, definition(trigger=on_event("told")))
    buy(timedelta(), level=EffectsLevel.SCORES_AND_SEGMENTS)
    assert Event.objects.filter(workspace=workspace, name="told").count() == 1
    assert starts(other) == 0
