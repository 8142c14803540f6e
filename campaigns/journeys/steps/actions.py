"""Action steps: send a message, call a webhook, update or tag the contact, record an event."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from campaigns.journeys.definition.steps import (
    CallWebhookStep,
    RecordEventStep,
    SendStep,
    TagStep,
    UpdateContactStep,
)
from campaigns.journeys.step_context import (
    Advance,
    EnrollmentBatch,
    Finish,
    RequestMessage,
    StepContext,
    StepOutcome,
)
from campaigns.messaging.queue import (
    EnqueuedMessage,
    MessageRequest,
    RefusedMessage,
    WebhookRequest,
    enqueue_many,
)
from campaigns.models import Enrollment, EnrollmentState, Template
from campaigns.models.messages import Channel
from campaigns.reasons import Reason
from config.db.constant_rows import constant_in_rehearsals
from config.db.lookups import any_of
from contacts.crud import get_contact, untag_contact, update_contact
from contacts.references import ContactChanges
from events.models import EffectsLevel
from events.stream.contact_changes import caused_by
from events.stream.derived_events import DerivedEvent, record_derived_events
from workspaces.models import Workspace


def request_message(context: StepContext, enrollments: Sequence[EnrollmentState]) -> dict[UUID, StepOutcome]:
    """Request the message or webhook call of each enrollment: `enqueue_messages` enqueues them together."""
    return {enrollment.id: RequestMessage(context) for enrollment in enrollments}


def enqueue_messages(
    batch: EnrollmentBatch, requests: Sequence[tuple[EnrollmentState, RequestMessage]]
) -> dict[UUID, StepOutcome]:
    """Enqueue requested messages at once. Enrollments also advance if policy refuses their message."""
    steps = [request.context.node.step for _, request in requests]
    ids = {step.template_id for step in steps if isinstance(step, SendStep)}
    templates = _templates(batch.workspace_id, frozenset(ids)) if ids else {}
    outcomes: dict[UUID, StepOutcome] = {}
    message_requests: dict[UUID, MessageRequest] = {}
    for enrollment, request in requests:
        match request.context.node.step:
            case SendStep(template_id=template_id) if template_id not in templates:
                detail = {"templateId": str(template_id)}
                outcomes[enrollment.id] = Finish(Enrollment.Status.FAILED, Reason.TEMPLATE_BROKEN, detail)
            case SendStep() as step:
                message_requests[enrollment.id] = _send_request(
                    request.context, enrollment, step, templates[step.template_id]
                )
            case CallWebhookStep() as step:
                message_requests[enrollment.id] = _webhook_request(request.context, enrollment, step)
    people = {person.id: person for person in batch.people.values()}
    answers = enqueue_many(
        batch.workspace_id, list(message_requests.values()), now=batch.now, recipients=people
    )
    return outcomes | {
        enrollment_id: _outcome_of_request(answer)
        for enrollment_id, answer in zip(message_requests, answers, strict=True)
    }


@constant_in_rehearsals
def _templates(workspace_id: UUID, template_ids: frozenset[UUID]) -> dict[UUID, Template]:
    templates = Template.objects.in_workspace(workspace_id).filter(any_of("id", template_ids))
    return {template.id: template for template in templates}


def _send_request(
    context: StepContext, enrollment: EnrollmentState, step: SendStep, template: Template
) -> MessageRequest:
    return _message_request(
        context,
        enrollment,
        step.channel,
        template,
        priority=step.priority,
        is_transactional=step.is_transactional,
    )


def _webhook_request(
    context: StepContext, enrollment: EnrollmentState, step: CallWebhookStep
) -> MessageRequest:
    request = WebhookRequest(step.url, step.body or "{}", step.method, step.headers)
    return _message_request(
        context, enrollment, Channel.WEBHOOK, request, priority=None, is_transactional=True
    )


def _message_request(
    context: StepContext,
    enrollment: EnrollmentState,
    channel: str,
    template: Template | WebhookRequest,
    *,
    priority: int | None,
    is_transactional: bool,
) -> MessageRequest:
    campaign = context.batch.campaigns[enrollment.campaign_id]
    return MessageRequest(
        context.person(enrollment).id,
        channel,
        template,
        key=f"{enrollment.id}:{context.node.id}:{enrollment.steps_taken}",
        campaign=campaign,
        enrollment_id=enrollment.id,
        event=context.batch.event_of(enrollment),
        step=context.node.id,
        priority=campaign.priority if priority is None else priority,
        is_transactional=is_transactional,
        is_test=enrollment.is_test,
    )


def _outcome_of_request(answer: EnqueuedMessage | RefusedMessage) -> StepOutcome:
    if isinstance(answer, RefusedMessage):
        return Advance(detail={"refused": str(answer.reason)})
    return Advance(detail={"messageId": str(answer.message.id)}, message_id=answer.message.id)


def update(context: StepContext, enrollments: Sequence[EnrollmentState]) -> dict[UUID, StepOutcome]:
    """Set attributes of each contact."""
    step = context.node.step
    assert isinstance(step, UpdateContactStep)  # noqa: S101  # as above
    for enrollment in enrollments:
        _change(context, enrollment, ContactChanges(attributes=step.attributes))
    return {enrollment.id: Advance() for enrollment in enrollments}


def tag(context: StepContext, enrollments: Sequence[EnrollmentState]) -> dict[UUID, StepOutcome]:
    """Add and remove tags of each contact."""
    step = context.node.step
    assert isinstance(step, TagStep)  # noqa: S101  # as above
    for enrollment in enrollments:
        if step.add:
            _change(context, enrollment, ContactChanges(tags=step.add))
        if step.remove:
            _change(context, enrollment, ContactChanges(), untag=step.remove)
    return {enrollment.id: Advance() for enrollment in enrollments}


def _change(
    context: StepContext, enrollment: EnrollmentState, changes: ContactChanges, untag: tuple[str, ...] = ()
) -> None:
    """Change a contact; events recorded for it have the enrollment's trigger as their cause."""
    workspace = Workspace(id=context.workspace_id)
    contact = get_contact(context.workspace_id, context.person(enrollment).id)
    with caused_by(enrollment.event_id, enrollment.depth + 1, EffectsLevel(enrollment.level)):
        if untag:
            untag_contact(workspace.id, contact, *untag)
        else:
            update_contact(workspace.id, contact, changes)


def record(context: StepContext, enrollments: Sequence[EnrollmentState]) -> dict[UUID, StepOutcome]:
    """Record an event of each contact."""
    step = context.node.step
    assert isinstance(step, RecordEventStep)  # noqa: S101  # as above
    record_derived_events(
        context.workspace_id,
        [
            DerivedEvent(
                name=step.event_name,
                contact_id=context.person(enrollment).id,
                occurred_at=context.now,
                properties={**step.properties, "campaignId": str(enrollment.campaign_id)},
                level=EffectsLevel(enrollment.level),
                cause_id=enrollment.event_id,
                depth=enrollment.depth + 1,
            )
            for enrollment in enrollments
        ],
        now=context.now,
    )
    return {enrollment.id: Advance() for enrollment in enrollments}
