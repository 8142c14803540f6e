"""Channel settings and the secret that webhooks are signed with."""

from typing import Any

from rest_framework import serializers
from rest_framework.fields import empty

from campaigns.api.choices import CHANNELS, SMALLINT_MAX
from campaigns.models import ChannelSettings
from workspaces.api.fields import StrictCharField, UpperChoiceField
from workspaces.api.strict import KnownKeysSerializer, ObjectField, StrictBooleanField, StrictIntegerField

_ON_UNKNOWN = ["HOLD", "RETRY"]


class QuietHoursSerializer(KnownKeysSerializer):
    """Quiet hours in the contact's time zone, past midnight if `end` is before `start`."""

    start = serializers.TimeField(source="quiet_from", format="%H:%M")
    end = serializers.TimeField(source="quiet_until", format="%H:%M")

    def run_validation(self, data: Any = empty) -> Any:
        """Return the settings' columns, also for null."""
        return {"quiet_from": None, "quiet_until": None} if data is None else super().run_validation(data)

    def to_representation(self, instance: ChannelSettings) -> Any:
        """Return null without quiet hours."""
        return None if instance.quiet_from is None else super().to_representation(instance)


class FrequencyCapSerializer(KnownKeysSerializer):
    """The most messages to a contact within so many hours; others wait."""

    count = StrictIntegerField(source="cap_count", min_value=1, max_value=SMALLINT_MAX)
    hours = StrictIntegerField(source="cap_hours", min_value=1, max_value=SMALLINT_MAX)

    def run_validation(self, data: Any = empty) -> Any:
        """Return the settings' columns, also for null, which leaves the hours as they are."""
        return {"cap_count": None} if data is None else super().run_validation(data)

    def to_representation(self, instance: ChannelSettings) -> Any:
        """Return null without a cap."""
        return None if instance.cap_count is None else super().to_representation(instance)


class ChannelChangesSerializer(KnownKeysSerializer):
    """Changes of a channel's settings; what the body does not name stays."""

    sender = StrictCharField(required=False, allow_blank=True, max_length=320)
    secret = StrictCharField(
        required=False,
        allow_blank=True,
        max_length=255,
        help_text="write-only; for Telegram the bot's token",
    )
    options = ObjectField(required=False)
    requiresOptIn = StrictBooleanField(
        source="requires_opt_in", required=False, help_text="false: messages go to all who have not opted out"
    )
    frequencyCap = FrequencyCapSerializer(
        source="*", required=False, allow_null=True, help_text="null: no cap"
    )
    quietHours = QuietHoursSerializer(source="*", required=False, allow_null=True, help_text="null: none")
    timeZone = StrictCharField(
        source="time_zone", required=False, max_length=64, help_text="for contacts without one of their own"
    )
    onUnknown = UpperChoiceField(
        source="on_unknown",
        choices=_ON_UNKNOWN,
        required=False,
        help_text="what to do with a message of unknown outcome: leave it, or send it again",
    )
    maxAttempts = StrictIntegerField(
        source="max_attempts", required=False, min_value=1, max_value=SMALLINT_MAX
    )


class ChannelSerializer(serializers.Serializer[Any]):
    """The settings of a channel, without its secret."""

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
    """The secret that webhooks are signed with, shown only here."""

    secret = serializers.CharField()
