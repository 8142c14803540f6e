"""What the files of a configuration have: the API's names and checks, and no key that is not known."""

from typing import Any

from rest_framework import serializers

from campaigns.api.choices import CHANNELS
from campaigns.api.serializers.campaigns import CampaignBodySerializer
from campaigns.api.serializers.channels import ChannelChangesSerializer
from campaigns.api.serializers.templates import TemplateSerializer
from campaigns.models import Campaign
from contacts.models import Field
from contacts.profiles.fields import MAX_NAME_LENGTH
from events.api.serializers import DefinitionBodySerializer, PropertySerializer
from scoring.api.serializers import LimitSerializer, ScoringRuleSerializer
from segments.api.serializers import SegmentBodySerializer
from workspaces.api.fields import MillisecondsField, NameCharField, UpperChoiceField
from workspaces.api.strict import KnownKeysSerializer, ObjectField, StrictIntegerField

_LONGEST_LATENESS = 2**31 - 1


class _PropertyFileSerializer(KnownKeysSerializer, PropertySerializer):
    pass


class DefinitionFileSerializer(KnownKeysSerializer, DefinitionBodySerializer):
    """An event definition."""

    lateAfterHours = StrictIntegerField(source="late_after_hours", min_value=0, max_value=_LONGEST_LATENESS)
    properties = _PropertyFileSerializer(many=True)


class FieldFileSerializer(KnownKeysSerializer):
    """A contact field."""

    name = NameCharField(max_length=MAX_NAME_LENGTH)
    type = serializers.ChoiceField(choices=Field.Type.choices)
    format = ObjectField(allow_null=True)


class ChannelFileSerializer(ChannelChangesSerializer):
    """The settings of a channel, without its secret."""

    channel = UpperChoiceField(choices=CHANNELS)
    secret = None  # type: ignore[assignment]  # how DRF drops an inherited field


class TemplateFileSerializer(TemplateSerializer):
    """A template."""

    id = createdAt = updatedAt = warnings = None  # type: ignore[assignment]  # as above

    def load(self, rows: Any) -> None:
        """Add nothing."""


class SegmentFileSerializer(KnownKeysSerializer, SegmentBodySerializer):
    """A segment."""

    publish = None  # type: ignore[assignment]  # as above


class _LimitFileSerializer(KnownKeysSerializer, LimitSerializer):
    pass


class ScoringRuleFileSerializer(KnownKeysSerializer, ScoringRuleSerializer):
    """A scoring rule."""

    limit = _LimitFileSerializer(allow_null=True)

    class Meta(ScoringRuleSerializer.Meta):
        fields = [
            "name",
            "description",
            "active",
            "eventType",
            "condition",
            "delta",
            "decayPoints",
            "decayDays",
            "maxScore",
            "minScore",
            "limit",
        ]


class CampaignFileSerializer(CampaignBodySerializer):
    """A campaign with its draft; with `status: ACTIVE` the draft is what serves."""

    startAt = MillisecondsField(source="starts_at", allow_null=True)
    endAt = MillisecondsField(source="ends_at", allow_null=True)
    status = serializers.ChoiceField(choices=[Campaign.Status.ACTIVE.value, "active"], required=False)
    settings = None  # type: ignore[assignment]  # as above
