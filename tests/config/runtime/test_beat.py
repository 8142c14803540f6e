"""Beat: it publishes what is due when it is due, and an idle one does next to nothing."""

import itertools
import os
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta

import pytest
from amqp.exceptions import RecoverableConnectionError
from celery import Celery
from django.conf import settings
from django.db import OperationalError, connection, connections, transaction
from django.utils.module_loading import import_string

from campaigns.journeys.broadcasts import due_broadcasts
from campaigns.journeys.processor import workspaces_with_due_enrollments
from campaigns.messaging.delivery import waiting_channels
from campaigns.messaging.tasks import dispatcher
from campaigns.models import Broadcast, Campaign, Message
from campaigns.tasks import retire_versions_and_update_counters
from campaigns.wake_ups import delivery_wake_ups, enrollment_wake_ups
from config import clock, ids
from config.beat_schedule import (
    DELIVER_DUE_MESSAGES,
    PROCESS_DUE_BROADCASTS,
    PROCESS_DUE_ENROLLMENTS,
    PROCESS_DUE_TIMERS,
)
from config.celery import app as celery_app
from config.runtime import beat, beat_notifications
from events.processing import leases
from events.processing.passes import apply_effects, workspaces_with_due_timers
from events.processing.timers import schedule_timers as set_timers
from tests.campaigns.rows import a_campaign_row, a_message, an_enrollment
from tests.config.runtime.test_supervisor import ROOT
from tests.contacts.factories import a_contact
from tests.segments.factories import VirtualClock
from tests.workspaces.factories import WorkspaceFactory

pytestmark = pytest.mark.django_db(transaction=True)
EXACT = [name for name, options in settings.SCHEDULE.items() if "every" not in options]


@pytest.fixture
def workspace():
    return WorkspaceFactory()


@pytest.fixture
def jane(workspace):
    return a_contact(workspace, "jane@example.test")


@pytest.fixture
def time(monkeypatch):
    """Replace the clock."""
    virtual = VirtualClock(datetime(2026, 5, 1, 12, tzinfo=UTC))
    monkeypatch.setattr(clock, "now", virtual.now)
    return virtual


@pytest.fixture(autouse=True)
def _nothing_told(db, monkeypatch):
    monkeypatch.setattr(beat_notifications, "_notified", {})
    connection.close()  # on which the test before may have been notified of something


class Beat(beat.Scheduler):
    """Notes what it would publish, and counts its looks."""

    producer = None

    def __init__(self, time=None):
        super().__init__(app=beat.app)
        self.time = time
        self.published = []
        self.looks = 0

    def apply_entry(self, entry, producer=None):
        self.published.append((entry.name, clock.now()))

    def _due(self):
        self.looks += 1
        return super()._due()

    def _announced(self, seconds):
        if self.time is None:
            return super()._announced(seconds)
        self.time.go(seconds=seconds)
        return []

    def run(self, seconds):
        """Let so much of the virtual time pass."""
        until = clock.now() + timedelta(seconds=seconds)
        while clock.now() < until:
            assert self.tick() == 0

    def times(self, name):
        return [at for one, at in self.published if one == name]


def an_active_campaign(workspace):
    return a_campaign_row(workspace, f"Campaign {ids.uuid7()}", status=Campaign.Status.ACTIVE)


def fall_due(name, workspace, contact, at):
    """Make a row for which the task of this name has something to do at a moment."""
    if name == PROCESS_DUE_TIMERS:
        set_timers(workspace.id, [(ids.uuid7(), contact.id, at)])
    elif name == PROCESS_DUE_ENROLLMENTS:
        an_enrollment(an_active_campaign(workspace), contact, wake_at=at)
    elif name == PROCESS_DUE_BROADCASTS:
        campaign = an_active_campaign(workspace)
        Broadcast.objects.create(workspace=workspace, campaign=campaign, contact_ids=[contact.id], due_at=at)
    elif name == DELIVER_DUE_MESSAGES:
        a_message(contact, an_active_campaign(workspace), status=Message.Status.QUEUED, send_at=at)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (PROCESS_DUE_ENROLLMENTS, enrollment_wake_ups.lease),
        (DELIVER_DUE_MESSAGES, delivery_wake_ups["email"].lease),
    ],
)
def test_what_is_swept_is_waited_for_no_longer(workspace, jane, monkeypatch, name, kind):
    """A message may have been lost, and until its lease expires no other would be sent."""
    monkeypatch.setattr(dispatcher, "dispatch", lambda *_: None)
    fall_due(name, workspace, jane, clock.now())
    assert leases.acquire_message_lease(workspace.id, kind)
    import_string(settings.SCHEDULE[name]["task"])()
    assert leases.acquire_message_lease(workspace.id, kind)


def test_a_clock_that_is_set_back_holds_nothing_up(time, workspace, jane):
    scheduler = Beat(time)
    scheduler.run(100)
    time.go(hours=-1)
    set_back_at = clock.now()
    fall_due(PROCESS_DUE_TIMERS, workspace, jane, set_back_at)
    scheduler.tick()
    scheduler.tick()
    assert scheduler.times(PROCESS_DUE_TIMERS)[0] - set_back_at <= timedelta(
        seconds=beat_notifications.LOOK_SECONDS
    )


def test_a_moment_that_was_told_is_looked_at_though_the_row_is_gone(time, workspace, jane):
    """Whoever told of it tells of no later one until then."""
    scheduler = Beat(time)
    scheduler.tick()
    told_at = clock.now() + timedelta(seconds=3)
    scheduler.jobs[PROCESS_DUE_TIMERS].hear(clock.now())
    scheduler.jobs[PROCESS_DUE_TIMERS].hear(told_at)
    scheduler.run(1)
    fall_due(PROCESS_DUE_TIMERS, workspace, jane, told_at)
    scheduler.run(2.1)
    assert scheduler.times(PROCESS_DUE_TIMERS)[0] == told_at


def test_every_task_is_one_that_workers_know():
    celery_app.loader.import_default_modules()
    assert {options["task"] for options in settings.SCHEDULE.values()} <= set(celery_app.tasks)


def test_an_idle_beat_publishes_next_to_nothing(time, workspace, jane):
    for name in EXACT:
        fall_due(name, workspace, jane, clock.now() + timedelta(days=1))
    apply_effects(workspace.id)
    retire_versions_and_update_counters()
    scheduler = Beat(time)
    scheduler.run(600)
    # What has no look-up is done a minute after the start, and then by the hour or day.
    names = [name for name, _ in scheduler.published]
    assert sorted(name for name in names if name != "record worker heartbeat") == [
        "create partitions ahead",
        "purge old uploads",
        "purge rows of deleted segments",
    ]
    assert names.count("record worker heartbeat") <= 600 / settings.HEARTBEAT_SECONDS
    assert scheduler.looks <= 600 / beat_notifications.LOOK_SECONDS + 600 / settings.HEARTBEAT_SECONDS + 5


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("seconds", [0.25, 3.21, 7.5, 3600])
def test_what_time_makes_due_is_published_at_that_moment(time, workspace, jane, name, seconds):
    due_at = clock.now() + timedelta(seconds=seconds)
    fall_due(name, workspace, jane, due_at)
    scheduler = Beat(time)
    scheduler.run(seconds + 0.05)
    assert scheduler.times(name) == [due_at]


def test_what_stays_due_is_published_again_at_growing_intervals_of_at_most_a_second(time, workspace, jane):
    fall_due(PROCESS_DUE_TIMERS, workspace, jane, clock.now())
    scheduler = Beat(time)
    scheduler.run(10)
    times = scheduler.times(PROCESS_DUE_TIMERS)
    pauses = [(then - before).total_seconds() for before, then in itertools.pairwise(times)]
    assert pauses[:4] == [0.1, 0.2, 0.4, 0.8]
    assert set(pauses[4:]) == {1.0}


def test_what_stays_due_holds_up_nothing_else(time, workspace, jane):
    fall_due(PROCESS_DUE_ENROLLMENTS, workspace, jane, clock.now())
    due_at = clock.now() + timedelta(seconds=5.3)
    fall_due(DELIVER_DUE_MESSAGES, workspace, jane, due_at)
    scheduler = Beat(time)
    scheduler.run(5.4)
    assert scheduler.times(DELIVER_DUE_MESSAGES)[0] == due_at


def test_a_chore_that_stays_due_is_published_at_its_interval(time, workspace, jane):
    campaign = an_active_campaign(workspace)
    Campaign.objects.filter(id=campaign.id).update(counted_until=clock.now() - timedelta(days=1))
    scheduler = Beat(time)
    scheduler.run(60)
    name = "retire versions and update counters"
    assert len(scheduler.times(name)) == 60 // settings.SCHEDULE[name]["every"]


def test_a_restarted_beat_catches_up_at_once(time, workspace, jane):
    for name in EXACT:
        fall_due(name, workspace, jane, clock.now() - timedelta(hours=3))
    scheduler = Beat(time)
    scheduler.tick()
    assert {name for name, _ in scheduler.published} >= set(EXACT)


@pytest.mark.parametrize("is_due", [True, False])
def test_the_look_ups_agree_with_the_tasks(workspace, jane, is_due):
    """A moment that no task acts on would be published for ever; one that is missed would be acted on never."""
    now = clock.now()
    at = now if is_due else now + timedelta(minutes=1)
    fall_due(PROCESS_DUE_TIMERS, workspace, jane, at)
    for status in Campaign.Status.values:
        campaign = a_campaign_row(workspace, status, status=status)
        earlier = at if status in ("DRAFT", "ACTIVE", "COMPLETED") else now - timedelta(days=1)
        an_enrollment(campaign, jane, wake_at=earlier)
        an_enrollment(campaign, a_contact(workspace, f"{status}@example.test"), wake_at=None)
        Broadcast.objects.create(
            workspace=workspace,
            campaign=campaign,
            contact_ids=[],
            due_at=at if status == "ACTIVE" else now - timedelta(days=1),
        )
        a_message(jane, campaign, status="SENT", send_at=now - timedelta(days=1))
        for place, channel in enumerate(("email", "telegram", "webhook")):
            later = at + timedelta(seconds=(place * 7) % 3)
            for priority in (0, 5, 9):
                a_message(
                    jane,
                    campaign,
                    status="QUEUED",
                    channel=channel,
                    priority=priority,
                    send_at=later + timedelta(seconds=priority),
                )
    found = beat._moments([Beat().jobs[name] for name in EXACT])
    assert dict(zip(EXACT, found, strict=True)) == dict.fromkeys(EXACT, at)
    work = [
        workspaces_with_due_timers(),
        workspaces_with_due_enrollments(),
        due_broadcasts(),
        waiting_channels(clock.now()),
    ]
    assert [bool(one) for one in work] == [is_due] * 4


@pytest.mark.parametrize("name", sorted(settings.SCHEDULE))
def test_with_nothing_there_no_look_up_finds_anything_to_do(name):
    if path := settings.SCHEDULE[name].get("next_due"):
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT ({import_string(path)()})")
            assert cursor.fetchone() == (None,)


def test_a_moment_that_comes_before_the_others_wakes_it(workspace, jane, monkeypatch):
    """Nothing else would, for a long time."""
    monkeypatch.setattr(beat, "LOOK_SECONDS", 3600)
    set_timers(workspace.id, [(ids.uuid7(), jane.id, clock.now() + timedelta(hours=1))])
    scheduler = Beat()
    looked = threading.Event()
    published = threading.Event()

    def run():
        try:
            while not scheduler.times(PROCESS_DUE_TIMERS):
                scheduler.tick()
            published.set()
        finally:
            connections.close_all()

    monkeypatch.setattr(
        scheduler, "_sleep", lambda until: (looked.set(), beat.Scheduler._sleep(scheduler, until))
    )
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert looked.wait(30)
    due_at = clock.now() + timedelta(seconds=0.3)
    with transaction.atomic():
        set_timers(workspace.id, [(ids.uuid7(), jane.id, due_at)])
    assert published.wait(30)
    thread.join(30)
    assert scheduler.times(PROCESS_DUE_TIMERS)[0] >= due_at


def test_only_what_beat_would_miss_is_told(workspace, jane, django_assert_num_queries):
    def set_timer(seconds):
        set_timers(workspace.id, [(ids.uuid7(), jane.id, clock.now() + timedelta(seconds=seconds))])

    with django_assert_num_queries(1):
        set_timer(3600)
    with django_assert_num_queries(1):
        set_timer(beat_notifications.LOOK_SECONDS + 5)
    with django_assert_num_queries(2):
        set_timer(3)
    # Beat looks at that moment, and finds this one.
    with django_assert_num_queries(1):
        set_timer(4)
    with django_assert_num_queries(2):
        set_timer(2)


def test_a_lost_connection_to_the_broker_is_made_anew():
    app = Celery("test", broker="memory://", set_as_current=False)
    app.conf.task_publish_retry = settings.CELERY_TASK_PUBLISH_RETRY
    app.conf.task_default_queue = f"queue {ids.uuid7()}"
    scheduler = beat.Scheduler(app=app)

    def fail(*_, **__):
        raise RecoverableConnectionError

    for channel_of_before in range(2):
        if channel_of_before:
            scheduler.producer.channel.basic_publish = fail
        scheduler.apply_entry(scheduler.jobs[PROCESS_DUE_ENROLLMENTS].entry, producer=scheduler.producer)
    assert scheduler.connection.default_channel._size(app.conf.task_default_queue) == 2


def test_a_lost_connection_is_made_anew_and_everything_looked_at(workspace, jane):
    scheduler = Beat(VirtualClock(clock.now()))
    scheduler.tick()
    fall_due(PROCESS_DUE_TIMERS, workspace, jane, clock.now())
    scheduler.time = None
    connection.connection.close()
    # What had come in before is heard first.
    assert beat.BROKEN_SECONDS in (scheduler.tick(), scheduler.tick())
    scheduler.time = VirtualClock(clock.now())
    assert scheduler.tick() == 0
    assert scheduler.times(PROCESS_DUE_TIMERS)


def test_it_ends_when_told_to_though_its_connection_cannot_be_closed(monkeypatch):
    """What Celery's handler of SIGTERM does comes in the middle of a look, whose own errors are survived."""
    scheduler = Beat()

    def fail():
        raise OperationalError("the connection is lost")

    def sleep(until):
        monkeypatch.setattr(connection, "close", fail)
        scheduler.close()
        raise SystemExit

    monkeypatch.setattr(scheduler, "_sleep", sleep)
    with pytest.raises(SystemExit):
        scheduler.tick()
    monkeypatch.undo()


def test_what_beat_asks_is_known_without_the_site():
    """Beat loads no models: a module of questions that needs some keeps it from starting."""
    ask = (
        "from django.apps import apps; from django.conf import settings;"
        " from django.utils.module_loading import import_string;"
        " [import_string(job['next_due']) for job in settings.SCHEDULE.values() if 'next_due' in job];"
        " assert not apps.ready"
    )
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings"}
    subprocess.run([sys.executable, "-c", ask], cwd=ROOT, env=environment, check=True)
