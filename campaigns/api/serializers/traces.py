"""Traces: all that one event caused."""

from typing import Any

from rest_framework import serializers

from campaigns.api.serializers.enrollments import DecisionSerializer, EnrollmentSerializer, NamedSerializer
from campaigns.api.serializers.messages import MessageRowSerializer
from contacts.api.serializers import ContactBriefSerializer
from workspaces.api.fields import MillisecondsField
from workspaces.api.strict import (
    ObjectField,
)


class TracedSchemaSerializer(serializers.Serializer[Any]):
    """The event held against the definition of its name, as it is now."""

    definitionId = serializers.UUIDField(allow_null=True)
    isDeclared = serializers.BooleanField()
    problems = serializers.DictField(child=serializers.CharField(), help_text="by property")


class TracedContactSerializer(serializers.Serializer[Any]):
    """Whom the event is about, and how that was found."""

    resolved = serializers.ChoiceField(choices=["NOBODY", "KNOWN", "CREATED", "MERGED"])
    cameWith = serializers.UUIDField(allow_null=True, help_text="the contact that the event came with")
    contact = ContactBriefSerializer(allow_null=True, help_text="who that is now")


class ParkedSerializer(serializers.Serializer[Any]):
    """An effect that failed on the event, and waits."""

    effect = serializers.CharField()
    subject = serializers.CharField()
    error = serializers.CharField()
    at = MillisecondsField()


class TracedEffectsSerializer(serializers.Serializer[Any]):
    """How far the event's effects are."""

    state = serializers.ChoiceField(choices=["APPLIED", "WAITING", "PARKED"])
    parked = ParkedSerializer(many=True)


class TracedScoreSerializer(serializers.Serializer[Any]):
    """What the event earned by one rule."""

    rule = NamedSerializer()
    points = serializers.FloatField()
    counts = serializers.BooleanField(help_text="false: past the rule's limit")
    at = MillisecondsField()


class TracedSegmentSerializer(serializers.Serializer[Any]):
    """A segment that the contact entered or left by it."""

    segment = NamedSerializer()
    entered = serializers.BooleanField()
    eventId = serializers.UUIDField()
    at = MillisecondsField()


class TracedConsequenceSerializer(serializers.Serializer[Any]):
    """An event of the system's that followed."""

    id = serializers.UUIDField()
    type = serializers.CharField()
    metadata = ObjectField()
    causeId = serializers.UUIDField()
    timestamp = MillisecondsField()
    recordedAt = MillisecondsField()


class TraceSerializer(serializers.Serializer[Any]):
    """What one event caused."""

    id = serializers.UUIDField()
    type = serializers.CharField()
    timestamp = MillisecondsField()
    receivedAt = MillisecondsField()
    schema = TracedSchemaSerializer()
    contact = TracedContactSerializer()
    effects = TracedEffectsSerializer()
    scores = TracedScoreSerializer(many=True)
    segments = TracedSegmentSerializer(many=True)
    consequences = TracedConsequenceSerializer(many=True)
    runs = EnrollmentSerializer(many=True)
    decisions = DecisionSerializer(many=True)
    messages = MessageRowSerializer(many=True)
