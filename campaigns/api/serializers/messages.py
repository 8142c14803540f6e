"""Messages: sent, listed and resolved."""

from typing import Any

from drf_spectacular.utils import extend_schema_serializer
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
from contacts.api.serializers import ContactBriefSerializer
from workspaces.api.fields import MillisecondsField, StrictCharField
from workspaces.api.strict import (
    KnownKeysSerializer,
    StrictBooleanField,
    StrictIntegerField,
)


class MessageRowSerializer(serializers.Serializer[Any]):
    """A message as the list shows it."""

    id = serializers.UUIDField()
    channel = serializers.ChoiceField(choices=CHANNELS)
    status = serializers.ChoiceField(choices=Message.Status.choices)
    contact = ContactBriefSerializer()
    to = serializers.CharField()
    subject = serializers.CharField()
    campaignId = serializers.UUIDField(allow_null=True)
    runId = serializers.UUIDField(allow_null=True)
    eventId = serializers.UUIDField(allow_null=True)
    step = serializers.CharField(allow_null=True)
    templateId = serializers.UUIDField(allow_null=True)
    isTransactional = serializers.BooleanField()
    isTest = serializers.BooleanField()
    priority = serializers.IntegerField()
    attempts = serializers.IntegerField()
    reason = serializers.ChoiceField(
        choices=REASONS, allow_null=True, help_text="why it has not left; null: it has, or it waits"
    )
    error = serializers.CharField(allow_null=True)
    sendAt = MillisecondsField(help_text="when it may leave, or was to be tried again")
    createdAt = MillisecondsField()
    sentAt = MillisecondsField(allow_null=True)
    openedAt = MillisecondsField(allow_null=True)
    clickedAt = MillisecondsField(allow_null=True)


class MessageSerializer(MessageRowSerializer):
    """A message with what it says."""

    body = serializers.CharField()
    text = serializers.CharField()
    headers = serializers.DictField(child=serializers.CharField())
    providerId = serializers.CharField(allow_null=True)


@extend_schema_serializer(many=False)  # a page is one object
class MessagePageSerializer(serializers.Serializer[Any]):
    """A page of messages."""

    data = MessageRowSerializer(many=True)  # type: ignore[assignment]  # the format's name for its rows
    next = serializers.CharField(allow_null=True, help_text="the next page's `before`; null on the last page")


class MessageBodySerializer(ForContactSerializer):
    """A message to one contact: a template's, or with what it says here."""

    channel = serializers.ChoiceField(choices=CHANNELS)
    templateId = StrictCharField(required=False, allow_null=True, max_length=64)
    subject = StrictCharField(required=False, allow_blank=True, max_length=MAX_SOURCE, help_text="Liquid")
    body = StrictCharField(required=False, trim_whitespace=False, max_length=MAX_SOURCE, help_text="Liquid")
    text = StrictCharField(
        required=False, allow_blank=True, trim_whitespace=False, max_length=MAX_SOURCE, help_text="Liquid"
    )
    transactional = StrictBooleanField(
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
        if bool(attrs.get("templateId")) == bool(attrs.get("body")):
            raise serializers.ValidationError({"templateId": ["Give either a template or a body."]})
        return attrs


class DispatchSerializer(serializers.Serializer[Any]):
    """A message that was taken."""

    message = MessageSerializer()
    deferredUntil = MillisecondsField(allow_null=True, help_text="why is in its decisions")


class SettleBodySerializer(KnownKeysSerializer):
    """What became of a message of which nobody knows."""

    wasSent = StrictBooleanField(help_text="false: it is sent again")
    providerId = StrictCharField(required=False, allow_blank=True, max_length=255)
