"""Take enrollments through the steps of their versions, in memory; callers save them and the decisions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from campaigns.journeys.definition.parser import Definition
from campaigns.journeys.definition.steps import (
    HOLDOUT,
    NEXT,
    RecordEventStep,
    StartStep,
    TagStep,
    UpdateContactStep,
)
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

CHANGING_STEPS: Final = (UpdateContactStep, TagStep, RecordEventStep)
"""Steps that change the contact or record events: exit rules may hold after one."""


@dataclass(slots=True)
class EnrollmentProcessor:
    """Processes a batch step by step; enrollments at the same node go through it together."""

    batch: EnrollmentBatch
    definitions: Mapping[UUID, Definition]
    # Types of steps that are not taken here: an enrollment stops before one, and is due there.
    excluded_steps: Collection[type] = ()
    decisions: list[NewDecision] = field(default_factory=list)
    active: list[EnrollmentState] = field(default_factory=list)
    # Enrollments whose queued messages are to be cancelled, with the reason.
    cancelled: dict[UUID, str] = field(default_factory=dict)
    # Enrollments whose exit rules do not hold at the batch's moment, as long as no step changes something.
    checked: set[UUID] = field(default_factory=set)

    def is_at_step(self, enrollment: EnrollmentState, types: Collection[type]) -> bool:
        """Return whether an enrollment's next step is of one of the types."""
        return type(self.definitions[enrollment.version_id].nodes[enrollment.step].step) in types

    def check_pending_events(self) -> None:
        """Apply outcomes of events whose effects have not run, and stop those enrollments."""
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
        """Take each enrollment through its next step. All or nothing: nothing is applied if one fails."""
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
        """Return the outcomes of one step for the enrollments of a version; exit rules come first."""
        definition = self.definitions[version_id]
        node = definition.nodes[node_id]
        outcomes = self._check_exit_rules(definition, enrollments)
        remaining = [enrollment for enrollment in enrollments if enrollment.id not in outcomes]
        if isinstance(node.step, CHANGING_STEPS):
            self.checked.difference_update(enrollment.id for enrollment in remaining)
        if remaining:
            outcomes |= STEP_HANDLERS[type(node.step)](StepContext(self.batch, definition, node), remaining)
        return outcomes

    def _check_exit_rules(
        self, definition: Definition, enrollments: Sequence[EnrollmentState]
    ) -> dict[UUID, StepOutcome]:
        unchecked = [enrollment for enrollment in enrollments if enrollment.id not in self.checked]
        if not definition.state_exits or not unchecked:
            return {}
        answers = evaluate_rules(self.batch, unchecked, definition.state_exits)
        self.checked.update(answers)
        return {
            enrollment_id: Finish(Enrollment.Status.EXITED, Reason.EXIT_RULE, {"exit": answer.index(True)})
            for enrollment_id, answer in answers.items()
            if any(answer)
        }

    def apply(self, enrollment: EnrollmentState, outcome: StepOutcome) -> None:
        """Apply the outcome of a step or an event to an enrollment."""
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
            self.decisions.append(
                NewDecision.about(enrollment, Decision.Kind.WAITS, None, self.batch.now, detail)
            )
        enrollment.wake_at = outcome.until
        enrollment.awaited_event, enrollment.awaited_value = outcome.awaited_event, outcome.awaited_value

    def _advance(self, enrollment: EnrollmentState, outcome: Advance) -> None:
        node = self.definitions[enrollment.version_id].nodes[enrollment.step]
        if not isinstance(node.step, StartStep):
            has_waited = enrollment.arrived_at is not None
            kind = Decision.Kind.RESUMED if has_waited else Decision.Kind.STEP
            # Reports count by the handle of branches and splits.
            handle = {"handle": outcome.handle} if outcome.handle != NEXT else {}
            detail = {**outcome.detail, **handle}
            self.decisions.append(
                NewDecision.about(
                    enrollment,
                    kind,
                    outcome.reason,
                    self.batch.now,
                    detail,
                    event_id=outcome.event_id,
                    message_id=outcome.message_id,
                )
            )
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
        """End an enrollment and record why."""
        enrollment.status, enrollment.end_reason = outcome.status, outcome.exit_reason or str(outcome.reason)
        enrollment.ended_at, enrollment.wake_at = self.batch.now, None
        enrollment.awaited_event = enrollment.awaited_value = ""
        if outcome.reason in CANCELLING:
            self.cancelled[enrollment.id] = outcome.reason
        detail = {**outcome.detail, "reason": outcome.exit_reason} if outcome.exit_reason else outcome.detail
        self.decisions.append(
            NewDecision.about(
                enrollment,
                Decision.Kind.ENDED,
                outcome.reason,
                self.batch.now,
                detail,
                event_id=outcome.event_id,
            )
        )
