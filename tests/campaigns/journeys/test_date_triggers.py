"""Dates of contacts that start enrollments, and broadcasts."""

from datetime import UTC, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from campaigns.errors import WrongStatus
from campaigns.journeys import broadcasts, date_triggers, plans
from campaigns.journeys.broadcasts import BROADCASTS
from campaigns.journeys.definition.triggers import DateTrigger
from campaigns.journeys.lifecycle import (
    activate_campaign,
    archive_campaign,
    broadcast_campaign,
    create_campaign,
    finish_campaign,
    pause_campaign,
    resume_campaign,
    update_campaign,
)
from campaigns.journeys.local_time import occurrence_after
from campaigns.models import Broadcast, Campaign, CampaignVersion
from campaigns.tasks import process_all_due_enrollments, process_due_broadcasts
from config import ids
from contacts.crud import update_contact
from contacts.merging.merges import merge_contacts
from contacts.models import Contact
from contacts.references import ContactChanges
from events.models import Timer
from tests.campaigns.factories import (
    a_campaign,
    admissions,
    definition,
    ends,
    enrollments_of,
    schedule_dates,
    work,
)
from tests.campaigns.messages import use_channel
from tests.contacts.factories import a_contact
from tests.segments.factories import a_segment, did, send
from workspaces.models import BackfillJob

pytestmark = pytest.mark.django_db

BIRTHDAY = {"type": "DATE", "field": "attributes.birthday", "at": "09:00", "repeats": "yearly"}
RENEWAL = {"type": "DATE", "field": "attributes.renewal", "offset": "-3d"}
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def born(workspace, day, name="jane"):
    return a_contact(workspace, f"{name}@example.test", attributes={"birthday": day})


def pass_days(workspace, time, days):
    """Let days pass, a clock's tick in each."""
    for _ in range(days):
        time.go(days=1)
        work(workspace)


def started(campaign):
    return [(enrollment.contact_id, enrollment.triggered_at) for enrollment in enrollments_of(campaign)]


def test_a_birthday_starts_an_enrollment_every_year(workspace, time):
    jane = born(workspace, "1990-05-20")
    campaign = a_campaign(workspace, definition(trigger=BIRTHDAY))
    schedule_dates()
    john = born(workspace, "1991-05-03", "john")
    work(workspace)
    pass_days(workspace, time, 30)
    assert started(campaign) == [
        (john.id, datetime(2026, 5, 3, 9, tzinfo=UTC)),
        (jane.id, datetime(2026, 5, 20, 9, tzinfo=UTC)),
    ]
    time.go(days=330)
    pass_days(workspace, time, 35)
    assert [moment.year for _, moment in started(campaign)] == [2026, 2026, 2027, 2027]


def test_a_date_that_moves_starts_at_what_it_is_then(workspace, time):
    jane = a_contact(workspace, "jane@example.test", attributes={"renewal": "2026-05-10"})
    campaign = a_campaign(workspace, definition(trigger=RENEWAL))
    schedule_dates()
    update_contact(workspace.id, jane, ContactChanges(attributes={"renewal": "2026-05-20"}))
    work(workspace)
    pass_days(workspace, time, 10)
    assert enrollments_of(campaign) == []
    pass_days(workspace, time, 10)
    assert started(campaign) == [(jane.id, datetime(2026, 5, 17, tzinfo=UTC))]
    update_contact(workspace.id, jane, ContactChanges(attributes={"renewal": "2026-05-30"}))
    pass_days(workspace, time, 20)
    assert len(enrollments_of(campaign)) == 2


def test_a_date_that_is_gone_starts_nothing(workspace, time):
    jane = a_contact(workspace, "jane@example.test", attributes={"renewal": "2026-05-10"})
    campaign = a_campaign(workspace, definition(trigger=RENEWAL))
    schedule_dates()
    update_contact(workspace.id, jane, ContactChanges(attributes={"renewal": None}))
    pass_days(workspace, time, 10)
    assert enrollments_of(campaign) == []


def test_a_date_that_downtime_kept_for_too_long_starts_nothing_and_says_so(workspace, time):
    born(workspace, "1990-05-20")
    campaign = a_campaign(workspace, definition(trigger=BIRTHDAY))
    schedule_dates()
    time.go(days=25)
    work(workspace)
    assert admissions(campaign) == [("not_entered", "late_event")]
    assert Timer.objects.get().due_at == datetime(2027, 5, 20, 9, tzinfo=UTC)


def test_a_date_of_a_campaign_that_failed_says_so(workspace, time):
    born(workspace, "1990-05-02")
    campaign = a_campaign(workspace, definition(trigger=BIRTHDAY))
    schedule_dates()
    Campaign.objects.filter(id=campaign.id).update(parked_at=time.now())
    pass_days(workspace, time, 2)
    assert admissions(campaign) == [("not_entered", "campaign_parked")]


def test_timers_of_all_contacts_are_scheduled_in_batches_and_go_on_after_a_kill(workspace, time, monkeypatch):
    monkeypatch.setattr(date_triggers, "BATCH_SIZE", 2)
    in_a_lane = sorted(UUID(int=ids.uuid7().int & ~15) for _ in range(5))
    for contact_id in in_a_lane:
        Contact.objects.create(id=contact_id, workspace=workspace, attributes={"birthday": "1990-05-20"})
    # In another lane: by chance this one's contact would be in a batch of the first.
    Contact.objects.create(id=UUID(int=in_a_lane[0].int | 1), workspace=workspace)
    campaign = a_campaign(workspace, definition(trigger=BIRTHDAY))
    assert Timer.objects.count() == 0
    real, batches = date_triggers.schedule_dates, []

    def kill(*arguments):
        batches.append(arguments[2])
        if len(batches) == 2:
            raise KeyboardInterrupt
        real(*arguments)

    monkeypatch.setattr(date_triggers, "schedule_dates", kill)
    with pytest.raises(KeyboardInterrupt):
        schedule_dates()
    assert Timer.objects.count() == 2
    # A date that comes meanwhile is not missed.
    time.go(days=20)
    schedule_dates()
    # Which lane goes on first is not said: both rested as long.
    assert [found for found in batches if set(found) & set(in_a_lane)][:4] == [
        in_a_lane[:2],
        in_a_lane[2:4],
        in_a_lane[2:4],
        in_a_lane[4:],
    ]
    assert {due.year for due in Timer.objects.values_list("due_at", flat=True)} == {2026}
    assert Timer.objects.count() == 5
    archive_campaign(workspace.id, campaign)
    assert (Timer.objects.count(), BackfillJob.objects.count()) == (0, 0)


def test_an_edit_takes_the_old_dates_off(workspace, time):
    born(workspace, "1990-05-20")
    campaign = a_campaign(workspace, definition(trigger=BIRTHDAY))
    schedule_dates()
    update_campaign(workspace.id, campaign, definition=definition(trigger={**BIRTHDAY, "at": "18:00"}))
    activate_campaign(workspace.id, campaign)
    schedule_dates()
    pass_days(workspace, time, 30)
    assert [moment.hour for _, moment in started(campaign)] == [18]


def test_an_edit_during_the_backfill_leaves_only_the_new_timers(workspace, time):
    jane = a_contact(
        workspace, "jane@example.test", attributes={"renewal": "2026-05-10", "birthday": "1990-05-20"}
    )
    campaign = a_campaign(workspace, definition(trigger=RENEWAL))
    update_campaign(workspace.id, campaign, definition=definition(trigger=BIRTHDAY))
    activate_campaign(workspace.id, campaign)
    schedule_dates()
    due = Timer.objects.values_list("contact_id", "due_at")
    assert list(due) == [(jane.id, datetime(2026, 5, 20, 9, tzinfo=UTC))]


def test_an_archive_during_the_backfill_schedules_no_more_timers(workspace, time):
    born(workspace, "1990-05-20")
    archive_campaign(workspace.id, a_campaign(workspace, definition(trigger=BIRTHDAY)))
    assert not BackfillJob.objects.exists()
    assert Timer.objects.count() == 0


def test_dates_that_pass_or_come_while_a_campaign_is_finished_are_back_once_it_serves_again(workspace, time):
    born(workspace, "1990-05-20")
    campaign = a_campaign(workspace, definition(trigger=BIRTHDAY))
    schedule_dates()
    finish_campaign(workspace.id, campaign)
    john = born(workspace, "1991-06-20", "john")
    time.go(days=25)
    work(workspace)
    activate_campaign(workspace.id, campaign)
    schedule_dates()
    pass_days(workspace, time, 30)
    assert started(campaign) == [(john.id, datetime(2026, 6, 20, 9, tzinfo=UTC))]
    assert sorted(due.year for due in Timer.objects.values_list("due_at", flat=True)) == [2027, 2027]


# Broadcasts


@pytest.fixture
def buyers(workspace):
    people = [a_contact(workspace, f"buyer{number}@example.test") for number in range(7)]
    for person in people:
        send(workspace, person, "buy")
    return people


def test_a_broadcast_reaches_all_of_a_segment_once(workspace, buyers, time, monkeypatch):
    monkeypatch.setattr(broadcasts, "BATCH_SIZE", 3)
    segment = a_segment(workspace, did("buy"))
    campaign = a_campaign(workspace, definition(trigger={"type": "MANUAL"}))
    at = time.moment + timedelta(hours=1)
    broadcast_campaign(workspace.id, campaign, segment_id=segment.id, at=at)
    assert process_due_broadcasts() == "nothing"
    time.go(hours=1)
    process_due_broadcasts()
    process_due_broadcasts()
    assert sorted(enrollment.contact_id for enrollment in enrollments_of(campaign)) == sorted(
        contact.id for contact in buyers
    )
    (broadcast,) = Broadcast.objects.all()
    assert (broadcast.done, broadcast.finished_at) == (7, time.moment)


def test_a_broadcast_to_a_list_leaves_out_who_is_gone(workspace, buyers):
    campaign = a_campaign(workspace, definition(trigger={"type": "MANUAL"}))
    broadcast_campaign(workspace.id, campaign, contact_ids=[contact.id for contact in buyers] * 2)
    Contact.objects.filter(id=buyers[0].id).delete()
    process_due_broadcasts()
    assert sorted(enrollment.contact_id for enrollment in enrollments_of(campaign)) == sorted(
        contact.id for contact in buyers[1:]
    )


def test_a_broadcast_to_a_list_reaches_whoever_was_merged_since(workspace, buyers, time):
    survivor = a_contact(workspace, "survivor@example.test")
    campaign = a_campaign(workspace, definition(trigger={"type": "MANUAL"}))
    at = time.moment + timedelta(hours=1)
    broadcast_campaign(workspace.id, campaign, contact_ids=[contact.id for contact in buyers], at=at)
    merge_contacts(workspace.id, survivor, buyers[0])
    merge_contacts(workspace.id, buyers[1], buyers[2])
    time.go(hours=1)
    process_due_broadcasts()
    reached = [survivor.id, buyers[1].id, *(contact.id for contact in buyers[3:])]
    assert sorted(enrollment.contact_id for enrollment in enrollments_of(campaign)) == sorted(reached)


def test_a_broadcast_reaches_who_is_merged_while_it_goes_through_its_list_once(
    workspace, buyers, time, monkeypatch
):
    monkeypatch.setattr(broadcasts, "BATCH_SIZE", 3)
    raw = definition(trigger={"type": "MANUAL"}, reentry={"mode": "afterwards"})
    campaign = a_campaign(workspace, raw)
    broadcast = broadcast_campaign(workspace.id, campaign, contact_ids=[contact.id for contact in buyers])
    BROADCASTS.run(broadcast, at_most_seconds=0)
    work(workspace)
    people = sorted(buyers, key=lambda contact: contact.id)
    merge_contacts(workspace.id, people[6], people[0])
    merge_contacts(workspace.id, people[1], people[5])
    process_due_broadcasts()
    assert sorted(enrollment.contact_id for enrollment in enrollments_of(campaign)) == [
        contact.id for contact in people[:5]
    ]


def test_a_broadcast_of_a_paused_campaign_waits(workspace, buyers):
    campaign = a_campaign(workspace, definition(trigger={"type": "MANUAL"}))
    broadcast_campaign(workspace.id, campaign, contact_ids=[buyers[0].id])
    pause_campaign(workspace.id, campaign)
    process_due_broadcasts()
    assert enrollments_of(campaign) == []
    resume_campaign(workspace.id, campaign)
    process_due_broadcasts()
    process_all_due_enrollments()
    assert ends(campaign) == [("completed", "end_of_workflow")]


def test_a_broadcast_of_a_campaign_that_failed_waits_too(workspace, buyers):
    campaign = a_campaign(workspace)
    broadcast = broadcast_campaign(workspace.id, campaign, contact_ids=[buyers[0].id])
    Campaign.objects.filter(id=campaign.id).update(parked_at=NOW)
    process_due_broadcasts()
    assert BROADCASTS.run(broadcast, at_most_seconds=0)
    assert admissions(campaign) == []
    Campaign.objects.filter(id=campaign.id).update(parked_at=None)
    process_due_broadcasts()
    assert admissions(campaign) == [("entered", "")]


def test_a_scheduled_campaign_starts_by_itself_and_is_complete_then(workspace, buyers, time):
    segment = a_segment(workspace, did("buy"))
    trigger = {"type": "SCHEDULE", "segmentId": str(segment.id), "at": "2026-05-01T13:00:00Z"}
    campaign = a_campaign(workspace, definition(trigger=trigger), type=Campaign.Type.BROADCAST)
    process_due_broadcasts()
    assert enrollments_of(campaign) == []
    time.go(hours=1)
    process_due_broadcasts()
    work(workspace)
    campaign.refresh_from_db()
    assert campaign.status == Campaign.Status.COMPLETED
    assert ends(campaign) == [("completed", "end_of_workflow")] * 7


def test_what_nobody_can_read_any_more_keeps_no_other_campaign_waiting(workspace, buyers):
    unreadable = [
        a_campaign(workspace, definition(trigger=BIRTHDAY)),
        a_campaign(workspace, definition(trigger={"type": "MANUAL"})),
    ]
    broadcast_campaign(workspace.id, unreadable[1], contact_ids=[buyers[0].id])
    CampaignVersion.objects.update(definition={"triggers": "none"})
    plans._parse_version.cache_clear()
    fine = a_campaign(workspace, definition(trigger={"type": "MANUAL"}))
    broadcast_campaign(workspace.id, fine, contact_ids=[buyers[0].id])
    schedule_dates()
    process_due_broadcasts()
    assert [enrollment.contact_id for enrollment in enrollments_of(fine)] == [buyers[0].id]
    aside = Campaign.objects.exclude(parked_at=None)
    assert set(aside.values_list("id", flat=True)) == {campaign.id for campaign in unreadable}


def test_only_what_is_active_can_be_sent(workspace, jane):
    campaign = create_campaign(workspace.id, name="Draft", definition=definition())
    with pytest.raises(WrongStatus):
        broadcast_campaign(workspace.id, campaign, contact_ids=[jane.id])


# Years and zones


@pytest.mark.parametrize(
    ("value", "zone", "after", "at"),
    [
        # Told by the clock where the contact lives.
        ("1990-05-20", "America/New_York", "2026-01-01", "2026-05-20T04:00:00+00:00"),
        ("1990-05-20T00:00:00", "America/New_York", "2026-01-01", "2026-05-20T04:00:00+00:00"),
        ("1990-05-20 00:00:00", "Pacific/Auckland", "2026-01-01", "2026-05-19T12:00:00+00:00"),
        ("19900520T000000", "Asia/Tokyo", "2026-01-01", "2026-05-19T15:00:00+00:00"),
        ("1990-05-20T18:30", "Asia/Tokyo", "2026-01-01", "2026-05-20T09:30:00+00:00"),
        ("1990-05-20T23:00:00Z", "Asia/Tokyo", "2026-01-01", "2026-05-20T23:00:00+00:00"),
        ("1990-05-20T23:00:00-05:00", "UTC", "2026-01-01", "2026-05-21T04:00:00+00:00"),
        # Never before its own year.
        ("2030-05-20", "UTC", "2026-01-01", "2030-05-20T00:00:00+00:00"),
        ("2030-05-20T00:00:00Z", "UTC", "2026-01-01", "2030-05-20T00:00:00+00:00"),
        ("2026-05-20", "UTC", "2026-01-01", "2026-05-20T00:00:00+00:00"),
        ("2026-05-20", "UTC", "2026-06-01", "2027-05-20T00:00:00+00:00"),
        ("2032-02-29", "UTC", "2026-01-01", "2032-02-29T00:00:00+00:00"),
        ("2024-02-29", "UTC", "2026-01-01", "2026-02-28T00:00:00+00:00"),
        ("2024-02-29", "UTC", "2027-03-01", "2028-02-29T00:00:00+00:00"),
        ("9999-12-31", "UTC", "2026-01-01", "9999-12-31T00:00:00+00:00"),
        ("not a date", "UTC", "2026-01-01", None),
    ],
)
def test_a_yearly_date_is_where_the_contact_lives_and_not_before_its_year(value, zone, after, at):
    trigger = DateTrigger("birthday", timedelta(), None, is_yearly=True)
    moment = occurrence_after(value, trigger, ZoneInfo(zone), datetime.fromisoformat(f"{after}T00:00:00Z"))
    assert (moment and moment.isoformat()) == at


def test_a_yearly_date_may_be_told_of_in_the_year_before(time):
    trigger = DateTrigger("renewal", timedelta(days=-3), None, is_yearly=True)
    moment = occurrence_after("2030-01-02", trigger, ZoneInfo("UTC"), NOW)
    assert moment == datetime(2029, 12, 30, tzinfo=UTC)


def test_a_birthday_that_names_no_zone_is_told_of_in_the_contact_s_own(workspace, time):
    values = {"birthday": "1990-05-20T00:00:00", "timezone": "America/New_York"}
    jane = a_contact(workspace, "jane@example.test", attributes=values)
    john = born(workspace, "1990-05-20", "john")
    use_channel(workspace, "email", time_zone="Asia/Tokyo")
    campaign = a_campaign(workspace, definition(trigger=BIRTHDAY))
    schedule_dates()
    pass_days(workspace, time, 25)
    assert dict(started(campaign)) == {
        jane.id: datetime(2026, 5, 20, 13, tzinfo=UTC),
        john.id: datetime(2026, 5, 20, 0, tzinfo=UTC),
    }
