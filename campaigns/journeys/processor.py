"""Process due enrollments: claim a batch, and take each through its steps until it waits or ends.

One transaction a batch: a worker that dies leaves everything as it was, as messages are enqueued in it, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from time import monotonic
from typing import Final
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction

from campaigns.errors import InvalidDefinition
from campaigns.journeys.merges import find_duplicates
from campaigns.journeys.plans import definitions_of
from campaigns.journeys.progress import EnrollmentProcessor
from campaigns.journeys.step_context import EnrollmentBatch, Finish
from campaigns.messaging.cancellation import cancel_messages
from campaigns.messaging.recipients import load_recipients
from campaigns.models import Campaign, Decision, Enrollment, EnrollmentState
from campaigns.models.enrollments import STATE_COLUMNS
from campaigns.reasons import Reason
from config import clock
from config.beat_schedule import PROCESS_DUE_ENROLLMENTS
from config.db.arrays import array
from config.db.errors import storable_error
from config.db.lookups import any_of
from config.db.plans import force_custom_plan
from config.db.statements import execute, fetch_all
from config.db.timeouts import milliseconds
from config.runtime.beat_notifications import notify_beat
from events.processing.bisection import bisect_failures

BATCH_SIZE: Final = 200
MAX_ATTEMPTS: Final = 6
FIRST_RETRY_DELAY: Final = timedelta(seconds=10)
"""Delay after a step's first failure; doubled by each further one."""
_RUNNABLE_STATUSES: Final = (Campaign.Status.DRAFT, Campaign.Status.ACTIVE, Campaign.Status.COMPLETED)
"""Statuses of campaigns whose enrollments are processed; a draft's are trials."""


def process_due_enrollments(workspace_id: UUID, *, at_most_seconds: float) -> str:
    """Process due enrollments in batches. Returns "nothing", "done", or "more" if the time was up."""
    started = monotonic()
    result = "nothing"
    while process_batch(workspace_id):
        result = "done"
        if monotonic() - started > at_most_seconds:
            return "more"
    return result


def workspaces_with_due_enrollments() -> list[UUID]:
    """Return the ids of workspaces with due enrollments."""
    rows = fetch_all(
        "SELECT DISTINCT c.workspace_id FROM campaigns_campaign c WHERE c.status = ANY(%s) AND EXISTS ("
        " SELECT FROM campaigns_enrollment r WHERE r.workspace_id = c.workspace_id"
        " AND r.campaign_id = c.id AND r.status = 'open' AND r.wake_at <= %s)",
        [list(_RUNNABLE_STATUSES), clock.now()],
    )
    return [workspace_id for (workspace_id,) in rows]


def process_batch(workspace_id: UUID) -> int:
    """Process a batch of due enrollments in one transaction. Returns how many."""
    with transaction.atomic(durable=True):
        enrollments = _claim(workspace_id)
        if enrollments:
            _process(workspace_id, enrollments)
    return len(enrollments)


_DUE_CAMPAIGNS: Final = """
SELECT c.id, set_config('statement_timeout', %s, true) FROM campaigns_campaign c CROSS JOIN LATERAL (
    SELECT FROM campaigns_enrollment
    WHERE workspace_id = %s AND campaign_id = c.id AND status = 'open' AND wake_at <= %s
    ORDER BY wake_at LIMIT 1
) r
WHERE c.workspace_id = %s AND c.status = ANY(%s)
"""

# A share of each campaign, so that a big one does not hold up others; rows of other workers are skipped.
_CLAIM: Final = f"""
SELECT r.* FROM unnest(%s::uuid[]) AS c (id) CROSS JOIN LATERAL (
    SELECT {", ".join(STATE_COLUMNS)} FROM campaigns_enrollment
    WHERE workspace_id = %s AND campaign_id = c.id AND status = 'open' AND wake_at <= %s
    ORDER BY wake_at LIMIT %s FOR UPDATE SKIP LOCKED
) r
ORDER BY r.wake_at, r.id
"""


@force_custom_plan()
def _claim(workspace_id: UUID) -> list[EnrollmentState]:
    """Lock a batch of due enrollments.

    A generic plan made while there were few enrollments would go on reading all of them.
    """
    now = clock.now()
    with connection.cursor() as cursor:
        limit = str(milliseconds(settings.TIMEOUTS["effects"].statement_seconds))
        cursor.execute(_DUE_CAMPAIGNS, [limit, workspace_id, now, workspace_id, list(_RUNNABLE_STATUSES)])
        campaigns = [campaign_id for campaign_id, _ in cursor.fetchall()]
        if not campaigns:
            return []
        cursor.execute(_CLAIM, [array(campaigns), workspace_id, now, max(BATCH_SIZE // len(campaigns), 10)])
        return [EnrollmentState(*row) for row in cursor.fetchall()]


def _process(workspace_id: UUID, enrollments: Sequence[EnrollmentState]) -> None:
    people = load_recipients(workspace_id, {enrollment.contact_id for enrollment in enrollments})
    # The clock is read after the locks and the contacts, so that no data is later than `now`.
    batch = EnrollmentBatch(workspace_id, clock.now(), enrollments, people)
    definitions, unreadable = definitions_of(
        workspace_id, {enrollment.version_id for enrollment in enrollments}
    )
    _DueEnrollmentProcessor(batch, definitions, unreadable=unreadable).run()


@dataclass(slots=True)
class _DueEnrollmentProcessor(EnrollmentProcessor):
    """Takes claimed enrollments through their steps and saves them."""

    # Errors of versions whose definition does not parse any more.
    unreadable: Mapping[UUID, InvalidDefinition] = field(default_factory=dict)

    def run(self) -> None:
        self.active = [
            enrollment
            for enrollment in self.batch.enrollments
            if not self._finish_if_unprocessable(enrollment)
        ]
        self._finish_duplicates()
        self.check_pending_events()
        while self.active:
            active, self.active = self.active, []
            bisect_failures(active, self.process_step, self._schedule_retry)
        self._save()

    def _finish_if_unprocessable(self, enrollment: EnrollmentState) -> bool:
        """End an enrollment whose contact is deleted, or whose definition or step cannot be read."""
        if enrollment.contact_id not in self.batch.people:
            self.apply(enrollment, Finish(Enrollment.Status.EXITED, Reason.ERASED))
            return True
        error = self.unreadable.get(enrollment.version_id)
        if error is None and enrollment.step in self.definitions[enrollment.version_id].nodes:
            return False
        message = error.message if error is not None else "no such step"
        self.apply(enrollment, Finish(Enrollment.Status.FAILED, Reason.STEP_FAILED, {"message": message}))
        return True

    def _finish_duplicates(self) -> None:
        """End enrollments that a merge has made duplicates, in case its effects have not run yet."""
        merged = {
            person.id: person.ids
            for enrollment in self.active
            if len((person := self.batch.people[enrollment.contact_id]).ids) > 1
        }
        for ids in merged.values():
            rows = (
                Enrollment.objects.in_workspace(self.batch.workspace_id)
                .open()
                .filter(any_of("contact_id", ids), is_test=False)
            )
            duplicates = {duplicate.id for duplicate in find_duplicates(rows.select_related("version"))}
            for enrollment in [enrollment for enrollment in self.active if enrollment.id in duplicates]:
                self.apply(enrollment, Finish(Enrollment.Status.EXITED, Reason.MERGED))
        self.active = [
            enrollment for enrollment in self.active if enrollment.status == Enrollment.Status.OPEN
        ]

    def _schedule_retry(self, enrollment: EnrollmentState, error: Exception) -> None:
        """Postpone an enrollment whose step failed; after MAX_ATTEMPTS, end it as failed."""
        attempts = enrollment.attempts + 1
        text = storable_error(error)
        if attempts >= MAX_ATTEMPTS:
            self.finish(
                enrollment, Finish(Enrollment.Status.FAILED, Reason.STEP_FAILED, {"message": text[:500]})
            )
        else:
            enrollment.wake_at = self.batch.now + FIRST_RETRY_DELAY * 2 ** (attempts - 1)
        enrollment.attempts, enrollment.error = attempts, text

    @force_custom_plan()
    def _save(self) -> None:
        workspace_id, enrollments = self.batch.workspace_id, self.batch.enrollments
        Decision.objects.record(workspace_id, self.decisions)
        columns = [
            array([getattr(enrollment, name) for enrollment in enrollments]) for name in ("id", *_COLUMNS)
        ]
        execute(_UPDATE_ENROLLMENTS, [*columns, workspace_id])
        if waits := [enrollment.wake_at for enrollment in enrollments if enrollment.wake_at is not None]:
            notify_beat(PROCESS_DUE_ENROLLMENTS, min(waits))
        cancel_messages(workspace_id, self.cancelled, self.batch.now)


_COLUMNS: Final = {
    "status": "text",
    "step": "text",
    "arrived_at": "timestamptz",
    "wake_at": "timestamptz",
    "listens_since": "timestamptz",
    "awaited_event": "text",
    "awaited_value": "text",
    "resumed_by_event_id": "uuid",
    "steps_taken": "int",
    "attempts": "int",
    "error": "text",
    "ended_at": "timestamptz",
    "end_reason": "text",
}
_UPDATE_ENROLLMENTS: Final = f"""
UPDATE campaigns_enrollment r SET {", ".join(f"{name} = w.{name}" for name in _COLUMNS)}
FROM unnest(%s::uuid[], {", ".join(f"%s::{kind}[]" for kind in _COLUMNS.values())})
    AS w (id, {", ".join(_COLUMNS)})
WHERE r.workspace_id = %s AND r.id = w.id
"""
