"""Messages that a request asks for: taken, or refused with the reason."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from drf_spectacular.utils import OpenApiResponse
from rest_framework.exceptions import ValidationError

from campaigns.api import presentation
from campaigns.api.paging import contact_of, event_of
from campaigns.errors import InvalidAddress, MessageRefused, TemplateFault
from campaigns.messaging.queue import RefusedMessage, enqueue_message
from campaigns.messaging.suppressions import checked_address
from campaigns.models import Template
from config import clock, ids
from config.http.rendering import iso_millis
from workspaces.api.serializers import ErrorSerializer
from workspaces.api.strict import WRITE_REFUSALS
from workspaces.models import Workspace
from workspaces.scopes import Need

# 422: there is no message, and `details.reason` says why.
DISPATCH_REFUSALS: dict[int, Any] = {**WRITE_REFUSALS, 422: OpenApiResponse(ErrorSerializer)}
# What is rendered with an event shows it.
OF_EVENT = Need("POST", "events:read", "`eventId` is given")
# By the names that they have here.
_PARTS = {"subject": "subject", "body": "body", "text": "text", "sender": "sender", "reply_to": "replyTo"}


@contextmanager
def template_errors_as_fields() -> Iterator[None]:
    """Tell which part of the body a fault of Liquid is in. Raises ValidationError."""
    try:
        yield
    except TemplateFault as error:
        part, _, fault = error.message.partition(": ")
        where = _PARTS.get(part, "body")
        raise ValidationError({where: [fault if part in _PARTS else error.message]}) from error


def dispatch(
    workspace: Workspace,
    wanted: Mapping[str, Any],
    *,
    channel: str,
    template: Template,
    **more: Any,
) -> dict[str, Any]:
    """Reserve a message to whom a body names, and return how it looks. Raises MessageRefused."""
    contact_id = contact_of(workspace, wanted["contactId"])
    if more.get("address"):
        try:
            checked_address(channel, more["address"])
        except InvalidAddress as error:
            raise InvalidAddress(channel, "to") from error
    outcome = enqueue_message(
        workspace.id,
        contact_id,
        channel=channel,
        template=template,
        # A namespace of their own: no client's key can be an enrollment's.
        key=f"api:{wanted.get('key') or ids.uuid7()}",
        now=clock.now(),
        event=event_of(workspace, wanted.get("eventId")),
        **more,
    )
    if isinstance(outcome, RefusedMessage):
        raise MessageRefused(outcome.reason, outcome.detail)
    until = outcome.deferred_until
    return {
        "message": presentation.message_row(outcome.message),
        "deferredUntil": iso_millis(until) if until else None,
    }
