"""Broadcasts: starting a campaign for many contacts."""

from typing import Any

from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from workspaces.api.fields import MillisecondsField, MomentField, StrictCharField
from workspaces.api.strict import (
    KnownKeysSerializer,
)

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


class BroadcastSerializer(serializers.Serializer[Any]):
    """A start for many, and how far it is."""

    id = serializers.UUIDField()
    segmentId = serializers.UUIDField(allow_null=True)
    contacts = serializers.IntegerField(allow_null=True, help_text="of a list: how many there are in it")
    at = MillisecondsField()
    taken = serializers.IntegerField(help_text="contacts that were let in, or not, so far")
    finishedAt = MillisecondsField(allow_null=True)
    cancelledAt = MillisecondsField(allow_null=True)
    changes = BroadcastChangeSerializer(many=True)
    createdAt = MillisecondsField()


@extend_schema_serializer(many=False)  # a page is one object
class BroadcastPageSerializer(serializers.Serializer[Any]):
    """A page of broadcasts."""

    data = BroadcastSerializer(many=True)  # type: ignore[assignment]  # the format's name for its rows
    next = serializers.CharField(allow_null=True, help_text="the next page's `before`; null on the last page")
