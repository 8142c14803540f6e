"""Runs and messages of campaigns are counted exactly, and what is old is counted once."""

from functools import partial

import pytest

from campaigns import tasks
from campaigns.models import Campaign, Message, Run
from campaigns.services import tallying
from campaigns.services.campaigns import activate_campaign, try_campaign, update_campaign
from campaigns.services.tallying import counts_of, tally_campaigns
from campaigns.tasks import sweep_campaigns
from config import clock
from tests.campaigns.factories import a_campaign, definition, sends, work
from tests.contacts.factories import a_contact
from tests.segments.factories import send
from tests.segments.test_races import at_once, paused


def counted(campaign):
    campaign.refresh_from_db()
    return counts_of(campaign.workspace_id, [campaign])[campaign.id]


@pytest.mark.django_db
def test_counts_are_exact_at_every_moment_and_trials_are_left_out(workspace, jane, time):
    campaign = a_campaign(workspace, definition(sends(workspace)))
    other = a_campaign(workspace, definition(trigger={"type": "MANUAL"}))
    for number in range(1, 6):
        send(workspace, jane, "go")
        try_campaign(workspace, campaign, jane)
        work(workspace)
        assert counted(campaign) == (number, number)
        time.go(minutes=7)
        sweep_campaigns()
        assert counted(campaign) == (number, number)
    assert counted(other) == (0, 0)
    assert counts_of(workspace.id, []) == {}
    campaign.refresh_from_db()
    assert 0 < campaign.counted_runs < 5


@pytest.mark.django_db
def test_what_was_counted_once_is_not_looked_at_again(workspace, jane, time):
    campaign = a_campaign(workspace, definition(sends(workspace)))
    send(workspace, jane, "go")
    work(workspace)
    time.go(hours=1)
    assert tally_campaigns() == 1
    Run.objects.all().delete()
    Message.objects.all().delete()
    assert counted(campaign) == (1, 1)
    assert tally_campaigns() == 0


@pytest.mark.django_db
def test_an_edit_keeps_the_counts(workspace, jane, time):
    campaign = a_campaign(workspace, definition(sends(workspace)))
    send(workspace, jane, "go")
    work(workspace)
    time.go(hours=1)
    stale = Campaign.objects.get(id=campaign.id)
    tally_campaigns()
    update_campaign(workspace, stale, description="edited")
    activate_campaign(workspace, stale)
    assert counted(campaign) == (1, 1)


@pytest.mark.django_db(transaction=True)
def test_two_that_count_at_once_count_once(workspace, monkeypatch):
    jane = a_contact(workspace, "jane@example.test")
    campaign = a_campaign(workspace, definition(sends(workspace)))
    send(workspace, jane, "go")
    work(workspace)
    later = clock.now() + 2 * tallying.LAG
    monkeypatch.setattr(clock, "now", lambda: later)
    arrived, may_go = paused(monkeypatch, tallying, "_since")

    def second():
        assert arrived.wait(timeout=30)
        tallying._tally(Campaign.objects.get(id=campaign.id))
        may_go.set()

    at_once(partial(tallying._tally, campaign), second)
    assert counted(campaign) == (1, 1)
    campaign.refresh_from_db()
    assert campaign.counted_runs == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("step", ["due_broadcasts", "workspaces_with_campaigns"])
def test_a_step_of_the_sweep_that_fails_holds_up_no_other(workspace, jane, time, monkeypatch, step):
    campaign = a_campaign(workspace, definition(sends(workspace)))
    time.go(hours=1)

    def fail():
        raise ValueError("no")

    monkeypatch.setattr(tasks, step, fail)
    with pytest.raises(ValueError, match="no"):
        sweep_campaigns()
    campaign.refresh_from_db()
    assert campaign.counted_until is not None
