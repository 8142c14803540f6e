"""Sending for a request: enqueue a message, or refuse it with the reason."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from drf_spectacular.utils import OpenApiResponse
from rest_framework.exceptions import ValidationError

from campaigns.api.lookup import find_contact_id, find_event
from campaigns.api.serializers.templates import TemplateSerializer
from campaigns.errors import InvalidAddress, MessageRefused, TemplateFault
from campaigns.messaging.queue import EnqueuedMessage, MessageRequest, RefusedMessage, enqueue_message
from campaigns.messaging.suppressions import checked_address
from campaigns.models import Template
from config import clock, ids
from workspaces.api.serializers import ErrorSerializer
from workspaces.api.strict import WRITE_REFUSALS, wire_names
from workspaces.scopes import Need

# 422: there is no message, and `details.reason` says why.
DISPATCH_REFUSALS: dict[int, Any] = {**WRITE_REFUSALS, 422: OpenApiResponse(ErrorSerializer)}
_PARTS = wire_names(TemplateSerializer)


def event_scope(action: str) -> Need:
    """Return what naming an event needs: what is rendered with an event shows it."""
    return Need("POST", "events:read", "`eventId` is given", action)


@contextmanager
def template_errors_as_fields() -> Iterator[None]:
    """Name the part of the body that an error of Liquid is in. Raises ValidationError."""
    try:
        yield
    except TemplateFault as error:
        part, _, fault = error.message.partition(": ")
        field = _PARTS.get(part, "body")
        raise ValidationError({field: [fault if part in _PARTS else error.message]}) from error


def dispatch(
    workspace_id: UUID, body: Mapping[str, Any], *, channel: str, template: Template, **options: Any
) -> EnqueuedMessage:
    """Enqueue a message to the contact that a validated body names, under its key.

    `options` are those of `MessageRequest`. Raises ContactNotFound, InvalidAddress, MessageRefused, ValidationError.
    """
    contact_id = find_contact_id(workspace_id, body["contact_id"])
    if options.get("address"):
        try:
            checked_address(channel, options["address"])
        except InvalidAddress as error:
            raise InvalidAddress(channel, "to") from error
    # A namespace of their own: no client's key can be an enrollment's.
    key, event = f"api:{body.get('key') or ids.uuid7()}", find_event(workspace_id, body.get("event_id"))
    request = MessageRequest(contact_id, channel, template, key, event=event, **options)
    outcome = enqueue_message(workspace_id, request, now=clock.now())
    if isinstance(outcome, RefusedMessage):
        raise MessageRefused(outcome.reason, outcome.detail)
    return outcome
