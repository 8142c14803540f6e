"""Runs on their way through the steps of their versions, in memory: whoever takes them there writes them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from campaigns.definition import HOLDOUT, NEXT, Definition, Start
from campaigns.models import Decided, Decision, Run, RunState
from campaigns.reasons import Reason
from campaigns.services.cancelling import CANCELLING
from campaigns.services.holding import holding
from campaigns.services.lagging import outcomes_of_lag
from campaigns.services.plans import notices_of
from campaigns.services.steps import STEPS
from campaigns.services.steps.acting import reserve
from campaigns.services.turns import Asks, Chunk, End, GoOn, Later, Outcome, Stay, Turn


@dataclass(slots=True)
class Progress:
    """One chunk on its way. Runs at the same node are taken on together, until all wait or have ended."""

    chunk: Chunk
    definitions: Mapping[UUID, Definition]
    # Types of steps that are not taken here: a run that comes to one is due there.
    left_out: Collection[type] = ()
    decisions: list[Decided] = field(default_factory=list)
    going: list[RunState] = field(default_factory=list)
    # Runs whose messages shall not leave any more, and why.
    cancelled: dict[UUID, str] = field(default_factory=dict)

    def is_at(self, run: RunState, types: Collection[type]) -> bool:
        """Tell whether the step that a run is at is of one of some types."""
        return type(self.definitions[run.version_id].nodes[run.step].step) in types

    def heed_the_stream(self) -> None:
        """Take no run past an event that ends it, or may, before the effects come to it."""
        versions = {run.version_id: run.campaign_id for run in self.going}
        notices = {
            version_id: list(notices_of(campaign_id, version_id, self.definitions[version_id]))
            for version_id, campaign_id in versions.items()
        }
        outcomes = outcomes_of_lag(self.chunk, self.going, notices)
        for run in self.going:
            if (outcome := outcomes.get(run.id)) is not None:
                self.apply(run, outcome)
        self.going = [run for run in self.going if run.id not in outcomes]

    def take(self, runs: Sequence[RunState]) -> None:
        """Take runs through the step that each is at. Nothing is noted where one fails: all is rolled back."""
        groups: dict[tuple[UUID, str], list[RunState]] = defaultdict(list)
        for run in runs:
            groups[run.version_id, run.step].append(run)
        outcomes: dict[UUID, Outcome] = {}
        for (version_id, node_id), group in groups.items():
            outcomes |= self._outcomes(version_id, node_id, group)
        asking = [(run, asks) for run in runs if isinstance(asks := outcomes[run.id], Asks)]
        if asking:
            outcomes |= reserve(self.chunk, asking)
        for run in runs:
            self.apply(run, outcomes[run.id])

    def _outcomes(self, version_id: UUID, node_id: str, runs: Sequence[RunState]) -> dict[UUID, Outcome]:
        """Take runs of one version through one of its steps."""
        definition = self.definitions[version_id]
        node = definition.nodes[node_id]
        outcomes = self._exits(definition, runs)
        staying = [run for run in runs if run.id not in outcomes]
        if staying:
            outcomes |= STEPS[type(node.step)](Turn(self.chunk, definition, node), staying)
        return outcomes

    def _exits(self, definition: Definition, runs: Sequence[RunState]) -> dict[UUID, Outcome]:
        if not definition.state_exits:
            return {}
        answers = holding(self.chunk, runs, definition.state_exits)
        return {
            run_id: End(Run.Status.EXITED, Reason.EXIT_RULE, {"exit": answer.index(True)})
            for run_id, answer in answers.items()
            if any(answer)
        }

    def apply(self, run: RunState, outcome: Outcome) -> None:
        """Let become of a run what its step, or an event, makes of it."""
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
                self.end(run, outcome)

    def _stay(self, run: RunState, outcome: Stay) -> None:
        if run.arrived_at is None:
            run.arrived_at = self.chunk.now
            detail = {"awaits": outcome.awaits} if outcome.awaits else {"until": outcome.until.isoformat()}
            self._decide(run, Decision.Kind.WAITS, detail=detail)
        run.wake_at = outcome.until
        run.awaits, run.awaited_value = outcome.awaits, outcome.awaited_value

    def _go_on(self, run: RunState, outcome: GoOn) -> None:
        node = self.definitions[run.version_id].nodes[run.step]
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
            if self.is_at(run, self.left_out):
                run.wake_at = self.chunk.now
            else:
                self.going.append(run)
        else:
            is_held_out = outcome.handle == HOLDOUT
            self.end(run, End(Run.Status.COMPLETED, Reason.HELD_OUT if is_held_out else Reason.END))

    def end(self, run: RunState, outcome: End) -> None:
        """End a run."""
        run.status, run.end_reason = outcome.status, outcome.said or str(outcome.reason)
        run.ended_at, run.wake_at = self.chunk.now, None
        run.awaits = run.awaited_value = ""
        if outcome.reason in CANCELLING:
            self.cancelled[run.id] = outcome.reason
        detail = {**outcome.detail, "reason": outcome.said} if outcome.said else outcome.detail
        self._decide(run, Decision.Kind.ENDED, outcome.reason, detail, outcome.event_id)

    def _decide(
        self,
        run: RunState,
        kind: Decision.Kind,
        reason: Reason | None = None,
        detail: Mapping[str, Any] | None = None,
        event_id: UUID | None = None,
        message_id: UUID | None = None,
    ) -> None:
        self.decisions.append(
            Decided(
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
