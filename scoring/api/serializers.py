"""Serializers of scoring rules and scores in the native API."""

import copy
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from drf_spectacular.utils import OpenApiExample, extend_schema_field, extend_schema_serializer
from rest_framework import serializers

from config.http.rendering import iso_millis
from contacts.api.serializers import ContactBriefField, ContactsSerializer, KnownContactsSerializer
from events.errors import InvalidCondition
from events.stream.outbox import LANE_COUNT
from scoring.errors import InvalidScoringRule
from scoring.models import LONGEST_DECAY_DAYS, ScoringRule
from scoring.rules import rule_warnings, validate_rule
from workspaces.api.fields import MillisecondsField, NameCharField, StrictCharField
from workspaces.api.strict import NumberField, ObjectField, StrictBooleanField, StrictIntegerField

_MOST_COUNTED = 2**31 - 1
_CONDITION = """\
Which events earn the points; null: all of the type. A condition on the event itself is
`{"field": "metadata.amount", "operator": "gte", "value": 50}`, of any field below `metadata.` or one of the event's
own (`pageUrl`, `utmSource`, …). It may stand in a tree, `{"operator": "AND"|"OR"|"NOT", "conditions": […]}`, together
with the conditions of segments on the contact (`type`: `attribute`, `event`, `channel`, `tag`, `company`, `segment`),
which are evaluated as of the event's moment, by what is known when the rule is applied."""


class LimitSerializer(serializers.Serializer[Any]):
    """How many matches count in each period."""

    count = StrictIntegerField(min_value=1, max_value=_MOST_COUNTED)
    period = serializers.ChoiceField(
        choices=ScoringRule.Period.choices, help_text="calendar periods in UTC; a week starts on Monday"
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Want both, also where a rule is changed: a limit is one value."""
        if missing := {"count", "period"} - set(attrs):
            raise serializers.ValidationError({name: ["This field is required."] for name in sorted(missing)})
        return attrs


class RescoringSerializer(serializers.Serializer[Any]):
    """How far the rule's last re-scoring has come."""

    startedAt = MillisecondsField()
    finishedAt = MillisecondsField(allow_null=True)
    fraction = serializers.FloatField(help_text="0 to 1")


@extend_schema_serializer(
    examples=[
        OpenApiExample(
            "A purchase over 50, at most once a day, for buyers who never complained",
            {
                "name": "Big purchase",
                "eventType": "purchase",
                "condition": {
                    "operator": "AND",
                    "conditions": [
                        {"field": "metadata.amount", "operator": "gte", "value": 50},
                        {"type": "event", "eventType": "complaint", "operator": "eq", "value": 0},
                    ],
                },
                "delta": 10,
                "limit": {"count": 1, "period": "day"},
                "decayPoints": 1,
                "decayDays": 7,
                "maxScore": 100,
                "rescore": True,
            },
            request_only=True,
        )
    ]
)
class ScoringRuleSerializer(serializers.ModelSerializer[ScoringRule]):
    """A rule: events of a type that fulfil a condition earn their contact points."""

    name = StrictCharField(max_length=255)
    description = StrictCharField(required=False, allow_blank=True, allow_null=True, max_length=10_000)
    active = StrictBooleanField(required=False)
    eventType = NameCharField(source="event_name", max_length=255)
    condition = ObjectField(required=False, allow_null=True, help_text=_CONDITION)
    delta = NumberField(source="points", help_text="points that a match gives; negative ones subtract")
    decayPoints = NumberField(
        source="decay_points",
        min_value=0,
        required=False,
        allow_null=True,
        help_text="points lost for every full `decayDays` since the last award, down to `minScore`, else to zero",
    )
    decayDays = StrictIntegerField(
        source="decay_days",
        min_value=1,
        max_value=LONGEST_DECAY_DAYS,
        required=False,
        allow_null=True,
        help_text="how often points are lost",
    )
    maxScore = NumberField(
        source="max_score", required=False, allow_null=True, help_text="cap of what the rule gives"
    )
    minScore = NumberField(source="min_score", required=False, allow_null=True, help_text="floor")
    limit = LimitSerializer(required=False, allow_null=True, help_text="null: every match counts")
    rescore = StrictBooleanField(
        required=False,
        write_only=True,
        help_text="true: evaluate all events again, in the background. Otherwise events received before keep what"
        " they earned. Limit, decay, cap and floor apply to all history either way.",
    )
    effectiveFrom = MillisecondsField(
        source="effective_from",
        read_only=True,
        allow_null=True,
        help_text="events received before keep what they earned; null: it holds for all history",
    )
    rescoring = serializers.SerializerMethodField(help_text="null where it was never re-scored")
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
            "limit",
            "rescore",
            "effectiveFrom",
            "rescoring",
            "createdAt",
        ]

    def validate_description(self, text: str | None) -> str:
        """Store no null."""
        return text or ""

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Refuse a rule that could not mean anything, with the field that is wrong."""
        if "limit" in attrs:
            limit = attrs.pop("limit") or {"count": None, "period": ScoringRule.Period.EVER}
            attrs |= {"limit_count": limit["count"], "limit_period": limit["period"]}
        rule = copy.copy(self.instance) or ScoringRule(workspace=self.context["workspace"])
        for name, value in attrs.items():
            setattr(rule, name, value)
        try:
            validate_rule(rule)
        except InvalidCondition as error:
            fault = {error.path: error.message} if error.path else error.message
            raise serializers.ValidationError({"condition": fault}) from error
        except InvalidScoringRule as error:
            raise serializers.ValidationError({self._name_of(error.field): [error.message]}) from error
        return attrs

    def _name_of(self, attribute: str) -> str:
        """Return the field that sets an attribute of the rule."""
        return next(
            (name for name, field in self.fields.items() if field.source == attribute),
            attribute.partition("_")[0],
        )

    @extend_schema_field(RescoringSerializer(allow_null=True))
    def get_rescoring(self, rule: ScoringRule) -> dict[str, Any] | None:
        """Return the progress of the last re-scoring."""
        if rule.rescore_started_at is None:
            return None
        return {
            "startedAt": iso_millis(rule.rescore_started_at),
            "finishedAt": rule.rescored_at and iso_millis(rule.rescored_at),
            "fraction": rule.rescore_lanes_done.bit_count() / LANE_COUNT,
        }


class ScoringRuleWrittenSerializer(ScoringRuleSerializer):
    """A rule as a write answers with it."""

    warnings = serializers.SerializerMethodField(
        help_text="events and properties in the rule that were never seen"
    )

    class Meta(ScoringRuleSerializer.Meta):
        fields = [*ScoringRuleSerializer.Meta.fields, "warnings"]

    def get_warnings(self, rule: ScoringRule) -> list[str]:
        """Return a sentence for each."""
        return rule_warnings(rule)


class RulePreviewBodySerializer(ScoringRuleSerializer):
    """A rule to try out; it needs no name and no points."""

    name = StrictCharField(max_length=255, required=False)
    delta = NumberField(source="points", required=False)


class MatchSerializer(serializers.Serializer[Any]):
    """An event that a rule matches."""

    eventId = serializers.UUIDField(source="event_id")
    contact = ContactBriefField(source="contact_id")
    timestamp = MillisecondsField(source="occurred_at")

    class Meta:
        list_serializer_class = KnownContactsSerializer


class RulePreviewSerializer(ContactsSerializer):
    """What a rule matches of the latest events of its type; limits are not applied."""

    since = MillisecondsField()
    events = serializers.IntegerField(help_text="how many were looked at, at most 10,000, the latest ones")
    matches = serializers.IntegerField()
    contacts = serializers.IntegerField(help_text="contacts of the events that match")
    samples = MatchSerializer(many=True, help_text="up to 10, the latest first")
    warnings = serializers.ListField(child=serializers.CharField())

    def contact_ids(self, row: Any) -> Iterable[UUID]:
        """Return whom the samples are about."""
        return [match.contact_id for match in row.samples]


class ScoreRuleSerializer(serializers.Serializer[Any]):
    """The rule of a line; rendered from its id, with its name out of the context's `rule_names`."""

    id = serializers.UUIDField()
    name = serializers.CharField(allow_null=True, help_text="null where the rule has been deleted")

    def to_representation(self, instance: UUID) -> dict[str, Any]:
        """Render the rule."""
        return super().to_representation({"id": instance, "name": self.context["rule_names"].get(instance)})


class ScoreEntrySerializer(serializers.Serializer[Any]):
    """A change of the score under one rule."""

    id = serializers.CharField()
    kind = serializers.ChoiceField(
        choices=["award", "superseded", "clamp", "decay"],
        help_text="award: an event's points; superseded: an event past the rule's limit, without points; clamp: what"
        " the cap or the floor takes or adds after an award; decay: what time has taken since an award",
    )
    rule = ScoreRuleSerializer(source="place.rule_id")
    eventId = serializers.UUIDField(
        source="place.event_id", help_text="the event of the award, also for what follows from it"
    )
    points = NumberField(help_text="by how much the score changes")
    nominalPoints = NumberField(
        source="nominal", help_text="what the ledger has: an event past the limit has points there"
    )
    score = NumberField(max_digits=30, help_text="the score after this line")
    timestamp = MillisecondsField(source="place.at", help_text="when the event happened, or the decay")
    createdAt = MillisecondsField(source="created_at", help_text="when the event's points were given")


class ScoreSerializer(serializers.Serializer[Any]):
    """A contact's score at a moment, and the lines that add up to it."""

    contactId = serializers.UUIDField(source="contact_id")
    at = MillisecondsField()
    score = NumberField(max_digits=30)
    entries = ScoreEntrySerializer(source="lines", many=True)
    next = serializers.CharField(allow_null=True, help_text="the next page's `before`; null on the last page")
