"""Steps that do something: send a message, change the contact, tell the stream, call a webhook."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from campaigns.definition import CallWebhook, Record, Send, TagStep, Update
from campaigns.models import Run, RunState, Template
from campaigns.models.messages import Channel
from campaigns.reasons import Reason
from campaigns.services.messages import Order, Refused, Reserved, WebhookRequest, reserve_messages
from campaigns.services.turns import Asks, Chunk, End, GoOn, Outcome, Turn
from config.lookups import one_of
from contacts.services import ContactChanges, get_contact, untag_contact, update_contact
from events.models import EffectsLevel
from events.services import Consequence, caused_by, record_consequences
from workspaces.models import Workspace


def ask(turn: Turn, runs: Sequence[RunState]) -> dict[UUID, Outcome]:
    """Have each ask for its message, or its call: see `reserve`."""
    return {run.id: Asks(turn) for run in runs}


def reserve(chunk: Chunk, asking: Sequence[tuple[RunState, Asks]]) -> dict[UUID, Outcome]:
    """Reserve what runs ask for, all at once; whoever gets none goes on all the same, and the reason is on record."""
    steps = [asks.turn.node.step for _, asks in asking]
    ids = {step.template_id for step in steps if isinstance(step, Send)}
    found = Template.objects.filter(one_of("id", ids), workspace_id=chunk.workspace_id) if ids else ()
    templates = {template.id: template for template in found}
    outcomes: dict[UUID, Outcome] = {}
    orders: dict[UUID, Order] = {}
    for run, asks in asking:
        match asks.turn.node.step:
            case Send(template_id=template_id) if template_id not in templates:
                detail = {"templateId": str(template_id)}
                outcomes[run.id] = End(Run.Status.FAILED, Reason.TEMPLATE_BROKEN, detail)
            case Send() as step:
                orders[run.id] = _message(asks.turn, run, step, templates[step.template_id])
            case CallWebhook() as step:
                orders[run.id] = _call(asks.turn, run, step)
    people = {person.id: person for person in chunk.people.values()}
    answers = reserve_messages(chunk.workspace_id, list(orders.values()), now=chunk.now, people=people)
    return outcomes | {run_id: _told(answer) for run_id, answer in zip(orders, answers, strict=True)}


def _message(turn: Turn, run: RunState, step: Send, template: Template) -> Order:
    return _order(
        turn, run, step.channel, template, priority=step.priority, is_transactional=step.is_transactional
    )


def _call(turn: Turn, run: RunState, step: CallWebhook) -> Order:
    request = WebhookRequest(step.url, step.body or "{}", step.method, step.headers)
    return _order(turn, run, Channel.WEBHOOK, request, priority=None, is_transactional=True)


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
