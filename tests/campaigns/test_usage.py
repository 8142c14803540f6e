"""What a campaign names cannot be deleted until only archived campaigns name it."""

import pytest

from campaigns.errors import ChannelInUse
from campaigns.journeys.lifecycle import archive_campaign, update_campaign
from campaigns.messaging.channel_settings import delete_channel, save_channel
from campaigns.messaging.templates import delete_template
from campaigns.models import Broadcast, Campaign, ChannelSettings, Template
from config import clock
from segments.definitions import delete_segment
from segments.errors import SegmentInUse
from segments.models import Segment
from tests.campaigns.factories import a_campaign, definition, marks, node, sends
from tests.native import NativeClient
from tests.segments.factories import a_segment, did, in_segment
from tests.workspaces.factories import WorkspaceFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def workspace(time):
    return WorkspaceFactory()


@pytest.fixture
def segment(workspace):
    return a_segment(workspace, did("buy"), name="Buyers")


def named_in(segment):
    """Return definitions that name a segment, each in another place."""
    return {
        "trigger": definition(marks(), triggers=[{"type": "SEGMENT_ENTER", "segmentId": str(segment.id)}]),
        "condition": definition(
            marks(), triggers=[{"type": "EVENT", "eventType": "go", "condition": in_segment(segment)}]
        ),
        "exit": definition(marks(), exits=[{"eventType": "buy", "condition": in_segment(segment)}]),
        "goal": definition(
            marks(), goal={"eventType": "buy", "within": "7d", "condition": in_segment(segment)}
        ),
    }


@pytest.mark.parametrize("place", ["trigger", "condition", "exit", "goal"])
def test_a_segment_that_a_campaign_names_stays_until_it_is_archived(workspace, segment, place):
    campaign = a_campaign(workspace, named_in(segment)[place], name="Thanks")
    answer = NativeClient(workspace).delete(f"segments/{segment.id}")
    assert (answer.status_code, answer.json()["error"]) == (409, "This segment is used by: Thanks")
    archive_campaign(workspace.id, campaign)
    assert NativeClient(workspace).delete(f"segments/{segment.id}").status_code == 204


def test_a_version_that_serves_names_it_though_the_draft_does_not(workspace, segment):
    campaign = a_campaign(workspace, named_in(segment)["trigger"], name="Thanks")
    update_campaign(workspace.id, campaign, definition=definition(marks()))
    with pytest.raises(SegmentInUse):
        delete_segment(workspace.id, segment)
    Campaign.objects.get().versions.update(retired_at=clock.now())
    delete_segment(workspace.id, segment)


def test_a_broadcast_to_come_names_its_segment(workspace, segment):
    campaign = a_campaign(workspace, name="Thanks")
    broadcast = Broadcast.objects.create(
        workspace=workspace, campaign=campaign, segment_id=segment.id, due_at=clock.now()
    )
    with pytest.raises(SegmentInUse):
        delete_segment(workspace.id, segment)
    Broadcast.objects.filter(id=broadcast.id).update(finished_at=clock.now())
    delete_segment(workspace.id, segment)


def test_what_cannot_be_read_any_more_names_it_still(workspace, segment):
    campaign = a_campaign(workspace, name="Thanks")
    Campaign.objects.filter(id=campaign.id).update(
        draft={"triggers": {"odd": [{"segmentId": str(segment.id)}]}}
    )
    with pytest.raises(SegmentInUse):
        delete_segment(workspace.id, segment)


def test_another_workspaces_campaign_does_not(workspace, segment):
    other = WorkspaceFactory()
    campaign = a_campaign(other)
    Campaign.objects.filter(id=campaign.id).update(draft={"triggers": [{"segmentId": str(segment.id)}]})
    delete_segment(workspace.id, segment)
    assert not Segment.objects.exists()


def test_a_template_of_archived_campaigns_can_be_deleted(workspace):
    campaign = a_campaign(workspace, definition(sends(workspace)), name="Thanks")
    template = Template.objects.get()
    answer = NativeClient(workspace).delete(f"templates/{template.id}")
    assert (answer.status_code, answer.json()["error"]) == (409, "This template is sent by: Thanks")
    archive_campaign(workspace.id, campaign)
    delete_template(template)


@pytest.mark.parametrize("channel", ["email", "webhook"])
def test_the_settings_of_a_channel_that_campaigns_send_by_stay(workspace, channel):
    save_channel(workspace.id, channel)
    step = (
        sends(workspace)
        if channel == "email"
        else node("call", "webhook", url="https://example.test/hook", body="{}")
    )
    campaign = a_campaign(workspace, definition(step), name="Thanks")
    settings = ChannelSettings.objects.get(channel=channel)
    with pytest.raises(ChannelInUse, match="Thanks"):
        delete_channel(settings)
    archive_campaign(workspace.id, campaign)
    delete_channel(settings)
    assert not ChannelSettings.objects.exists()
