"""Messages: sent, listed and resolved."""

from typing import Any

from rest_framework import serializers

from campaigns.api.choices import (
    CHANNELS,
    MAX_SOURCE,
    REASONS,
    SMALLINT_MAX,
    SMALLINT_MIN,
)
from campaigns.api.serializers.base import ContactRowsSerializer, contact_field
from campaigns.api.serializers.templates import ForContactSerializer
from campaigns.models import Message
from workspaces.api.fields import BlankAsNullField, MillisecondsField, StrictCharField, UpperChoiceField
from workspaces.api.strict import (
    KnownKeysSerializer,
    StrictBooleanField,
    StrictIntegerField,
)


class MessageRowSerializer(ContactRowsSerializer):
    """A message as the list shows it."""

    id = serializers.UUIDField()
    channel = UpperChoiceField(choices=CHANNELS)
    status = serializers.ChoiceField(choices=Message.Status.choices)
    contact = contact_field()
    to = serializers.CharField(source="address")
    subject = serializers.CharField()
    campaignId = serializers.UUIDField(source="campaign_id", allow_null=True)
    runId = serializers.UUIDField(source="enrollment_id", allow_null=True)
    eventId = serializers.UUIDField(source="event_id", allow_null=True)
    step = BlankAsNullField()
    templateId = serializers.UUIDField(source="template_id", allow_null=True)
    isTransactional = serializers.BooleanField(source="is_transactional")
    isTest = serializers.BooleanField(source="is_test")
    priority = serializers.IntegerField()
    attempts = serializers.IntegerField()
    reason = serializers.ChoiceField(
        choices=REASONS, allow_null=True, help_text="why it has not left; null: it has, or it waits"
    )
    error = BlankAsNullField()
    sendAt = MillisecondsField(source="send_at", help_text="when it may leave, or was to be tried again")
    createdAt = MillisecondsField(source="created_at")
    sentAt = MillisecondsField(source="sent_at", allow_null=True)
    openedAt = MillisecondsField(source="opened_at", allow_null=True)
    clickedAt = MillisecondsField(source="clicked_at", allow_null=True)


class MessageSerializer(MessageRowSerializer):
    """A message with what it says."""

    body = serializers.CharField()
    text = serializers.CharField()
    headers = serializers.DictField(child=serializers.CharField())
    providerId = BlankAsNullField(source="provider_id")


class RecentMessageSerializer(serializers.Serializer[Any]):
    """A message as an answer about its contact shows it."""

    id = serializers.UUIDField()
    channel = UpperChoiceField(choices=CHANNELS)
    status = serializers.ChoiceField(choices=Message.Status.choices)
    to = serializers.CharField(source="address")
    subject = serializers.CharField()
    campaignId = serializers.UUIDField(source="campaign_id", allow_null=True)
    createdAt = MillisecondsField(source="created_at")
    sentAt = MillisecondsField(source="sent_at", allow_null=True)


class MessageBodySerializer(ForContactSerializer):
    """A message to one contact: a template's, or with what it says here."""

    channel = UpperChoiceField(choices=CHANNELS)
    templateId = StrictCharField(source="template_id", required=False, allow_null=True, max_length=64)
    subject = StrictCharField(required=False, allow_blank=True, max_length=MAX_SOURCE, help_text="Liquid")
    body = StrictCharField(required=False, trim_whitespace=False, max_length=MAX_SOURCE, help_text="Liquid")
    text = StrictCharField(
        required=False, allow_blank=True, trim_whitespace=False, max_length=MAX_SOURCE, help_text="Liquid"
    )
    transactional = StrictBooleanField(
        source="is_transactional",
        required=False,
        default=False,
        help_text="a receipt or the like: asks for no consent, cap or quiet hours, but for suppressions",
    )
    priority = StrictIntegerField(required=False, default=0, min_value=SMALLINT_MIN, max_value=SMALLINT_MAX)
    key = StrictCharField(
        required=False,
        max_length=200,
        help_text="the sender's own: the same one again gets the first message",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Want a template or a body, and not both."""
        if bool(attrs.get("template_id")) == bool(attrs.get("body")):
            raise serializers.ValidationError({"templateId": ["Give either a template or a body."]})
        return attrs


class DispatchSerializer(serializers.Serializer[Any]):
    """A message that was enqueued."""

    message = MessageSerializer()
    deferredUntil = MillisecondsField(
        source="deferred_until", allow_null=True, help_text="why is in its decisions"
    )


class SettleBodySerializer(KnownKeysSerializer):
    """What became of a message whose outcome is unknown."""

    wasSent = StrictBooleanField(source="was_sent", help_text="false: it is sent again")
    providerId = StrictCharField(source="provider_id", required=False, allow_blank=True, max_length=255)
