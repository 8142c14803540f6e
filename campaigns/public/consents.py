"""Unsubscribing and preferences for programs: with the token of a message's links."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from campaigns.services.links import read_unsubscribe_token
from campaigns.services.suppressing import PREFERENCES, preferences_of, set_preferences, unsubscribe
from workspaces.api.native import NativePublicView
from workspaces.api.serializers import ErrorSerializer
from workspaces.api.strict import StrictBooleanField, read_body, text_parameter
from workspaces.models import Workspace

_TOKEN = OpenApiParameter("token", str, required=True, description="of a link in a message")
_REFUSALS = {status: OpenApiResponse(ErrorSerializer) for status in (400, 404)}


class PreferencesSerializer(serializers.Serializer[Any]):
    """Whether a person wants to be written to, by channel."""

    email = StrictBooleanField(required=False)
    telegram = StrictBooleanField(required=False)


class UnsubscribedSerializer(serializers.Serializer[Any]):
    """Whether a channel is open to us."""

    channel = serializers.CharField()
    subscribed = serializers.BooleanField()


class _TokenView(NativePublicView):
    """A view of whom a token names."""

    def read_token(self, request: Request) -> tuple[Workspace, UUID, str, UUID | None]:
        """Return workspace, contact, channel and message. Raises NotFound."""
        read = read_unsubscribe_token(text_parameter(request, "token") or "")
        workspace = Workspace.objects.filter(pk=read[0]).first() if read else None
        if read is None or workspace is None:
            raise NotFound
        return workspace, *read[1:]


class UnsubscribeAPIView(_TokenView):
    """One channel of one person."""

    serializer_class = UnsubscribedSerializer

    @extend_schema(
        operation_id="getSubscription",
        tags=["preferences"],
        auth=[],
        parameters=[_TOKEN],
        responses={200: UnsubscribedSerializer, **_REFUSALS},
    )
    def get(self, request: Request) -> Response:
        """Tell whether the person may be written to on the message's channel."""
        workspace, contact_id, channel, _ = self.read_token(request)
        wanted = preferences_of(workspace.pk, contact_id)
        return Response({"channel": channel, "subscribed": wanted.get(channel, False)})

    @extend_schema(
        operation_id="unsubscribe",
        tags=["preferences"],
        auth=[],
        parameters=[_TOKEN],
        request=None,
        responses={200: UnsubscribedSerializer, **_REFUSALS},
    )
    def post(self, request: Request) -> Response:
        """Unsubscribe the person from the message's channel; it may be said again."""
        workspace, contact_id, channel, message_id = self.read_token(request)
        unsubscribe(workspace, contact_id, channel, message_id=message_id)
        return Response({"channel": channel, "subscribed": False})


class PreferencesAPIView(_TokenView):
    """All channels of one person."""

    serializer_class = PreferencesSerializer

    @extend_schema(
        operation_id="getPreferences",
        tags=["preferences"],
        auth=[],
        parameters=[_TOKEN],
        responses={200: PreferencesSerializer, **_REFUSALS},
    )
    def get(self, request: Request) -> Response:
        """Tell what the person wants, by channel."""
        workspace, contact_id, _, _ = self.read_token(request)
        return Response(preferences_of(workspace.pk, contact_id))

    @extend_schema(
        operation_id="setPreferences",
        tags=["preferences"],
        auth=[],
        parameters=[_TOKEN],
        request=PreferencesSerializer,
        responses={200: PreferencesSerializer, **_REFUSALS},
    )
    def put(self, request: Request) -> Response:
        """Keep what the person wants; a channel that is not named stays as it is."""
        workspace, contact_id, _, _ = self.read_token(request)
        told = read_body(PreferencesSerializer, request)
        wanted = {str(one): told[one] for one in PREFERENCES if one in told}
        contact = set_preferences(workspace, contact_id, wanted)
        return Response(preferences_of(workspace.pk, contact.pk))
