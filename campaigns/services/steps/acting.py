"""Steps that do something: send a message, change the contact, tell the stream, call a webhook."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from campaigns.definition import CallWebhook, Record, Send, TagStep, Update
from campaigns.models import Run, RunState, Template
from campaigns.models.messages import Channel
from campaigns.reasons import Reason
from campaigns.services.messages import Order, Refused, Reserved, WebhookRequest, reserve_messages
from campaigns.services.turns import End, GoOn, Outcome, Turn
from contacts.services import ContactChanges, get_contact, untag_contact, update_contact
from events.models import EffectsLevel
from events.services import Consequence, caused_by, record_consequences
from workspaces.models import Workspace


def send(turn: Turn, runs: Sequence[RunState]) -> dict[UUID, Outcome]:
    """Reserve a message for each; whoever gets none goes on all the same, and the reason is on record."""
    step = turn.node.step
    assert isinstance(step, Send)  # noqa: S101  # the table of steps sees to it
    template = Template.objects.filter(workspace_id=turn.workspace_id, id=step.template_id).first()
    if template is None:
        detail = {"templateId": str(step.template_id)}
        return {run.id: End(Run.Status.FAILED, Reason.TEMPLATE_BROKEN, detail) for run in runs}
    orders = [
        _order(
            turn, run, step.channel, template, priority=step.priority, is_transactional=step.is_transactional
        )
        for run in runs
    ]
    return _reserve(turn, runs, orders)


def call_webhook(turn: Turn, runs: Sequence[RunState]) -> dict[UUID, Outcome]:
    """Reserve a call for each; it leaves as messages do."""
    step = turn.node.step
    assert isinstance(step, CallWebhook)  # noqa: S101  # as above
    request = WebhookRequest(step.url, step.body or "{}", step.method, step.headers)
    orders = [
        _order(turn, run, Channel.WEBHOOK, request, priority=None, is_transactional=True) for run in runs
    ]
    return _reserve(turn, runs, orders)


def _order(
    turn: Turn,
    run: RunState,
    channel: str,
    template: Template | WebhookRequest,
    *,
    priority: int | None,
    is_transactional: bool,
) -> Order:
    campaign = turn.chunk.campaigns[run.campaign_id]
    return Order(
        turn.person(run).id,
        channel,
        template,
        key=f"{run.id}:{turn.node.id}:{run.steps_taken}",
        campaign=campaign,
        run_id=run.id,
        event=turn.chunk.event_of(run),
        step=turn.node.id,
        priority=campaign.priority if priority is None else priority,
        is_transactional=is_transactional,
        is_test=run.is_test,
    )


def _reserve(turn: Turn, runs: Sequence[RunState], orders: Sequence[Order]) -> dict[UUID, Outcome]:
    answers = reserve_messages(turn.workspace_id, orders, now=turn.now)
    return {run.id: _told(answer) for run, answer in zip(runs, answers, strict=True)}


def _told(answer: Reserved | Refused) -> Outcome:
    if isinstance(answer, Refused):
        return GoOn(detail={"refused": str(answer.reason)})
    return GoOn(detail={"messageId": str(answer.message.id)}, message_id=answer.message.id)


def update(turn: Turn, runs: Sequence[RunState]) -> dict[UUID, Outcome]:
    """Set attributes of the contact."""
    step = turn.node.step
    assert isinstance(step, Update)  # noqa: S101  # as above
    for run in runs:
        _change(turn, run, ContactChanges(attributes=step.attributes))
    return {run.id: GoOn() for run in runs}


def tag(turn: Turn, runs: Sequence[RunState]) -> dict[UUID, Outcome]:
    """Put tags on the contact, and take others off."""
    step = turn.node.step
    assert isinstance(step, TagStep)  # noqa: S101  # as above
    for run in runs:
        if step.add:
            _change(turn, run, ContactChanges(tags=step.add))
        if step.remove:
            _change(turn, run, ContactChanges(), untag=step.remove)
    return {run.id: GoOn() for run in runs}


def _change(turn: Turn, run: RunState, changes: ContactChanges, untag: tuple[str, ...] = ()) -> None:
    """Change a contact; what follows in the stream is told to follow from the run's event."""
    workspace = Workspace(id=turn.workspace_id)
    contact = get_contact(turn.workspace_id, turn.person(run).id)
    with caused_by(run.event_id, run.depth + 1, EffectsLevel(run.level)):
        if untag:
            untag_contact(workspace, contact, *untag)
        else:
            update_contact(workspace, contact, changes)


def record(turn: Turn, runs: Sequence[RunState]) -> dict[UUID, Outcome]:
    """Tell the stream something about the contact."""
    step = turn.node.step
    assert isinstance(step, Record)  # noqa: S101  # as above
    record_consequences(
        turn.workspace_id,
        [
            Consequence(
                name=step.event_name,
                contact_id=turn.person(run).id,
                occurred_at=turn.now,
                properties={**step.properties, "campaignId": str(run.campaign_id)},
                level=EffectsLevel(run.level),
                cause_id=run.event_id,
                depth=run.depth + 1,
            )
            for run in runs
        ],
        now=turn.now,
    )
    return {run.id: GoOn() for run in runs}
