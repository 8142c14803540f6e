"""Reserving messages: one row under its key, made of a template for a contact that may be written to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from django.db import IntegrityError, transaction

from campaigns.errors import TemplateFault, ValueMissing
from campaigns.models import Campaign, ChannelSettings, Decision, Message, Run, Template
from campaigns.models.messages import Channel
from campaigns.reasons import Reason
from campaigns.services.links import unsubscribe_token, unsubscribe_url
from campaigns.services.people import Person, people_of
from campaigns.services.permission import Asked, Verdict, permission_for, settings_of
from campaigns.services.templates import Rendered, WebhookRequest, render_request, render_template, values_of
from campaigns.signals import message_reserved
from config import ids
from contacts.services import normalize_identifier
from events.models import Event

__all__ = ["Refused", "Reserved", "WebhookRequest", "reserve_message"]


@dataclass(frozen=True, slots=True)
class Reserved:
    """A message that will leave, once; `deferred_until` where it may not yet."""

    message: Message
    deferred_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """No message, and why."""

    reason: Reason
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Order:
    """What is asked for."""

    workspace_id: UUID
    contact_id: UUID
    channel: str
    template: Template | WebhookRequest
    key: str
    now: datetime
    campaign: Campaign | None
    run: Run | None
    event: Event | None
    step: str
    priority: int
    is_transactional: bool
    is_test: bool
    address: str
    message_id: UUID


@transaction.atomic
def reserve_message(
    workspace_id: UUID,
    contact_id: UUID,
    *,
    channel: str,
    template: Template | WebhookRequest,
    key: str,
    now: datetime,
    campaign: Campaign | None = None,
    run: Run | None = None,
    event: Event | None = None,
    step: str = "",
    priority: int = 0,
    is_transactional: bool = False,
    is_test: bool = False,
    address: str = "",
) -> Reserved | Refused:
    """Render a message and reserve it under its key, or tell why there is none.

    A key that has its message gets that again. A refusal and a deferral are written as decisions here; that it
    was sent, once it was. `address` sends a test elsewhere than to the contact. The message leaves after the commit.
    """
    existing = Message.objects.in_workspace(workspace_id).filter(key=key).first()
    if existing is not None:
        return _again(existing, now)
    order = _Order(
        workspace_id,
        contact_id,
        channel,
        template,
        key,
        now,
        campaign,
        run,
        event,
        step,
        priority,
        is_transactional,
        is_test,
        address,
        ids.uuid7(now),
    )
    outcome = _reserve(order)
    if isinstance(outcome, Refused):
        _decide(order, Decision.Kind.NOT_SENT, outcome.reason, outcome.detail)
    return outcome


def _reserve(order: _Order) -> Reserved | Refused:
    person = people_of(order.workspace_id, [order.contact_id]).get(order.contact_id)
    if person is None:
        return Refused(Reason.ERASED)
    settings = settings_of(order.workspace_id, order.channel)
    # A webhook's address is known once it is rendered; of a person's, one that may not be used needs no rendering.
    address = _address(order, person)
    if order.channel != Channel.WEBHOOK:
        verdict = _judge(order, settings, person, address)
        if verdict.reason is not None and verdict.until is None:
            return _refused(verdict.reason, address)
    try:
        rendered = _render(order, person)
    except ValueMissing as error:
        return Refused(Reason.VALUE_MISSING, {"message": error.message})
    except TemplateFault as error:
        return Refused(Reason.TEMPLATE_BROKEN, {"message": error.message})
    if order.channel == Channel.WEBHOOK:
        address = rendered.address or str(settings.options.get("url", ""))
        verdict = _judge(order, settings, person, address)
        if verdict.reason is not None and verdict.until is None:
            return _refused(verdict.reason, address)
    return _insert(order, person, address, rendered, verdict)


def _address(order: _Order, person: Person) -> str:
    if order.address:
        return normalize_identifier(order.channel, order.address) or ""
    return person.address(order.channel)


def _judge(order: _Order, settings: ChannelSettings, person: Person, address: str) -> Verdict:
    permission = permission_for(settings, [person], [address], now=order.now)
    return permission.judge(Asked(person, address, order.is_transactional, order.is_test))


def _refused(reason: Reason, address: str) -> Refused:
    return Refused(reason, {"address": address} if address else {})


def _render(order: _Order, person: Person) -> Rendered:
    token = unsubscribe_token(order.workspace_id, person.id, order.channel, order.message_id)
    values = values_of(person, event=order.event, campaign=order.campaign, token=token)
    if isinstance(order.template, WebhookRequest):
        return render_request(order.template, values)
    if order.template.channel != order.channel:
        raise TemplateFault(f"a template for {order.template.channel}")
    rendered = render_template(order.template, values)
    if order.channel == Channel.EMAIL and not order.is_transactional:
        headers = {
            "List-Unsubscribe": f"<{unsubscribe_url(token)}>",
            "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        }
        return Rendered(rendered.subject, rendered.body, rendered.text, "", headers, rendered.template_id)
    return rendered


def _insert(
    order: _Order, person: Person, address: str, rendered: Rendered, verdict: Verdict
) -> Reserved | Refused:
    message = Message(
        id=order.message_id,
        workspace_id=order.workspace_id,
        campaign_id=order.campaign.pk if order.campaign else None,
        contact_id=person.id,
        run_id=order.run.pk if order.run else None,
        event_id=order.event.pk if order.event else None,
        step=order.step,
        template_id=rendered.template_id,
        key=order.key,
        channel=order.channel,
        address=address,
        subject=rendered.subject,
        body=rendered.body,
        text=rendered.text,
        headers=dict(rendered.headers),
        is_transactional=order.is_transactional,
        is_test=order.is_test,
        priority=order.priority,
        send_at=verdict.until or order.now,
        host=_host(order.channel, address),
        created_at=order.now,
    )
    try:
        with transaction.atomic():
            message.save(force_insert=True)
    except IntegrityError:
        # Somebody reserved it in this moment.
        return _again(Message.objects.get(workspace_id=order.workspace_id, key=order.key), order.now)
    if verdict.reason is not None and verdict.until is not None:
        detail = {"until": verdict.until.isoformat()}
        _decide(order, Decision.Kind.DEFERRED, verdict.reason, detail, message_id=message.pk)
    message_reserved.send(sender=Message, message=message)
    return Reserved(message, verdict.until)


def _again(message: Message, now: datetime) -> Reserved:
    is_deferred = message.status == Message.Status.QUEUED and message.send_at > now
    return Reserved(message, message.send_at if is_deferred else None)


def _host(channel: str, address: str) -> str:
    """Return the receiver's own host; e-mail and Telegram go by way of somebody who serves them all."""
    return (urlsplit(address).hostname or "")[:255] if channel == Channel.WEBHOOK else ""


def _decide(
    order: _Order,
    kind: Decision.Kind,
    reason: Reason,
    detail: Mapping[str, Any],
    message_id: UUID | None = None,
) -> None:
    Decision.objects.create(
        workspace_id=order.workspace_id,
        campaign_id=order.campaign.pk if order.campaign else None,
        contact_id=order.contact_id,
        run_id=order.run.pk if order.run else None,
        message_id=message_id,
        event_id=order.event.pk if order.event else None,
        kind=kind,
        reason=reason,
        step=order.step,
        detail=dict(detail),
        decided_at=order.now,
    )
