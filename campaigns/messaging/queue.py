"""Reserving messages: one row each under its key, made of a template for a contact that may be written to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

import orjson
from django.db import connection, transaction

from campaigns.errors import TemplateFault, ValueMissing
from campaigns.messaging.policy import SendDecision, SendPolicy, SendRequest, load_send_policy, settings_of
from campaigns.messaging.public_links import token_of_test, unsubscribe_token, unsubscribe_url
from campaigns.messaging.recipients import Recipient, load_recipients
from campaigns.messaging.senders import sender_headers
from campaigns.messaging.suppressions import checked_address, normalized_address
from campaigns.messaging.templates import (
    Rendered,
    WebhookRequest,
    region_of,
    render_request,
    render_template,
    scores_of,
    values_of,
)
from campaigns.models import Campaign, ChannelSettings, Decision, Message, NewDecision, Template
from campaigns.models.messages import Channel
from campaigns.reasons import Reason
from campaigns.wake_ups import wake_deliveries
from config import ids
from config.db.arrays import array
from config.db.lookups import any_of
from events.models import Event

__all__ = [
    "EnqueuedMessage",
    "MessageRequest",
    "RefusedMessage",
    "WebhookRequest",
    "enqueue_many",
    "enqueue_message",
]


@dataclass(frozen=True, slots=True)
class MessageRequest:
    """A message that is asked for. `address` sends a test elsewhere than to the contact."""

    contact_id: UUID
    channel: str
    template: Template | WebhookRequest
    key: str
    campaign: Campaign | None = None
    enrollment_id: UUID | None = None
    event: Event | None = None
    step: str = ""
    priority: int = 0
    is_transactional: bool = False
    is_test: bool = False
    address: str = ""
    message_id: UUID = field(default_factory=ids.uuid7)


@dataclass(frozen=True, slots=True)
class EnqueuedMessage:
    """A message that will leave, once; `deferred_until` where it may not yet."""

    message: Message
    deferred_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class RefusedMessage:
    """No message, and why."""

    reason: Reason
    detail: Mapping[str, Any] = field(default_factory=dict)


def enqueue_message(
    workspace_id: UUID,
    contact_id: UUID,
    *,
    channel: str,
    template: Template | WebhookRequest,
    key: str,
    now: datetime,
    campaign: Campaign | None = None,
    enrollment_id: UUID | None = None,
    event: Event | None = None,
    step: str = "",
    priority: int = 0,
    is_transactional: bool = False,
    is_test: bool = False,
    address: str = "",
) -> EnqueuedMessage | RefusedMessage:
    """Reserve one message, or tell why there is none: see `enqueue_many`."""
    order = MessageRequest(
        contact_id,
        channel,
        template,
        key,
        campaign=campaign,
        enrollment_id=enrollment_id,
        event=event,
        step=step,
        priority=priority,
        is_transactional=is_transactional,
        is_test=is_test,
        address=address,
    )
    return enqueue_many(workspace_id, [order], now=now)[0]


@transaction.atomic
def enqueue_many(
    workspace_id: UUID,
    orders: Sequence[MessageRequest],
    *,
    now: datetime,
    people: Mapping[UUID, Recipient] | None = None,
) -> list[EnqueuedMessage | RefusedMessage]:
    """Render messages and reserve each under its key, or tell why there is none; a fixed number of statements.

    `people`: by contact, where they have been read already.

    A key that has its message gets that again. Refusals and deferrals are written as decisions here; that a message
    was sent, once it was. They leave after the commit. Raises InvalidAddress for a test to what is none.
    """
    found = _by_key(workspace_id, orders)
    new = {order.key: order for order in orders if order.key not in found}
    if people is None:
        people = load_recipients(workspace_id, {order.contact_id for order in new.values()})
    reserving = _EnqueueBatch(workspace_id, now, people)
    reserving.take(list(new.values()))
    reserving.write()
    return [reserving.outcomes.get(order.key) or _again(found[order.key], now) for order in orders]


def _by_key(workspace_id: UUID, orders: Sequence[MessageRequest]) -> dict[str, Message]:
    """Return what was reserved before, by key. A step of an enrollment is taken once: nothing was."""
    keys = [order.key for order in orders if order.enrollment_id is None]
    messages = Message.objects.in_workspace(workspace_id).filter(any_of("key", keys))
    return {message.key: message for message in messages} if keys else {}


def _again(message: Message, now: datetime) -> EnqueuedMessage:
    is_deferred = message.status == Message.Status.QUEUED and message.send_at > now
    return EnqueuedMessage(message, message.send_at if is_deferred else None)


@dataclass(frozen=True, slots=True)
class _AddressedMessage:
    """An order of which is known whom it goes to, and where."""

    order: MessageRequest
    person: Recipient
    address: str
    # Of a call only: the others are rendered once they may leave.
    rendered: Rendered | None = None


class _EnqueueBatch:
    """Some orders of a workspace on their way."""

    def __init__(self, workspace_id: UUID, now: datetime, people: Mapping[UUID, Recipient]) -> None:
        self.workspace_id = workspace_id
        self.now = now
        self.people = people
        # By key.
        self.outcomes: dict[str, EnqueuedMessage | RefusedMessage] = {}
        self.messages: list[Message] = []
        self.decisions: list[NewDecision] = []
        self.scores: dict[UUID, float] = {}
        # By channel.
        self.settings: dict[str, ChannelSettings] = {}

    def take(self, orders: Sequence[MessageRequest]) -> None:
        """Judge and render."""
        ids = {person.id for order in orders if (person := self.people.get(order.contact_id)) is not None}
        self.scores = scores_of(self.workspace_id, ids) if ids else {}
        by_channel: dict[str, list[MessageRequest]] = defaultdict(list)
        for order in orders:
            if order.contact_id in self.people:
                by_channel[order.channel].append(order)
            else:
                self._refuse(order, Reason.ERASED)
        for channel, of_channel in by_channel.items():
            self._take_channel(channel, of_channel)

    def write(self) -> None:
        """Insert what is new; who was quicker under a key has reserved its message."""
        ours = self._insert()
        reserved = [one for one in self.messages if one.pk in ours]
        if len(reserved) < len(self.messages):
            standing = self._standing()
            for message in self.messages:
                if message.pk not in ours:
                    self.outcomes[message.key] = _again(standing[message.key], self.now)
        Decision.objects.record(
            self.workspace_id,
            (one for one in self.decisions if one.message_id is None or one.message_id in ours),
        )
        if reserved:
            wake_deliveries(reserved)

    def _insert(self) -> set[UUID]:
        """Insert the messages, and return the ids of those that are there by it."""
        if not self.messages:
            return set()
        columns = [array([getattr(one, name) for one in self.messages]) for name in _COLUMNS]
        headers = array([orjson.dumps(one.headers).decode() for one in self.messages])
        with connection.cursor() as cursor:
            cursor.execute(_INSERT, [self.workspace_id, self.now, *columns, headers])
            return {message_id for (message_id,) in cursor.fetchall()}

    def _standing(self) -> dict[str, Message]:
        keys = [message.key for message in self.messages]
        rows = Message.objects.in_workspace(self.workspace_id).filter(any_of("key", keys))
        return {message.key: message for message in rows.only("key", "status", "send_at")}

    def _take_channel(self, channel: str, orders: Sequence[MessageRequest]) -> None:
        settings = self.settings[channel] = settings_of(self.workspace_id, channel)
        addressed = [one for order in orders if (one := self._addressed(order, settings.options.get("url")))]
        people = {one.person.id: one.person for one in addressed}
        addresses = [one.address for one in addressed]
        permission = load_send_policy(settings, people.values(), addresses, now=self.now)
        for one in addressed:
            self._take_one(one, permission)

    def _addressed(self, order: MessageRequest, default_url: object) -> _AddressedMessage | None:
        person = self.people[order.contact_id]
        elsewhere = checked_address(order.channel, order.address) if order.address.strip() else ""
        if order.channel == Channel.WEBHOOK:
            rendered = self._render(order, person)
            if rendered is None:
                return None
            default = normalized_address(order.channel, str(default_url or ""))
            return _AddressedMessage(order, person, elsewhere or rendered.address or default, rendered)
        return _AddressedMessage(order, person, elsewhere or person.address(order.channel))

    def _take_one(self, one: _AddressedMessage, permission: SendPolicy) -> None:
        order = one.order
        asked = SendRequest(one.person, one.address, order.is_transactional, order.is_test)
        verdict = permission.judge(asked)
        if verdict.reason is not None and verdict.until is None:
            self._refuse(order, verdict.reason, {"address": one.address} if one.address else {})
        elif rendered := one.rendered or self._render(order, one.person):
            self._reserve(one, rendered, verdict)

    def _render(self, order: MessageRequest, person: Recipient) -> Rendered | None:
        try:
            return self._rendered(order, person)
        except ValueMissing as error:
            self._refuse(order, Reason.VALUE_MISSING, {"message": error.message})
        except TemplateFault as error:
            self._refuse(order, Reason.TEMPLATE_BROKEN, {"message": error.message})
        return None

    def _rendered(self, order: MessageRequest, person: Recipient) -> Rendered:
        token = (
            token_of_test(self.workspace_id, order.channel)
            if order.is_test
            else unsubscribe_token(self.workspace_id, person.id, order.channel, order.message_id)
        )
        values = values_of(
            person,
            score=self.scores.get(person.id, 0.0),
            event=order.event,
            campaign=order.campaign,
            token=token,
            is_test=order.is_test,
        )
        region = region_of(person, self.settings[order.channel])
        if isinstance(order.template, WebhookRequest):
            return render_request(order.template, values, region)
        if order.template.channel != order.channel:
            raise TemplateFault(f"a template for {order.template.channel}")
        rendered = render_template(order.template, values, region)
        if order.channel != Channel.EMAIL:
            return rendered
        headers = sender_headers(order.campaign, order.template)
        if not order.is_transactional:
            headers |= _list_headers(token)
        return replace(rendered, headers=headers)

    def _reserve(self, one: _AddressedMessage, rendered: Rendered, verdict: SendDecision) -> None:
        order = one.order
        message = Message(
            id=order.message_id,
            workspace_id=self.workspace_id,
            campaign_id=order.campaign.pk if order.campaign else None,
            contact_id=one.person.id,
            enrollment_id=order.enrollment_id,
            event_id=order.event.pk if order.event else None,
            step=order.step,
            template_id=rendered.template_id,
            key=order.key,
            channel=order.channel,
            address=one.address,
            subject=rendered.subject,
            body=rendered.body,
            text=rendered.text,
            headers=dict(rendered.headers),
            is_transactional=order.is_transactional,
            is_test=order.is_test,
            priority=order.priority,
            send_at=verdict.until or self.now,
            host=_host(order.channel, one.address),
            created_at=self.now,
        )
        self.messages.append(message)
        self.outcomes[order.key] = EnqueuedMessage(message, verdict.until)
        if verdict.reason is not None and verdict.until is not None:
            detail = {"until": verdict.until.isoformat()}
            self._decide(order, Decision.Kind.DEFERRED, verdict.reason, detail, message_id=message.pk)

    def _refuse(self, order: MessageRequest, reason: Reason, detail: Mapping[str, Any] | None = None) -> None:
        self.outcomes[order.key] = RefusedMessage(reason, detail or {})
        self._decide(order, Decision.Kind.NOT_SENT, reason, detail or {})

    def _decide(
        self,
        order: MessageRequest,
        kind: Decision.Kind,
        reason: Reason,
        detail: Mapping[str, Any],
        message_id: UUID | None = None,
    ) -> None:
        self.decisions.append(
            NewDecision(
                campaign_id=order.campaign.pk if order.campaign else None,
                contact_id=order.contact_id,
                enrollment_id=order.enrollment_id,
                message_id=message_id,
                event_id=order.event.pk if order.event else None,
                kind=kind,
                reason=reason,
                step=order.step,
                detail=detail,
                decided_at=self.now,
            )
        )


_COLUMNS: Final = {
    **dict.fromkeys(["id", "campaign_id", "contact_id", "enrollment_id", "event_id", "template_id"], "uuid"),
    **dict.fromkeys(["step", "key", "channel", "address", "host", "subject", "body", "text"], "text"),
    **dict.fromkeys(["is_transactional", "is_test"], "bool"),
    "priority": "int",
    "send_at": "timestamptz",
}
_INSERT: Final = f"""
INSERT INTO campaigns_message (workspace_id, created_at, status, attempts, provider_id, error,
    {", ".join(_COLUMNS)}, headers)
SELECT %s::uuid, %s::timestamptz, '{Message.Status.QUEUED}', 0, '', '', *
FROM unnest({", ".join(f"%s::{kind}[]" for kind in _COLUMNS.values())}, %s::jsonb[])
ON CONFLICT (workspace_id, key) DO NOTHING RETURNING id
"""


def _list_headers(token: str) -> dict[str, str]:
    """Return what lets a mail program unsubscribe with one click (RFC 8058)."""
    return {
        "List-Unsubscribe": f"<{unsubscribe_url(token)}>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }


def _host(channel: str, address: str) -> str:
    """Return the receiver's own host; e-mail and Telegram go by way of somebody who serves them all."""
    return (urlsplit(address).hostname or "")[:255] if channel == Channel.WEBHOOK else ""
