"""Broadcasts: starting a campaign for many contacts."""

from typing import Any

from rest_framework import serializers

from workspaces.api.fields import MillisecondsField, MomentField, StrictCharField
from workspaces.api.strict import KnownKeysSerializer

MAX_CONTACTS = 10_000


class BroadcastBodySerializer(KnownKeysSerializer):
    """For whom, and when, to start enrollments: either a segment or a list."""

    segmentId = StrictCharField(required=False, allow_null=True, max_length=64)
    contactIds = serializers.ListField(
        child=StrictCharField(max_length=64), required=False, allow_null=True, max_length=MAX_CONTACTS
    )
    at = MomentField(required=False, allow_null=True, help_text="null: now")


class BroadcastChangesSerializer(KnownKeysSerializer):
    """When a broadcast is to start instead."""

    at = MomentField(allow_null=True, help_text="null: now")


class BroadcastChangeSerializer(serializers.Serializer[Any]):
    """What somebody did to a broadcast."""

    kind = serializers.ChoiceField(choices=["planned", "moved", "cancelled"])
    at = MillisecondsField()
    by = serializers.CharField(allow_null=True, help_text="who, if that is known")
    dueAt = MillisecondsField(allow_null=True, help_text="when it was to start from then on")

    def to_representation(self, instance: Any) -> dict[str, Any]:
        """Return it as it is stored."""
        change: dict[str, Any] = instance
        return change


class _LengthField(serializers.IntegerField):
    def to_representation(self, value: Any) -> int:
        return len(value)


class BroadcastSerializer(serializers.Serializer[Any]):
    """A start for many, and how far it is."""

    id = serializers.UUIDField()
    segmentId = serializers.UUIDField(source="segment_id", allow_null=True)
    contacts = _LengthField(
        source="contact_ids", allow_null=True, help_text="of a list: how many there are in it"
    )
    at = MillisecondsField(source="due_at")
    taken = serializers.IntegerField(
        source="processed_count", help_text="contacts that were let in, or not, so far"
    )
    finishedAt = MillisecondsField(source="finished_at", allow_null=True)
    cancelledAt = MillisecondsField(source="cancelled_at", allow_null=True)
    changes = BroadcastChangeSerializer(many=True)
    createdAt = MillisecondsField(source="created_at")
