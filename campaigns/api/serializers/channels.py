"""Channels: how a workspace sends by each."""

from typing import Any

from rest_framework import serializers
from rest_framework.fields import empty

from campaigns.api.choices import CHANNELS, SMALLINT_MAX
from campaigns.models import ChannelSettings
from workspaces.api.fields import StrictCharField, UpperChoiceField
from workspaces.api.strict import KnownKeysSerializer, ObjectField, StrictBooleanField, StrictIntegerField

_ON_UNKNOWN = ["HOLD", "RETRY"]


class QuietHoursSerializer(KnownKeysSerializer):
    """When nothing is sent, by the contact's own clock; it may go past midnight. Read from and into the settings."""

    start = serializers.TimeField(source="quiet_from", format="%H:%M")
    end = serializers.TimeField(source="quiet_until", format="%H:%M")

    def run_validation(self, data: Any = empty) -> Any:
        """Return what null sets, too."""
        return {"quiet_from": None, "quiet_until": None} if data is None else super().run_validation(data)

    def to_representation(self, instance: ChannelSettings) -> Any:
        """Return null where there are none."""
        return None if instance.quiet_from is None else super().to_representation(instance)


class FrequencyCapSerializer(KnownKeysSerializer):
    """How many messages a contact gets in a time; what is more waits. Read from and into the settings."""

    count = StrictIntegerField(source="cap_count", min_value=1, max_value=SMALLINT_MAX)
    hours = StrictIntegerField(source="cap_hours", min_value=1, max_value=SMALLINT_MAX)

    def run_validation(self, data: Any = empty) -> Any:
        """Return what null sets, too; the hours stay."""
        return {"cap_count": None} if data is None else super().run_validation(data)

    def to_representation(self, instance: ChannelSettings) -> Any:
        """Return null where there is none."""
        return None if instance.cap_count is None else super().to_representation(instance)


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
        source="requires_opt_in", required=False, help_text="else whoever has not opted out is written to"
    )
    frequencyCap = FrequencyCapSerializer(
        source="*", required=False, allow_null=True, help_text="null: as many as come"
    )
    quietHours = QuietHoursSerializer(source="*", required=False, allow_null=True, help_text="null: none")
    timeZone = StrictCharField(
        source="time_zone", required=False, max_length=64, help_text="of contacts that have none of their own"
    )
    onUnknown = UpperChoiceField(
        source="on_unknown",
        choices=_ON_UNKNOWN,
        required=False,
        help_text="what becomes of a message that may have left or not: it is left alone, or sent again",
    )
    maxAttempts = StrictIntegerField(
        source="max_attempts", required=False, min_value=1, max_value=SMALLINT_MAX
    )


class ChannelSerializer(serializers.Serializer[Any]):
    """How a channel is used."""

    channel = UpperChoiceField(choices=CHANNELS)
    sender = serializers.CharField()
    hasSecret = serializers.BooleanField(source="has_secret")
    options = ObjectField()
    requiresOptIn = serializers.BooleanField(source="requires_opt_in")
    frequencyCap = FrequencyCapSerializer(source="*", allow_null=True)
    quietHours = QuietHoursSerializer(source="*", allow_null=True)
    timeZone = serializers.CharField(source="time_zone")
    onUnknown = UpperChoiceField(source="on_unknown", choices=_ON_UNKNOWN)
    maxAttempts = serializers.IntegerField(source="max_attempts")


class SecretSerializer(serializers.Serializer[Any]):
    """What webhooks are signed with; shown this once."""

    secret = serializers.CharField()
