"""The shapes of scoring rules and scores in the native format."""

from typing import Any

from rest_framework import serializers

from events.conditions import validate_condition
from events.errors import InvalidCondition
from scoring.models import ScoringRule
from workspaces.api.fields import MillisecondsField, StrictCharField
from workspaces.api.strict import NumberField, ObjectField, StrictBooleanField, StrictIntegerField

_MAX_DAYS = 36_500


class ScoringRuleSerializer(serializers.ModelSerializer[ScoringRule]):
    """A rule: events of a type that fulfil a condition earn their contact points."""

    name = StrictCharField(max_length=255)
    description = StrictCharField(required=False, allow_blank=True, allow_null=True, max_length=10_000)
    active = StrictBooleanField(required=False)
    eventType = StrictCharField(source="event_name", max_length=255)
    condition = ObjectField(
        required=False,
        allow_null=True,
        help_text='one condition, such as {"field": "metadata.amount", "operator": "gte", "value": 50}',
    )
    delta = NumberField(source="points", help_text="points that a match gives; negative ones subtract")
    decayPoints = NumberField(
        source="decay_points",
        min_value=0,
        required=False,
        allow_null=True,
        help_text="points lost per period",
    )
    decayDays = StrictIntegerField(
        source="decay_days",
        min_value=1,
        max_value=_MAX_DAYS,
        required=False,
        allow_null=True,
        help_text="days of a period",
    )
    maxScore = NumberField(source="max_score", required=False, allow_null=True, help_text="cap")
    minScore = NumberField(source="min_score", required=False, allow_null=True, help_text="floor")
    createdAt = MillisecondsField(source="created_at", read_only=True)

    class Meta:
        model = ScoringRule
        fields = [
            "id",
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
            "createdAt",
        ]

    def validate_description(self, text: str | None) -> str:
        """Store no null."""
        return text or ""

    def validate_condition(self, condition: dict[str, Any] | None) -> dict[str, Any] | None:
        """Refuse what no event could ever be checked against."""
        if condition is None:
            return None
        try:
            validate_condition(condition)
        except InvalidCondition as error:
            part = error.path.removeprefix("condition").removeprefix(".")
            raise serializers.ValidationError({part: error.message} if part else error.message) from error
        return condition

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Refuse a cap below the floor, and half a decay."""
        lowest, highest = self._resulting("min_score", attrs), self._resulting("max_score", attrs)
        if lowest is not None and highest is not None and lowest > highest:
            raise serializers.ValidationError({"maxScore": ["Must not be below minScore."]})
        if (self._resulting("decay_points", attrs) is None) != (self._resulting("decay_days", attrs) is None):
            raise serializers.ValidationError({"decayDays": ["decayPoints and decayDays go together."]})
        return attrs

    def _resulting(self, name: str, attrs: dict[str, Any]) -> Any:
        return attrs.get(name, getattr(self.instance, name, None))


class ScoreRuleSerializer(serializers.Serializer[Any]):
    """The rule of a line."""

    id = serializers.UUIDField()
    name = serializers.CharField(allow_null=True, help_text="null where the rule has been deleted")


class ScoreEntrySerializer(serializers.Serializer[Any]):
    """A line of the ledger: what one event earned under one rule."""

    id = serializers.UUIDField()
    rule = ScoreRuleSerializer()
    eventId = serializers.UUIDField()
    points = NumberField()
    timestamp = MillisecondsField(help_text="when the event happened")
    createdAt = MillisecondsField(help_text="when the points were given")


class ScoreSerializer(serializers.Serializer[Any]):
    """A contact's score and the lines that add up to it."""

    contactId = serializers.UUIDField()
    score = NumberField(max_digits=30)
    entries = ScoreEntrySerializer(many=True)
    next = serializers.CharField(allow_null=True, help_text="the next page's `before`; null on the last page")
