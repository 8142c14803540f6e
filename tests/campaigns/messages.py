"""Templates, messages and receivers of them, with the least data."""

import asyncio
import socket
from typing import Any
from uuid import UUID

from aiosmtpd.controller import Controller

from campaigns.messaging.delivery import claim_messages, deliver_locally, is_local, record_attempts, send
from campaigns.messaging.queue import (
    EnqueuedMessage,
    MessageRequest,
    RefusedMessage,
    WebhookRequest,
    enqueue_message,
)
from campaigns.models import ChannelSettings, Decision, Message, Template
from config import clock, ids
from contacts.models import Contact
from workspaces.models import Workspace


def a_template(workspace: Workspace, body: str = "<p>Hello {{ contact.email }}</p>", **more: Any) -> Template:
    """Return a template, of an e-mail unless it says otherwise."""
    values = {"name": f"Template {ids.uuid7()}", "subject": "Hello", **more}
    return Template.objects.create(workspace=workspace, body=body, **values)


def reserve(
    contact: Contact, template: Template | WebhookRequest | None = None, **more: Any
) -> EnqueuedMessage | RefusedMessage:
    """Reserve a message to a contact, by e-mail unless its template is of another channel."""
    template = template or a_template(contact.workspace)
    channel = template.channel if isinstance(template, Template) else "webhook"
    now = more.pop("now", None) or clock.now()
    values = {"channel": channel, "key": str(ids.uuid7()), **more}
    request = MessageRequest(contact.id, template=template, **values)
    return enqueue_message(contact.workspace_id, request, now=now)


def a_message(contact: Contact, template: Template | WebhookRequest | None = None, **more: Any) -> Message:
    """Return a message that is reserved."""
    outcome = reserve(contact, template, **more)
    assert isinstance(outcome, EnqueuedMessage), outcome
    return outcome.message


def use_channel(workspace: Workspace, channel: str, **values: Any) -> ChannelSettings:
    """Say how a workspace uses a channel."""
    row, _ = ChannelSettings.objects.update_or_create(workspace=workspace, channel=channel, defaults=values)
    return row


def decided(message: Message) -> list[tuple[str, str]]:
    """Return what was decided about a message, in order."""
    decisions = Decision.objects.filter(workspace_id=message.workspace_id, message_id=message.pk)
    return list(decisions.order_by("id").values_list("kind", "reason"))


def deliver_ready(workspace_id: UUID, channel: str, *, at_most: int = 1_000) -> int:
    """Send messages that are due, one after the other, and return how many attempts were made."""
    if is_local(channel):
        attempts = 0
        while attempts < at_most and (count := deliver_locally(workspace_id, channel)):
            attempts += count
        return attempts
    for attempts in range(at_most):
        claimed = claim_messages(workspace_id, channel, at_most=1)
        if not claimed:
            return attempts
        record_attempts(workspace_id, [send(message) for message in claimed])
    return at_most


class Mailbox:
    """Takes e-mail as a real server does; what and when it answers, a test may set."""

    def __init__(self) -> None:
        self.envelopes: list[Any] = []
        self.connections = 0
        self.to_recipient = ""
        self.to_text = ""
        self.hangs_up = False
        self.texts = 0
        self.answer_seconds = 0.0

    async def handle_EHLO(self, server, session, envelope, hostname, responses):
        self.connections += 1
        session.host_name = hostname
        return responses

    async def handle_RCPT(self, server, session, envelope, address, options):
        if self.to_recipient:
            return self.to_recipient
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        self.texts += 1
        await asyncio.sleep(self.answer_seconds)
        if self.hangs_up:
            server.transport.abort()
            return "250 never heard"
        if self.to_text:
            return self.to_text
        self.envelopes.append(envelope)
        return "250 OK"


class MailServer:
    """A real SMTP server on a port of its own."""

    def __init__(self, *, is_international: bool = True) -> None:
        self.mailbox = Mailbox()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._controller = Controller(
            self.mailbox, hostname="127.0.0.1", port=self.port, enable_SMTPUTF8=is_international
        )

    def __enter__(self) -> "MailServer":
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._controller.stop()
