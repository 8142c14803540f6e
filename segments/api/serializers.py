"""Serializers of segments in the native API."""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from drf_spectacular.utils import OpenApiExample, extend_schema_serializer
from rest_framework import serializers

from contacts.api.serializers import (
    ContactBriefField,
    ContactsSerializer,
    KnownContactsField,
    KnownContactsSerializer,
)
from segments.build import progress_of
from segments.definitions import segment_warnings
from segments.memberships import Explanation, count_members
from segments.models import Segment
from workspaces.api.batches import BatchSerializer
from workspaces.api.fields import BlankAsNullField, MillisecondsField, StrictCharField, UpperChoiceField
from workspaces.api.strict import ObjectField, StrictBooleanField

MAX_MEMBERS = 10_000
"""Contacts that one request may put into a static segment or take out of it; a CSV is bounded by its bytes."""

_LANGUAGE = """\
A tree: `{"operator": "AND"|"OR"|"NOT", "conditions": […]}`, NOT holding where none of its conditions does. A
condition is another such tree or one of

- `attribute`: `field` (`email`, `phone`, `externalId`, `firstName`, `lastName`, `createdAt`, `updatedAt`, `score` or
  `attributes.…`), `operator`, `value`;
- `event`: `eventType`; `aggregate` (`count` by default, `sum`, `avg`, `min`, `max`, `first`, `last`, `distinct`) of a
  `property`; `timeWindow` (`"7d"`, `"24h"`, `{"from", "to"}`, all time by default); `filters` on the event's own
  fields; `operator` and `value`, by default at least one;
- `channel`: `channel` (`EMAIL`, `SMS`, `PUSH`, `TELEGRAM`), `status` (`OPTED_IN`, `OPTED_OUT`, `UNKNOWN`);
- `tag`: `value`, `operator` `has` or `not_has`; `segment`: `segmentId`, `operator` `in` or `not_in`;
- `company`: `field` (`name`, `website`, `industry`, `size` or `attributes.…`), `operator`, `value`.

Operators: `eq, neq, gt, gte, lt, lte, between, in, not_in, contains, not_contains, starts_with, ends_with, exists,
not_exists`, and of moments `before, after` (a date, a date-time, `"now"`, `"-30d"`, `"+3d"`) and `within` (`"7d"`:
the last seven days, `"+7d"`: the next). A date equals every spelling of its moment. A comparison with a missing value
is never true; `neq`, `not_in` and `not_contains` take `"whenMissing": true`."""

BUYERS = {
    "operator": "AND",
    "conditions": [
        {
            "type": "event",
            "eventType": "purchase",
            "aggregate": "sum",
            "property": "metadata.amount",
            "timeWindow": "30d",
            "filters": [{"field": "metadata.currency", "operator": "eq", "value": "EUR"}],
            "operator": "gte",
            "value": 100,
        },
        {"type": "channel", "channel": "EMAIL", "status": "OPTED_IN"},
    ],
}
SLEEPERS = {
    "operator": "OR",
    "conditions": [
        {"type": "event", "eventType": "login", "timeWindow": "30d", "operator": "eq", "value": 0},
        {
            "operator": "NOT",
            "conditions": [
                {"type": "attribute", "field": "attributes.plan", "operator": "in", "value": ["pro", "team"]},
                {"type": "attribute", "field": "attributes.renewsOn", "operator": "within", "value": "+7d"},
                {"type": "tag", "operator": "has", "value": "vip"},
            ],
        },
    ],
}
_RULE_EXAMPLES = [
    OpenApiExample("Who bought for 100 within 30 days", {"rules": BUYERS}, request_only=True),
    OpenApiExample("Who sleeps, or is nobody in particular", {"rules": SLEEPERS}, request_only=True),
]


class BuildSerializer(serializers.Serializer[Any]):
    """How far the rule that is to serve has been evaluated for the contacts; rendered from its segment."""

    state = UpperChoiceField(choices=[choice.upper() for choice in Segment.Build.values])
    judged = serializers.IntegerField(help_text="contacts evaluated so far")
    total = serializers.IntegerField()
    fraction = serializers.FloatField(help_text="0 to 1")
    startedAt = MillisecondsField(source="started_at", allow_null=True)
    isAnnouncing = serializers.BooleanField(
        source="is_publishing", help_text="it serves already; its entries and exits are still being published"
    )
    publishes = serializers.BooleanField(help_text="whether it is published once it is built")

    def to_representation(self, instance: Segment) -> dict[str, Any]:
        """Render the progress of the segment's build."""
        return super().to_representation(progress_of(instance))


class SegmentCountSerializer(serializers.Serializer[Any]):
    """How many rows belong to a segment."""

    memberships = serializers.IntegerField(source="member_count", help_text="contacts that are in it now")


class _ShownRuleField(ObjectField):
    def to_representation(self, value: Segment) -> Any:
        return value.rule or value.draft_rule


class SegmentSerializer(BatchSerializer):
    """A segment."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    description = serializers.CharField()
    rules = _ShownRuleField(
        source="*",
        allow_null=True,
        help_text="what serves, before the first publication what is being built; null: static",
    )
    draftRules = ObjectField(
        source="draft_rule", allow_null=True, help_text="what is to serve next, built or being built"
    )
    evaluation = serializers.ChoiceField(choices=Segment.Evaluation.choices)
    startsCampaigns = serializers.BooleanField(source="starts_campaigns")
    build = BuildSerializer(source="*")
    error = BlankAsNullField(help_text="why the segment is parked: it is not evaluated until it is rebuilt")
    publishedAt = MillisecondsField(source="published_at", allow_null=True)
    createdAt = MillisecondsField(source="created_at")
    updatedAt = MillisecondsField(source="updated_at")
    _count = SegmentCountSerializer(source="*")

    def load(self, rows: Sequence[Segment]) -> None:
        """Count the members of all segments, in two statements at most."""
        counts = count_members(rows[0].workspace_id, rows)
        for segment in rows:
            vars(segment).update(member_count=counts[segment.id])


class SegmentDetailSerializer(ContactsSerializer):
    """A segment with some of its members."""

    segment = SegmentSerializer()
    # Counted when the segment before it was rendered.
    totalMembers = serializers.IntegerField(source="segment.member_count")
    sampleContacts = KnownContactsField(
        source="samples", required=False, help_text="up to 10; for who may read contacts"
    )
    warnings = serializers.ListField(
        child=serializers.CharField(), help_text="events and properties in the rule that were never seen"
    )

    def contact_ids(self, row: Any) -> Iterable[UUID]:
        """Return whom the samples are about."""
        return list(row.get("samples", ()))


class SegmentWrittenSerializer(SegmentSerializer):
    """A segment as a write answers with it."""

    warnings = serializers.ListField(child=serializers.CharField())

    def load(self, rows: Sequence[Segment]) -> None:
        """Count the members, and find what is odd about the rules."""
        super().load(rows)
        for segment in rows:
            vars(segment).update(warnings=segment_warnings(segment))


class _RulesSerializer(serializers.Serializer[Any]):
    rules = ObjectField(help_text=_LANGUAGE)


@extend_schema_serializer(examples=_RULE_EXAMPLES)
class RuleBodySerializer(_RulesSerializer):
    """A rule that is not saved."""


class SegmentChangesSerializer(serializers.Serializer[Any]):
    """What to change of a segment."""

    name = StrictCharField(required=False, max_length=255)
    description = StrictCharField(required=False, allow_blank=True, allow_null=True, max_length=10_000)
    rules = ObjectField(source="raw", required=False, help_text=_LANGUAGE)
    startsCampaigns = StrictBooleanField(
        source="starts_campaigns",
        required=False,
        help_text="whether what a build lets in and puts out may start campaigns",
    )
    publish = StrictBooleanField(
        required=False,
        default=True,
        help_text="whether the rule serves as soon as it is built; else `publish` does that",
    )

    def validate_description(self, value: str | None) -> str:
        """Return the text, blank for null."""
        return value or ""


@extend_schema_serializer(
    examples=[
        OpenApiExample(
            "Buyers", {"name": "Buyers", "evaluation": "DYNAMIC", "rules": BUYERS}, request_only=True
        ),
        OpenApiExample(
            "Sleepers", {"name": "Sleepers", "evaluation": "DYNAMIC", "rules": SLEEPERS}, request_only=True
        ),
        OpenApiExample("By hand", {"name": "Press", "evaluation": "STATIC"}, request_only=True),
    ]
)
class SegmentBodySerializer(SegmentChangesSerializer):
    """A segment to create."""

    name = StrictCharField(max_length=255)
    rules = ObjectField(source="raw", required=False, allow_null=True, help_text=_LANGUAGE)
    evaluation = serializers.ChoiceField(choices=Segment.Evaluation.choices)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """A dynamic segment has a rule, a static one has none."""
        is_dynamic = attrs["evaluation"] == Segment.Evaluation.DYNAMIC
        if is_dynamic == (attrs.get("raw") is None):
            fault = "This field is required." if is_dynamic else "A static segment has no rule."
            raise serializers.ValidationError({"rules": [fault]})
        return attrs


class PreviewSerializer(ContactsSerializer):
    """How many contacts a rule that is not saved would hold for."""

    count = serializers.IntegerField()
    total = serializers.IntegerField(help_text="contacts in the workspace")
    judged = serializers.IntegerField(help_text="contacts that the rule was evaluated for")
    isEstimate = serializers.BooleanField(
        source="is_estimate", help_text="whether `count` is estimated from a random part of the contacts"
    )
    margin = serializers.IntegerField(
        help_text="an estimate is right to so many in 19 of 20 cases; 0 for a count"
    )
    sampleContacts = KnownContactsField(source="samples")
    warnings = serializers.ListField(child=serializers.CharField())

    def contact_ids(self, row: Any) -> Iterable[UUID]:
        """Return whom the samples are about."""
        return list(row.samples)


class ImpactSampleSerializer(serializers.Serializer[Any]):
    """A contact that would enter, leave or remain, and why."""

    contact = ContactBriefField(source="contact_id")
    reasons = serializers.DictField(
        source="tree", help_text="the tree of the new rule, as an explanation has it"
    )

    class Meta:
        list_serializer_class = KnownContactsSerializer


class ImpactSerializer(ContactsSerializer):
    """How many contacts a rule would let in, remove and keep."""

    enter = serializers.IntegerField()
    leave = serializers.IntegerField()
    stay = serializers.IntegerField()
    total = serializers.IntegerField(help_text="contacts in the workspace")
    judged = serializers.IntegerField()
    isEstimate = serializers.BooleanField(source="is_estimate")
    margin = serializers.IntegerField()
    entering = ImpactSampleSerializer(many=True)
    leaving = ImpactSampleSerializer(many=True)
    staying = ImpactSampleSerializer(many=True)
    warnings = serializers.ListField(child=serializers.CharField())

    def contact_ids(self, row: Any) -> Iterable[UUID]:
        """Return whom the samples are about."""
        return [sample.contact_id for sample in (*row.entering, *row.leaving, *row.staying)]


class MemberSerializer(ContactsSerializer):
    """A contact in a segment."""

    contact = ContactBriefField(source="contact_id")
    since = MillisecondsField()
    until = MillisecondsField(allow_null=True, help_text="null while it is in")


class NamedContactSerializer(serializers.Serializer[Any]):
    """What a contact goes by, as in its `identities`."""

    type = StrictCharField(max_length=64, help_text="email, phone, externalId or another kind of identity")
    value = StrictCharField(max_length=512)


@extend_schema_serializer(
    examples=[
        OpenApiExample(
            "By id and by address",
            {
                "contactIds": ["0199c0de-0000-7000-8000-000000000001"],
                "identifiers": [{"type": "email", "value": "ada@example.com"}],
            },
            request_only=True,
        )
    ]
)
class MemberListSerializer(serializers.Serializer[Any]):
    """Contacts to put into a static segment, or to take out of it."""

    contactIds = serializers.ListField(
        child=StrictCharField(max_length=64), required=False, max_length=MAX_MEMBERS
    )
    identifiers = serializers.ListField(
        child=NamedContactSerializer(), required=False, max_length=MAX_MEMBERS
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Refuse a list of nobody: most likely its key is misspelt."""
        if not attrs.get("contactIds") and not attrs.get("identifiers"):
            raise serializers.ValidationError({"contactIds": ["Name at least one contact."]})
        return attrs


class MembersChangedSerializer(serializers.Serializer[Any]):
    """What became of a list."""

    changed = serializers.IntegerField(help_text="contacts that entered or left")
    unchanged = serializers.IntegerField()
    unknown = serializers.ListField(
        child=serializers.CharField(), help_text="what no contact goes by, as it was written"
    )


class ExplanationSerializer(ContactsSerializer):
    """Whether a contact is in a segment, and why."""

    contact = ContactBriefField(source="contact_id")
    isMember = serializers.BooleanField(source="is_member", help_text="whether it is in the segment now")
    since = MillisecondsField(allow_null=True)
    matches = serializers.BooleanField(
        allow_null=True,
        help_text="what the rule says now; `isMember` follows when unprocessed events have had their effect. "
        "null: the rule cannot be read any more",
    )
    changesAt = MillisecondsField(
        source="changes_at", allow_null=True, help_text="when time alone may change the answer"
    )
    at = MillisecondsField(help_text="the moment that the rule was evaluated for")
    reasons = serializers.DictField(
        source="tree",
        allow_null=True,
        help_text="the rule's tree; each node with `matches` and `changesAt`, a leaf with what it saw, an event "
        "condition with the latest events that make it so. null: there is no rule, somebody put the contact here; "
        "or it cannot be read any more.",
    )
    warnings = serializers.SerializerMethodField(help_text="what of the rule cannot be read any more")

    def get_warnings(self, found: Explanation) -> list[str]:
        """Return a sentence where the rule cannot be read."""
        return [found.fault] if found.fault else []


class ActiveSegmentSerializer(serializers.Serializer[Any]):
    """A segment that a contact is in."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    since = MillisecondsField()
