"""Runs are taken on: the due ones claimed, some at a time, each until it waits or ends.

A worker that dies leaves everything as it was: messages are reserved in the transaction that moves their run.
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
from campaigns.models import Campaign, Decision, Run, RunState
from campaigns.models.runs import STATE
from campaigns.reasons import Reason
from campaigns.services.cancelling import cancel_messages
from campaigns.services.people import people_of
from campaigns.services.plans import definitions_of
from campaigns.services.progress import Progress
from campaigns.services.regrouping import doubles_among
from campaigns.services.turns import Chunk, End
from config import clock
from config.arrays import array
from config.lookups import one_of
from config.planning import planned_for_its_values
from config.schedule import notify_beat
from config.timeouts import milliseconds
from events.services import isolate

CHUNK: Final = 200
MOST_ATTEMPTS: Final = 6
FIRST_PAUSE: Final = timedelta(seconds=10)
"""After a step that failed; each further failure doubles it."""
_LONGEST_ERROR: Final = 10_000
_GOING: Final = (Campaign.Status.DRAFT, Campaign.Status.ACTIVE, Campaign.Status.COMPLETED)
"""Campaigns whose runs go on; a draft's are those that try it out."""


def run_due(workspace_id: UUID, *, at_most_seconds: float) -> str:
    """Take on the runs that are due. Returns "nothing", "done", or "more" where the time was up."""
    started = monotonic()
    word = "nothing"
    while take_some(workspace_id):
        word = "done"
        if monotonic() - started > at_most_seconds:
            return "more"
    return word


def workspaces_with_due_runs() -> list[UUID]:
    """Return the workspaces in which a run is due."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT c.workspace_id FROM campaigns_campaign c WHERE c.status = ANY(%s) AND EXISTS ("
            " SELECT FROM campaigns_run r WHERE r.workspace_id = c.workspace_id AND r.campaign_id = c.id"
            " AND r.status = 'open' AND r.wake_at <= %s)",
            [list(_GOING), clock.now()],
        )
        return [workspace_id for (workspace_id,) in cursor.fetchall()]


def take_some(workspace_id: UUID) -> int:
    """Take on some due runs in one transaction. Returns how many."""
    with transaction.atomic(durable=True):
        runs = _claim(workspace_id)
        if runs:
            limits = settings.TIMEOUTS["effects"]
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL statement_timeout = " + str(milliseconds(limits.statement_seconds)))
            _take(workspace_id, runs)
    return len(runs)


_DUE: Final = """
SELECT c.id FROM campaigns_campaign c CROSS JOIN LATERAL (
    SELECT FROM campaigns_run
    WHERE workspace_id = %s AND campaign_id = c.id AND status = 'open' AND wake_at <= %s
    ORDER BY wake_at LIMIT 1
) r
WHERE c.workspace_id = %s AND c.status = ANY(%s)
"""

# Some of each campaign, so that none waits for another's many; those that another worker has are left to it.
_CLAIM: Final = f"""
SELECT r.* FROM unnest(%s::uuid[]) AS c (id) CROSS JOIN LATERAL (
    SELECT {", ".join(STATE)} FROM campaigns_run
    WHERE workspace_id = %s AND campaign_id = c.id AND status = 'open' AND wake_at <= %s
    ORDER BY wake_at LIMIT %s FOR UPDATE SKIP LOCKED
) r
ORDER BY r.wake_at, r.id
"""


@planned_for_its_values()
def _claim(workspace_id: UUID) -> list[RunState]:
    """Lock due runs. A plan kept from when there were a few runs would go on reading all of them."""
    now = clock.now()
    with connection.cursor() as cursor:
        cursor.execute(_DUE, [workspace_id, now, workspace_id, list(_GOING)])
        campaigns = [campaign_id for (campaign_id,) in cursor.fetchall()]
        if not campaigns:
            return []
        cursor.execute(_CLAIM, [array(campaigns), workspace_id, now, max(CHUNK // len(campaigns), 10)])
        return [RunState(*row) for row in cursor.fetchall()]


def _take(workspace_id: UUID, runs: Sequence[RunState]) -> None:
    people = people_of(workspace_id, {run.contact_id for run in runs})
    # Only now, with the runs locked and their contacts read, is it what the steps take for now.
    chunk = Chunk(workspace_id, clock.now(), runs, people)
    definitions, unreadable = definitions_of(workspace_id, {run.version_id for run in runs})
    _Taking(chunk, definitions, unreadable=unreadable).run()


@dataclass(slots=True)
class _Taking(Progress):
    """Claimed runs on their way, each as far as it comes."""

    # By version, why nobody knows its way any more.
    unreadable: Mapping[UUID, InvalidDefinition] = field(default_factory=dict)

    def run(self) -> None:
        self.going = [run for run in self.chunk.runs if not self._is_over(run)]
        self._end_doubles()
        self.heed_the_stream()
        while self.going:
            going, self.going = self.going, []
            isolate(going, self.take, self._set_aside)
        self._save()

    def _is_over(self, run: RunState) -> bool:
        """End a run whose contact is gone, or whose way nobody knows any more."""
        if run.contact_id not in self.chunk.people:
            self.apply(run, End(Run.Status.EXITED, Reason.ERASED))
            return True
        error = self.unreadable.get(run.version_id)
        if error is None and run.step in self.definitions[run.version_id].nodes:
            return False
        message = error.message if error is not None else "no such step"
        self.apply(run, End(Run.Status.FAILED, Reason.STEP_FAILED, {"message": message}))
        return True

    def _end_doubles(self) -> None:
        """End runs beside which a merge has put an older one, before the effects come to it."""
        merged = {
            person.id: person.ids
            for run in self.going
            if len((person := self.chunk.people[run.contact_id]).ids) > 1
        }
        for ids in merged.values():
            rows = (
                Run.objects.in_workspace(self.chunk.workspace_id)
                .open()
                .filter(one_of("contact_id", ids), is_test=False)
            )
            doubles = {one.id for one in doubles_among(rows.select_related("version"))}
            for run in [run for run in self.going if run.id in doubles]:
                self.apply(run, End(Run.Status.EXITED, Reason.MERGED))
        self.going = [run for run in self.going if run.status == Run.Status.OPEN]

    def _set_aside(self, run: RunState, error: Exception) -> None:
        """Let a run whose step failed try again later; in the end it has failed."""
        attempts = run.attempts + 1
        # PostgreSQL takes no NUL in a text, and an error may quote one.
        text = f"{type(error).__name__}: {error}".replace("\x00", "")[:_LONGEST_ERROR]
        if attempts >= MOST_ATTEMPTS:
            self.end(run, End(Run.Status.FAILED, Reason.STEP_FAILED, {"message": text[:500]}))
        else:
            run.wake_at = self.chunk.now + FIRST_PAUSE * 2 ** (attempts - 1)
        run.attempts, run.error = attempts, text

    @planned_for_its_values()
    def _save(self) -> None:
        workspace_id, runs = self.chunk.workspace_id, self.chunk.runs
        Decision.objects.write(workspace_id, self.decisions)
        columns = [array([getattr(run, name) for run in runs]) for name in ("id", *_COLUMNS)]
        with connection.cursor() as cursor:
            cursor.execute(_SAVE, [*columns, workspace_id])
        if waits := [run.wake_at for run in runs if run.wake_at is not None]:
            notify_beat("runs", min(waits))
        cancel_messages(workspace_id, self.cancelled, self.chunk.now)


_COLUMNS: Final = {
    "status": "text",
    "step": "text",
    "arrived_at": "timestamptz",
    "wake_at": "timestamptz",
    "since": "timestamptz",
    "awaits": "text",
    "awaited_value": "text",
    "resumed_by": "uuid",
    "steps_taken": "int",
    "attempts": "int",
    "error": "text",
    "ended_at": "timestamptz",
    "end_reason": "text",
}
_SAVE: Final = f"""
UPDATE campaigns_run r SET {", ".join(f"{name} = w.{name}" for name in _COLUMNS)}
FROM unnest(%s::uuid[], {", ".join(f"%s::{kind}[]" for kind in _COLUMNS.values())})
    AS w (id, {", ".join(_COLUMNS)})
WHERE r.workspace_id = %s AND r.id = w.id
"""
