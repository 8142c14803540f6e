"""Who is not written to, and how channels are used."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from campaigns.api import presentation
from campaigns.api.filters.messages import SuppressionFilterSet
from campaigns.api.paging import PAGE_PARAMETERS, page_of
from campaigns.api.serializers.channels import ChannelChangesSerializer, ChannelSerializer, SecretSerializer
from campaigns.api.serializers.suppressions import (
    SuppressionBodySerializer,
    SuppressionPageSerializer,
    SuppressionSerializer,
)
from campaigns.errors import InvalidChannelSettings
from campaigns.messaging.settings import (
    add_suppression,
    channels_of,
    remove_suppression,
    renew_signing_secret,
    save_channel,
)
from campaigns.models import Suppression
from campaigns.models.messages import Channel
from config.ids import NO_ID, parse_uuid
from workspaces.api.native import NativeAPIView, NativeViewSet
from workspaces.api.strict import READ_REFUSALS, WRITE_REFUSALS, read_body
from workspaces.scopes import Need

# Whom messages come from, where calls go: whoever says that may send messages.
_CHANNEL_SCOPES = {
    "GET": "campaigns:read",
    "PATCH": "campaigns:write messages:write",
    "POST": "campaigns:write messages:write",
}
_CALLED = Need("PATCH", "contacts:read events:read", "the channel is `webhook`: data leaves to where it says")
# The wire's names of what may be refused.
_NAMES = {
    "quiet_from": "quietHours",
    "cap_count": "frequencyCap.count",
    "cap_hours": "frequencyCap.hours",
    "max_attempts": "maxAttempts",
    "time_zone": "timeZone",
}


class SuppressionViewSet(NativeViewSet):
    """The addresses to which a workspace sends nothing."""

    queryset = Suppression.objects.none()
    serializer_class = SuppressionSerializer
    filterset_class = SuppressionFilterSet
    pagination_class = None
    lookup_url_kwarg = "suppression_id"
    parameters = PAGE_PARAMETERS
    scopes = {"GET": "messages:read", "POST": "messages:write", "DELETE": "messages:write"}

    def get_queryset(self) -> QuerySet[Suppression]:
        """Return the workspace's suppressions."""
        return Suppression.objects.in_workspace(self.workspace.id)

    @extend_schema(
        operation_id="listSuppressions",
        tags=["suppressions"],
        parameters=PAGE_PARAMETERS,
        responses={200: SuppressionPageSerializer, **READ_REFUSALS},
    )
    def list(self, request: Request, workspace_id: str) -> Response:
        """List suppressions, newest first."""
        page, following = page_of(request, self.filter_queryset(self.get_queryset()))
        return Response({"data": [presentation.suppression_row(one) for one in page], "next": following})

    @extend_schema(
        operation_id="createSuppression",
        tags=["suppressions"],
        request=SuppressionBodySerializer,
        responses={200: SuppressionSerializer, 201: SuppressionSerializer, **WRITE_REFUSALS},
    )
    def create(self, request: Request, workspace_id: str) -> Response:
        """Have nothing more sent to an address; 200 if that was so already, and the first reason stays."""
        wanted = read_body(SuppressionBodySerializer, request)
        suppression, is_new = add_suppression(
            self.workspace,
            channel=wanted["channel"].lower(),
            address=wanted["address"],
            note=wanted.get("note", ""),
        )
        return Response(presentation.suppression_row(suppression), status=201 if is_new else 200)

    @extend_schema(
        operation_id="deleteSuppression", tags=["suppressions"], responses={204: None, **WRITE_REFUSALS}
    )
    def destroy(self, request: Request, workspace_id: str, suppression_id: str) -> Response:
        """Let an address be written to again, as far as its owner's consent goes."""
        remove_suppression(self.workspace.id, parse_uuid(suppression_id) or NO_ID)
        return Response(status=204)


class ChannelsView(NativeAPIView):
    """The channels of a workspace."""

    scopes = _CHANNEL_SCOPES

    @extend_schema(
        operation_id="listChannels",
        tags=["channels"],
        responses={200: ChannelSerializer(many=True), **READ_REFUSALS},
    )
    def get(self, request: Request, workspace_id: str) -> Response:
        """List the channels, each with how it is used."""
        return Response([presentation.channel_row(one) for one in channels_of(self.workspace.id)])


class ChannelView(NativeAPIView):
    """One channel of a workspace."""

    scopes = _CHANNEL_SCOPES
    needs = (_CALLED,)

    @extend_schema(
        operation_id="getChannel", tags=["channels"], responses={200: ChannelSerializer, **READ_REFUSALS}
    )
    def get(self, request: Request, workspace_id: str, channel: str) -> Response:
        """Return how a channel is used."""
        wanted = _channel(channel)
        (settings,) = (one for one in channels_of(self.workspace.id) if one.channel == wanted)
        return Response(presentation.channel_row(settings))

    @extend_schema(
        operation_id="updateChannel",
        tags=["channels"],
        request=ChannelChangesSerializer,
        responses={200: ChannelSerializer, **WRITE_REFUSALS},
    )
    def patch(self, request: Request, workspace_id: str, channel: str) -> Response:
        """Change how a channel is used, for what leaves from now on."""
        name = _channel(channel)
        if name == Channel.WEBHOOK:
            self.need(_CALLED)
        wanted = read_body(ChannelChangesSerializer, request)
        try:
            settings = save_channel(self.workspace, name, **_values(wanted))
        except InvalidChannelSettings as error:
            raise ValidationError({_NAMES.get(error.field, error.field): [error.message]}) from error
        return Response(presentation.channel_row(settings))


class SigningSecretView(NativeAPIView):
    """What webhooks are signed with."""

    scopes = _CHANNEL_SCOPES
    secrets_shown = ("secret",)

    @extend_schema(
        operation_id="renewSigningSecret",
        tags=["channels"],
        request=None,
        responses={201: SecretSerializer, **WRITE_REFUSALS},
    )
    def post(self, request: Request, workspace_id: str) -> Response:
        """Make a new secret; the last one signs beside it until the next, so that no receiver misses a call."""
        return Response({"secret": renew_signing_secret(self.workspace)}, status=201)


def _channel(text: str) -> str:
    if text.lower() not in Channel.values:
        raise NotFound
    return text.lower()


def _values(wanted: dict[str, Any]) -> dict[str, Any]:
    """Return what a body sets, as the row has it."""
    names = {"requiresOptIn": "requires_opt_in", "timeZone": "time_zone", "maxAttempts": "max_attempts"}
    values = {names.get(name, name): value for name, value in wanted.items() if name not in _NESTED}
    if "onUnknown" in wanted:
        values["on_unknown"] = wanted["onUnknown"].lower()
    if "frequencyCap" in wanted:
        cap = wanted["frequencyCap"]
        values["cap_count"] = cap and cap["count"]
        values |= {"cap_hours": cap["hours"]} if cap else {}
    if "quietHours" in wanted:
        quiet = wanted["quietHours"] or {}
        values |= {"quiet_from": quiet.get("start"), "quiet_until": quiet.get("end")}
    return values


_NESTED = ("onUnknown", "frequencyCap", "quietHours")
