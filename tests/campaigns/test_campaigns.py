"""Campaigns are made, changed, started and stopped."""

import pytest

from campaigns.errors import (
    CampaignExists,
    CampaignNotFound,
    InvalidCampaign,
    InvalidDefinition,
    WrongStatus,
)
from campaigns.models import Campaign, CampaignVersion, Template
from campaigns.services import plans
from campaigns.services.campaigns import (
    activate_campaign,
    archive_campaign,
    broadcast_campaign,
    create_campaign,
    delete_campaign,
    execute_campaign,
    finish_campaign,
    get_campaign,
    pause_campaign,
    resume_campaign,
    retire_versions,
    update_campaign,
)
from campaigns.tasks import sweep_campaigns
from config import ids
from tests.campaigns.factories import (
    a_campaign,
    decided,
    definition,
    ends,
    marks,
    messages_of,
    node,
    runs_of,
    sends,
    work,
)
from tests.segments.factories import send
from tests.workspaces.factories import WorkspaceFactory

pytestmark = pytest.mark.django_db

NOBODY = str(ids.uuid7())


def test_a_draft_may_lack_what_it_needs_to_be_started(workspace):
    campaign = create_campaign(workspace, name=" Welcome ")
    assert (campaign.name, campaign.status, campaign.draft) == ("Welcome", "DRAFT", {})
    with pytest.raises(InvalidDefinition):
        activate_campaign(workspace, campaign)
    update_campaign(workspace, campaign, definition=definition())
    assert activate_campaign(workspace, campaign).status == "ACTIVE"


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (definition(trigger={"type": "SEGMENT_ENTER", "segmentId": NOBODY}), "triggers[0].segmentId"),
        (
            definition(exits=[{"condition": {"type": "segment", "segmentId": NOBODY}}]),
            "exits[0].condition.segmentId",
        ),
        (
            definition(
                node(
                    "which",
                    "branch",
                    branches=[{"handle": "a", "condition": {"type": "segment", "segmentId": NOBODY}}],
                )
            ),
            "workflow.nodes[0].data.branches[0].condition.segmentId",
        ),
        (definition(node("send", "send", templateId=NOBODY)), "workflow.nodes[0].data.templateId"),
    ],
)
def test_what_it_speaks_of_must_be_there(workspace, raw, path):
    with pytest.raises(InvalidDefinition) as refusal:
        create_campaign(workspace, name="Welcome", definition=raw)
    assert refusal.value.path == path


def test_a_template_of_another_channel_or_workspace_is_refused(workspace):
    of_another = sends(WorkspaceFactory())
    with pytest.raises(InvalidDefinition):
        create_campaign(workspace, name="Welcome", definition=definition(of_another))
    telegram = sends(workspace)
    telegram["data"]["channel"] = "telegram"
    with pytest.raises(InvalidDefinition, match="another channel"):
        create_campaign(workspace, name="Welcome", definition=definition(telegram))


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"name": " "}, "name"),
        ({"name": "x" * 256}, "name"),
        ({"type": "WHIM"}, "type"),
        ({"status": "ACTIVE"}, "status"),
    ],
)
def test_values_that_cannot_be_are_refused(workspace, values, field):
    with pytest.raises(InvalidCampaign) as refusal:
        create_campaign(workspace, **{"name": "Welcome", **values})
    assert refusal.value.field == field


def test_two_campaigns_have_two_names(workspace):
    create_campaign(workspace, name="Welcome")
    with pytest.raises(CampaignExists):
        create_campaign(workspace, name="Welcome")
    create_campaign(WorkspaceFactory(), name="Welcome")


def test_another_workspaces_campaign_is_not_there(workspace):
    campaign = create_campaign(WorkspaceFactory(), name="Welcome")
    with pytest.raises(CampaignNotFound):
        get_campaign(workspace.id, campaign.id)
    with pytest.raises(CampaignNotFound):
        activate_campaign(workspace, campaign)


def test_starting_what_did_not_change_makes_no_version(workspace):
    campaign = a_campaign(workspace)
    assert activate_campaign(workspace, campaign).version.number == 1
    update_campaign(workspace, campaign, definition=definition(marks("mark 2")))
    assert get_campaign(workspace.id, campaign.id).version.number == 1
    assert activate_campaign(workspace, campaign).version.number == 2


def test_what_cannot_be_done_to_its_status_is_refused(workspace, jane):
    draft, active = create_campaign(workspace, name="Draft", definition=definition()), a_campaign(workspace)
    for refused in (
        lambda: pause_campaign(workspace, draft),
        lambda: finish_campaign(workspace, draft),
        lambda: execute_campaign(workspace, draft, jane),
        lambda: resume_campaign(workspace, active),
        lambda: delete_campaign(workspace, active),
    ):
        with pytest.raises(WrongStatus):
            refused()
    with pytest.raises(InvalidCampaign):
        broadcast_campaign(workspace, active)
    with pytest.raises(InvalidCampaign):
        broadcast_campaign(workspace, active, segment_id=ids.uuid7())
    delete_campaign(workspace, draft)
    archive_campaign(workspace, active)
    for refused in (activate_campaign, resume_campaign):
        with pytest.raises(WrongStatus):
            refused(workspace, active)
    with pytest.raises(WrongStatus):
        update_campaign(workspace, active, name="Other")
    assert list(Campaign.objects.values_list("status", flat=True)) == ["ARCHIVED"]


def test_what_is_finished_starts_nothing_and_lets_runs_end(workspace, jane, time):
    campaign = a_campaign(workspace, definition(node("wait", "wait", duration="1d"), marks()))
    send(workspace, jane, "go")
    work(workspace)
    finish_campaign(workspace, campaign)
    send(workspace, jane, "go")
    time.go(days=1)
    work(workspace)
    assert ends(campaign) == [("completed", "end_of_workflow")]


def test_old_versions_retire_once_no_run_is_left(workspace, jane, time):
    campaign = a_campaign(workspace, definition(node("wait", "wait", duration="1d"), marks()))
    send(workspace, jane, "go")
    work(workspace)
    update_campaign(workspace, campaign, definition=definition(marks("mark 2")))
    activate_campaign(workspace, campaign)
    assert retire_versions(workspace.id) == 0
    time.go(days=1)
    work(workspace)
    assert sweep_campaigns() == "done"
    assert list(CampaignVersion.objects.order_by("number").values_list("retired_at", flat=True)) == [
        time.moment,
        None,
    ]


def test_an_old_version_stays_while_its_goal_may_come(workspace, jane, time):
    campaign = a_campaign(workspace, definition(goal={"eventType": "buy", "within": "7d"}))
    send(workspace, jane, "go")
    work(workspace)
    update_campaign(workspace, campaign, definition=definition(marks("mark 2")))
    activate_campaign(workspace, campaign)
    time.go(days=6)
    assert retire_versions(workspace.id) == 0
    time.go(days=2)
    assert retire_versions(workspace.id) == 1


def test_a_template_that_is_broken_after_the_start_sends_nothing_and_says_so(workspace, jane):
    campaign = a_campaign(workspace, definition(sends(workspace), marks()))
    Template.objects.update(body="{% if %}")
    send(workspace, jane, "go")
    work(workspace)
    assert messages_of(campaign) == []
    assert decided(campaign, "not_sent") == [("not_sent", "template_broken")]
    assert ends(campaign) == [("completed", "end_of_workflow")]


def test_a_template_that_is_gone_ends_the_run(workspace, jane):
    campaign = a_campaign(workspace, definition(sends(workspace)))
    Template.objects.all().delete()
    send(workspace, jane, "go")
    work(workspace)
    assert ends(campaign) == [("failed", "template_broken")]


def test_a_definition_that_nobody_can_read_any_more_parks_its_campaign_alone(workspace, jane):
    broken, fine = a_campaign(workspace), a_campaign(workspace)
    CampaignVersion.objects.filter(campaign=broken).update(definition={"triggers": "none"})
    plans._read.cache_clear()
    update_campaign(workspace, fine, description="so that the plan is made anew")
    send(workspace, jane, "go")
    broken.refresh_from_db()
    assert broken.parked_at is not None
    assert broken.error.startswith("InvalidDefinition: triggers")
    assert (len(runs_of(broken)), len(runs_of(fine))) == (0, 1)
