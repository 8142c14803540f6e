"""Traces: everything that one event caused."""

from typing import Any

from rest_framework import serializers

from campaigns.api.serializers.enrollments import DecisionSerializer, EnrollmentSerializer, NamedSerializer
from campaigns.api.serializers.messages import MessageRowSerializer
from contacts.api.briefs import briefs
from contacts.api.serializers import ContactBriefSerializer
from events.names import SEGMENT_ENTERED
from workspaces.api.fields import MillisecondsField, UpperChoiceField
from workspaces.api.strict import ObjectField, json_number


class TracedSchemaSerializer(serializers.Serializer[Any]):
    """Whether the event fits the current definition of its name."""

    definitionId = serializers.UUIDField(source="definition_id", allow_null=True)
    isDeclared = serializers.BooleanField(source="is_declared")
    problems = serializers.DictField(child=serializers.CharField(), help_text="by property")


class TracedContactSerializer(serializers.Serializer[Any]):
    """The contact of the event, and how it was resolved."""

    resolved = UpperChoiceField(choices=["NOBODY", "KNOWN", "CREATED", "MERGED"])
    cameWith = serializers.UUIDField(
        source="event.contact_id", allow_null=True, help_text="the contact that the event came with"
    )
    contact = ContactBriefSerializer(
        allow_null=True, help_text="the canonical contact; null: none, or deleted"
    )

    def to_representation(self, instance: Any) -> dict[str, Any]:
        """Render the contact of a trace; one statement if there is one."""
        ids = [instance.contact_id] if instance.contact_id else []
        contact = briefs(instance.event.workspace_id, ids).get(instance.contact_id)
        return {**super().to_representation(instance), "contact": contact}


class ParkedSerializer(serializers.Serializer[Any]):
    """An effect that failed on the event and is parked."""

    effect = serializers.CharField()
    subject = serializers.CharField()
    error = serializers.CharField()
    at = MillisecondsField(source="created_at")


class TracedEffectsSerializer(serializers.Serializer[Any]):
    """Whether the event's effects are applied, waiting or parked."""

    state = UpperChoiceField(choices=["APPLIED", "WAITING", "PARKED"])
    parked = ParkedSerializer(many=True)


class _PointsField(serializers.FloatField):
    def to_representation(self, value: Any) -> Any:
        return json_number(value)


class TracedScoreSerializer(serializers.Serializer[Any]):
    """An entry of the score ledger that the event made, with its rule."""

    rule = NamedSerializer()
    points = _PointsField()
    counts = serializers.BooleanField(help_text="false: superseded, as the rule's limit was reached")
    at = MillisecondsField()

    def to_representation(self, instance: Any) -> dict[str, Any]:
        """Render an entry with the name of its rule, blank if the rule is gone."""
        entry, name = instance
        rule = {"id": entry.rule_id, "name": name or None}
        return super().to_representation(
            {"rule": rule, "points": entry.points, "counts": not entry.is_superseded, "at": entry.created_at}
        )


class TracedSegmentSerializer(serializers.Serializer[Any]):
    """A segment that the contact entered or left because of the event."""

    segment = NamedSerializer()
    entered = serializers.BooleanField()
    eventId = serializers.UUIDField()
    at = MillisecondsField()

    def to_representation(self, instance: Any) -> dict[str, Any]:
        """Render a `segment.entered` or `segment.exited` event."""
        said = instance.properties
        return super().to_representation(
            {
                "segment": {"id": said.get("segmentId"), "name": said.get("segmentName")},
                "entered": instance.name == SEGMENT_ENTERED,
                "eventId": instance.id,
                "at": instance.occurred_at,
            }
        )


class TracedConsequenceSerializer(serializers.Serializer[Any]):
    """A derived event: one that the system recorded because of the event."""

    id = serializers.UUIDField()
    type = serializers.CharField(source="name")
    metadata = ObjectField(source="properties")
    causeId = serializers.UUIDField(source="cause_id")
    timestamp = MillisecondsField(source="occurred_at")
    recordedAt = MillisecondsField(source="received_at")


class TraceSerializer(serializers.Serializer[Any]):
    """Everything that one event caused."""

    id = serializers.UUIDField(source="event.id")
    type = serializers.CharField(source="event.name")
    timestamp = MillisecondsField(source="event.occurred_at")
    receivedAt = MillisecondsField(source="event.received_at")
    schema = TracedSchemaSerializer()
    contact = TracedContactSerializer(source="*")
    effects = TracedEffectsSerializer(source="*")
    scores = TracedScoreSerializer(many=True)
    segments = TracedSegmentSerializer(source="segment_moves", many=True)
    consequences = TracedConsequenceSerializer(source="derived_events", many=True)
    runs = EnrollmentSerializer(source="enrollments", many=True)
    decisions = DecisionSerializer(many=True)
    messages = MessageRowSerializer(many=True)
