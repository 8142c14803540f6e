"""Suppressions: addresses to which nothing is sent."""

from typing import Any

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
    """A suppressed address: nothing is sent to it."""

    id = serializers.UUIDField()
    channel = UpperChoiceField(choices=CHANNELS)
    address = serializers.CharField()
    reason = UpperChoiceField(choices=upper(Suppression.Reason))
    note = serializers.CharField()
    messageId = serializers.UUIDField(
        source="message_id", allow_null=True, help_text="the message that bounced or was complained about"
    )
    createdAt = MillisecondsField(source="created_at")


class SuppressionBodySerializer(KnownKeysSerializer):
    """An address to suppress."""

    address = StrictCharField(max_length=2048)
    channel = UpperChoiceField(choices=CHANNELS, default="email")
    note = StrictCharField(required=False, allow_blank=True, max_length=10_000)
