"""Enrollments and messages of campaigns are counted exactly, and what is old is counted once."""

from functools import partial

import pytest

from campaigns import tasks
from campaigns.journeys.lifecycle import activate_campaign, start_trial, update_campaign
from campaigns.models import Campaign, Enrollment, Message
from campaigns.reporting import counters
from campaigns.reporting.counters import campaign_counts, update_campaign_counters
from campaigns.tasks import retire_versions_and_update_counters
from config import clock
from tests.campaigns.factories import a_campaign, definition, sends, work
from tests.contacts.factories import a_contact
from tests.segments.factories import send
from tests.segments.test_races import at_once, paused


def counted(campaign):
    campaign.refresh_from_db()
    return campaign_counts(campaign.workspace_id, [campaign])[campaign.id]


@pytest.mark.django_db
def test_counts_are_exact_at_every_moment_and_trials_are_left_out(workspace, jane, time):
    campaign = a_campaign(workspace, definition(sends(workspace)))
    other = a_campaign(workspace, definition(trigger={"type": "MANUAL"}))
    for number in range(1, 6):
        send(workspace, jane, "go")
        start_trial(workspace.id, campaign, jane)
        work(workspace)
        assert counted(campaign) == (number, number)
        time.go(minutes=7)
        retire_versions_and_update_counters()
        assert counted(campaign) == (number, number)
    assert counted(other) == (0, 0)
    assert campaign_counts(workspace.id, []) == {}
    campaign.refresh_from_db()
    assert 0 < campaign.counted_enrollments < 5


@pytest.mark.django_db
def test_what_was_counted_once_is_not_looked_at_again(workspace, jane, time):
    campaign = a_campaign(workspace, definition(sends(workspace)))
    send(workspace, jane, "go")
    work(workspace)
    time.go(hours=1)
    assert update_campaign_counters() == 1
    Enrollment.objects.all().delete()
    Message.objects.all().delete()
    assert counted(campaign) == (1, 1)
    assert update_campaign_counters() == 0


@pytest.mark.django_db
def test_an_edit_keeps_the_counts(workspace, jane, time):
    campaign = a_campaign(workspace, definition(sends(workspace)))
    send(workspace, jane, "go")
    work(workspace)
    time.go(hours=1)
    stale = Campaign.objects.get(id=campaign.id)
    update_campaign_counters()
    update_campaign(workspace.id, stale, description="edited")
    activate_campaign(workspace.id, stale)
    assert counted(campaign) == (1, 1)


@pytest.mark.django_db(transaction=True)
def test_two_that_count_at_once_count_once(workspace, monkeypatch):
    jane = a_contact(workspace, "jane@example.test")
    campaign = a_campaign(workspace, definition(sends(workspace)))
    send(workspace, jane, "go")
    work(workspace)
    later = clock.now() + 2 * counters.COUNTER_DELAY
    monkeypatch.setattr(clock, "now", lambda: later)
    arrived, may_go = paused(monkeypatch, counters, "_since")

    def second():
        assert arrived.wait(timeout=30)
        counters._update_counters(Campaign.objects.get(id=campaign.id))
        may_go.set()

    at_once(partial(counters._update_counters, campaign), second)
    assert counted(campaign) == (1, 1)
    campaign.refresh_from_db()
    assert campaign.counted_enrollments == 1


@pytest.mark.django_db(transaction=True)
def test_a_step_of_the_sweep_that_fails_holds_up_no_other(workspace, jane, time, monkeypatch):
    campaign = a_campaign(workspace, definition(sends(workspace)))
    time.go(hours=1)

    def fail():
        raise ValueError("no")

    monkeypatch.setattr(tasks, "workspaces_with_old_versions", fail)
    with pytest.raises(ValueError, match="no"):
        retire_versions_and_update_counters()
    campaign.refresh_from_db()
    assert campaign.counted_until is not None
