"""Branch, split and exit steps."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from uuid import UUID

from campaigns.journeys.definition.steps import ELSE, HOLDOUT, TOTAL_PERCENT, BranchStep, ExitStep, SplitStep
from campaigns.journeys.rule_checks import evaluate_rules
from campaigns.journeys.step_context import Advance, Finish, StepContext, StepOutcome
from campaigns.models import Enrollment, EnrollmentState
from campaigns.reasons import Reason

_DRAWS = 1 << 64


def branch(context: StepContext, enrollments: Sequence[EnrollmentState]) -> dict[UUID, StepOutcome]:
    """Leave by the first branch whose rule holds, else by `else`."""
    step = context.node.step
    assert isinstance(step, BranchStep)  # noqa: S101  # STEP_HANDLERS ensures it
    answers = evaluate_rules(context.batch, enrollments, [rule for _, rule in step.branches])
    handles = [handle for handle, _ in step.branches]
    outcomes: dict[UUID, StepOutcome] = {}
    for enrollment in enrollments:
        matching = [handle for handle, holds in zip(handles, answers[enrollment.id], strict=True) if holds]
        outcomes[enrollment.id] = Advance(matching[0] if matching else ELSE)
    return outcomes


def split(context: StepContext, enrollments: Sequence[EnrollmentState]) -> dict[UUID, StepOutcome]:
    """Leave by a random arm, always the same for a contact."""
    step = context.node.step
    assert isinstance(step, SplitStep)  # noqa: S101  # as above
    outcomes: dict[UUID, StepOutcome] = {}
    for enrollment in enrollments:
        arm = arm_of(step, enrollment.campaign_id, enrollment.contact_id, context.node.id)
        outcomes[enrollment.id] = Advance(arm)
    return outcomes


def arm_of(step: SplitStep, campaign_id: UUID, contact_id: UUID, node_id: str) -> str:
    """Return a contact's arm, by a hash; changed weights move as few contacts as possible."""
    digest = hashlib.sha256(campaign_id.bytes + contact_id.bytes + node_id.encode()).digest()
    drawn = int.from_bytes(digest[:8]) / _DRAWS * TOTAL_PERCENT
    for handle, weight in step.arms:
        drawn -= weight
        if drawn < 0:
            return handle
    # Weights that sum up to 100 but for rounding have no hold-out.
    is_whole = abs(sum(weight for _, weight in step.arms) - TOTAL_PERCENT) < 1e-9
    return step.arms[-1][0] if is_whole else HOLDOUT


def exit_campaign(context: StepContext, enrollments: Sequence[EnrollmentState]) -> dict[UUID, StepOutcome]:
    """End each enrollment with the step's reason."""
    step = context.node.step
    assert isinstance(step, ExitStep)  # noqa: S101  # as above
    return {
        enrollment.id: Finish(Enrollment.Status.EXITED, Reason.EXIT_STEP, exit_reason=step.reason)
        for enrollment in enrollments
    }
