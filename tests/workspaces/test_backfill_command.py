"""The base of commands: resumes after a kill, changes nothing in a dry run, counts, and exits with 1 on failures."""

import os
import signal
from datetime import timedelta
from io import StringIO
from types import SimpleNamespace

import pytest
from django.core.management import CommandError, call_command
from django.core.management.base import OutputWrapper
from django.db import connection

from config import clock
from config.db.backfill import Batch
from tests.workspaces.factories import WorkspaceFactory
from workspaces.management import progress
from workspaces.management.backfill import BackfillCommand, CommandWork
from workspaces.models import BackfillJob, Workspace
from workspaces.schedule import idle_backfills, old_jobs
from workspaces.tasks import purge_finished_jobs


class Numbers(BackfillCommand):
    """Renames a workspace by each number up to ten, so that a number that is lost or comes twice shows."""

    unit = "numbers"
    failure = "Some numbers were refused."

    def __init__(self, *, before=lambda number: None, refused=(), **options):
        super().__init__(**options)
        self.before, self.refused = before, refused

    def works(self, options):
        for workspace in Workspace.objects.order_by("id"):
            yield CommandWork(workspace.id, "numbers", self._step(workspace), total=lambda: 10)

    def _step(self, workspace):
        def step(cursor, limit):
            first = cursor or 0
            numbers = range(first, min(first + limit, 10))
            for number in numbers:
                self.before(number)
                row = Workspace.objects.get(id=workspace.id)
                row.name += str(number)
                row.save()
            refused = [number for number in numbers if number in self.refused]
            return Batch(
                numbers[-1] + 1 if numbers[-1] < 9 else None,
                done=len(numbers),
                failed=len(refused),
                lines=tuple(f"{number}: no" for number in refused),
                counts={"even": sum(number % 2 == 0 for number in numbers)},
            )

        return step


def run(command, **options):
    """Return what it wrote to both, and its exit status."""
    out, errors, status = StringIO(), StringIO(), 0
    try:
        call_command(command, stdout=out, stderr=errors, **{"batch_size": 3, **options})
    except CommandError as error:
        errors.write(str(error))
        status = error.returncode
    return SimpleNamespace(out=out.getvalue(), errors=errors.getvalue(), status=status)


@pytest.fixture
def workspace(db):
    return WorkspaceFactory(name="")


def name_of(workspace):
    workspace.refresh_from_db()
    return workspace.name


class Killed(BaseException):
    """Ends the process for all that the command can do about it."""


def killed_at(number):
    def before(at):
        if at == number:
            raise Killed

    return before


def test_a_run_goes_through_all_rows_and_prints_its_counts(workspace):
    done = run(Numbers())
    assert (done.out, done.status) == ("numbers: 10 numbers, 5 even, 0 failed\n", 0)
    assert name_of(workspace) == "0123456789"
    (job,) = BackfillJob.objects.all()
    assert (job.kind, job.status, job.done, job.total) == ("test_backfill_command", "done", 10, 10)


def test_a_killed_run_goes_on_where_it_stopped_and_nothing_comes_twice(workspace):
    with pytest.raises(Killed):
        run(Numbers(before=killed_at(7)))
    assert name_of(workspace) == "012345"
    assert BackfillJob.objects.get().status == "running"
    done = run(Numbers())
    assert "goes on after 6 numbers" in done.errors
    assert done.out == "numbers: 10 numbers, 5 even, 0 failed\n"
    assert name_of(workspace) == "0123456789"


def test_a_run_that_ended_begins_anew_the_next_time(workspace):
    run(Numbers())
    run(Numbers())
    assert name_of(workspace) == "0123456789" * 2


def test_restart_forgets_where_the_last_run_stopped(workspace):
    with pytest.raises(Killed):
        run(Numbers(before=killed_at(7)))
    run(Numbers(), restart=True)
    assert name_of(workspace) == "0123450123456789"


def test_another_option_is_another_run(workspace):
    class Further(Numbers):
        def add_arguments(self, parser):
            super().add_arguments(parser)
            parser.add_argument("--colour")

    with pytest.raises(Killed):
        run(Further(before=killed_at(7)), colour="red")
    run(Further(), colour="blue")
    assert name_of(workspace) == "0123450123456789"
    run(Further(), colour="red", batch_size=1)
    assert name_of(workspace) == "01234501234567896789"


def test_a_dry_run_counts_and_changes_nothing(workspace):
    done = run(Numbers(), dry_run=True)
    assert done.out == "numbers: 10 numbers, 5 even, 0 failed (dry run: nothing was changed)\n"
    assert name_of(workspace) == ""
    assert not BackfillJob.objects.exists()


def test_refused_rows_are_named_and_the_exit_status_is_1(workspace):
    done = run(Numbers(refused={4, 8}))
    assert (done.out, done.status) == ("4: no\n8: no\nnumbers: 10 numbers, 5 even, 2 failed\n", 1)
    assert done.errors == "Some numbers were refused."


def test_a_workspace_that_fails_does_not_stop_the_next(workspace):
    second = WorkspaceFactory(name="")
    seen = []

    def fail(number):
        seen.append(number)
        if seen.count(4) == 1 and number == 4:
            raise ValueError("no")

    done = run(Numbers(before=fail))
    assert done.status == 1
    assert "numbers: after 3 numbers: no" in done.errors
    assert (name_of(workspace), name_of(second)) == ("012", "0123456789")
    failed = BackfillJob.objects.get(workspace=workspace)
    assert (failed.status, failed.done, failed.error) == ("running", 3, "ValueError: no")
    run(Numbers())
    assert name_of(workspace) == "0123456789"


def test_an_interrupt_lets_the_batch_end_and_says_how_to_go_on(workspace):
    def interrupt(number):
        if number == 4:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    done = run(Numbers(before=interrupt))
    assert done.status == 130
    assert done.out == "numbers: stopped after 6 numbers, 3 even, 0 failed\n"
    assert "The same command goes on" in done.errors
    assert name_of(workspace) == "012345"
    assert signal.getsignal(signal.SIGINT) is before
    run(Numbers())
    assert name_of(workspace) == "0123456789"


def test_without_a_terminal_plain_lines_say_how_far_it_is(workspace, monkeypatch):
    monkeypatch.setattr(progress, "PLAIN_EVERY_SECONDS", 0.0)
    lines = run(Numbers()).errors.splitlines()
    assert lines[0].startswith("numbers: 3 of 10 numbers, ")
    assert lines[0].endswith(" s left")
    assert "/s" in lines[0]
    assert len(lines) == 4


class Terminal(StringIO):
    def isatty(self):
        return True


def test_on_a_terminal_there_is_a_bar(workspace, capsys):
    call_command(Numbers(), stdout=StringIO(), stderr=Terminal())
    assert "10 of 10 numbers" in capsys.readouterr().err


def test_more_rows_than_were_counted_at_the_beginning_are_no_more_than_all(monkeypatch):
    monkeypatch.setattr(progress, "PLAIN_EVERY_SECONDS", 0.0)
    errors = StringIO()
    display = progress.ProgressDisplay(OutputWrapper(errors), "numbers", "numbers")
    display.begin(0, 5)
    display.update(7, 5)
    assert errors.getvalue().startswith("numbers: 7 of 7 numbers")


def test_where_there_is_nothing_to_do_the_counts_say_so(monkeypatch):
    monkeypatch.setattr(Numbers, "works", lambda self, options: iter(()))
    assert run(Numbers()).out == "0 numbers, 0 failed\n"


def test_a_batch_size_below_one_is_refused(db):
    assert run(Numbers(), batch_size=0).errors == "--batch-size must be at least 1."


def test_the_cursor_commits_with_its_batch(workspace):
    """What a batch wrote and where the next one begins are one transaction."""
    seen = []
    run(Numbers(before=lambda number: seen.append(connection.in_atomic_block)))
    assert all(seen)


def test_beat_leaves_a_stopped_command_alone(workspace):
    with pytest.raises(Killed):
        run(Numbers(before=killed_at(7)))
    assert BackfillJob.objects.get().finished_at is None
    with connection.cursor() as cursor:
        cursor.execute(idle_backfills())
        assert cursor.fetchone() == (None,)


def test_jobs_are_deleted_a_while_after_they_finished(workspace, settings):
    """The unfinished ones stay, however old they are: their command goes on there."""
    settings.BACKFILL_JOB_DAYS = 30
    now = clock.now()
    for name, finished_at in (
        ("old", now - timedelta(days=31)),
        ("new", now - timedelta(days=29)),
        ("unfinished", None),
    ):
        BackfillJob.objects.create(
            workspace=workspace,
            kind="numbers",
            subject=name,
            started_at=now - timedelta(days=90),
            finished_at=finished_at,
        )
    with connection.cursor() as cursor:
        cursor.execute(old_jobs())
        (due,) = cursor.fetchone()
        assert due == now - timedelta(days=1)
        assert purge_finished_jobs() == "done"
        assert set(BackfillJob.objects.values_list("subject", flat=True)) == {"new", "unfinished"}
        cursor.execute(old_jobs())
        assert cursor.fetchone()[0] > clock.now()
    assert purge_finished_jobs() == "nothing"
