"""Suppressions: addresses to which nothing is sent."""

from typing import Any

from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from campaigns.api.choices import (
    CHANNELS,
    upper,
)
from campaigns.models import Suppression
from workspaces.api.fields import MillisecondsField, StrictCharField, UpperChoiceField
from workspaces.api.strict import (
    KnownKeysSerializer,
)


class SuppressionSerializer(serializers.Serializer[Any]):
    """An address to which nothing is sent any more."""

    id = serializers.UUIDField()
    channel = UpperChoiceField(choices=CHANNELS)
    address = serializers.CharField()
    reason = UpperChoiceField(choices=upper(Suppression.Reason))
    note = serializers.CharField()
    messageId = serializers.UUIDField(
        source="message_id", allow_null=True, help_text="the message that came back"
    )
    createdAt = MillisecondsField(source="created_at")


@extend_schema_serializer(many=False)  # a page is one object
class SuppressionPageSerializer(serializers.Serializer[Any]):
    """A page of suppressions."""

    data = SuppressionSerializer(many=True)  # type: ignore[assignment]  # the format's name for its rows
    next = serializers.CharField(allow_null=True, help_text="the next page's `before`; null on the last page")


class SuppressionBodySerializer(KnownKeysSerializer):
    """An address to suppress."""

    address = StrictCharField(max_length=2048)
    channel = UpperChoiceField(choices=CHANNELS, default="email")
    note = StrictCharField(required=False, allow_blank=True, max_length=10_000)
