"""Endpoints of messages: send, list, retrieve and resolve."""

from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from campaigns.api.filters.messages import MessageFilterSet
from campaigns.api.sending import DISPATCH_REFUSALS, dispatch, event_scope, template_errors_as_fields
from campaigns.api.serializers.messages import (
    DispatchSerializer,
    MessageBodySerializer,
    MessageRowSerializer,
    MessageSerializer,
    SettleBodySerializer,
)
from campaigns.api.views.templates import template_of
from campaigns.errors import MessageNotFound
from campaigns.messaging.templates import check_template
from campaigns.messaging.unknown_outcomes import resolve_message
from campaigns.models import Message, Template
from config.ids import NO_ID, parse_uuid
from workspaces.api.native import NativeViewSet
from workspaces.api.pagination import KeysetPagination
from workspaces.api.strict import read_body
from workspaces.scopes import Need

_OF_EVENT = event_scope("create")
_OF_TEMPLATE = Need("POST", "campaigns:read", "`templateId` is given", "create")


class MessageViewSet(NativeViewSet):
    """The messages of a workspace."""

    tag = "messages"
    queryset = Message.objects.all()
    not_found = MessageNotFound
    serializer_class = MessageSerializer
    filterset_class = MessageFilterSet
    lookup_url_kwarg = "message_id"
    pagination_class = KeysetPagination
    # A message says what is known of its contact.
    scopes = {"GET": "messages:read contacts:read", "POST": "messages:write contacts:read"}
    needs = (_OF_EVENT, _OF_TEMPLATE)

    @extend_schema(operation_id="listMessages", responses={200: MessageRowSerializer(many=True)})
    def list(self, request: Request, workspace_id: str) -> Response:
        """List messages, newest first."""
        rows = self.get_queryset().defer("body", "text", "headers")
        page = self.paginate_queryset(self.filter_queryset(rows))
        return self.get_paginated_response(MessageRowSerializer(page, many=True).data)

    @extend_schema(
        operation_id="sendMessage",
        request=MessageBodySerializer,
        responses={200: DispatchSerializer, **DISPATCH_REFUSALS},
    )
    def create(self, request: Request, workspace_id: str) -> Response:
        """Send a message to one contact, if it may be written to; 422 with the reason if not."""
        body = read_body(MessageBodySerializer, request)
        if body.get("event_id"):
            self.need(_OF_EVENT)
        if body.get("template_id"):
            self.need(_OF_TEMPLATE)
        enqueued = dispatch(
            self.workspace.id,
            body,
            channel=body["channel"],
            template=_template(self.workspace.id, body),
            is_transactional=body["is_transactional"],
            priority=body["priority"],
        )
        return Response(DispatchSerializer(enqueued).data)

    @extend_schema(operation_id="getMessage")
    def retrieve(self, request: Request, workspace_id: str, message_id: str) -> Response:
        """Return a message with its content."""
        return Response(MessageSerializer(self.get_object()).data)

    @extend_schema(
        operation_id="settleMessage",
        request=SettleBodySerializer,
        responses={200: MessageSerializer},
    )
    @action(detail=True, methods=["post"], url_path="settle")
    def resolve(self, request: Request, workspace_id: str, message_id: str) -> Response:
        """Resolve a message whose status is UNKNOWN: as sent, or as not sent, and it is sent again."""
        outcome = read_body(SettleBodySerializer, request)
        message = resolve_message(self.workspace.id, parse_uuid(message_id) or NO_ID, **outcome)
        return Response(MessageSerializer(message).data)


def _template(workspace_id: UUID, body: dict[str, Any]) -> Template:
    """Return the template that a body names or contains. Raises TemplateNotFound, ValidationError."""
    if template_id := body.get("template_id"):
        return template_of(workspace_id, template_id)
    parts = {name: body[name] for name in ("channel", "subject", "body", "text") if name in body}
    template = Template(id=None, workspace_id=workspace_id, **parts)
    with template_errors_as_fields():
        check_template(template)
    return template
