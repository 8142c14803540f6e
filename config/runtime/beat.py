"""Celery beat: publishes tasks when they are due, and sleeps otherwise (`celery -A config.runtime.beat beat`).

It knows tasks by name only, so the site is not loaded.
"""

import contextlib
import logging
import logging.config
import select
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import psycopg
from celery import Celery, beat
from celery.schedules import schedule
from celery.signals import setup_logging
from django.conf import settings
from django.db import Error, connection
from django.utils.module_loading import import_string
from kombu.transport import TRANSPORT_ALIASES

from config import clock
from config.db.workloads import use_in_process
from config.home import BASE_DIR
from config.observability import telemetry
from config.observability.metrics.counters import BEAT_TICK
from config.runtime.beat_notifications import CHANNEL, LOOK_SECONDS
from config.runtime.postgres.locks import ServerUnavailableError
from config.runtime.startup_errors import report_on_one_line

# Celery's own script finds the code while it looks for the app only; what has it stay is for Django, and left
# out.
sys.path.append(str(BASE_DIR))
TRANSPORT_ALIASES["pgmq"] = "config.runtime.broker:Transport"

app = Celery("headrace", fixups=[])
app.config_from_object("django.conf:settings", namespace="CELERY")

with report_on_one_line():
    telemetry.start()
logger = logging.getLogger(__name__)


@setup_logging.connect(dispatch_uid="config.runtime.beat.configure_logging")
def configure_logging(**_: Any) -> None:
    """Configure logging as in other processes: Django is not set up here."""
    logging.config.dictConfig(settings.LOGGING)


FIRST_PAUSE = timedelta(seconds=0.1)
LONGEST_PAUSE = timedelta(seconds=1)
"""Longest pause between messages for an entry that stays due; pauses double."""
SLACK = timedelta(seconds=0.5)
"""Checks due within this time are made together."""
FIRST_CHORE = timedelta(minutes=1)
"""Latest first run of regular tasks after a start."""
BROKEN_SECONDS = 1.0


@dataclass(slots=True)
class Job:
    """An entry of `settings.SCHEDULE`, and when to check it."""

    entry: beat.ScheduleEntry
    next_due: Callable[[], str] | None
    """Makes SQL for the time, past or future, at which there is work; NULL: no work. None: always due."""
    every: timedelta
    is_chore: bool
    """Whether a check per `every` is enough; other entries are published when due."""
    look_at: datetime
    is_due: bool = False
    due_at: datetime | None = None
    pause: timedelta = FIRST_PAUSE
    rests_until: datetime | None = None
    notified: list[datetime] = field(default_factory=list)
    """Due times to come that processes notified; they send no later ones until then."""

    def request_check(self, now: datetime) -> bool:
        """Tell whether it is time to check; slightly early where that joins several checks."""
        is_time = self.look_at <= (now if self.is_due or not self.next_due else now + SLACK)
        # No check is planned further ahead: the clock was set back.
        return is_time or self.look_at > now + self.every

    def take(self, due_at: datetime | None, now: datetime) -> bool:
        """Take the due time that was read, plan the next check, and tell whether the task is due."""
        self.is_due = due_at is not None and due_at <= now
        self.notified = [time for time in self.notified if time > now]
        if not self.is_due:
            self.look_at = min([now + self.every, *self.notified, *([due_at] if due_at else [])])
        elif self.is_chore:
            self.look_at = self.rests_until = now + self.every
        else:
            self.pause = min(self.pause * 2, LONGEST_PAUSE) if due_at == self.due_at else FIRST_PAUSE
            self.look_at, self.rests_until = now + self.pause, now + FIRST_PAUSE
        self.due_at = due_at
        return self.is_due

    def hear(self, due_at: datetime) -> None:
        """Plan a check at a due time that was notified."""
        self.notified.append(due_at)
        self.look_at = min(self.look_at, max(due_at, self.rests_until or due_at))


class Scheduler(beat.Scheduler):
    """Sleeps until the next due time in the database, or an earlier notification, and publishes."""

    def setup_schedule(self) -> None:
        """Read `settings.SCHEDULE`, in place of Celery's own setting."""
        # The short time limits: its statements are quick.
        use_in_process("effects")
        now = clock.now()
        self.jobs = {name: self._job(name, options, now) for name, options in settings.SCHEDULE.items()}
        self._listening: psycopg.Connection[Any] | None = None

    def tick(self, *_: Any, **__: Any) -> float:
        """Publish what is due, then sleep. Returns the seconds before the next call."""
        try:
            BEAT_TICK.set(time.time())
            self._listen()
            for job in self._due():
                self.apply_entry(job.entry, producer=self.producer)
            self._sleep(min(job.look_at for job in self.jobs.values()))
        except (Error, psycopg.Error, OSError, ServerUnavailableError) as error:
            logger.warning("The schedule cannot be read; it is tried again: %s", error)
            connection.close()
            return BROKEN_SECONDS
        return 0

    def close(self) -> None:
        """Close the connections to database and broker; called by a signal handler, it must not raise."""
        with contextlib.suppress(Exception):
            connection.close()
        super().close()

    def _job(self, name: str, options: dict[str, Any], now: datetime) -> Job:
        every = timedelta(seconds=options.get("every", LOOK_SECONDS))
        next_due = import_string(options["next_due"]) if "next_due" in options else None
        entry = self.Entry(
            name=name,
            task=options["task"],
            schedule=schedule(every),
            options={
                # Older messages are obsolete: the task was published again.
                "expires": max(every.total_seconds(), LOOK_SECONDS),
                # Only a retry reconnects beat's single producer.
                "retry": True,
                "retry_policy": {"max_retries": 1, "interval_start": 0},
            },
            app=self.app,
        )
        return Job(
            entry=entry,
            next_due=next_due,
            every=every,
            is_chore="every" in options,
            look_at=now if next_due else now + min(every, FIRST_CHORE),
        )

    def _due(self) -> Sequence[Job]:
        """Read the due times in one statement, and return the jobs that are due."""
        now = clock.now()
        jobs = [job for job in self.jobs.values() if job.request_check(now) and job.next_due]
        due = [job for job, at in zip(jobs, _moments(jobs), strict=True) if job.take(at, clock.now())]
        return due + [
            job
            for job in self.jobs.values()
            if not job.next_due and job.request_check(now) and job.take(now, now)
        ]

    def _listen(self) -> None:
        """Listen for notifications; check everything, for some may have been missed."""
        connection.ensure_connection()
        if connection.connection is not self._listening:
            self._listening = connection.connection
            self._listening.execute(f"LISTEN {CHANNEL}")
            for job in self.jobs.values():
                if job.next_due:
                    job.hear(clock.now())

    def _sleep(self, until: datetime) -> None:
        """Wait until a time, or an earlier notification."""
        while (seconds := (until - clock.now()).total_seconds()) > 0:
            announced = self._announced(min(seconds, LOOK_SECONDS))
            for name, due_at in announced:
                if name in self.jobs:
                    self.jobs[name].hear(due_at)
            if not announced:
                return
            until = min(job.look_at for job in self.jobs.values())

    def _announced(self, seconds: float) -> list[tuple[str, datetime]]:
        """Return the notifications, waiting that many seconds if there are none."""
        line = connection.connection
        # Notifications may have arrived with a statement's answer.
        if (
            not (notes := list(line.notifies(timeout=0)))
            and select.select([line.fileno()], [], [], seconds)[0]
        ):
            notes = list(line.notifies(timeout=0))
        words = [note.payload.rsplit(" ", 1) for note in notes]
        return [(name, datetime.fromisoformat(due_at)) for name, due_at in words]


def _moments(jobs: Sequence[Job]) -> Sequence[datetime | None]:
    if not jobs:
        return []
    # Django's cursor would warn that apps are not loaded.
    statement = "SELECT " + ", ".join(f"({job.next_due()})" for job in jobs if job.next_due)
    row: Sequence[datetime | None] = connection.connection.execute(statement).fetchone()
    return row
