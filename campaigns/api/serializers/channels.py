"""Channels: how a workspace sends by each."""

from typing import Any

from rest_framework import serializers

from campaigns.api.choices import (
    CHANNELS,
    SMALLINT_MAX,
)
from workspaces.api.fields import StrictCharField
from workspaces.api.strict import (
    KnownKeysSerializer,
    ObjectField,
    StrictBooleanField,
    StrictIntegerField,
)


class QuietHoursSerializer(KnownKeysSerializer):
    """When nothing is sent, by the contact's own clock; it may go past midnight."""

    start = serializers.TimeField(format="%H:%M")
    end = serializers.TimeField(format="%H:%M")


class FrequencyCapSerializer(KnownKeysSerializer):
    """How many messages a contact gets in a time; what is more waits."""

    count = StrictIntegerField(min_value=1, max_value=SMALLINT_MAX)
    hours = StrictIntegerField(min_value=1, max_value=SMALLINT_MAX)


class ChannelChangesSerializer(KnownKeysSerializer):
    """How a channel is to be used; what the body does not name stays."""

    sender = StrictCharField(required=False, allow_blank=True, max_length=320)
    secret = StrictCharField(
        required=False,
        allow_blank=True,
        max_length=255,
        help_text="of Telegram the bot's token; written, never shown",
    )
    options = ObjectField(required=False)
    requiresOptIn = StrictBooleanField(
        required=False, help_text="else whoever has not opted out is written to"
    )
    frequencyCap = FrequencyCapSerializer(required=False, allow_null=True, help_text="null: as many as come")
    quietHours = QuietHoursSerializer(required=False, allow_null=True, help_text="null: none")
    timeZone = StrictCharField(
        required=False, max_length=64, help_text="of contacts that have none of their own"
    )
    onUnknown = serializers.ChoiceField(
        choices=["HOLD", "RETRY"],
        required=False,
        help_text="what becomes of a message that may have left or not: it is left alone, or sent again",
    )
    maxAttempts = StrictIntegerField(required=False, min_value=1, max_value=SMALLINT_MAX)


class ChannelSerializer(serializers.Serializer[Any]):
    """How a channel is used."""

    channel = serializers.ChoiceField(choices=CHANNELS)
    sender = serializers.CharField()
    hasSecret = serializers.BooleanField()
    options = ObjectField()
    requiresOptIn = serializers.BooleanField()
    frequencyCap = FrequencyCapSerializer(allow_null=True)
    quietHours = QuietHoursSerializer(allow_null=True)
    timeZone = serializers.CharField()
    onUnknown = serializers.ChoiceField(choices=["HOLD", "RETRY"])
    maxAttempts = serializers.IntegerField()


class SecretSerializer(serializers.Serializer[Any]):
    """What webhooks are signed with; shown this once."""

    secret = serializers.CharField()
