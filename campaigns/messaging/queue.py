"""Enqueue messages: render a template for a contact that may be written to, as one row under its key."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

import orjson
from django.db import transaction

from campaigns.errors import TemplateFault, ValueMissing
from campaigns.messaging.policy import SendDecision, SendPolicy, SendRequest, load_send_policy, settings_of
from campaigns.messaging.public_links import token_of_test, unsubscribe_token, unsubscribe_url
from campaigns.messaging.recipients import Recipient, load_recipients
from campaigns.messaging.rendering import (
    Rendered,
    WebhookRequest,
    region_of,
    render_request,
    render_template,
    scores_of,
    values_of,
)
from campaigns.messaging.senders import sender_headers
from campaigns.messaging.suppressions import checked_address, normalized_address
from campaigns.models import Campaign, ChannelSettings, Decision, Message, NewDecision, Template
from campaigns.models.messages import Channel
from campaigns.reasons import Reason
from campaigns.wake_ups import wake_deliveries
from config import ids
from config.db.arrays import array
from config.db.lookups import any_of
from config.db.statements import fetch_all
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
    """What to send to whom, and because of what. `address` sends a test elsewhere than to the contact.

    `values` are more that the template can speak of, by name; `headers` more of an e-mail (see `header_error`).
    """

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
    values: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    message_id: UUID = field(default_factory=ids.uuid7)


@dataclass(frozen=True, slots=True)
class EnqueuedMessage:
    """A message that will leave, once; `deferred_until` where it may not yet."""

    message: Message
    deferred_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class RefusedMessage:
    """Why no message was enqueued."""

    reason: Reason
    detail: Mapping[str, Any] = field(default_factory=dict)


def enqueue_message(
    workspace_id: UUID, request: MessageRequest, *, now: datetime
) -> EnqueuedMessage | RefusedMessage:
    """Enqueue one message, or return why not: see `enqueue_many`."""
    return enqueue_many(workspace_id, [request], now=now)[0]


@transaction.atomic
def enqueue_many(
    workspace_id: UUID,
    requests: Sequence[MessageRequest],
    *,
    now: datetime,
    recipients: Mapping[UUID, Recipient] | None = None,
) -> list[EnqueuedMessage | RefusedMessage]:
    """Render messages and enqueue each under its key, or return why not; a fixed number of statements.

    `recipients`: by contact id, where they have been read already.

    A key that has its message gets that again. Refusals and deferrals are written as decisions here; that a message
    was sent, once it was. They leave after the commit. Raises InvalidAddress for a test to what is none.
    """
    found = _messages_by_key(workspace_id, requests)
    new = {request.key: request for request in requests if request.key not in found}
    if recipients is None:
        recipients = load_recipients(workspace_id, {request.contact_id for request in new.values()})
    batch = _EnqueueBatch(workspace_id, now, recipients)
    batch.add(list(new.values()))
    batch.write()
    return [
        batch.outcomes.get(request.key) or _already_enqueued(found[request.key], now) for request in requests
    ]


def _messages_by_key(workspace_id: UUID, requests: Sequence[MessageRequest]) -> dict[str, Message]:
    """Return messages enqueued before, by key; of enrollments none, for a step of one is processed once."""
    keys = [request.key for request in requests if request.enrollment_id is None]
    messages = Message.objects.in_workspace(workspace_id).filter(any_of("key", keys))
    return {message.key: message for message in messages} if keys else {}


def _already_enqueued(message: Message, now: datetime) -> EnqueuedMessage:
    is_deferred = message.status == Message.Status.QUEUED and message.send_at > now
    return EnqueuedMessage(message, message.send_at if is_deferred else None)


@dataclass(frozen=True, slots=True)
class _AddressedMessage:
    """A message request with its recipient and address."""

    request: MessageRequest
    recipient: Recipient
    address: str
    # Of a webhook only, whose address is rendered too: others are rendered once they may leave.
    rendered: Rendered | None = None


class _EnqueueBatch:
    """Message requests of one workspace that are decided, rendered and inserted together."""

    def __init__(self, workspace_id: UUID, now: datetime, recipients: Mapping[UUID, Recipient]) -> None:
        self.workspace_id = workspace_id
        self.now = now
        self.recipients = recipients
        # By key.
        self.outcomes: dict[str, EnqueuedMessage | RefusedMessage] = {}
        self.messages: list[Message] = []
        self.decisions: list[NewDecision] = []
        self.scores: dict[UUID, float] = {}
        # By channel.
        self.settings: dict[str, ChannelSettings] = {}

    def add(self, requests: Sequence[MessageRequest]) -> None:
        """Decide on each request, and render the messages that may leave."""
        ids = {
            recipient.id
            for request in requests
            if (recipient := self.recipients.get(request.contact_id)) is not None
        }
        self.scores = scores_of(self.workspace_id, ids) if ids else {}
        by_channel: dict[str, list[MessageRequest]] = defaultdict(list)
        for request in requests:
            if request.contact_id in self.recipients:
                by_channel[request.channel].append(request)
            else:
                self._refuse(request, Reason.ERASED)
        for channel, of_channel in by_channel.items():
            self._enqueue_channel(channel, of_channel)

    def write(self) -> None:
        """Insert the messages and decisions; a key that somebody else inserted meanwhile keeps the first message."""
        inserted_ids = self._insert()
        inserted = [message for message in self.messages if message.pk in inserted_ids]
        if len(inserted) < len(self.messages):
            existing = self._existing_messages()
            for message in self.messages:
                if message.pk not in inserted_ids:
                    self.outcomes[message.key] = _already_enqueued(existing[message.key], self.now)
        Decision.objects.record(
            self.workspace_id,
            (
                decision
                for decision in self.decisions
                if decision.message_id is None or decision.message_id in inserted_ids
            ),
        )
        if inserted:
            wake_deliveries(inserted)

    def _insert(self) -> set[UUID]:
        """Insert the messages, and return the ids of those whose key was new."""
        if not self.messages:
            return set()
        columns = [array([getattr(message, name) for message in self.messages]) for name in _COLUMNS]
        headers = array([orjson.dumps(message.headers).decode() for message in self.messages])
        return {
            message_id
            for (message_id,) in fetch_all(_INSERT, [self.workspace_id, self.now, *columns, headers])
        }

    def _existing_messages(self) -> dict[str, Message]:
        keys = [message.key for message in self.messages]
        rows = Message.objects.in_workspace(self.workspace_id).filter(any_of("key", keys))
        return {message.key: message for message in rows.only("key", "status", "send_at")}

    def _enqueue_channel(self, channel: str, requests: Sequence[MessageRequest]) -> None:
        settings = self.settings[channel] = settings_of(self.workspace_id, channel)
        default_url = settings.options.get("url")
        found = (self._addressed(request, default_url) for request in requests)
        addressed = [message for message in found if message]
        recipients = {message.recipient.id: message.recipient for message in addressed}
        addresses = [message.address for message in addressed]
        policy = load_send_policy(settings, recipients.values(), addresses, now=self.now)
        for message in addressed:
            self._enqueue_addressed(message, policy)

    def _addressed(self, request: MessageRequest, default_url: object) -> _AddressedMessage | None:
        recipient = self.recipients[request.contact_id]
        elsewhere = checked_address(request.channel, request.address) if request.address.strip() else ""
        if request.channel == Channel.WEBHOOK:
            rendered = self._render(request, recipient)
            if rendered is None:
                return None
            default = normalized_address(request.channel, str(default_url or ""))
            return _AddressedMessage(request, recipient, elsewhere or rendered.address or default, rendered)
        return _AddressedMessage(request, recipient, elsewhere or recipient.address(request.channel))

    def _enqueue_addressed(self, addressed: _AddressedMessage, policy: SendPolicy) -> None:
        request = addressed.request
        send_request = SendRequest(
            addressed.recipient, addressed.address, request.is_transactional, request.is_test
        )
        decision = policy.decide(send_request)
        if decision.reason is not None and decision.until is None:
            self._refuse(
                request, decision.reason, {"address": addressed.address} if addressed.address else {}
            )
        elif rendered := addressed.rendered or self._render(request, addressed.recipient):
            self._add_message(addressed, rendered, decision)

    def _render(self, request: MessageRequest, recipient: Recipient) -> Rendered | None:
        try:
            return self._rendered(request, recipient)
        except ValueMissing as error:
            self._refuse(request, Reason.VALUE_MISSING, {"message": error.message})
        except TemplateFault as error:
            self._refuse(request, Reason.TEMPLATE_BROKEN, {"message": error.message})
        return None

    def _rendered(self, request: MessageRequest, recipient: Recipient) -> Rendered:
        token = (
            token_of_test(self.workspace_id, request.channel)
            if request.is_test
            else unsubscribe_token(self.workspace_id, recipient.id, request.channel, request.message_id)
        )
        values = values_of(
            recipient,
            score=self.scores.get(recipient.id, 0.0),
            event=request.event,
            campaign=request.campaign,
            token=token,
            is_test=request.is_test,
        )
        values |= request.values
        region = region_of(recipient, self.settings[request.channel])
        if isinstance(request.template, WebhookRequest):
            return render_request(request.template, values, region)
        if request.template.channel != request.channel:
            raise TemplateFault(f"a template for {request.template.channel}")
        rendered = render_template(request.template, values, region)
        if request.channel != Channel.EMAIL:
            return rendered
        headers = {**request.headers, **sender_headers(request.campaign, request.template)}
        if not request.is_transactional:
            headers |= _list_headers(token)
        return replace(rendered, headers=headers)

    def _add_message(self, addressed: _AddressedMessage, rendered: Rendered, decision: SendDecision) -> None:
        request = addressed.request
        message = Message(
            id=request.message_id,
            workspace_id=self.workspace_id,
            campaign_id=request.campaign.pk if request.campaign else None,
            contact_id=addressed.recipient.id,
            enrollment_id=request.enrollment_id,
            event_id=request.event.pk if request.event else None,
            step=request.step,
            template_id=rendered.template_id,
            key=request.key,
            channel=request.channel,
            address=addressed.address,
            subject=rendered.subject,
            body=rendered.body,
            text=rendered.text,
            headers=dict(rendered.headers),
            is_transactional=request.is_transactional,
            is_test=request.is_test,
            priority=request.priority,
            send_at=decision.until or self.now,
            host=_host(request.channel, addressed.address),
            created_at=self.now,
        )
        self.messages.append(message)
        self.outcomes[request.key] = EnqueuedMessage(message, decision.until)
        if decision.reason is not None and decision.until is not None:
            detail = {"until": decision.until.isoformat()}
            self._record_decision(
                request, Decision.Kind.DEFERRED, decision.reason, detail, message_id=message.pk
            )

    def _refuse(
        self, request: MessageRequest, reason: Reason, detail: Mapping[str, Any] | None = None
    ) -> None:
        self.outcomes[request.key] = RefusedMessage(reason, detail or {})
        self._record_decision(request, Decision.Kind.NOT_SENT, reason, detail or {})

    def _record_decision(
        self,
        request: MessageRequest,
        kind: Decision.Kind,
        reason: Reason,
        detail: Mapping[str, Any],
        message_id: UUID | None = None,
    ) -> None:
        self.decisions.append(
            NewDecision(
                campaign_id=request.campaign.pk if request.campaign else None,
                contact_id=request.contact_id,
                enrollment_id=request.enrollment_id,
                message_id=message_id,
                event_id=request.event.pk if request.event else None,
                kind=kind,
                reason=reason,
                step=request.step,
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
