"""Runs are taken on: the due ones claimed, some at a time, each until it waits or ends.

A worker that dies leaves everything as it was: messages are reserved in the transaction that moves their run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from time import monotonic
from typing import Final
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction

from campaigns.definition import HOLDOUT, NEXT, Definition, Start
from campaigns.errors import InvalidDefinition
from campaigns.models import Campaign, CampaignVersion, Decision, Run
from campaigns.reasons import Reason
from campaigns.services.cancelling import CANCELLING, cancel_messages
from campaigns.services.holding import holding
from campaigns.services.lagging import outcomes_of_lag
from campaigns.services.people import people_of
from campaigns.services.plans import definition_of, notices_of
from campaigns.services.regrouping import doubles_among
from campaigns.services.steps import STEPS
from campaigns.services.turns import Chunk, End, GoOn, Later, Outcome, Stay, Turn
from config import clock
from config.planning import planned_for_its_values
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
        runs = _claim(workspace_id, clock.now())
        if runs:
            with connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL statement_timeout = {int(settings.EFFECT_TIMEOUT_SECONDS * 1000)}")
            _Taking(_chunk(workspace_id, runs)).run()
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
_CLAIM: Final = """
SELECT r.id FROM unnest(%s::uuid[]) AS c (id) CROSS JOIN LATERAL (
    SELECT id FROM campaigns_run
    WHERE workspace_id = %s AND campaign_id = c.id AND status = 'open' AND wake_at <= %s
    ORDER BY wake_at LIMIT %s FOR UPDATE SKIP LOCKED
) r
"""


@planned_for_its_values()
def _claim(workspace_id: UUID, now: datetime) -> list[Run]:
    """Lock due runs. A plan kept from when there were a few runs would go on reading all of them."""
    with connection.cursor() as cursor:
        cursor.execute(_DUE, [workspace_id, now, workspace_id, list(_GOING)])
        campaigns = [campaign_id for (campaign_id,) in cursor.fetchall()]
        if not campaigns:
            return []
        cursor.execute(_CLAIM, [campaigns, workspace_id, now, max(CHUNK // len(campaigns), 10)])
        claimed = [run_id for (run_id,) in cursor.fetchall()]
    return list(Run.objects.in_workspace(workspace_id).filter(id__in=claimed).order_by("wake_at", "id"))


def _chunk(workspace_id: UUID, runs: Sequence[Run]) -> Chunk:
    campaigns = Campaign.objects.in_workspace(workspace_id).in_bulk({run.campaign_id for run in runs})
    people = people_of(workspace_id, {run.contact_id for run in runs})
    # Only now, with the runs locked and their contacts read, is it what the steps take for now.
    return Chunk(workspace_id, clock.now(), runs, campaigns, people)


@dataclass(slots=True)
class _Taking:
    """One chunk on its way. Runs at the same node are taken on together, until all wait or have ended."""

    chunk: Chunk
    versions: dict[UUID, CampaignVersion] = field(default_factory=dict)
    decisions: list[Decision] = field(default_factory=list)
    going: list[Run] = field(default_factory=list)
    # Runs whose messages shall not leave any more, and why.
    cancelled: dict[UUID, str] = field(default_factory=dict)

    def run(self) -> None:
        self.versions = CampaignVersion.objects.filter(workspace_id=self.chunk.workspace_id).in_bulk(
            {run.version_id for run in self.chunk.runs}
        )
        self.going = [run for run in self.chunk.runs if not self._is_over(run)]
        self._end_doubles()
        self._heed_the_stream()
        while self.going:
            going, self.going = self.going, []
            isolate(going, self._take, self._set_aside)
        self._save()

    def _is_over(self, run: Run) -> bool:
        """End a run whose contact is gone, or whose way nobody knows any more."""
        if run.contact_id not in self.chunk.people:
            self._apply(run, End(Run.Status.EXITED, Reason.ERASED))
            return True
        try:
            is_known = run.step in self._definition(run.version_id).nodes
        except InvalidDefinition as error:
            self._apply(run, End(Run.Status.FAILED, Reason.STEP_FAILED, {"message": error.message}))
            return True
        if not is_known:
            self._apply(run, End(Run.Status.FAILED, Reason.STEP_FAILED, {"message": "no such step"}))
        return not is_known

    def _definition(self, version_id: UUID) -> Definition:
        return definition_of(self.versions[version_id])

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
                .filter(contact__in=ids, is_test=False)
            )
            doubles = {one.id for one in doubles_among(rows.select_related("version"))}
            for run in [run for run in self.going if run.id in doubles]:
                self._apply(run, End(Run.Status.EXITED, Reason.MERGED))
        self.going = [run for run in self.going if run.status == Run.Status.OPEN]

    def _heed_the_stream(self) -> None:
        """Take no run past an event that ends it, or may, before the effects come to it."""
        versions = {run.version_id for run in self.going}
        notices = {one: list(notices_of(self.versions[one], self._definition(one))) for one in versions}
        outcomes = outcomes_of_lag(self.chunk, self.going, notices)
        for run in self.going:
            if (outcome := outcomes.get(run.id)) is not None:
                self._apply(run, outcome)
        self.going = [run for run in self.going if run.id not in outcomes]

    def _take(self, runs: Sequence[Run]) -> None:
        """Take runs through the step that each is at. Nothing is noted where one fails: all is rolled back."""
        groups: dict[tuple[UUID, str], list[Run]] = defaultdict(list)
        for run in runs:
            groups[run.version_id, run.step].append(run)
        outcomes: dict[UUID, Outcome] = {}
        for (version_id, node_id), group in groups.items():
            outcomes |= self._outcomes(version_id, node_id, group)
        for run in runs:
            self._apply(run, outcomes[run.id])

    def _outcomes(self, version_id: UUID, node_id: str, runs: Sequence[Run]) -> dict[UUID, Outcome]:
        """Take runs of one version through one of its steps."""
        definition = self._definition(version_id)
        node = definition.nodes[node_id]
        outcomes = self._exits(definition, runs)
        staying = [run for run in runs if run.id not in outcomes]
        if staying:
            outcomes |= STEPS[type(node.step)](Turn(self.chunk, definition, node), staying)
        return outcomes

    def _exits(self, definition: Definition, runs: Sequence[Run]) -> dict[UUID, Outcome]:
        if not definition.state_exits:
            return {}
        answers = holding(self.chunk, runs, definition.state_exits)
        return {
            run_id: End(Run.Status.EXITED, Reason.EXIT_RULE, {"exit": answer.index(True)})
            for run_id, answer in answers.items()
            if any(answer)
        }

    def _apply(self, run: Run, outcome: Outcome) -> None:
        if isinstance(outcome, Later):
            run.wake_at = outcome.until
            return
        run.attempts, run.error = 0, ""
        match outcome:
            case Stay():
                self._stay(run, outcome)
            case GoOn():
                self._go_on(run, outcome)
            case End():
                self._end(run, outcome)

    def _stay(self, run: Run, outcome: Stay) -> None:
        if run.arrived_at is None:
            run.arrived_at = self.chunk.now
            detail = {"awaits": outcome.awaits} if outcome.awaits else {"until": outcome.until.isoformat()}
            self._decide(run, Decision.Kind.WAITS, detail=detail)
        run.wake_at = outcome.until
        run.awaits, run.awaited_value = outcome.awaits, outcome.awaited_value

    def _go_on(self, run: Run, outcome: GoOn) -> None:
        node = self._definition(run.version_id).nodes[run.step]
        if not isinstance(node.step, Start):
            has_waited = run.arrived_at is not None
            kind = Decision.Kind.RESUMED if has_waited else Decision.Kind.STEP
            # Of a step with several ways on, which one it was: reports count by it.
            way = {"handle": outcome.handle} if outcome.handle != NEXT else {}
            detail = {**outcome.detail, **way}
            self._decide(run, kind, outcome.reason, detail, outcome.event_id, outcome.message_id)
        run.steps_taken += 1
        run.arrived_at = None
        run.awaits = run.awaited_value = ""
        run.since = max(outcome.since or run.since, run.since)
        run.resumed_by = outcome.event_id or run.resumed_by
        if (target := node.next.get(outcome.handle)) is not None:
            run.step = target
            self.going.append(run)
        else:
            is_held_out = outcome.handle == HOLDOUT
            self._end(run, End(Run.Status.COMPLETED, Reason.HELD_OUT if is_held_out else Reason.END))

    def _end(self, run: Run, outcome: End) -> None:
        run.status, run.end_reason = outcome.status, outcome.said or str(outcome.reason)
        run.ended_at, run.wake_at = self.chunk.now, None
        run.awaits = run.awaited_value = ""
        if outcome.reason in CANCELLING:
            self.cancelled[run.id] = outcome.reason
        detail = {**outcome.detail, "reason": outcome.said} if outcome.said else outcome.detail
        self._decide(run, Decision.Kind.ENDED, outcome.reason, detail, outcome.event_id)

    def _set_aside(self, run: Run, error: Exception) -> None:
        """Let a run whose step failed try again later; in the end it has failed."""
        attempts = run.attempts + 1
        # PostgreSQL takes no NUL in a text, and an error may quote one.
        text = f"{type(error).__name__}: {error}".replace("\x00", "")[:_LONGEST_ERROR]
        if attempts >= MOST_ATTEMPTS:
            self._end(run, End(Run.Status.FAILED, Reason.STEP_FAILED, {"message": text[:500]}))
        else:
            run.wake_at = self.chunk.now + FIRST_PAUSE * 2 ** (attempts - 1)
        run.attempts, run.error = attempts, text

    def _decide(
        self,
        run: Run,
        kind: Decision.Kind,
        reason: Reason | None = None,
        detail: object = None,
        event_id: UUID | None = None,
        message_id: UUID | None = None,
    ) -> None:
        self.decisions.append(
            Decision(
                workspace_id=run.workspace_id,
                campaign_id=run.campaign_id,
                contact_id=run.contact_id,
                run_id=run.id,
                event_id=event_id,
                message_id=message_id,
                kind=kind,
                reason=reason or "",
                step=run.step,
                detail=detail or {},
                decided_at=self.chunk.now,
            )
        )

    @planned_for_its_values()
    def _save(self) -> None:
        Decision.objects.write(self.decisions)
        runs = self.chunk.runs
        columns = [[getattr(run, name) for run in runs] for name, _ in _COLUMNS]
        with connection.cursor() as cursor:
            cursor.execute(_SAVE, [[run.id for run in runs], *columns, self.chunk.workspace_id])
        cancel_messages(self.chunk.workspace_id, self.cancelled, self.chunk.now)


_COLUMNS: Final = (
    ("status", "text"),
    ("step", "text"),
    ("arrived_at", "timestamptz"),
    ("wake_at", "timestamptz"),
    ("since", "timestamptz"),
    ("awaits", "text"),
    ("awaited_value", "text"),
    ("resumed_by", "uuid"),
    ("steps_taken", "int"),
    ("attempts", "int"),
    ("error", "text"),
    ("ended_at", "timestamptz"),
    ("end_reason", "text"),
)
_SAVE: Final = f"""
UPDATE campaigns_run r SET {", ".join(f"{name} = w.{name}" for name, _ in _COLUMNS)}
FROM unnest(%s::uuid[], {", ".join(f"%s::{kind}[]" for _, kind in _COLUMNS)})
    AS w (id, {", ".join(name for name, _ in _COLUMNS)})
WHERE r.workspace_id = %s AND r.id = w.id
"""
