"""The endpoint of what links a Telegram chat to a contact."""

from typing import Any

from drf_spectacular.helpers import forced_singular_serializer
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from campaigns.api.lookup import find_contact_id
from campaigns.messaging.telegram_inbound import start_payload
from contacts.models import Contact
from workspaces.api.native import NativeViewSet


class TelegramStartSerializer(serializers.Serializer[Any]):
    """What a link to the workspace's bot ends with."""

    payload = serializers.CharField(
        help_text="of https://t.me/<bot>?start=<payload>: who follows it and starts the bot is this contact"
    )


class TelegramStartViewSet(NativeViewSet):
    """What links a chat with the workspace's bot to a contact."""

    tag = "messages"
    queryset = Contact.objects.none()
    # Whoever has it can give the contact a chat of their own.
    scopes = {"GET": "contacts:write"}

    @extend_schema(
        operation_id="getTelegramStart",
        responses={200: forced_singular_serializer(TelegramStartSerializer)},  # type: ignore[no-untyped-call]  # no types
    )
    def list(self, request: Request, workspace_id: str, contact_id: str) -> Response:
        """Return the payload of a link that makes a Telegram chat the contact's; it is always the same."""
        found = find_contact_id(self.workspace.id, contact_id)
        return Response(TelegramStartSerializer({"payload": start_payload(self.workspace.id, found)}).data)
