"""A report counts what was decided, by its reason, and what became of enrollments and messages."""

from datetime import timedelta

import pytest

from campaigns.reporting.counters import campaign_counts
from campaigns.reporting.report import MessageCounts, StepCount, campaign_report
from config import clock
from tests.campaigns.rows import a_campaign_row, a_campaign_set, a_decision, a_message, an_enrollment
from tests.contacts.factories import a_contact
from tests.workspaces.factories import WorkspaceFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def campaign(workspace):
    return a_campaign_row(workspace)


def test_decisions_are_counted_by_kind_and_reason(campaign, jane):
    for _ in range(2):
        a_decision(campaign, jane, "entered")
    a_decision(campaign, jane, "not_entered", "already_running")
    a_decision(campaign, jane, "not_entered", "condition_not_met")
    a_decision(campaign, jane, "not_entered", "condition_not_met")
    a_decision(campaign, jane, "not_sent", "suppressed", step="mail")
    a_decision(campaign, jane, "deferred", "quiet_hours", step="mail")
    report = campaign_report(campaign)
    assert report.entered == 2
    assert report.not_entered == {"already_running": 1, "condition_not_met": 2}
    assert report.not_sent == {"suppressed": 1}
    assert report.deferred == {"quiet_hours": 1}
    assert report.steps == [
        StepCount("mail", "deferred", "quiet_hours", "", 1),
        StepCount("mail", "not_sent", "suppressed", "", 1),
    ]


def test_the_ways_of_a_split_are_told_apart(campaign, jane):
    for handle in ("a", "b", "b"):
        a_decision(campaign, jane, "step", step="split", detail={"handle": handle})
    a_decision(campaign, jane, "step", step="split", detail={"handle": 5})
    assert [(step.handle, step.count) for step in campaign_report(campaign).steps] == [
        ("", 1),
        ("a", 1),
        ("b", 2),
    ]


def test_enrollments_are_counted_by_how_they_ended(campaign, jane):
    an_enrollment(campaign, jane)
    an_enrollment(campaign, jane, status="completed", end_reason="end_of_workflow")
    an_enrollment(campaign, jane, status="exited", end_reason="exit_rule")
    an_enrollment(campaign, jane, status="exited", end_reason="merged")
    trial = an_enrollment(campaign, jane, status="converted", end_reason="goal", is_test=True)
    a_decision(campaign, jane, "entered", enrollment_id=trial.id)
    report = campaign_report(campaign)
    assert report.entered == 0
    assert report.enrollments == {"open": 1, "completed": 1, "converted": 0, "exited": 2, "failed": 0}
    assert report.ended == {"end_of_workflow": 1, "exit_rule": 1, "merged": 1}


def test_messages_are_counted_by_channel_and_by_what_happened_to_them(campaign, jane):
    now = clock.now()
    a_message(jane, campaign)
    a_message(jane, campaign, status="OPENED", opened_at=now)
    a_message(jane, campaign, status="CLICKED", opened_at=now, clicked_at=now)
    a_message(jane, campaign, channel="webhook", status="SENT")
    a_message(jane, campaign, is_test=True)
    a_message(jane)
    assert campaign_report(campaign).messages == {
        "email": MessageCounts(3, {"QUEUED": 1, "OPENED": 1, "CLICKED": 1}, opened=2, clicked=1),
        "webhook": MessageCounts(1, {"SENT": 1}, opened=0, clicked=0),
    }


def test_another_campaign_and_another_workspace_are_not_counted(campaign, jane):
    other = a_campaign_row(campaign.workspace, "Other")
    an_enrollment(other, jane)
    a_decision(other, jane, "entered")
    elsewhere = WorkspaceFactory()
    theirs = a_campaign_row(elsewhere)
    an_enrollment(theirs, a_contact(elsewhere))
    report = campaign_report(campaign)
    assert (report.entered, report.enrollments["open"], report.messages) == (0, 0, {})
    assert campaign_counts(campaign.workspace_id, [campaign, other, theirs]) == {
        campaign.id: (0, 0),
        other.id: (1, 0),
        theirs.id: (0, 0),
    }


def test_a_period_has_what_began_in_it(campaign, jane, time):
    a_decision(campaign, jane, "entered")
    an_enrollment(campaign, jane)
    noon = time.go(hours=1)
    a_decision(campaign, jane, "entered")
    an_enrollment(campaign, jane)
    a_message(jane, campaign)
    later = time.go(hours=1)
    assert campaign_report(campaign, until=noon).entered == 1
    assert campaign_report(campaign, until=noon).messages == {}
    assert campaign_report(campaign, since=noon).enrollments["open"] == 1
    assert campaign_report(campaign, since=noon, until=later).messages["email"].total == 1
    assert campaign_report(campaign, since=later).entered == 0
    assert campaign_report(campaign).entered == 2


def test_what_was_decided_with_other_campaigns_counts_for_each(workspace, campaign, jane):
    other = a_campaign_row(workspace, "Other")
    both = a_campaign_set(campaign, other)
    for reason in ("too_soon", "too_soon", "history"):
        a_decision(both, jane, "not_entered", reason)
    a_decision(other, jane, "not_entered", "too_soon")
    assert campaign_report(campaign).not_entered == {"too_soon": 2, "history": 1}
    assert campaign_report(other).not_entered == {"too_soon": 3, "history": 1}
    assert campaign_report(campaign, until=clock.now() - timedelta(seconds=60)).not_entered == {}
    assert campaign_report(campaign, since=clock.now() - timedelta(seconds=60)) == campaign_report(campaign)


def test_it_takes_five_statements(campaign, jane, django_assert_num_queries):
    for number in range(3):
        a_decision(campaign, jane, "not_entered", f"reason {number}")
        a_decision(a_campaign_set(campaign), jane, "not_entered")
    with django_assert_num_queries(5):
        campaign_report(campaign)
