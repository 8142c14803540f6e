"""Campaigns are made, changed, started and stopped."""

import pytest

from campaigns.errors import (
    CampaignExists,
    CampaignNotFound,
    InvalidCampaign,
    InvalidDefinition,
    WrongStatus,
)
from campaigns.journeys import plans
from campaigns.journeys.lifecycle import (
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
    start_trial,
    update_campaign,
)
from campaigns.journeys.versions import retire_versions
from campaigns.models import Campaign, CampaignVersion, Decision, Enrollment, Template
from campaigns.reporting.report import campaign_report
from campaigns.tasks import retire_versions_and_update_counters
from config import ids
from events.models import Event
from segments.definitions import create_segment
from segments.models import Segment
from tests.campaigns.factories import (
    a_campaign,
    decided,
    definition,
    ends,
    enrollments_of,
    marks,
    messages_of,
    node,
    sends,
    work,
)
from tests.contacts.factories import a_contact
from tests.segments.factories import send
from tests.workspaces.factories import WorkspaceFactory

pytestmark = pytest.mark.django_db

NOBODY = str(ids.uuid7())


def test_a_draft_may_lack_what_it_needs_to_be_started(workspace):
    campaign = create_campaign(workspace.id, name=" Welcome ")
    assert (campaign.name, campaign.status, campaign.draft) == ("Welcome", "DRAFT", {})
    with pytest.raises(InvalidDefinition):
        activate_campaign(workspace.id, campaign)
    update_campaign(workspace.id, campaign, definition=definition())
    assert activate_campaign(workspace.id, campaign).status == "ACTIVE"


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
        (
            definition(node("call", "webhook", url="https://a.test", body="{% if")),
            "workflow.nodes[0].data.body",
        ),
        (definition(node("call", "webhook", url="https://a.test/{{ a")), "workflow.nodes[0].data.url"),
        (
            definition(node("call", "webhook", url="https://a.test", headers={"X-A": "{{ a"})),
            "workflow.nodes[0].data.headers.X-A",
        ),
        (definition(node("tell", "record", eventType="a", properties={"a": "b" * 1_000_000})), "workflow"),
    ],
)
def test_what_it_speaks_of_must_be_there(workspace, raw, path):
    with pytest.raises(InvalidDefinition) as refusal:
        create_campaign(workspace.id, name="Welcome", definition=raw)
    assert refusal.value.path == path


def test_a_template_of_another_channel_or_workspace_is_refused(workspace):
    of_another = sends(WorkspaceFactory())
    with pytest.raises(InvalidDefinition):
        create_campaign(workspace.id, name="Welcome", definition=definition(of_another))
    telegram = sends(workspace)
    telegram["data"]["channel"] = "telegram"
    with pytest.raises(InvalidDefinition, match="another channel"):
        create_campaign(workspace.id, name="Welcome", definition=definition(telegram))


def test_a_segment_of_another_workspace_is_refused(workspace):
    theirs = create_segment(WorkspaceFactory().id, name="Press", evaluation=Segment.Evaluation.STATIC)
    for kind in ("SEGMENT_ENTER", "SEGMENT_EXIT", "SCHEDULE"):
        raw = definition(trigger={"type": kind, "segmentId": str(theirs.id)})
        with pytest.raises(InvalidDefinition) as refusal:
            create_campaign(workspace.id, name="Welcome", definition=raw)
        assert refusal.value.path == "triggers[0].segmentId"


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
        create_campaign(workspace.id, **{"name": "Welcome", **values})
    assert refusal.value.field == field


def test_two_campaigns_have_two_names(workspace):
    create_campaign(workspace.id, name="Welcome")
    with pytest.raises(CampaignExists):
        create_campaign(workspace.id, name="Welcome")
    create_campaign(WorkspaceFactory().id, name="Welcome")


def test_another_workspaces_campaign_is_not_there(workspace):
    campaign = create_campaign(WorkspaceFactory().id, name="Welcome")
    with pytest.raises(CampaignNotFound):
        get_campaign(workspace.id, campaign.id)
    with pytest.raises(CampaignNotFound):
        activate_campaign(workspace.id, campaign)


def test_starting_what_did_not_change_makes_no_version(workspace):
    campaign = a_campaign(workspace)
    assert activate_campaign(workspace.id, campaign).active_version.number == 1
    update_campaign(workspace.id, campaign, definition=definition(marks("mark 2")))
    assert get_campaign(workspace.id, campaign.id).active_version.number == 1
    assert activate_campaign(workspace.id, campaign).active_version.number == 2


def test_what_cannot_be_done_to_its_status_is_refused(workspace, jane):
    draft, active = (
        create_campaign(workspace.id, name="Draft", definition=definition()),
        a_campaign(workspace),
    )
    for refused in (
        lambda: pause_campaign(workspace.id, draft),
        lambda: finish_campaign(workspace.id, draft),
        lambda: execute_campaign(workspace.id, draft, jane),
        lambda: resume_campaign(workspace.id, active),
        lambda: delete_campaign(workspace.id, active),
    ):
        with pytest.raises(WrongStatus):
            refused()
    with pytest.raises(InvalidCampaign):
        broadcast_campaign(workspace.id, active)
    with pytest.raises(InvalidCampaign):
        broadcast_campaign(workspace.id, active, segment_id=ids.uuid7())
    delete_campaign(workspace.id, draft)
    archive_campaign(workspace.id, active)
    for refused in (activate_campaign, resume_campaign):
        with pytest.raises(WrongStatus):
            refused(workspace.id, active)
    with pytest.raises(WrongStatus):
        update_campaign(workspace.id, active, name="Other")
    assert list(Campaign.objects.values_list("status", flat=True)) == ["ARCHIVED"]


def test_what_is_finished_starts_nothing_and_lets_enrollments_end(workspace, jane, time):
    campaign = a_campaign(workspace, definition(node("wait", "wait", duration="1d"), marks()))
    send(workspace, jane, "go")
    work(workspace)
    finish_campaign(workspace.id, campaign)
    send(workspace, jane, "go")
    time.go(days=1)
    work(workspace)
    assert ends(campaign) == [("completed", "end_of_workflow")]


TWO_DAYS = node("wait", "wait", duration="2d")


def test_a_draft_is_tried_out_before_it_serves(workspace, jane, time):
    draft = create_campaign(workspace.id, name="Draft", definition=definition(TWO_DAYS, sends(workspace)))
    for _ in range(2):
        assert start_trial(workspace.id, draft, jane).enrollment_id is not None
    work(workspace)
    time.go(days=2)
    work(workspace)
    assert ends(draft) == [("completed", "end_of_workflow")] * 2
    assert [message.is_test for message in messages_of(draft)] == [True, True]
    draft.refresh_from_db()
    assert (draft.status, draft.active_version) == ("DRAFT", None)
    # One row for what is the same; events are held against it for no longer than it is tried.
    (trial,) = CampaignVersion.objects.all()
    assert (trial.number, retire_versions(workspace.id)) == (None, 1)
    found = campaign_report(draft)
    assert (found.entered, found.messages, found.not_entered, found.steps) == (0, {}, {}, [])
    assert activate_campaign(workspace.id, draft).active_version.number == 1
    send(workspace, jane, "go")
    assert [enrollment.is_test for enrollment in enrollments_of(draft)] == [True, True, False]


def test_a_trial_is_of_what_is_written_now(workspace, jane):
    campaign = a_campaign(workspace, definition(marks("mark 1")))
    served = start_trial(workspace.id, campaign, jane).enrollment_id
    update_campaign(workspace.id, campaign, definition=definition(marks("mark 2")))
    tried = start_trial(workspace.id, campaign, jane).enrollment_id
    update_campaign(workspace.id, campaign, definition=definition(marks("mark 3")))
    again = start_trial(workspace.id, campaign, jane).enrollment_id
    work(workspace)
    numbers = {enrollment.id: enrollment.version.number for enrollment in enrollments_of(campaign)}
    assert numbers == {served: 1, tried: None, again: None}
    assert sorted(Event.objects.filter(name__startswith="mark").values_list("name", flat=True)) == [
        "mark 1",
        "mark 2",
        "mark 3",
    ]
    assert activate_campaign(workspace.id, campaign).active_version.number == 2


def test_neither_a_period_nor_a_missing_key_keeps_a_trial_out(workspace, jane, time):
    raw = definition(reentry={"mode": "key", "property": "order_id"})
    campaign = create_campaign(workspace.id, name="Later", definition=raw, starts_at=time.go(days=1))
    time.go(days=-1)
    assert start_trial(workspace.id, campaign, jane).enrollment_id is not None


def test_what_is_tried_out_hears_of_events(workspace, jane):
    awaits = node("await", "waitForEvent", eventType="paid", timeout="2d")
    goal = {"eventType": "buy", "within": "7d"}
    draft = create_campaign(
        workspace.id,
        name="Draft",
        definition=definition(awaits, TWO_DAYS, edges=[("await", "wait", "event")], goal=goal),
    )
    start_trial(workspace.id, draft, jane)
    work(workspace)
    send(workspace, jane, "paid")
    work(workspace)
    assert [enrollment.step for enrollment in enrollments_of(draft)] == ["wait"]
    send(workspace, jane, "buy")
    assert ends(draft) == [("converted", "goal")]


def test_what_came_before_a_trial_does_not_end_it(workspace, jane, time):
    goal = {"eventType": "buy", "within": "7d"}
    draft = create_campaign(workspace.id, name="Draft", definition=definition(sends(workspace), goal=goal))
    send(workspace, jane, "go")
    send(workspace, jane, "buy")
    time.go(days=1)
    start_trial(workspace.id, draft, jane, event=Event.objects.get(name="go"))
    work(workspace)
    assert ends(draft) == [("completed", "end_of_workflow")]


@pytest.mark.parametrize(("has_paid", "mark"), [(True, "mark paid"), (False, "mark unpaid")])
def test_no_time_passes_in_a_trial_that_skips_its_waits(workspace, time, has_paid, mark):
    jane = a_contact(workspace, "jane@example.test", attributes={"renewal": "2030-01-01"})
    steps = [
        TWO_DAYS,
        node("nine", "wait", timeOfDay="09:00"),
        node("renewal", "wait", until={"field": "attributes.renewal"}),
        node("await", "waitForEvent", eventType="paid", timeout="30d"),
        marks("mark paid"),
        marks("mark unpaid"),
    ]
    edges = [
        ("wait", "nine"),
        ("nine", "renewal"),
        ("renewal", "await"),
        ("await", "mark paid", "event"),
        ("await", "mark unpaid", "timeout"),
    ]
    draft = create_campaign(workspace.id, name="Draft", definition=definition(*steps, edges=edges))
    send(workspace, jane, "go", *(["paid"] if has_paid else []))
    start_trial(workspace.id, draft, jane, event=Event.objects.get(name="go"), skips_waits=True)
    work(workspace)
    assert ends(draft) == [("completed", "end_of_workflow")]
    assert Event.objects.filter(name__startswith="mark").get().name == mark


def test_what_cannot_be_tried_out_says_why(workspace, jane):
    empty = create_campaign(workspace.id, name="Empty")
    with pytest.raises(InvalidDefinition):
        start_trial(workspace.id, empty, jane)
    campaign = a_campaign(workspace)
    pause_campaign(workspace.id, campaign)
    with pytest.raises(WrongStatus):
        start_trial(workspace.id, campaign, jane)
    archive_campaign(workspace.id, campaign)
    with pytest.raises(WrongStatus):
        start_trial(workspace.id, campaign, jane)


def test_a_draft_goes_with_its_trials(workspace, jane):
    draft = create_campaign(workspace.id, name="Draft", definition=definition(TWO_DAYS))
    start_trial(workspace.id, draft, jane)
    delete_campaign(workspace.id, draft)
    assert (Enrollment.objects.count(), CampaignVersion.objects.count(), Decision.objects.count()) == (
        0,
        0,
        0,
    )


def test_old_versions_retire_once_no_enrollment_is_left(workspace, jane, time):
    campaign = a_campaign(workspace, definition(node("wait", "wait", duration="1d"), marks()))
    send(workspace, jane, "go")
    work(workspace)
    update_campaign(workspace.id, campaign, definition=definition(marks("mark 2")))
    activate_campaign(workspace.id, campaign)
    assert retire_versions(workspace.id) == 0
    time.go(days=1)
    work(workspace)
    assert retire_versions_and_update_counters() == "done"
    assert list(CampaignVersion.objects.order_by("number").values_list("retired_at", flat=True)) == [
        time.moment,
        None,
    ]


def test_an_old_version_stays_while_its_goal_may_come(workspace, jane, time):
    campaign = a_campaign(workspace, definition(goal={"eventType": "buy", "within": "7d"}))
    send(workspace, jane, "go")
    work(workspace)
    update_campaign(workspace.id, campaign, definition=definition(marks("mark 2")))
    activate_campaign(workspace.id, campaign)
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


def test_a_template_that_is_gone_ends_the_enrollment(workspace, jane):
    campaign = a_campaign(workspace, definition(sends(workspace)))
    Template.objects.all().delete()
    send(workspace, jane, "go")
    work(workspace)
    assert ends(campaign) == [("failed", "template_broken")]


def test_a_definition_that_nobody_can_read_any_more_parks_its_campaign_alone(workspace, jane):
    broken, fine = a_campaign(workspace), a_campaign(workspace)
    CampaignVersion.objects.filter(campaign=broken).update(definition={"triggers": "none"})
    plans._parse_version.cache_clear()
    update_campaign(workspace.id, fine, description="so that the plan is made anew")
    send(workspace, jane, "go")
    broken.refresh_from_db()
    assert broken.parked_at is not None
    assert broken.error.startswith("InvalidDefinition: triggers")
    assert (len(enrollments_of(broken)), len(enrollments_of(fine))) == (0, 1)


def test_what_nobody_can_read_any_more_is_mended_by_an_edit_or_put_away(workspace, jane):
    mended, archived = a_campaign(workspace), a_campaign(workspace)
    CampaignVersion.objects.update(definition={"triggers": "none"})
    plans._parse_version.cache_clear()
    update_campaign(workspace.id, mended, definition=definition(marks("anew")))
    activate_campaign(workspace.id, mended)
    archive_campaign(workspace.id, archived)
    send(workspace, jane, "go")
    assert (len(enrollments_of(mended)), len(enrollments_of(archived))) == (1, 0)
