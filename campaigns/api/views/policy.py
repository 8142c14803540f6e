"""Endpoints of suppressions and channel settings."""

from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from campaigns.api.filters.messages import SuppressionFilterSet
from campaigns.api.serializers.channels import ChannelChangesSerializer, ChannelSerializer, SecretSerializer
from campaigns.api.serializers.suppressions import (
    SuppressionBodySerializer,
    SuppressionSerializer,
)
from campaigns.errors import InvalidChannelSettings
from campaigns.messaging.channel_settings import channels_of, renew_signing_secret, save_channel
from campaigns.messaging.suppressions import add_suppression, remove_suppression
from campaigns.models import ChannelSettings, Suppression
from campaigns.models.messages import Channel
from config.ids import NO_ID, parse_uuid
from workspaces.api.native import NativeViewSet
from workspaces.api.pagination import KeysetPagination
from workspaces.api.strict import read_body, wire_names
from workspaces.scopes import Need

_CALLED = Need("PATCH", "contacts:read events:read", "the channel is `webhook`: data leaves to where it says")
# What is refused of quiet hours is about both ends.
_BODY_NAMES = {**wire_names(ChannelChangesSerializer), "quiet_from": "quietHours"}


class SuppressionViewSet(NativeViewSet):
    """The suppressions of a workspace."""

    tag = "suppressions"
    queryset = Suppression.objects.all()
    serializer_class = SuppressionSerializer
    filterset_class = SuppressionFilterSet
    lookup_url_kwarg = "suppression_id"
    pagination_class = KeysetPagination
    scope = "messages"

    @extend_schema(operation_id="listSuppressions")
    def list(self, request: Request, workspace_id: str) -> Response:
        """List suppressions, newest first."""
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(SuppressionSerializer(page, many=True).data)

    @extend_schema(
        operation_id="createSuppression",
        request=SuppressionBodySerializer,
        responses={200: SuppressionSerializer, 201: SuppressionSerializer},
    )
    def create(self, request: Request, workspace_id: str) -> Response:
        """Suppress an address; 200 if it is suppressed already, with the first reason."""
        body = read_body(SuppressionBodySerializer, request)
        suppression, is_new = add_suppression(self.workspace.id, **body)
        return Response(SuppressionSerializer(suppression).data, status=201 if is_new else 200)

    @extend_schema(operation_id="deleteSuppression")
    def destroy(self, request: Request, workspace_id: str, suppression_id: str) -> Response:
        """Lift a suppression; whether messages are sent is up to the contact's consent again."""
        remove_suppression(self.workspace.id, parse_uuid(suppression_id) or NO_ID)
        return Response(status=204)


class ChannelViewSet(NativeViewSet):
    """The channels of a workspace, each with its settings or the defaults."""

    tag = "channels"
    queryset = ChannelSettings.objects.none()
    serializer_class = ChannelSerializer
    lookup_url_kwarg = "channel"
    # Whom messages come from, where calls go: whoever says that may send messages.
    scopes = {
        "GET": "campaigns:read",
        "PATCH": "campaigns:write messages:write",
        "POST": "campaigns:write messages:write",
    }
    needs = (_CALLED,)

    @extend_schema(operation_id="listChannels")
    def list(self, request: Request, workspace_id: str) -> Response:
        """List the channels with their settings."""
        return Response(ChannelSerializer(channels_of(self.workspace.id), many=True).data)

    @extend_schema(operation_id="getChannel")
    def retrieve(self, request: Request, workspace_id: str, channel: str) -> Response:
        """Return the settings of a channel."""
        name = _channel(channel)
        (settings,) = (settings for settings in channels_of(self.workspace.id) if settings.channel == name)
        return Response(ChannelSerializer(settings).data)

    @extend_schema(operation_id="updateChannel", request=ChannelChangesSerializer)
    def partial_update(self, request: Request, workspace_id: str, channel: str) -> Response:
        """Change the settings of a channel, for messages sent from now on."""
        name = _channel(channel)
        if name == Channel.WEBHOOK:
            self.need(_CALLED)
        values = read_body(ChannelChangesSerializer, request)
        try:
            settings = save_channel(self.workspace.id, name, **values)
        except InvalidChannelSettings as error:
            raise ValidationError({_BODY_NAMES.get(error.field, error.field): [error.message]}) from error
        return Response(ChannelSerializer(settings).data)

    @extend_schema(
        operation_id="renewSigningSecret",
        request=None,
        responses={201: SecretSerializer},
    )
    @action(detail=False, methods=["post"], url_path="webhook/signing-secret", secrets_shown=("secret",))
    def renew_signing_secret(self, request: Request, workspace_id: str) -> Response:
        """Make a new signing secret; calls are signed with the previous one, too, until the next renewal."""
        secret = renew_signing_secret(self.workspace.id)
        return Response(SecretSerializer({"secret": secret}).data, status=201)


def _channel(text: str) -> str:
    if text.lower() not in Channel.values:
        raise NotFound
    return text.lower()
