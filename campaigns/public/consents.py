"""Unsubscribing and preferences for programs: with the token of a message's links."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from campaigns.messaging.suppressions import (
    PREFERENCES,
    UnsubscribeTarget,
    preferences_of,
    set_preferences,
    unsubscribe,
    unsubscribe_target_of,
)
from workspaces.api.native import NativePublicView
from workspaces.api.serializers import ErrorSerializer
from workspaces.api.strict import StrictBooleanField, read_body, text_parameter
from workspaces.models import Workspace

_TOKEN = OpenApiParameter("token", str, required=True, description="of a link in a message")
_OF_A_TEST = {**dict.fromkeys(map(str, PREFERENCES), True), "test": True}
_REFUSALS = {status: OpenApiResponse(ErrorSerializer) for status in (400, 404)}


class PreferencesSerializer(serializers.Serializer[Any]):
    """Whether a person wants to be written to, by channel."""

    email = StrictBooleanField(required=False)
    telegram = StrictBooleanField(required=False)


class KeptPreferencesSerializer(PreferencesSerializer):
    """What a person wants now."""

    test = serializers.BooleanField(
        required=False, help_text="true: the link is from a test message, and acts on nobody"
    )


class UnsubscribedSerializer(serializers.Serializer[Any]):
    """Whether a channel is open to us."""

    channel = serializers.CharField()
    subscribed = serializers.BooleanField()
    test = serializers.BooleanField(
        required=False, help_text="true: the link is from a test message, and acts on nobody"
    )


class _TokenView(NativePublicView):
    """A view of whom a token names."""

    def addressee(self, request: Request) -> tuple[Workspace, UnsubscribeTarget]:
        """Return whom the token names, and the workspace. Raises NotFound."""
        read = unsubscribe_target_of(text_parameter(request, "token") or "")
        workspace = Workspace.objects.filter(pk=read.workspace_id).first() if read else None
        if read is None or workspace is None:
            raise NotFound
        return workspace, read


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
        workspace, told = self.addressee(request)
        if told.contact_id is None:
            return Response({"channel": told.channel, "subscribed": True, "test": True})
        wanted = preferences_of(workspace.pk, told.contact_id)
        return Response({"channel": told.channel, "subscribed": wanted.get(told.channel, False)})

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
        workspace, told = self.addressee(request)
        if told.contact_id is None:
            return Response({"channel": told.channel, "subscribed": True, "test": True})
        unsubscribe(workspace, told.contact_id, told.channel, message_id=told.message_id)
        return Response({"channel": told.channel, "subscribed": False})


class PreferencesAPIView(_TokenView):
    """All channels of one person."""

    serializer_class = PreferencesSerializer

    @extend_schema(
        operation_id="getPreferences",
        tags=["preferences"],
        auth=[],
        parameters=[_TOKEN],
        responses={200: KeptPreferencesSerializer, **_REFUSALS},
    )
    def get(self, request: Request) -> Response:
        """Tell what the person wants, by channel."""
        workspace, told = self.addressee(request)
        if told.contact_id is None:
            return Response(_OF_A_TEST)
        return Response(preferences_of(workspace.pk, told.contact_id))

    @extend_schema(
        operation_id="setPreferences",
        tags=["preferences"],
        auth=[],
        parameters=[_TOKEN],
        request=PreferencesSerializer,
        responses={200: KeptPreferencesSerializer, **_REFUSALS},
    )
    def put(self, request: Request) -> Response:
        """Keep what the person wants; a channel that is not named stays as it is."""
        workspace, told = self.addressee(request)
        body = read_body(PreferencesSerializer, request)
        if told.contact_id is None:
            return Response(_OF_A_TEST)
        wanted = {str(one): body[one] for one in PREFERENCES if one in body}
        contact = set_preferences(workspace, told.contact_id, wanted)
        return Response(preferences_of(workspace.pk, contact.pk))
