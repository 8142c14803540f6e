"""Broadcasts: planned, moved, cancelled, and never begun in the past."""

import threading
from datetime import timedelta

import pytest

from campaigns.errors import (
    BroadcastAlreadyStarted,
    BroadcastFinished,
    InvalidCampaign,
    InvalidDefinition,
    StartInPast,
)
from campaigns.journeys import broadcasts
from campaigns.journeys.broadcasts import BROADCASTS, cancel_broadcast, reschedule_broadcast
from campaigns.journeys.lifecycle import (
    activate_campaign,
    broadcast_campaign,
    create_campaign,
    update_campaign,
)
from campaigns.models import Broadcast, Campaign
from campaigns.tasks import process_due_broadcasts
from config import clock
from tests.campaigns.factories import a_campaign, definition, enrollments_of, marks
from tests.contacts.factories import a_contact
from tests.native import NativeClient
from tests.segments.factories import a_segment, did
from tests.segments.test_races import at_once, paused
from tests.workspaces.factories import WorkspaceFactory

MANUAL = definition(trigger={"type": "MANUAL"})


@pytest.fixture
def campaign(workspace):
    return a_campaign(workspace, MANUAL)


@pytest.fixture
def api(workspace):
    return NativeClient(workspace)


def planned(campaign, contact, **more):
    at = clock.now() + timedelta(hours=1)
    return broadcast_campaign(campaign.workspace.id, campaign, contact_ids=[contact.id], at=at, **more)


def schedule(segment, at):
    trigger = {"type": "SCHEDULE", "segmentId": str(segment.id), "at": at}
    return definition(trigger=trigger)


def test_one_that_is_cancelled_starts_nothing(workspace, campaign, jane, time):
    broadcast = planned(campaign, jane, actor="ann")
    cancelled = cancel_broadcast(workspace.id, broadcast.id, actor="joe")
    time.go(hours=2)
    process_due_broadcasts()
    assert enrollments_of(campaign) == []
    assert cancelled.cancelled_at is not None
    assert [(change["kind"], change["by"]) for change in cancelled.changes] == [
        ("planned", "ann"),
        ("cancelled", "joe"),
    ]
    with pytest.raises(BroadcastFinished):
        cancel_broadcast(workspace.id, broadcast.id)
    with pytest.raises(BroadcastFinished):
        reschedule_broadcast(workspace.id, broadcast.id, clock.now())


def test_one_that_is_moved_starts_then(workspace, campaign, jane, time):
    broadcast = planned(campaign, jane)
    reschedule_broadcast(workspace.id, broadcast.id, clock.now() + timedelta(hours=3))
    time.go(hours=2)
    process_due_broadcasts()
    assert enrollments_of(campaign) == []
    time.go(hours=1)
    process_due_broadcasts()
    assert len(enrollments_of(campaign)) == 1


def test_one_that_has_begun_can_be_stopped_but_not_moved(workspace, campaign, time, monkeypatch):
    monkeypatch.setattr(broadcasts, "BATCH_SIZE", 2)
    people = [a_contact(workspace, f"p{number}@example.test") for number in range(5)]
    broadcast = broadcast_campaign(workspace.id, campaign, contact_ids=[contact.id for contact in people])
    BROADCASTS.run(broadcast, at_most_seconds=0)
    with pytest.raises(BroadcastAlreadyStarted):
        reschedule_broadcast(workspace.id, broadcast.id, clock.now() + timedelta(hours=1))
    cancel_broadcast(workspace.id, broadcast.id)
    process_due_broadcasts()
    assert len(enrollments_of(campaign)) == 2


@pytest.mark.parametrize("minutes", [4, -60])
def test_a_start_a_moment_ago_is_now(workspace, campaign, jane, time, minutes):
    at = clock.now() - timedelta(minutes=minutes)
    broadcast = broadcast_campaign(workspace.id, campaign, contact_ids=[jane.id], at=at)
    assert broadcast.due_at == at


def test_no_start_is_in_the_past(workspace, campaign, jane, time):
    past = clock.now() - timedelta(minutes=6)
    segment = a_segment(workspace, did("buy"))
    broadcast = planned(campaign, jane)
    with pytest.raises(InvalidCampaign) as refused:
        broadcast_campaign(workspace.id, campaign, contact_ids=[jane.id], at=past)
    assert refused.value.field == "at"
    with pytest.raises(StartInPast):
        reschedule_broadcast(workspace.id, broadcast.id, past)
    with pytest.raises(InvalidDefinition) as unscheduled:
        create_campaign(workspace.id, name="Old", definition=schedule(segment, past.isoformat()))
    assert unscheduled.value.path == "triggers[0].at"
    with pytest.raises(InvalidCampaign) as unstarted:
        create_campaign(workspace.id, name="Old", starts_at=past)
    assert unstarted.value.field == "starts_at"


def test_how_far_back_is_a_setting(workspace, campaign, jane, time, settings):
    settings.PAST_START_SECONDS = 3600
    at = clock.now() - timedelta(minutes=59)
    assert broadcast_campaign(workspace.id, campaign, contact_ids=[jane.id], at=at).due_at == at


def test_what_began_stays_as_it_was_read(workspace, time):
    starts_at = clock.now() + timedelta(hours=1)
    segment = a_segment(workspace, did("buy"))
    raw = schedule(segment, (clock.now() + timedelta(hours=1)).isoformat())
    campaign = create_campaign(workspace.id, name="c", starts_at=starts_at, definition=raw)
    time.go(days=1)
    update_campaign(workspace.id, campaign, starts_at=starts_at, definition=raw, description="Changed")


def test_a_schedule_that_passed_before_its_activation_is_refused(workspace, time):
    segment = a_segment(workspace, did("buy"))
    raw = schedule(segment, (clock.now() + timedelta(hours=1)).isoformat())
    campaign = create_campaign(workspace.id, name="c", definition=raw)
    time.go(days=1)
    with pytest.raises(InvalidDefinition) as refused:
        activate_campaign(workspace.id, campaign)
    assert refused.value.path == "triggers[0].at"
    campaign.refresh_from_db()
    assert campaign.status == Campaign.Status.DRAFT


@pytest.mark.parametrize("cancels", [True, False])
def test_an_edit_plans_no_second_one_of_what_was_moved_or_cancelled(workspace, time, cancels):
    segment = a_segment(workspace, did("buy"))
    raw = schedule(segment, (clock.now() + timedelta(days=3)).isoformat())
    campaign = a_campaign(workspace, raw)
    (broadcast,) = Broadcast.objects.all()
    if cancels:
        cancel_broadcast(workspace.id, broadcast.id)
    else:
        reschedule_broadcast(workspace.id, broadcast.id, clock.now() + timedelta(days=1))
    time.go(days=2)
    process_due_broadcasts()
    raw["workflow"] = definition(marks("other"))["workflow"]
    update_campaign(workspace.id, campaign, definition=raw)
    activate_campaign(workspace.id, campaign)
    assert [broadcast.pk for broadcast in Broadcast.objects.all()] == [broadcast.id]


def test_a_schedule_that_goes_takes_its_broadcast_along(workspace, time):
    segment = a_segment(workspace, did("buy"))
    campaign = a_campaign(workspace, schedule(segment, (clock.now() + timedelta(days=3)).isoformat()))
    later = (clock.now() + timedelta(days=4)).isoformat()
    update_campaign(workspace.id, campaign, definition=schedule(segment, later))
    activate_campaign(workspace.id, campaign)
    assert [broadcast.due_at.isoformat() for broadcast in Broadcast.objects.all()] == [later]


def test_the_api_moves_cancels_and_shows(workspace, campaign, jane, api):
    path = f"campaigns/{campaign.id}/broadcasts"
    at = (clock.now() + timedelta(hours=1)).isoformat()
    made = api.post(path, {"contactIds": [str(jane.id)], "at": at}).json()
    later = api.patch(f"{path}/{made['id']}", {"at": "2099-01-01T00:00:00Z"})
    assert (later.status_code, later.json()["at"]) == (200, "2099-01-01T00:00:00.000Z")
    past = api.patch(f"{path}/{made['id']}", {"at": "2020-01-01T00:00:00Z"})
    assert (past.status_code, past.json()["details"]) == (400, {"at": ["It lies in the past."]})
    cancelled = api.post(f"{path}/{made['id']}/cancel", {})
    assert cancelled.status_code == 200
    assert cancelled.json()["cancelledAt"] is not None
    assert [change["kind"] for change in cancelled.json()["changes"]] == ["planned", "moved", "cancelled"]
    assert api.get(f"{path}/{made['id']}").json() == cancelled.json()
    assert api.post(f"{path}/{made['id']}/cancel", {}).status_code == 409
    assert api.patch(f"{path}/{made['id']}", {"at": None}).status_code == 409
    assert api.get(f"{path}/{campaign.id}").status_code == 404
    refused = api.post(path, {"contactIds": [str(jane.id)], "at": "2020-01-01T00:00:00Z"})
    assert (refused.status_code, refused.json()["details"]) == (400, {"at": ["It lies in the past."]})
    assert api.patch(f"campaigns/{campaign.id}", {"startAt": "2020-01-01T00:00:00Z"}).status_code == 400


@pytest.mark.django_db(transaction=True)
def test_one_that_fails_keeps_its_error_and_holds_up_no_other(workspace, campaign, jane, monkeypatch):
    failing, fine = (broadcast_campaign(workspace.id, campaign, contact_ids=[jane.id]) for _ in range(2))
    real, batches = broadcasts.enroll, []

    def enroll(workspace_id, active_campaigns, candidates, now):
        batches.append(candidates)
        if any(candidate.source == f"broadcast:{failing.id}" for candidate in candidates):
            raise ValueError("no luck")
        return real(workspace_id, active_campaigns, candidates, now)

    monkeypatch.setattr(broadcasts, "enroll", enroll)
    with pytest.raises(ValueError, match="no luck"):
        process_due_broadcasts()
    failing.refresh_from_db()
    fine.refresh_from_db()
    assert (failing.done, failing.has_begun, failing.error) == (0, False, "ValueError: no luck")
    assert (fine.done, fine.finished_at is None) == (1, False)
    monkeypatch.setattr(broadcasts, "enroll", real)
    process_due_broadcasts()
    failing.refresh_from_db()
    assert (failing.done, failing.finished_at is None, failing.error) == (1, False, "")


# Races


@pytest.fixture
def world(transactional_db):
    workspace = WorkspaceFactory()
    campaign = a_campaign(workspace, MANUAL)
    people = [a_contact(workspace, f"p{number}@example.test") for number in range(4)]
    broadcast = broadcast_campaign(workspace.id, campaign, contact_ids=[contact.id for contact in people])
    return campaign, broadcast


@pytest.mark.parametrize("act", ["cancel", "move"])
def test_who_comes_while_it_begins_comes_too_late(world, monkeypatch, act):
    campaign, broadcast = world
    arrived, may_go = paused(monkeypatch, broadcasts, "enroll")
    became = []

    def change():
        assert arrived.wait(30)
        threading.Timer(0.3, may_go.set).start()
        try:
            if act == "cancel":
                cancel_broadcast(campaign.workspace_id, broadcast.id)
            else:
                reschedule_broadcast(campaign.workspace_id, broadcast.id, clock.now() + timedelta(days=1))
        except BroadcastAlreadyStarted:
            became.append("begun")
        else:
            became.append("cancelled")

    at_once(lambda: BROADCASTS.run(broadcast, at_most_seconds=0), change)

    assert len(enrollments_of(campaign)) == 4
    broadcast.refresh_from_db()
    assert (became, broadcast.done) == ([{"cancel": "cancelled", "move": "begun"}[act]], 4)


@pytest.mark.parametrize("act", ["cancel", "move"])
def test_who_comes_before_it_begins_is_heard(world, monkeypatch, act):
    campaign, broadcast = world
    arrived, may_go = paused(monkeypatch, broadcasts, "_change_entry")
    taken = []

    def change():
        if act == "cancel":
            cancel_broadcast(campaign.workspace_id, broadcast.id)
        else:
            reschedule_broadcast(campaign.workspace_id, broadcast.id, clock.now() + timedelta(days=1))

    def begin():
        assert arrived.wait(30)
        taken.append(BROADCASTS.run(broadcast, at_most_seconds=0))
        may_go.set()

    at_once(change, begin)
    taken.append(BROADCASTS.run(broadcast, at_most_seconds=0))

    assert taken == [True, True]
    assert enrollments_of(campaign) == []


def test_cancelled_and_begun_at_once_is_one_or_the_other(world):
    campaign, broadcast = world

    at_once(
        lambda: BROADCASTS.run(broadcast, at_most_seconds=0),
        lambda: cancel_broadcast(campaign.workspace_id, broadcast.id),
        lambda: BROADCASTS.run(broadcast, at_most_seconds=0),
    )
    process_due_broadcasts()

    broadcast.refresh_from_db()
    assert broadcast.cancelled_at is not None
    assert len(enrollments_of(campaign)) == broadcast.done
    assert broadcast.done in (0, 4)
