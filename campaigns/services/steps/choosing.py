"""Steps at which the ways part: by conditions, or by chance."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from uuid import UUID

from campaigns.definition import ELSE, HOLDOUT, WHOLE, Branch, Exit, Split
from campaigns.models import Run, RunState
from campaigns.reasons import Reason
from campaigns.services.holding import holding
from campaigns.services.turns import End, GoOn, Outcome, Turn

_DRAWS = 1 << 64


def branch(turn: Turn, runs: Sequence[RunState]) -> dict[UUID, Outcome]:
    """Take the first branch whose rule holds."""
    step = turn.node.step
    assert isinstance(step, Branch)  # noqa: S101  # the table of steps sees to it
    answers = holding(turn.chunk, runs, [rule for _, rule in step.branches])
    handles = [handle for handle, _ in step.branches]
    outcomes: dict[UUID, Outcome] = {}
    for run in runs:
        held = [handle for handle, holds in zip(handles, answers[run.id], strict=True) if holds]
        outcomes[run.id] = GoOn(held[0] if held else ELSE)
    return outcomes


def split(turn: Turn, runs: Sequence[RunState]) -> dict[UUID, Outcome]:
    """Draw an arm, the same whenever this contact comes here."""
    step = turn.node.step
    assert isinstance(step, Split)  # noqa: S101  # as above
    outcomes: dict[UUID, Outcome] = {}
    for run in runs:
        arm = arm_of(step, run.campaign_id, run.contact_id, turn.node.id)
        outcomes[run.id] = GoOn(arm)
    return outcomes


def arm_of(step: Split, campaign_id: UUID, contact_id: UUID, node_id: str) -> str:
    """Return the arm of a contact; an edit of the weights moves no more contacts than it must."""
    digest = hashlib.sha256(campaign_id.bytes + contact_id.bytes + node_id.encode()).digest()
    drawn = int.from_bytes(digest[:8]) / _DRAWS * WHOLE
    for handle, weight in step.arms:
        drawn -= weight
        if drawn < 0:
            return handle
    # What the weights of floats lack to a hundred is nobody's hold-out.
    is_whole = abs(sum(weight for _, weight in step.arms) - WHOLE) < 1e-9
    return step.arms[-1][0] if is_whole else HOLDOUT


def leave(turn: Turn, runs: Sequence[RunState]) -> dict[UUID, Outcome]:
    """End here, because the campaign says so."""
    step = turn.node.step
    assert isinstance(step, Exit)  # noqa: S101  # as above
    return {run.id: End(Run.Status.EXITED, Reason.EXIT_STEP, said=step.reason) for run in runs}
