"""Take the first steps of new enrollments before they are inserted, so that a waiting one is written once.

Steps that change the contact or record events are left to `processor`: the effect only enrolls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from campaigns.journeys.definition.parser import Definition
from campaigns.journeys.definition.steps import CallWebhookStep, SendStep
from campaigns.journeys.progress import CHANGING_STEPS, EnrollmentProcessor
from campaigns.journeys.step_context import EnrollmentBatch
from campaigns.messaging.cancellation import cancel_messages
from campaigns.models import EnrollmentState, NewDecision
from events.processing.bisection import bisect_failures

_EXCLUDED_STEPS: Final = frozenset(CHANGING_STEPS)
_MESSAGE_STEPS: Final = frozenset({SendStep, CallWebhookStep})
MAX_MESSAGES: Final = 200
"""Messages enqueued at once; more would delay the effects of other events."""


def process_first_steps(
    workspace_id: UUID,
    enrollments: Sequence[EnrollmentState],
    definitions: Mapping[UUID, Definition],
    now: datetime,
) -> list[NewDecision]:
    """Take new enrollments through sends, branches and up to waits, in memory. Returns the decisions.

    An enrollment whose step fails stays due at it, so `processor` tries again and records the error. So do those
    beyond MAX_MESSAGES.
    """
    processor = EnrollmentProcessor(
        EnrollmentBatch(workspace_id, now, enrollments), definitions, _EXCLUDED_STEPS
    )
    active: list[EnrollmentState] = []

    def check_events(group: Sequence[EnrollmentState]) -> None:
        processor.active = list(group)
        processor.check_pending_events()
        active.extend(processor.active)

    bisect_failures(
        [enrollment for enrollment in enrollments if not processor.is_at_step(enrollment, _EXCLUDED_STEPS)],
        check_events,
        _keep_due,
    )
    messages_left = MAX_MESSAGES
    while active:
        processor.active = []
        sending = [enrollment.id for enrollment in active if processor.is_at_step(enrollment, _MESSAGE_STEPS)]
        over_limit = frozenset(sending[messages_left:])
        messages_left -= len(sending) - len(over_limit)
        bisect_failures(
            [enrollment for enrollment in active if enrollment.id not in over_limit],
            processor.process_step,
            _keep_due,
        )
        active = processor.active
    cancel_messages(workspace_id, processor.cancelled, now)
    return processor.decisions


def _keep_due(enrollment: EnrollmentState, error: Exception) -> None:
    """Leave a failed enrollment due at its step."""
