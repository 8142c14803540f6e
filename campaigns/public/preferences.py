"""Unsubscribing and preferences as an API, authorised by the token of a message's links."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
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
from workspaces.api.native import NativePublicViewSet
from workspaces.api.serializers import ErrorSerializer
from workspaces.api.strict import StrictBooleanField, read_body, text_parameter
from workspaces.models import Workspace

_TOKEN = OpenApiParameter("token", str, required=True, description="of a link in a message")
_REFUSALS = {status: OpenApiResponse(ErrorSerializer) for status in (400, 404)}
_TEST_HELP = "true: the link is from a test message, and acts on nobody"


class PreferencesSerializer(serializers.Serializer[Any]):
    """Whether a person wants to be written to, by channel."""

    email = StrictBooleanField(required=False)
    telegram = StrictBooleanField(required=False)


class CurrentPreferencesSerializer(PreferencesSerializer):
    """What a person wants now, by channel."""

    test = serializers.BooleanField(required=False, help_text=_TEST_HELP)


class SubscriptionSerializer(serializers.Serializer[Any]):
    """Whether a person may be written to on the message's channel."""

    channel = serializers.CharField()
    subscribed = serializers.BooleanField()
    test = serializers.BooleanField(required=False, help_text=_TEST_HELP)


class PreferenceViewSet(NativePublicViewSet):
    """What the person that a token names wants: of the message's channel, and of all channels."""

    @extend_schema(
        operation_id="getSubscription",
        tags=["preferences"],
        parameters=[_TOKEN],
        responses={200: SubscriptionSerializer, **_REFUSALS},
    )
    @action(detail=False, url_path="unsubscribe", url_name="unsubscribe")
    def subscription(self, request: Request) -> Response:
        """Tell whether the person may be written to on the message's channel."""
        target = _unsubscribe_target(request)
        return _subscription(target, _preferences(target).get(target.channel, False))

    @extend_schema(
        operation_id="unsubscribe",
        tags=["preferences"],
        parameters=[_TOKEN],
        request=None,
        responses={200: SubscriptionSerializer, **_REFUSALS},
    )
    @subscription.mapping.post
    def unsubscribe(self, request: Request) -> Response:
        """Unsubscribe the person from the message's channel; it may be said again."""
        target = _unsubscribe_target(request)
        if target.contact_id is not None:
            unsubscribe(target.workspace_id, target.contact_id, target.channel, message_id=target.message_id)
        return _subscription(target, False)

    @extend_schema(
        operation_id="getPreferences",
        tags=["preferences"],
        parameters=[_TOKEN],
        responses={200: CurrentPreferencesSerializer, **_REFUSALS},
    )
    @action(detail=False)
    def preferences(self, request: Request) -> Response:
        """Tell what the person wants, by channel."""
        target = _unsubscribe_target(request)
        return Response(CurrentPreferencesSerializer(_preferences(target)).data)

    @extend_schema(
        operation_id="setPreferences",
        tags=["preferences"],
        parameters=[_TOKEN],
        request=PreferencesSerializer,
        responses={200: CurrentPreferencesSerializer, **_REFUSALS},
    )
    @preferences.mapping.put
    def set_preferences(self, request: Request) -> Response:
        """Keep what the person wants; a channel that is not named stays as it is."""
        target = _unsubscribe_target(request)
        wanted = read_body(PreferencesSerializer, request)
        if target.contact_id is not None:
            set_preferences(target.workspace_id, target.contact_id, wanted)
        return Response(CurrentPreferencesSerializer(_preferences(target)).data)


def _unsubscribe_target(request: Request) -> UnsubscribeTarget:
    """Return whom the request's token names. Raises NotFound, also where the workspace is gone."""
    target = unsubscribe_target_of(text_parameter(request, "token") or "")
    if target is None or not Workspace.objects.filter(pk=target.workspace_id).exists():
        raise NotFound
    return target


def _preferences(target: UnsubscribeTarget) -> dict[str, bool]:
    """Return what the person wants by channel; a test message's link shows one who wants everything."""
    if target.contact_id is None:
        return {**dict.fromkeys(map(str, PREFERENCES), True), "test": True}
    return preferences_of(target.workspace_id, target.contact_id)


def _subscription(target: UnsubscribeTarget, is_subscribed: bool) -> Response:
    is_test = target.contact_id is None
    row = {"channel": target.channel, "subscribed": is_subscribed or is_test}
    return Response(SubscriptionSerializer(row | ({"test": True} if is_test else {})).data)
