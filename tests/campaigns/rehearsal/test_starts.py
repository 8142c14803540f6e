"""Broadcasts, schedules and requests are rehearsed as they would have come; each limit is told in plain words."""

from datetime import UTC, datetime, timedelta

import pytest
from django.urls import reverse

from campaigns.errors import InvalidRehearsal
from campaigns.journeys.broadcasts import BROADCASTS, new_broadcast, schedule_broadcasts
from campaigns.journeys.lifecycle import create_campaign, execute_campaign
from campaigns.journeys.processor import process_batch
from campaigns.models import Enrollment, Message, Rehearsal
from campaigns.rehearsal.rehearsals import order_rehearsal, run_waiting
from config import clock
from contacts.models import Consent, Contact
from contacts.references import ContactChanges, ContactReference
from events.processing.passes import apply_effects
from events.stream.recording import record_events
from events.stream.types import IncomingEvent, SchemaPolicy
from tests.campaigns.factories import a_campaign, definition, marks, node, sends
from tests.campaigns.messages import a_template, deliver_ready, use_channel
from tests.native import NativeClient
from tests.segments.factories import a_segment, did
from tests.workspaces.factories import WorkspaceFactory

pytestmark = pytest.mark.django_db(transaction=True)
BEGIN = datetime(2026, 4, 6, 9, tzinfo=UTC)
END = BEGIN + timedelta(days=7)
MANUAL = {"type": "MANUAL"}


@pytest.fixture
def workspace():
    with clock.virtual(BEGIN - timedelta(days=30)):
        return WorkspaceFactory()


def happened(workspace, who, name, at, consents=None):
    reference = ContactReference(
        identifiers=(("email", f"{who}@example.test"),),
        if_missing="create",
        update_matched=True,
        changes=ContactChanges(consents=consents or {}),
    )
    with clock.virtual(at):
        record_events(workspace.id, [IncomingEvent(name, reference)], schema_policy=SchemaPolicy.OPEN)
        apply_effects(workspace.id)


def buyers(workspace):
    with clock.virtual(BEGIN - timedelta(days=20)):
        return a_segment(workspace, did("buy"), "Buyers")


def scheduled(segment, at):
    moment = None if at is None else at.isoformat()
    return {"type": "SCHEDULE", "segmentId": str(segment.id), "at": moment}


def rehearsed(campaign):
    rehearsal = order_rehearsal(campaign, BEGIN, END)
    assert run_waiting() == 1
    rehearsal.refresh_from_db()
    assert rehearsal.status == Rehearsal.Status.DONE, rehearsal.error
    return rehearsal


def limits(rehearsal):
    return {limit["code"]: limit["text"] for limit in rehearsal.report["versions"][0]["limits"]}


def told(rows):
    """Return who entered when, in order, and what became of the messages."""
    mails = dict(Contact.objects.values_list("id", "identifiers__value"))
    return [
        (
            mails[row.contact_id].partition("@")[0],
            row.started_at,
            [(message["status"], message["at"]) for message in row.messages],
        )
        for row in rows
    ]


def test_a_schedule_reaches_who_was_a_member_at_its_moment(workspace):
    use_channel(workspace, "email", cap_count=1, cap_hours=24, quiet_from="20:00", quiet_until="07:00")
    segment = buyers(workspace)
    at = BEGIN + timedelta(days=1)
    happened(workspace, "early", "buy", at - timedelta(hours=2))
    happened(workspace, "opted", "buy", at - timedelta(hours=1), {"email": Consent.Status.OPTED_OUT})
    happened(workspace, "late", "buy", at + timedelta(hours=1))
    mail = node("mail", "send", channel="email", templateId=str(a_template(workspace).id))
    raw = definition(mail, trigger=scheduled(segment, at))
    with clock.virtual(BEGIN):
        campaign = create_campaign(workspace.id, name="News", definition=raw, type="BROADCAST")
    rehearsal = rehearsed(campaign)
    moment = "2026-04-07T09:00:00.000Z"
    assert told(rehearsal.enrollments.order_by("id")) == [
        ("early", at, [("SENT", moment)]),
        ("opted", at, []),
    ]
    report = rehearsal.report["versions"][0]
    assert (report["entered"], report["not_sent"]) == (2, {"opted_out": 1})
    assert "schedule_moved" not in limits(rehearsal)
    assert not Enrollment.objects.exists()
    assert not Message.objects.exists()


def test_a_schedule_outside_of_the_period_is_tried_at_its_beginning(workspace):
    segment = buyers(workspace)
    happened(workspace, "ann", "buy", BEGIN - timedelta(days=1))
    raw = definition(marks(), trigger=scheduled(segment, clock.now() + timedelta(days=9)))
    rehearsal = rehearsed(create_campaign(workspace.id, name="News", definition=raw, type="BROADCAST"))
    assert [row.started_at for row in rehearsal.enrollments.all()] == [BEGIN]
    assert "at the beginning instead" in limits(rehearsal)["schedule_moved"]


def test_a_broadcast_that_happened_is_repeated_as_it_was(workspace):
    use_channel(workspace, "email", cap_count=1, cap_hours=24)
    segment = buyers(workspace)
    with clock.virtual(BEGIN - timedelta(days=1)):
        raw = definition(sends(workspace), node("pause", "wait", duration="3h"), trigger=MANUAL)
        campaign = a_campaign(workspace, raw, name="News")
    for place in range(5):
        happened(workspace, f"p{place}", "buy", BEGIN + timedelta(minutes=place))
    at = BEGIN + timedelta(days=2)
    with clock.virtual(at):
        schedule_broadcasts(campaign.workspace_id, [new_broadcast(campaign, at=at, segment_id=segment.id)])
        BROADCASTS.run_all()
        while process_batch(workspace.id):
            pass
        deliver_ready(workspace.id, "email")
    with clock.virtual(at + timedelta(hours=3)):
        while process_batch(workspace.id):
            pass
    live = [
        (row.contact_id, row.started_at, row.status, row.ended_at)
        for row in Enrollment.objects.order_by("contact_id")
    ]
    assert len(live) == 5
    rehearsal = rehearsed(campaign)
    assert [
        (row.contact_id, row.started_at, row.status, row.ended_at)
        for row in rehearsal.enrollments.order_by("id")
    ] == live
    assert [message.sent_at for message in Message.objects.all()] == [at] * 5
    assert {row.messages[0]["at"] for row in rehearsal.enrollments.all()} == {"2026-04-08T09:00:00.000Z"}


def test_requests_are_repeated_and_what_is_not_stored_is_told(workspace):
    with clock.virtual(BEGIN - timedelta(days=1)):
        raw = definition(node("pause", "wait", duration="1d"), trigger=MANUAL, reentry={"mode": "once"})
        campaign = a_campaign(workspace, raw)
    for who in ("ann", "bob"):
        happened(workspace, who, "other", BEGIN - timedelta(hours=1))
    with pytest.raises(InvalidRehearsal, match="nothing to rehearse"):
        order_rehearsal(campaign, BEGIN, END)
    ann = Contact.objects.get(identifiers__value="ann@example.test")
    for hours in (1, 2):
        with clock.virtual(BEGIN + timedelta(hours=hours)):
            execute_campaign(workspace.id, campaign, ann)
    happened(workspace, "bob", "other", BEGIN + timedelta(hours=3))
    rehearsal = rehearsed(campaign)
    report = rehearsal.report["versions"][0]
    assert told(rehearsal.enrollments.all()) == [("ann", BEGIN + timedelta(hours=1), [])]
    assert report["not_entered"] == {"already_entered": 1}
    assert limits(rehearsal)["manual_starts"].startswith("2 starts by hand or by the API are repeated")


def test_requests_of_one_contact_and_key_are_repeated(workspace):
    with clock.virtual(BEGIN - timedelta(days=1)):
        raw = definition(marks(), trigger=MANUAL, reentry={"mode": "key", "property": "metadata.order"})
        campaign = a_campaign(workspace, raw)
    happened(workspace, "ann", "other", BEGIN - timedelta(hours=1))
    ann = Contact.objects.get()
    for place, key in enumerate(["a", "b", "a"]):
        with clock.virtual(BEGIN + timedelta(hours=place)):
            execute_campaign(workspace.id, campaign, ann, key=key)
    report = rehearsed(campaign).report["versions"][0]
    assert (report["entered"], report["not_entered"]) == (2, {"already_entered": 1})


def test_each_limit_is_told_in_the_answer_and_on_the_page(workspace, admin_client):
    segment = buyers(workspace)
    happened(workspace, "ann", "buy", BEGIN + timedelta(hours=1))
    template = a_template(workspace, name="Edited")
    raw = definition(
        node("mail", "send", channel="email", templateId=str(template.id)),
        node("await", "waitForEvent", eventType="message.open", timeout="1h"),
        node(
            "which",
            "branch",
            branches=[{"handle": "many", "condition": did("buy", operator="gte", value=3)}],
        ),
        trigger=scheduled(segment, None),
        edges=[("mail", "await"), ("await", "which", "timeout")],
    )
    campaign = create_campaign(workspace.id, name="News", definition=raw, type="BROADCAST")
    rehearsal = rehearsed(campaign)
    codes = {
        *("begins_empty", "arrives_at_once", "settings_now", "readers", "all_time_now", "templates_now"),
        *("schedule_moved", "segment_younger", "segments_as_were"),
    }
    assert set(limits(rehearsal)) == codes
    api = NativeClient(workspace)
    (shown,) = api.get(f"campaigns/{campaign.id}/rehearsals").json()["data"]
    assert shown["reports"][0]["limits"] == rehearsal.report["versions"][0]["limits"]
    page = admin_client.get(reverse("admin:campaigns_rehearsal_change", args=[rehearsal.pk])).content.decode()
    assert "Nobody had entered the segment Buyers by the moment of its broadcast." in page
    assert "Templates are as of now, and were edited since the beginning: Edited." in page
