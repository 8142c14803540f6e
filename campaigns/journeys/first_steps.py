"""The first steps of enrollments that start: taken before there is a row, so that one that waits is written once.

Steps that change the contact or tell the stream are left to whoever takes on due enrollments: effects only enroll.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from campaigns.journeys.definition import (
    CallWebhookStep,
    Definition,
    RecordEventStep,
    SendStep,
    TagStep,
    UpdateContactStep,
)
from campaigns.journeys.progress import EnrollmentProcessor
from campaigns.journeys.step_context import EnrollmentBatch
from campaigns.messaging.cancellation import cancel_messages
from campaigns.models import EnrollmentState, NewDecision
from events.processing.bisection import bisect_failures

_EXCLUDED_STEPS: Final = frozenset({UpdateContactStep, TagStep, RecordEventStep})
_MESSAGE_STEPS: Final = frozenset({SendStep, CallWebhookStep})
MAX_MESSAGES: Final = 200
"""Made in one go: to write more takes so long that others would wait for the effects."""


def process_first_steps(
    workspace_id: UUID,
    enrollments: Sequence[EnrollmentState],
    definitions: Mapping[UUID, Definition],
    now: datetime,
) -> list[NewDecision]:
    """Take new enrollments as far as they come by waiting, sending and choosing. Returns what was decided on the way.

    One whose step fails is due at it: whoever takes it on there notes why. So are those past the first messages.
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
    """Leave an enrollment where it is, due since it began."""
