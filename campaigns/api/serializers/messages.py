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
from campaigns.api.serializers.templates import ForContactSerializer
from campaigns.models import Message
from contacts.api.serializers import ContactBriefField, ContactsSerializer
from workspaces.api.fields import BlankAsNullField, MillisecondsField, StrictCharField, UpperChoiceField
from workspaces.api.strict import (
    KnownKeysSerializer,
    StrictBooleanField,
    StrictIntegerField,
)


class MessageRowSerializer(ContactsSerializer):
    """A message without its content, as lists have it."""

    id = serializers.UUIDField()
    channel = UpperChoiceField(choices=CHANNELS)
    status = serializers.ChoiceField(choices=Message.Status.choices)
    contact = ContactBriefField(source="contact_id")
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
        choices=REASONS, allow_null=True, help_text="why it was not sent; null: it was, or it waits"
    )
    error = BlankAsNullField()
    sendAt = MillisecondsField(
        source="send_at", help_text="not sent before; after a failure, when it is tried again"
    )
    createdAt = MillisecondsField(source="created_at")
    sentAt = MillisecondsField(source="sent_at", allow_null=True)
    openedAt = MillisecondsField(source="opened_at", allow_null=True)
    clickedAt = MillisecondsField(source="clicked_at", allow_null=True)


class MessageSerializer(MessageRowSerializer):
    """A message with its content."""

    body = serializers.CharField()
    text = serializers.CharField()
    headers = serializers.DictField(child=serializers.CharField())
    providerId = BlankAsNullField(source="provider_id")


class RecentMessageSerializer(serializers.Serializer[Any]):
    """A message as the answer about its contact has it."""

    id = serializers.UUIDField()
    channel = UpperChoiceField(choices=CHANNELS)
    status = serializers.ChoiceField(choices=Message.Status.choices)
    to = serializers.CharField(source="address")
    subject = serializers.CharField()
    campaignId = serializers.UUIDField(source="campaign_id", allow_null=True)
    createdAt = MillisecondsField(source="created_at")
    sentAt = MillisecondsField(source="sent_at", allow_null=True)


class MessageBodySerializer(ForContactSerializer):
    """A message to send to one contact: of a template, or with a subject and body of its own."""

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
        help_text="such as a receipt: sent whatever consent, cap and quiet hours say, unless suppressed",
    )
    priority = StrictIntegerField(required=False, default=0, min_value=SMALLINT_MIN, max_value=SMALLINT_MAX)
    key = StrictCharField(
        required=False,
        max_length=200,
        help_text="idempotency key of the sender: a request with the same key returns the first message",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Require either a template or a body."""
        if bool(attrs.get("template_id")) == bool(attrs.get("body")):
            raise serializers.ValidationError({"templateId": ["Give either a template or a body."]})
        return attrs


class DispatchSerializer(serializers.Serializer[Any]):
    """A message that was enqueued."""

    message = MessageSerializer()
    deferredUntil = MillisecondsField(
        source="deferred_until",
        allow_null=True,
        help_text="null: not deferred; the reason is in the message's decisions",
    )


class SettleBodySerializer(KnownKeysSerializer):
    """What became of a message whose outcome is unknown."""

    wasSent = StrictBooleanField(source="was_sent", help_text="false: it is sent again")
    providerId = StrictCharField(source="provider_id", required=False, allow_blank=True, max_length=255)
