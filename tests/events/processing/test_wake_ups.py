"""One wake-up of a workspace at most is on its way, a runner stays while events come, and nothing is left behind."""

import threading
import time
from collections import deque
from datetime import timedelta
from itertools import pairwise
from uuid import UUID, uuid4

import pytest
from django.db import connection, transaction
from django.db.models import F

from campaigns import tasks as campaign_tasks
from campaigns.tasks import process_all_due_enrollments
from config.runtime import background
from config.runtime.postgres.locks import ServerUnavailableError
from contacts.models import ContactScore
from contacts.references import ContactReference
from events import tasks
from events.models import EventBatch, Lease
from events.processing import leases
from events.processing import wake_ups as wakeups
from events.processing import worker as runners
from events.processing.wake_ups import WakeUps
from events.processing.worker import TASK, Runner
from events.stream.recording import record_events
from events.stream.types import IncomingEvent, SchemaPolicy
from tests.scoring.factories import a_rule
from tests.workspaces.factories import WorkspaceFactory

pytestmark = pytest.mark.django_db(transaction=True)
HERE, THERE = uuid4(), uuid4()


@pytest.fixture
def workspace(db):
    workspace = WorkspaceFactory()
    a_rule(workspace, "buy", 1)
    return workspace


@pytest.fixture
def messages():
    return deque()


@pytest.fixture
def runner(messages):
    """Return a runner that is closed after the test."""
    runner = Runner(messages.append)
    yield runner
    runner.close()


@pytest.fixture
def asks(monkeypatch, workspace, messages):
    """Ask as a process's thread does after a commit; that of this process does not."""
    monkeypatch.setattr("events.receivers.wake_ups.request", lambda workspace_id: None)
    monkeypatch.setattr(wakeups, "leases", leases)
    tests_own = threading.current_thread()

    def publish(task, workspace_id, **_):
        # The process's publishing thread may be late with what a test before asked for.
        if threading.current_thread() is tests_own:
            messages.append(UUID(workspace_id))

    monkeypatch.setattr(background, "publish", publish)
    wake_ups = WakeUps(TASK, "events.tasks.apply_effects")
    return lambda space=workspace: wakeups._send(wake_ups, space.id)


def buy(workspace, times=1):
    who = ContactReference(identifiers=(("email", "jane@example.test"),), if_missing="create")
    for _ in range(times):
        record_events(workspace.id, [IncomingEvent("buy", who)], schema_policy=SchemaPolicy.OPEN)


def points(workspace):
    return sum(ContactScore.objects.filter(workspace=workspace).values_list("points", flat=True))


def wait_for(is_so):
    deadline = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def answered(runner, messages):
    """Answer what the runner handed over where the machine was slow; true, for conditions."""
    while messages:
        runner.answer(messages.pop())
    return True


def expire():
    """Let all leases run out."""
    Lease.objects.update(expires_at=F("expires_at") - timedelta(seconds=leases.MESSAGE_SECONDS + 1))


class TestLeases:
    def test_of_all_that_ask_at_once_one_publishes(self, workspace):
        barrier, answers = threading.Barrier(12), []

        def ask():
            try:
                connection.ensure_connection()
                barrier.wait(20)
                answers.append(leases.acquire_message_lease(workspace.id, TASK))
            finally:
                connection.close()

        threads = [threading.Thread(target=ask) for _ in range(barrier.parties)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(answers) == [False] * 11 + [True]

    def test_one_of_another_kind_or_workspace_is_another_one(self, workspace):
        assert leases.acquire_message_lease(workspace.id, TASK)
        assert leases.acquire_message_lease(workspace.id, "steps")
        assert leases.acquire_message_lease(WorkspaceFactory().id, TASK)

    def test_who_asks_where_one_stands_writes_nothing(self, workspace):
        leases.acquire_message_lease(workspace.id, TASK)
        with transaction.atomic(), connection.cursor() as cursor:
            assert not leases.acquire_message_lease(workspace.id, TASK)
            cursor.execute("SELECT pg_current_xact_id_if_assigned()")
            assert cursor.fetchone() == (None,)

    def test_the_runner_to_whom_the_message_came_has_it_until_it_goes(self, workspace):
        leases.acquire_message_lease(workspace.id, TASK)
        assert leases.acquire_runner_lease(workspace.id, TASK, HERE)
        assert not leases.acquire_runner_lease(workspace.id, TASK, THERE)
        assert leases.acquire_runner_lease(workspace.id, TASK, HERE)
        leases.release_lease(workspace.id, TASK, THERE)
        leases.release_lease(workspace.id, TASK)
        assert not leases.acquire_message_lease(workspace.id, TASK)
        leases.release_lease(workspace.id, TASK, HERE)
        assert leases.acquire_message_lease(workspace.id, TASK)

    def test_what_goes_back_to_the_queue_is_the_next_runners(self, workspace):
        leases.acquire_runner_lease(workspace.id, TASK, HERE)
        assert leases.hand_over_lease(workspace.id, TASK, HERE)
        assert not leases.hand_over_lease(workspace.id, TASK, HERE)
        assert not leases.acquire_message_lease(workspace.id, TASK)
        assert leases.acquire_runner_lease(workspace.id, TASK, THERE)
        assert not leases.hand_over_lease(workspace.id, TASK, HERE)

    @pytest.mark.parametrize("holder", [HERE, None], ids=["runner", "message"])
    def test_one_that_was_not_renewed_is_anybodys(self, workspace, holder):
        def lease():
            if holder:
                assert leases.acquire_runner_lease(workspace.id, TASK, holder)
            else:
                assert leases.acquire_message_lease(workspace.id, TASK)

        lease()
        expire()
        assert leases.acquire_message_lease(workspace.id, TASK)
        leases.release_lease(workspace.id, TASK)
        lease()
        expire()
        assert leases.acquire_runner_lease(workspace.id, TASK, THERE)

    def test_a_message_that_could_not_be_sent_is_not_waited_for(self, workspace, monkeypatch):
        def fail(*_, **__):
            raise ConnectionError

        monkeypatch.setattr(wakeups, "leases", leases)
        monkeypatch.setattr(background, "publish", fail)
        with pytest.raises(ConnectionError):
            wakeups._send(WakeUps(TASK, "events.tasks.apply_effects"), workspace.id)
        assert leases.acquire_message_lease(workspace.id, TASK)


class TestRunner:
    def test_it_applies_at_once_and_stays_while_events_come(self, workspace, runner, messages, asks):
        buy(workspace)
        asks()
        assert runner.answer(messages.pop()) == "done"
        for total in range(2, 6):
            assert points(workspace) == total - 1
            buy(workspace)
            asks()
            wait_for(lambda total=total: answered(runner, messages) and points(workspace) == total)
        wait_for(lambda: answered(runner, messages) and not Lease.objects.exists())
        assert not EventBatch.objects.exists()

    @pytest.mark.parametrize("word", ["done", "held"])
    def test_passes_keep_their_distance(self, workspace, runner, monkeypatch, word):
        monkeypatch.setattr(runners.passes, "process_wake_up", lambda *_, **__: word)
        began = time.monotonic()
        stay = runner._stays[workspace.id] = runners._WatchedWorkspace(due=began, renewed=began)
        runner._look(workspace.id)
        assert stay.due >= began + runners.PACE_SECONDS
        assert runner._stays == {workspace.id: stay}

    def test_more_than_a_pass_can_do_is_for_every_worker_that_is_free(
        self, workspace, runner, messages, monkeypatch, settings
    ):
        settings.EFFECTS_BATCH_SIZE = 1
        buy(workspace, times=6)
        hands_over = leases.hand_over_lease
        left = []

        def hand_over(*lease):
            left.append(EventBatch.objects.count())
            return hands_over(*lease)

        monkeypatch.setattr(leases, "hand_over_lease", hand_over)
        assert runner.answer(workspace.id) == "more"
        # Another may have taken it on as soon as the first pass was over; this one went on meanwhile.
        assert list(messages) == [workspace.id]
        assert left == [5]
        assert points(workspace) == 6
        assert Lease.objects.get().holder is None

    def test_a_workspace_that_is_flooded_during_a_stay_goes_back_to_the_queue(
        self, workspace, runner, messages, settings
    ):
        settings.EFFECTS_BATCH_SIZE = 1
        buy(workspace, times=6)
        leases.acquire_runner_lease(workspace.id, TASK, runner._holder)
        runner.stay(workspace.id, time.monotonic())
        wait_for(lambda: messages)
        assert points(workspace) == 1
        assert Lease.objects.get().holder is None

    def test_what_is_committed_before_the_lease_is_given_back_is_found(
        self, workspace, runner, messages, asks, monkeypatch
    ):
        """Nobody publishes a message for it: the lease still stood."""
        release_connection = leases.release_lease

        def too_late(*lease):
            buy(workspace)
            asks()
            release_connection(*lease)

        leases.acquire_runner_lease(workspace.id, TASK, runner._holder)
        monkeypatch.setattr(leases, "release_lease", too_late)
        assert runner.leave(workspace.id)
        assert list(messages) == []
        assert points(workspace) == 1
        assert not leases.acquire_message_lease(workspace.id, TASK)

    def test_what_is_committed_afterwards_is_asked_for(self, workspace, runner, messages, asks):
        leases.acquire_runner_lease(workspace.id, TASK, runner._holder)
        assert not runner.leave(workspace.id)
        buy(workspace)
        asks()
        assert list(messages) == [workspace.id]

    def test_a_message_too_many_finds_the_workspace_taken(self, workspace, runner):
        leases.acquire_runner_lease(workspace.id, TASK, THERE)
        buy(workspace)
        assert runner.answer(workspace.id) == "taken"
        assert points(workspace) == 0

    def test_what_a_killed_runner_left_is_swept_before_its_lease_expires(self, workspace, messages, asks):
        leases.acquire_runner_lease(workspace.id, TASK, THERE)
        for total in (1, 2):
            buy(workspace)
            asks()
            assert list(messages) == []
            tasks.apply_overlooked_effects()
            assert points(workspace) == total
        expire()
        buy(workspace)
        asks()
        assert list(messages) == [workspace.id]

    def test_after_a_lost_message_the_sweep_lets_others_be_sent(self, workspace, messages, asks):
        buy(workspace)
        asks()
        messages.clear()
        tasks.apply_overlooked_effects()
        assert points(workspace) == 1
        buy(workspace)
        asks()
        assert list(messages) == [workspace.id]

    @pytest.mark.parametrize(
        "task", [tasks.apply_overlooked_effects, tasks.process_due_timers, process_all_due_enrollments]
    )
    def test_a_workspace_that_fails_holds_up_no_other_one(self, monkeypatch, task):
        swept = []

        def sweep(workspace_id, *_, **__):
            swept.append(workspace_id)
            if workspace_id == HERE:
                raise ConnectionError

        for module, name in (
            (tasks.passes, "workspaces_with_open_batches"),
            (tasks.passes, "workspaces_with_due_timers"),
            (campaign_tasks, "workspaces_with_due_enrollments"),
        ):
            monkeypatch.setattr(module, name, lambda: [HERE, THERE])
        monkeypatch.setattr(tasks.runner, "sweep", sweep)
        monkeypatch.setattr(campaign_tasks, "process_due_enrollments", sweep)
        with pytest.raises(ConnectionError):
            task()
        assert swept == [HERE, THERE]

    def test_a_failing_pass_gives_the_lease_back(self, workspace, runner, monkeypatch):
        def fail(*_, **__):
            raise ConnectionError

        monkeypatch.setattr(runners.passes, "process_wake_up", fail)
        with pytest.raises(ConnectionError):
            runner.answer(workspace.id)
        assert leases.acquire_message_lease(workspace.id, TASK)
        leases.release_lease(workspace.id, TASK)
        leases.acquire_runner_lease(workspace.id, TASK, runner._holder)
        runner.stay(workspace.id, 0)
        wait_for(lambda: not Lease.objects.exists())

    def test_a_message_for_whom_it_stays_with_already_leaves_the_lease_to_it(self, workspace, runner):
        """It comes where a pass took longer than a lease; else no other would be sent until it expires."""
        leases.acquire_message_lease(workspace.id, TASK)
        runner._stays[workspace.id] = runners._WatchedWorkspace(due=time.monotonic() + 1000, renewed=0)
        assert runner.answer(workspace.id) == "taken"
        assert Lease.objects.get().holder == runner._holder

    def test_it_outlives_a_database_that_cannot_be_started(self, workspace, runner, monkeypatch):
        failed = []

        def fail(*_, **__):
            failed.append(True)
            raise ServerUnavailableError

        with monkeypatch.context() as patched:
            patched.setattr(runners.passes, "process_wake_up", fail)
            patched.setattr(leases, "release_lease", fail)
            runner.stay(workspace.id, 0)
            wait_for(lambda: len(failed) == 2)
        buy(workspace)
        assert leases.acquire_runner_lease(workspace.id, TASK, runner._holder)
        runner.stay(workspace.id, 0)
        wait_for(lambda: points(workspace) == 1)

    def test_a_runner_that_lost_its_lease_goes(self, workspace, runner, monkeypatch):
        leases.acquire_runner_lease(workspace.id, TASK, THERE)
        monkeypatch.setattr(runners.passes, "process_wake_up", pytest.fail)
        runner.stay(workspace.id, time.monotonic() - runners.RENEWAL_SECONDS - runners.PACE_SECONDS)
        wait_for(lambda: not runner._stays)
        assert Lease.objects.get().holder == THERE

    def test_a_runner_that_is_told_to_stop_leaves_a_message(self, workspace, runner, messages, monkeypatch):
        monkeypatch.setattr(runners, "PACE_SECONDS", 1000)
        runner.answer(workspace.id)
        runner.stop()
        wait_for(lambda: messages)
        assert list(messages) == [workspace.id]
        assert Lease.objects.get().holder is None
        # A task that was under way meanwhile does not stay either.
        assert runner.answer(messages.pop()) == "nothing"
        assert list(messages) == [workspace.id]

    def test_nobody_waits_for_a_flooded_workspace(self, workspace, runner, messages, monkeypatch, settings):
        settings.EFFECTS_BATCH_SIZE = 1
        monkeypatch.setattr(runners, "TURN_SECONDS", 0)
        monkeypatch.setattr(runners, "PACE_SECONDS", 1000)
        quiet = WorkspaceFactory()
        a_rule(quiet, "buy", 1)
        buy(workspace, times=6)
        buy(quiet)
        messages += [workspace.id, quiet.id]
        answers = []
        while messages:
            answers.append(runner.answer(messages.popleft()))
        assert points(quiet) == 1
        assert points(workspace) == 6
        # A turn is two passes here; each time the flooded one goes to the end of the queue.
        assert answers == ["more", "done", "more", "more", "nothing"]

    def test_workspaces_that_stay_take_turns(self, workspace, runner, monkeypatch):
        quiet, looks = WorkspaceFactory(), []

        def record(workspace_id, *, at_most_seconds):
            looks.append(workspace_id)
            return "done" if len(looks) < 40 else "nothing"

        for one in (workspace, quiet):
            leases.acquire_runner_lease(one.id, TASK, runner._holder)
        monkeypatch.setattr(runners.passes, "process_wake_up", record)
        monkeypatch.setattr(runners, "LATE_SECONDS", 1000)
        monkeypatch.setattr(runners, "PACE_SECONDS", 0)
        now = time.monotonic()
        with runner._changed:
            runner.stay(workspace.id, now - 1)
            runner.stay(quiet.id, now - 0.9)
        wait_for(lambda: len(looks) >= 40)
        assert all(one != other for one, other in pairwise(looks[:40]))

    def test_whose_turn_is_late_goes_to_a_worker_that_may_be_free(self, workspace, runner, messages):
        other = WorkspaceFactory()
        for one in (workspace, other):
            leases.acquire_runner_lease(one.id, TASK, runner._holder)
        with runner._changed:
            runner.stay(workspace.id, time.monotonic() - runners.PACE_SECONDS - runners.LATE_SECONDS)
            runner.stay(other.id, time.monotonic())
        wait_for(lambda: list(Lease.objects.values_list("workspace", "holder")) == [(workspace.id, None)])
        assert list(messages) == [workspace.id]
