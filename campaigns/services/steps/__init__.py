"""What each type of step does to the runs that come to it."""

from collections.abc import Callable, Mapping, Sequence
from uuid import UUID

from campaigns import definition
from campaigns.models import RunState
from campaigns.services.steps import acting, choosing, waiting
from campaigns.services.turns import GoOn, Outcome, Turn

Take = Callable[[Turn, Sequence[RunState]], dict[UUID, Outcome]]


def _pass(turn: Turn, runs: Sequence[RunState]) -> dict[UUID, Outcome]:
    return {run.id: GoOn() for run in runs}


STEPS: Mapping[type, Take] = {
    definition.Start: _pass,
    definition.Send: acting.ask,
    definition.Wait: waiting.wait,
    definition.WaitUntilDate: waiting.wait_until_date,
    definition.WaitForTime: waiting.wait_for_time,
    definition.WaitForEvent: waiting.wait_for_event,
    definition.Branch: choosing.branch,
    definition.Split: choosing.split,
    definition.Update: acting.update,
    definition.TagStep: acting.tag,
    definition.Record: acting.record,
    definition.CallWebhook: acting.ask,
    definition.Exit: choosing.leave,
}
