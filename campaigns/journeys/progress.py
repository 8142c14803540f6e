"""Enrollments on their way through the steps of their versions, in memory: whoever takes them there writes them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from campaigns.journeys.definition import HOLDOUT, NEXT, Definition, StartStep
from campaigns.journeys.pending_events import outcomes_of_pending_events
from campaigns.journeys.plans import listeners_of
from campaigns.journeys.rule_checks import evaluate_rules
from campaigns.journeys.step_context import (
    Advance,
    EnrollmentBatch,
    Finish,
    Postpone,
    RequestMessage,
    StepContext,
    StepOutcome,
    Wait,
)
from campaigns.journeys.steps import STEP_HANDLERS
from campaigns.journeys.steps.actions import enqueue_messages
from campaigns.messaging.cancellation import CANCELLING
from campaigns.models import Decision, Enrollment, EnrollmentState, NewDecision
from campaigns.reasons import Reason


@dataclass(slots=True)
class EnrollmentProcessor:
    """One chunk on its way. Enrollments at the same node are taken on together, until all wait or have ended."""

    batch: EnrollmentBatch
    definitions: Mapping[UUID, Definition]
    # Types of steps that are not taken here: an enrollment that comes to one is due there.
    excluded_steps: Collection[type] = ()
    decisions: list[NewDecision] = field(default_factory=list)
    active: list[EnrollmentState] = field(default_factory=list)
    # Runs whose messages shall not leave any more, and why.
    cancelled: dict[UUID, str] = field(default_factory=dict)

    def is_at_step(self, enrollment: EnrollmentState, types: Collection[type]) -> bool:
        """Tell whether the step that an enrollment is at is of one of some types."""
        return type(self.definitions[enrollment.version_id].nodes[enrollment.step].step) in types

    def check_pending_events(self) -> None:
        """Take no enrollment past an event that ends it, or may, before the effects come to it."""
        versions = {enrollment.version_id: enrollment.campaign_id for enrollment in self.active}
        listeners = {
            version_id: list(listeners_of(campaign_id, version_id, self.definitions[version_id]))
            for version_id, campaign_id in versions.items()
        }
        outcomes = outcomes_of_pending_events(self.batch, self.active, listeners)
        for enrollment in self.active:
            if (outcome := outcomes.get(enrollment.id)) is not None:
                self.apply(enrollment, outcome)
        self.active = [enrollment for enrollment in self.active if enrollment.id not in outcomes]

    def process_step(self, enrollments: Sequence[EnrollmentState]) -> None:
        """Take enrollments through the step that each is at. Nothing is noted where one fails: all is rolled back."""
        groups: dict[tuple[UUID, str], list[EnrollmentState]] = defaultdict(list)
        for enrollment in enrollments:
            groups[enrollment.version_id, enrollment.step].append(enrollment)
        outcomes: dict[UUID, StepOutcome] = {}
        for (version_id, node_id), group in groups.items():
            outcomes |= self._process_node(version_id, node_id, group)
        requests = [
            (enrollment, request)
            for enrollment in enrollments
            if isinstance(request := outcomes[enrollment.id], RequestMessage)
        ]
        if requests:
            outcomes |= enqueue_messages(self.batch, requests)
        for enrollment in enrollments:
            self.apply(enrollment, outcomes[enrollment.id])

    def _process_node(
        self, version_id: UUID, node_id: str, enrollments: Sequence[EnrollmentState]
    ) -> dict[UUID, StepOutcome]:
        """Take enrollments of one version through one of its steps."""
        definition = self.definitions[version_id]
        node = definition.nodes[node_id]
        outcomes = self._check_exit_rules(definition, enrollments)
        remaining = [enrollment for enrollment in enrollments if enrollment.id not in outcomes]
        if remaining:
            outcomes |= STEP_HANDLERS[type(node.step)](StepContext(self.batch, definition, node), remaining)
        return outcomes

    def _check_exit_rules(
        self, definition: Definition, enrollments: Sequence[EnrollmentState]
    ) -> dict[UUID, StepOutcome]:
        if not definition.state_exits:
            return {}
        answers = evaluate_rules(self.batch, enrollments, definition.state_exits)
        return {
            enrollment_id: Finish(Enrollment.Status.EXITED, Reason.EXIT_RULE, {"exit": answer.index(True)})
            for enrollment_id, answer in answers.items()
            if any(answer)
        }

    def apply(self, enrollment: EnrollmentState, outcome: StepOutcome) -> None:
        """Let become of an enrollment what its step, or an event, makes of it."""
        if isinstance(outcome, Postpone):
            enrollment.wake_at = outcome.until
            return
        enrollment.attempts, enrollment.error = 0, ""
        match outcome:
            case Wait():
                self._wait(enrollment, outcome)
            case Advance():
                self._advance(enrollment, outcome)
            case Finish():
                self.finish(enrollment, outcome)

    def _wait(self, enrollment: EnrollmentState, outcome: Wait) -> None:
        if enrollment.arrived_at is None:
            enrollment.arrived_at = self.batch.now
            detail = (
                {"awaits": outcome.awaited_event}
                if outcome.awaited_event
                else {"until": outcome.until.isoformat()}
            )
            self._add_decision(enrollment, Decision.Kind.WAITS, detail=detail)
        enrollment.wake_at = outcome.until
        enrollment.awaited_event, enrollment.awaited_value = outcome.awaited_event, outcome.awaited_value

    def _advance(self, enrollment: EnrollmentState, outcome: Advance) -> None:
        node = self.definitions[enrollment.version_id].nodes[enrollment.step]
        if not isinstance(node.step, StartStep):
            has_waited = enrollment.arrived_at is not None
            kind = Decision.Kind.RESUMED if has_waited else Decision.Kind.STEP
            # Of a step with several ways on, which one it was: reports count by it.
            way = {"handle": outcome.handle} if outcome.handle != NEXT else {}
            detail = {**outcome.detail, **way}
            self._add_decision(enrollment, kind, outcome.reason, detail, outcome.event_id, outcome.message_id)
        enrollment.steps_taken += 1
        enrollment.arrived_at = None
        enrollment.awaited_event = enrollment.awaited_value = ""
        enrollment.listens_since = max(outcome.since or enrollment.listens_since, enrollment.listens_since)
        enrollment.resumed_by_event_id = outcome.event_id or enrollment.resumed_by_event_id
        if (target := node.next.get(outcome.handle)) is not None:
            enrollment.step = target
            if self.is_at_step(enrollment, self.excluded_steps):
                enrollment.wake_at = self.batch.now
            else:
                self.active.append(enrollment)
        else:
            is_held_out = outcome.handle == HOLDOUT
            self.finish(
                enrollment,
                Finish(Enrollment.Status.COMPLETED, Reason.HELD_OUT if is_held_out else Reason.END),
            )

    def finish(self, enrollment: EnrollmentState, outcome: Finish) -> None:
        """End an enrollment."""
        enrollment.status, enrollment.end_reason = outcome.status, outcome.exit_reason or str(outcome.reason)
        enrollment.ended_at, enrollment.wake_at = self.batch.now, None
        enrollment.awaited_event = enrollment.awaited_value = ""
        if outcome.reason in CANCELLING:
            self.cancelled[enrollment.id] = outcome.reason
        detail = {**outcome.detail, "reason": outcome.exit_reason} if outcome.exit_reason else outcome.detail
        self._add_decision(enrollment, Decision.Kind.ENDED, outcome.reason, detail, outcome.event_id)

    def _add_decision(
        self,
        enrollment: EnrollmentState,
        kind: Decision.Kind,
        reason: Reason | None = None,
        detail: Mapping[str, Any] | None = None,
        event_id: UUID | None = None,
        message_id: UUID | None = None,
    ) -> None:
        self.decisions.append(
            NewDecision(
                campaign_id=enrollment.campaign_id,
                contact_id=enrollment.contact_id,
                enrollment_id=enrollment.id,
                event_id=event_id,
                message_id=message_id,
                kind=kind,
                reason=reason or "",
                step=enrollment.step,
                detail=detail or {},
                decided_at=self.batch.now,
            )
        )
