"""Broadcasts: starting a campaign for many contacts."""

from typing import Any

from rest_framework import serializers

from workspaces.api.fields import MillisecondsField, MomentField, StrictCharField
from workspaces.api.strict import KnownKeysSerializer

MAX_CONTACTS = 10_000


class BroadcastBodySerializer(KnownKeysSerializer):
    """A broadcast to start: to either a segment or a list of contacts."""

    segmentId = StrictCharField(source="segment_id", required=False, allow_null=True, max_length=64)
    contactIds = serializers.ListField(
        source="contact_ids",
        child=StrictCharField(max_length=64),
        required=False,
        allow_null=True,
        max_length=MAX_CONTACTS,
    )
    at = MomentField(required=False, allow_null=True, help_text="null: now")


class BroadcastChangesSerializer(KnownKeysSerializer):
    """The new time of a broadcast."""

    at = MomentField(allow_null=True, help_text="null: now")


class BroadcastChangeSerializer(serializers.Serializer[Any]):
    """An entry of a broadcast's history: planned, rescheduled (`moved`) or cancelled."""

    kind = serializers.ChoiceField(choices=["planned", "moved", "cancelled"])
    at = MillisecondsField()
    by = serializers.CharField(allow_null=True, help_text="who did it; null: not known")
    dueAt = MillisecondsField(allow_null=True, help_text="when it is to start as of this change")

    def to_representation(self, instance: Any) -> dict[str, Any]:
        """Return the entry as it is stored: in the API's spelling."""
        change: dict[str, Any] = instance
        return change


class _LengthField(serializers.IntegerField):
    def to_representation(self, value: Any) -> int:
        return len(value)


class BroadcastSerializer(serializers.Serializer[Any]):
    """A broadcast and its progress."""

    id = serializers.UUIDField()
    segmentId = serializers.UUIDField(source="segment_id", allow_null=True)
    contacts = _LengthField(
        source="contact_ids", allow_null=True, help_text="number of contacts in the list; null: a segment"
    )
    at = MillisecondsField(source="due_at")
    taken = serializers.IntegerField(
        source="done", help_text="contacts that were processed so far, entered or not"
    )
    finishedAt = MillisecondsField(source="finished_at", allow_null=True)
    cancelledAt = MillisecondsField(source="cancelled_at", allow_null=True)
    changes = BroadcastChangeSerializer(many=True)
    createdAt = MillisecondsField(source="created_at")
