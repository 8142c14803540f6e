"""Backfills over a workspace's contacts: a job for each lane, each batch in a transaction that holds its lane."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.db.models import Max

from config import clock
from config.db.backfill import Backfill, Batch
from config.db.bulk import insert_rows
from config.db.statements import fetch_all
from config.ids import NO_ID
from config.runtime import background
from events.processing.passes import bump_rules_version, lock_lane
from events.stream.outbox import LANE_COUNT, LANE_SQL
from workspaces.models import BackfillJob

IDLE_SECONDS: Final = 30
"""After which work of which no lane goes on is taken up again: its message was lost."""
END: Final = "end"
"""The cursor of the last lane where the work is to be finished for all of them."""


@dataclass(frozen=True, slots=True)
class LanePosition:
    """Where the work on a subject, begun at `since`, is in a lane: after a contact, by id."""

    workspace_id: UUID
    subject_id: UUID
    lane: int
    after: UUID
    since: datetime

    def contacts(self, limit: int) -> list[UUID]:
        """Return the next contacts, without those merged into others."""
        return contacts_of_lane(self.workspace_id, self.lane, self.after, limit)


def contacts_of_lane(workspace_id: UUID, lane: int, after: UUID, limit: int) -> list[UUID]:
    """Return the next contacts of a lane by id, without those merged into others."""
    return [contact_id for (contact_id,) in fetch_all(_CONTACTS, [workspace_id, after, lane, limit])]


def begin_lanes(path: str, workspace_id: UUID, *subject_ids: UUID) -> None:
    """Have a LaneBackfill's lanes worked on, from their beginning; what was under way for the subjects stops.

    Call it where the rules are held by an edit, so that no batch is under way.
    """
    cancel_lanes(path, workspace_id, *subject_ids)
    now = clock.now()
    insert_rows(
        [
            BackfillJob(
                workspace_id=workspace_id,
                kind=path,
                subject=str(subject_id),
                part=lane,
                cursor=str(NO_ID),
                started_at=now,
                progressed_at=now,
            )
            for subject_id in subject_ids
            for lane in range(LANE_COUNT)
        ]
    )
    for subject_id in subject_ids:
        background.wake("workspaces.tasks.continue_jobs", path, str(workspace_id), str(subject_id))


def cancel_lanes(path: str, workspace_id: UUID, *subject_ids: UUID) -> None:
    """Stop, and forget, the work on subjects."""
    if subject_ids:
        _jobs(path, workspace_id, *subject_ids).delete()


def unfinished_lanes(path: str, workspace_id: UUID, subject_id: UUID) -> list[int]:
    """Return the lanes of a subject with something left to do."""
    jobs = _jobs(path, workspace_id, subject_id).filter(finished_at=None)
    return list(jobs.order_by("part").values_list("part", flat=True))


class LaneBackfill(Backfill[BackfillJob]):
    """A kind of work over all contacts, lane by lane; workers share the lanes.

    `path` is where it stands in the code, and the jobs' kind. While a batch is processed its lane and the rules
    are held. The lane whose last batch has the cursor END calls `finish`, with the rules held as by an edit.
    """

    def __init__(
        self,
        path: str,
        process_batch: Callable[[LanePosition], Batch],
        *,
        finish: Callable[[UUID, UUID], None] = lambda workspace_id, subject_id: None,
    ) -> None:
        def process(job: BackfillJob) -> Batch:
            if not _is_through(job):
                return process_batch(_position_of(job))
            finish(job.workspace_id, UUID(job.subject))
            return Batch(None)

        self.path = path
        super().__init__(self._unfinished, process, hold=_hold_lane, held_for=_is_through)

    def run_lane(
        self, workspace_id: UUID, subject_id: UUID, lane: int, *, at_most_seconds: float | None = None
    ) -> bool:
        """Work on a lane here and now. Returns whether it ended in time."""
        job = _jobs(self.path, workspace_id, subject_id).filter(part=lane, finished_at=None).first()
        return job is None or self.run(job, at_most_seconds=at_most_seconds)

    def run_all(self, *, at_most_seconds: float | None = None) -> str:
        """Wake workers for the subjects of which no lane goes on. Returns "done" or "nothing"."""
        subjects = self._unfinished().values("workspace_id", "subject").annotate(last=Max("progressed_at"))
        idle = list(subjects.filter(last__lte=clock.now() - timedelta(seconds=IDLE_SECONDS)))
        for subject in idle:
            jobs = _jobs(self.path, subject["workspace_id"], subject["subject"]).filter(finished_at=None)
            # Until they are heard of, they are not to be taken up every time.
            jobs.update(progressed_at=clock.now())
            background.publish(
                "workspaces.tasks.continue_jobs", self.path, str(subject["workspace_id"]), subject["subject"]
            )
        return "done" if idle else "nothing"

    def _unfinished(self) -> Any:
        return BackfillJob.objects.filter(kind=self.path, finished_at=None)


@contextmanager
def _hold_lane(job: BackfillJob) -> Iterator[None]:
    if not _is_through(job):
        with lock_lane(job.workspace_id, job.part):
            yield
        return
    with transaction.atomic(durable=True):
        bump_rules_version(job.workspace_id)
        yield


def _is_through(job: BackfillJob) -> bool:
    return bool(job.cursor == END)


def _jobs(path: str, workspace_id: UUID, *subject_ids: UUID | str) -> Any:
    subjects = list(map(str, subject_ids))
    return BackfillJob.objects.in_workspace(workspace_id).filter(kind=path, subject__in=subjects)


def _position_of(job: BackfillJob) -> LanePosition:
    return LanePosition(job.workspace_id, UUID(job.subject), job.part, UUID(job.cursor), job.started_at)


_CONTACTS: Final = f"""
SELECT id FROM contacts_contact WHERE workspace_id = %s AND id > %s AND merged_into_id IS NULL
    AND {LANE_SQL.format("id")} = %s ORDER BY id LIMIT %s
"""
