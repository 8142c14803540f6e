"""Step handlers: what each type of step does with the enrollments that are at it."""

from collections.abc import Callable, Mapping, Sequence
from uuid import UUID

from campaigns.journeys.definition import steps as definition
from campaigns.journeys.step_context import Advance, StepContext, StepOutcome
from campaigns.journeys.steps import actions, branches, waits
from campaigns.models import EnrollmentState

StepHandler = Callable[[StepContext, Sequence[EnrollmentState]], dict[UUID, StepOutcome]]


def _advance(context: StepContext, enrollments: Sequence[EnrollmentState]) -> dict[UUID, StepOutcome]:
    return {enrollment.id: Advance() for enrollment in enrollments}


STEP_HANDLERS: Mapping[type, StepHandler] = {
    definition.StartStep: _advance,
    definition.SendStep: actions.request_message,
    definition.WaitStep: waits.wait,
    definition.WaitUntilDateStep: waits.wait_until_date,
    definition.WaitUntilTimeOfDayStep: waits.wait_for_time,
    definition.WaitForEventStep: waits.wait_for_event,
    definition.BranchStep: branches.branch,
    definition.SplitStep: branches.split,
    definition.UpdateContactStep: actions.update,
    definition.TagStep: actions.tag,
    definition.RecordEventStep: actions.record,
    definition.CallWebhookStep: actions.request_message,
    definition.ExitStep: branches.exit_campaign,
}
