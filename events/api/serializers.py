"""The shapes of events and their definitions in the native format."""

from collections.abc import Sequence
from typing import Any

from rest_framework import serializers

from contacts.api.serializers import ContactBriefSerializer
from events.models import EventDefinition, EventProperty
from events.stream.definitions import PropertySpec
from workspaces.api.fields import MillisecondsField, NameCharField, StrictCharField
from workspaces.api.strict import ObjectField

_MAX_PROPERTIES = 200
_MAX_SUGGESTED = 100


class LagSerializer(serializers.Serializer[Any]):
    """How far the effects are behind."""

    lagSeconds = serializers.FloatField(help_text="for how long the oldest thing has waited")
    waitingBatches = serializers.IntegerField(help_text="of events; counted up to 100,000")
    waitingSince = MillisecondsField(allow_null=True)
    overdue = serializers.IntegerField(help_text="decisions that time has made due; counted up to 100,000")
    overdueSince = MillisecondsField(allow_null=True)
    parked = serializers.IntegerField(help_text="effects that failed and wait for somebody")


class EventRowSerializer(serializers.Serializer[Any]):
    """An event as the list shows it."""

    id = serializers.UUIDField()
    type = serializers.CharField()
    metadata = ObjectField()
    timestamp = MillisecondsField()
    contact = ContactBriefSerializer(allow_null=True)


class EventSerializer(EventRowSerializer):
    """An event with all that its sender said of it."""

    workspaceId = serializers.UUIDField()
    contactId = serializers.UUIDField(allow_null=True)
    sessionId = serializers.CharField(allow_null=True)
    pageUrl = serializers.CharField(allow_null=True)
    referrer = serializers.CharField(allow_null=True)
    utmSource = serializers.CharField(allow_null=True)
    utmMedium = serializers.CharField(allow_null=True)
    utmCampaign = serializers.CharField(allow_null=True)


class ItemErrorSerializer(serializers.Serializer[Any]):
    """Why an item of a batch was refused."""

    code = serializers.CharField()
    message = serializers.CharField()
    details = serializers.DictField(
        child=serializers.ListField(child=serializers.CharField()), required=False
    )


class ItemResultSerializer(serializers.Serializer[Any]):
    """What became of an item of a batch."""

    status = serializers.ChoiceField(
        choices=[("recorded", "recorded"), ("duplicate", "known already"), ("refused", "not recorded")]
    )
    id = serializers.UUIDField(required=False, help_text="the event's id, unless it was refused")
    error = ItemErrorSerializer(required=False)


class BatchResultSerializer(serializers.Serializer[Any]):
    """A result per item, in the order of the items."""

    results = ItemResultSerializer(many=True)


class PropertySerializer(serializers.Serializer[Any]):
    """A property of a definition."""

    name = NameCharField(max_length=128)
    type = serializers.ChoiceField(choices=EventProperty.Type.choices)
    description = StrictCharField(required=False, allow_blank=True, default="", max_length=10_000)
    suggestedValues = serializers.ListField(
        source="suggested_values",
        child=StrictCharField(max_length=2048),
        required=False,
        default=list,
        max_length=_MAX_SUGGESTED,
    )


class DefinitionBodySerializer(serializers.Serializer[Any]):
    """An event to declare."""

    name = NameCharField(max_length=255)
    description = StrictCharField(required=False, allow_blank=True, max_length=10_000)
    properties = PropertySerializer(
        many=True,
        required=False,
        max_length=_MAX_PROPERTIES,  # type: ignore[call-arg]  # the list's argument, which the stubs do not know
    )

    def validate_properties(self, properties: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Refuse two properties of one name."""
        names = [each["name"] for each in properties]
        if len(set(names)) < len(names):
            raise serializers.ValidationError("Every property needs a name of its own.")
        return properties


class DefinitionChangeSerializer(DefinitionBodySerializer):
    """What to change of a definition; its name is what its events are called, and stays."""

    name = None  # type: ignore[assignment]  # how DRF drops an inherited field


class DefinitionSerializer(serializers.ModelSerializer[EventDefinition]):
    """A definition and its properties."""

    declared = serializers.BooleanField(
        source="is_declared", help_text="declared by somebody, not merely seen in the stream"
    )
    properties = PropertySerializer(many=True)
    createdAt = MillisecondsField(source="created_at")
    updatedAt = MillisecondsField(source="updated_at")

    class Meta:
        model = EventDefinition
        fields = ["id", "name", "description", "declared", "properties", "createdAt", "updatedAt"]


def specs_from(properties: Sequence[dict[str, Any]]) -> list[PropertySpec]:
    """Return validated properties as the core takes them."""
    return [
        PropertySpec(
            name=each["name"],
            type=each["type"],
            description=each["description"],
            suggested_values=tuple(each["suggested_values"]),
        )
        for each in properties
    ]
