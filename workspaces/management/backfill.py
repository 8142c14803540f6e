"""The base of commands that work through many rows: progress, dry run, resuming, counts and exit status."""

import hashlib
import json
import signal
from argparse import ArgumentParser
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Final
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from config import clock
from config.db.backfill import Batch
from config.db.errors import storable_error
from workspaces.management.progress import ProgressDisplay
from workspaces.models import BackfillJob

INTERRUPTED: Final = 130
"""Exit status after SIGINT, as shells have it."""


@dataclass(frozen=True, slots=True)
class CommandWork:
    """What a command does in one workspace, batch by batch.

    `process_batch` is given the cursor (None at first; JSON) and how many rows at most. It is called in a
    transaction, in which the cursor is stored too, so that what is committed is never done again. `hold` opens
    another transaction than a plain one, for the batch at a cursor: one that holds a lane, say. Where `is_atomic` is
    false `process_batch` opens its own transactions; a batch comes twice then after a kill, and a dry run is its own
    to make: it must not write.
    """

    workspace_id: UUID
    label: str
    process_batch: Callable[[Any, int], Batch]
    total: Callable[[], int] | None = None
    hold: Callable[[Any], AbstractContextManager[object]] | None = None
    is_atomic: bool = True


class BackfillCommand(BaseCommand):
    """Works through many rows. A subclass yields its `works` and says what its rows are called in `unit`.

    A run that is killed, interrupted or fails leaves its cursor in a BackfillJob: the same command with the same
    options goes on there. Exits with 1 where something was refused or failed, and with 130 when interrupted.
    """

    unit: ClassVar[str] = "rows"
    batch_size: ClassVar[int] = 500
    failed_name: ClassVar[str] = "failed"
    """What rows are called that were refused or failed."""
    failure: ClassVar[str] = "Some were refused."
    """What is said where rows failed."""
    outside_subject: ClassVar[tuple[str, ...]] = ()
    """Options with which a run goes on where one without them stopped."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare --batch-size, --dry-run and --restart."""
        parser.add_argument(
            "--batch-size",
            type=int,
            default=self.batch_size,
            help="Rows of one transaction, at most; %(default)s if not given.",
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="Count what would be done, and do nothing."
        )
        parser.add_argument(
            "--restart", action="store_true", help="Begin anew, not where an earlier run has stopped."
        )

    def works(self, options: Mapping[str, Any]) -> Iterable[CommandWork]:
        """Yield what is to be done, workspace by workspace. Raises CommandError where the options are wrong."""
        raise NotImplementedError

    def summary(self, job: BackfillJob, options: Mapping[str, Any]) -> str:
        """Return the counts of a finished job, without the label."""
        counts = "".join(f", {count:,} {name}" for name, count in job.counts.items())
        dry = " (dry run: nothing was changed)" if options["dry_run"] else ""
        return f"{job.done:,} {self.unit}{counts}, {job.failed:,} {self.failed_name}{dry}"

    def handle(self, *args: Any, **options: Any) -> None:
        """Work, and print a line of counts for each workspace. Raises CommandError."""
        if options["batch_size"] < 1:
            raise CommandError("--batch-size must be at least 1.")
        self.failed_workspaces: list[UUID] = []
        is_idle = True
        with interruption() as interrupted:
            for work in self.works(options):
                is_idle = False
                if not self._run(work, options, interrupted):
                    self.failed_workspaces.append(work.workspace_id)
                if interrupted:
                    raise CommandError(
                        "Interrupted. The same command goes on where this one stopped; --restart begins anew.",
                        returncode=INTERRUPTED,
                    )
        if is_idle:
            self.stdout.write(self.summary(BackfillJob(), options))
        if self.failed_workspaces:
            raise CommandError(self.failure, returncode=1)

    def _run(self, work: CommandWork, options: Mapping[str, Any], interrupted: list[int]) -> bool:
        """Do a workspace's work until it ends or is interrupted. Returns whether nothing failed."""
        job = self._job(work, options)
        with ProgressDisplay(self.stderr, work.label, self.unit) as display:
            if job.cursor is not None:
                display.line(f"{work.label}: goes on after {job.done:,} {self.unit}")
            display.begin(job.done, job.total)
            while job.finished_at is None and not interrupted:
                try:
                    batch, job = self._take_batch(work, job, options)
                except Exception as error:
                    self._record_error(job, error, options)
                    self.stderr.write(f"{work.label}: after {job.done:,} {self.unit}: {error}")
                    return False
                for line in batch.lines:
                    self.stdout.write(line)
                display.update(job.done, job.total)
        state = "" if job.finished_at else "stopped after "
        self.stdout.write(f"{work.label}: {state}{self.summary(job, options)}")
        return not job.failed

    def _take_batch(
        self, work: CommandWork, job: BackfillJob, options: Mapping[str, Any]
    ) -> tuple[Batch, BackfillJob]:
        is_dry, batch = options["dry_run"], None
        if not work.is_atomic:
            batch = work.process_batch(job.cursor, options["batch_size"])
        with work.hold(job.cursor) if work.hold else transaction.atomic():
            if not is_dry:
                # Whoever runs the same command meanwhile takes the next batch, and not this one.
                locked = (
                    BackfillJob.objects.select_for_update().in_workspace(work.workspace_id).get(id=job.id)
                )
                if locked.cursor != job.cursor or locked.finished_at is not None:
                    return Batch(locked.cursor), locked
            if batch is None:
                batch = work.process_batch(job.cursor, options["batch_size"])
            job.record(batch)
            if is_dry:
                transaction.set_rollback(True)
            else:
                job.save_progress()
        return batch, job

    def _job(self, work: CommandWork, options: Mapping[str, Any]) -> BackfillJob:
        """Return the job of an earlier run that did not end, else a new one; a dry run's is not stored."""
        kind = self.__module__.rpartition(".")[2]
        keys = {"workspace_id": work.workspace_id, "kind": kind, "subject": self._subject(work, options)}
        fresh = BackfillJob(**keys, total=work.total() if work.total else None)
        if options["dry_run"]:
            return fresh
        jobs = BackfillJob.objects.filter(**keys)
        if not options["restart"] and (found := jobs.filter(finished_at=None).first()):
            return found
        jobs.delete()
        fresh.save(force_insert=True)
        return fresh

    def _record_error(self, job: BackfillJob, error: Exception, options: Mapping[str, Any]) -> None:
        if not options["dry_run"]:
            rows = BackfillJob.objects.in_workspace(job.workspace_id).filter(id=job.id)
            rows.update(error=storable_error(error), progressed_at=clock.now())

    def _subject(self, work: CommandWork, options: Mapping[str, Any]) -> str:
        """Return a hash of what a run does: options may name persons."""
        apart = {*_EVERY_COMMAND, "batch_size", "dry_run", "restart", "workspace", *self.outside_subject}
        chosen = {name: str(value) for name, value in options.items() if name not in apart}
        return hashlib.sha256(json.dumps([work.label, chosen], sort_keys=True).encode()).hexdigest()


_EVERY_COMMAND: Final = frozenset(
    {"verbosity", "settings", "pythonpath", "traceback", "no_color", "force_color", "skip_checks"}
    | {"stdout", "stderr"}
)


@contextmanager
def interruption() -> Iterator[list[int]]:
    """Have SIGINT noted, not raised, so that the batch ends; a second one is raised."""
    noted: list[int] = []
    before = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: object) -> None:
        noted.append(number)
        signal.signal(signal.SIGINT, before)

    try:
        signal.signal(signal.SIGINT, note)
    except ValueError:  # another thread than the main one: nobody can interrupt it
        yield noted
        return
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, before)
