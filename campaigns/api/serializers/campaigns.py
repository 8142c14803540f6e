"""Campaigns, their versions and their report."""

from collections.abc import Sequence
from typing import Any

from drf_spectacular.utils import OpenApiExample, extend_schema_serializer
from rest_framework import serializers

from campaigns.api.choices import (
    DECISION_KINDS,
    SMALLINT_MAX,
    SMALLINT_MIN,
)
from campaigns.api.serializers.base import ReasonField
from campaigns.journeys.versions import open_enrollment_counts
from campaigns.journeys.warnings import campaign_warnings, rule_warnings
from campaigns.models import Campaign, CampaignVersion
from campaigns.reporting.counters import campaign_counts
from workspaces.api.batches import BatchSerializer
from workspaces.api.fields import (
    BlankAsNullField,
    MillisecondsField,
    MomentField,
    StrictCharField,
    UpperChoiceField,
)
from workspaces.api.strict import (
    UNKNOWN_KEY,
    KnownKeysSerializer,
    ObjectField,
    StrictBooleanField,
    StrictIntegerField,
)

# What a definition has where nothing is written of it.
EMPTY_DEFINITION: dict[str, Any] = {
    "triggers": [],
    "reentry": None,
    "workflow": {"nodes": [], "edges": []},
    "goal": None,
    "exits": [],
    "includesHistory": False,
}
_OF_CHANNELS = ("frequencyCap", "quietHours")

_DEFINITION = {
    "triggers": """\
What starts an enrollment, any of:
`{"type": "EVENT", "eventType", "condition"?}` (a condition as scoring rules have it),
`{"type": "SEGMENT_ENTER"|"SEGMENT_EXIT", "segmentId"}`, `{"type": "CONTACT_CREATED"}`,
`{"type": "ATTRIBUTE_CHANGED", "field": "attributes.plan", "condition"?}` (also of a new contact that comes with it),
`{"type": "TAG_ADDED"|"TAG_REMOVED", "tag"}` (likewise),
`{"type": "DATE", "field": "attributes.birthday", "offset": "-3d", "at": "09:00", "repeats": "yearly"|"never"}`,
`{"type": "MANUAL"}`, `{"type": "SCHEDULE", "segmentId", "at": moment|null}`.""",
    "reentry": """\
Whether a contact is enrolled again: `{"mode": "afterwards"}` (the default: not beside an open enrollment), `"once"`,
`"every"` match, `{"mode": "interval", "days": n}` (at most once in n days),
`{"mode": "key", "property": "order_id"}` (one enrollment per value).""",
    "workflow": """\
`{"nodes": [{"id", "type", "data", "position"?}], "edges": [{"source", "target", "sourceHandle"?}]}`, without cycles.
Types: `trigger` (where it begins; else the node that no edge leads to), `send` {`channel`, `templateId`,
`transactional`?, `priority`?}, `wait` {`duration`: "2d"} or {`until`: {`field`, `offset`}} or {`timeOfDay`: "09:00"},
`waitForEvent` {`eventType`, `condition`?, `match`?: {`property`, `trigger`}, `timeout`} with the handles `event` and
`timeout`, `branch` {`branches`: [{`handle`, `condition`}]} with those and `else`, `split` {`arms`: [{`handle`,
`weight`}]} with those and `holdout` for what the weights leave of 100, `update` {`attributes`}, `tag` {`add`,
`remove`},
`record` {`eventType`, `properties`}, `webhook` {`url`, `method`?, `body`, `headers`?}, `exit` {`reason`?}.""",
    "goal": """\
`{"eventType", "condition"?, "within": "7d"}`: the event that converts an enrollment, if it comes so soon after
the start.""",
    "exits": """\
What ends an enrollment early: `{"eventType", "condition"?}` when the event comes, `{"condition"}` on the contact,
checked before every step.""",
}
WELCOME = {
    "name": "Welcome",
    "type": "AUTOMATED",
    "triggers": [{"type": "EVENT", "eventType": "signup"}],
    "reentry": {"mode": "once"},
    "workflow": {
        "nodes": [
            {"id": "a-day", "type": "wait", "data": {"duration": "1d"}},
            {"id": "bye", "type": "exit", "data": {"reason": "welcomed"}},
        ],
        "edges": [{"source": "a-day", "target": "bye"}],
    },
    "goal": {"eventType": "purchase", "within": "7d"},
}
ORDERS = {
    "name": "Unpaid orders",
    "type": "AUTOMATED",
    "triggers": [{"type": "EVENT", "eventType": "order_placed"}],
    "reentry": {"mode": "key", "property": "order_id"},
    "workflow": {
        "nodes": [
            {
                "id": "paid",
                "type": "waitForEvent",
                "data": {
                    "eventType": "order_paid",
                    "match": {"property": "order_id", "trigger": "order_id"},
                    "timeout": "2d",
                },
            },
            {"id": "late", "type": "tag", "data": {"add": ["late payer"], "remove": []}},
        ],
        "edges": [{"source": "paid", "target": "late", "sourceHandle": "timeout"}],
    },
}


# Campaigns ---------------------------------------------------------------------------------------------------


class _DefinitionSerializer(KnownKeysSerializer):
    triggers = serializers.ListField(
        source="definition.triggers", child=ObjectField(), required=False, help_text=_DEFINITION["triggers"]
    )
    reentry = ObjectField(
        source="definition.reentry", required=False, allow_null=True, help_text=_DEFINITION["reentry"]
    )
    workflow = ObjectField(source="definition.workflow", required=False, help_text=_DEFINITION["workflow"])
    goal = ObjectField(
        source="definition.goal", required=False, allow_null=True, help_text=_DEFINITION["goal"]
    )
    exits = serializers.ListField(
        source="definition.exits", child=ObjectField(), required=False, help_text=_DEFINITION["exits"]
    )
    includesHistory = StrictBooleanField(
        source="definition.includesHistory",
        required=False,
        help_text="whether imports, builds and late events start enrollments too",
    )


class CampaignChangesSerializer(_DefinitionSerializer):
    """Changes of a campaign; what the body does not name stays."""

    name = StrictCharField(required=False, max_length=255)
    description = StrictCharField(required=False, allow_blank=True, allow_null=True, max_length=10_000)
    priority = StrictIntegerField(
        required=False,
        min_value=SMALLINT_MIN,
        max_value=SMALLINT_MAX,
        help_text="of its messages where a frequency cap leaves room for few: the highest first",
    )
    sender = StrictCharField(
        required=False,
        allow_blank=True,
        max_length=320,
        help_text="`From` of its e-mails, such as `Acme <news@acme.com>`; blank: the template's, or the channel's",
    )
    replyTo = StrictCharField(
        source="reply_to",
        required=False,
        allow_blank=True,
        max_length=320,
        help_text="`Reply-To`; blank: the template's, or the channel's `options.replyTo`, or the sender",
    )
    startAt = MomentField(
        source="starts_at", required=False, allow_null=True, help_text="no enrollment starts before it"
    )
    endAt = MomentField(
        source="ends_at", required=False, allow_null=True, help_text="no enrollment starts after it"
    )
    settings = ObjectField(
        required=False,
        help_text="for compatibility; `frequencyCap` and `quietHours` are settings of channels and refused here",
    )

    def validate_description(self, value: str | None) -> str:
        """Return the text, blank for null."""
        return value or ""

    def validate_settings(self, value: dict[str, Any]) -> dict[str, Any]:
        """Refuse settings that a campaign does not have, rather than ignore them."""
        faults = {
            name: [
                "Caps and quiet hours belong to a channel: see channels."
                if name in _OF_CHANNELS
                else UNKNOWN_KEY
            ]
            for name, given in value.items()
            if name not in _OF_CHANNELS or given is not None
        }
        if faults:
            raise serializers.ValidationError(faults)
        return value


@extend_schema_serializer(
    examples=[
        OpenApiExample("A welcome", WELCOME, request_only=True),
        OpenApiExample("One enrollment for each order", ORDERS, request_only=True),
    ]
)
class CampaignBodySerializer(CampaignChangesSerializer):
    """A campaign to create; it is a draft until it is activated."""

    name = StrictCharField(max_length=255)
    type = serializers.ChoiceField(choices=Campaign.Type.choices)


class CampaignCountSerializer(serializers.Serializer[Any]):
    """Enrollments and messages of a campaign, without trials; those of erased persons stay counted."""

    enrollments = serializers.IntegerField(help_text="enrollments that began")
    messages = serializers.IntegerField()


class CampaignSerializer(BatchSerializer):
    """A campaign with its draft. The active version is the draft of the last activation."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    description = serializers.CharField()
    type = serializers.ChoiceField(choices=Campaign.Type.choices)
    status = serializers.ChoiceField(choices=Campaign.Status.choices)
    priority = serializers.IntegerField()
    sender = serializers.CharField()
    replyTo = serializers.CharField(source="reply_to")
    triggers = serializers.ListField(child=ObjectField(), source="definition.triggers")
    reentry = ObjectField(allow_null=True, source="definition.reentry")
    workflow = ObjectField(source="definition.workflow")
    goal = ObjectField(allow_null=True, source="definition.goal")
    exits = serializers.ListField(child=ObjectField(), source="definition.exits")
    includesHistory = serializers.BooleanField(source="definition.includesHistory")
    version = serializers.IntegerField(
        source="active_version.number",
        allow_null=True,
        help_text="number of the active version; null: never activated",
    )
    hasChanges = serializers.BooleanField(
        source="has_changes", help_text="whether the draft differs from the active version"
    )
    error = BlankAsNullField(
        help_text="why the campaign is parked: nothing enters until it is activated again"
    )
    startAt = MillisecondsField(source="starts_at", allow_null=True)
    endAt = MillisecondsField(source="ends_at", allow_null=True)
    activatedAt = MillisecondsField(source="activated_at", allow_null=True)
    createdAt = MillisecondsField(source="created_at")
    updatedAt = MillisecondsField(source="updated_at")
    warnings = serializers.ListField(
        child=serializers.CharField(),
        help_text="such as a step that sends marketing e-mail without a link to unsubscribe",
    )
    _count = CampaignCountSerializer(source="counts")

    def load(self, rows: Sequence[Campaign]) -> None:
        """Add the counts by one statement, the warnings by one, and some for each campaign that has rules."""
        counts = campaign_counts(rows[0].workspace_id, rows)
        warnings = campaign_warnings(rows[0].workspace_id, rows)
        for campaign in rows:
            enrollments, messages = counts[campaign.id]
            vars(campaign).update(
                definition={**EMPTY_DEFINITION, **(campaign.draft or {})},
                has_changes=campaign.active_version is None
                or campaign.active_version.definition != (campaign.draft or {}),
                warnings=[*warnings[campaign.id], *rule_warnings(campaign)],
                counts={"enrollments": enrollments, "messages": messages},
            )


class CampaignDefinitionSerializer(serializers.Serializer[Any]):
    """The definition of a campaign version."""

    triggers = serializers.ListField(child=ObjectField())
    reentry = ObjectField(allow_null=True)
    workflow = ObjectField()
    goal = ObjectField(allow_null=True)
    exits = serializers.ListField(child=ObjectField())
    includesHistory = serializers.BooleanField()

    def to_representation(self, instance: Any) -> dict[str, Any]:
        """Render a stored definition; parts that are missing have their defaults."""
        return super().to_representation({**EMPTY_DEFINITION, **instance})


class VersionSerializer(BatchSerializer):
    """A version of a campaign: made by an activation, or by a trial of the draft."""

    id = serializers.UUIDField()
    version = serializers.IntegerField(
        source="number", allow_null=True, help_text="null: a trial of the draft"
    )
    serves = serializers.BooleanField(help_text="whether it is the active version, on which new runs start")
    createdAt = MillisecondsField(source="created_at")
    by = BlankAsNullField(source="actor", help_text="who activated it or tried it out; null: not known")
    retiredAt = MillisecondsField(
        source="retired_at", allow_null=True, help_text="since when no enrollment is in it and none will be"
    )
    openRuns = serializers.IntegerField(
        source="open_enrollments", help_text="its open enrollments, trials included"
    )
    definition = CampaignDefinitionSerializer()

    def load(self, rows: Sequence[CampaignVersion]) -> None:
        """Add the number of open enrollments by one statement; versions come with their `campaign`."""
        counts = open_enrollment_counts(rows[0].workspace_id, [version.id for version in rows])
        for version in rows:
            vars(version).update(
                serves=version.id == version.campaign.active_version_id,
                open_enrollments=counts.get(version.id, 0),
            )


class _UpperKeysField(serializers.DictField):
    def to_representation(self, value: Any) -> Any:
        return {key.upper(): found for key, found in super().to_representation(value).items()}


class StepCountSerializer(serializers.Serializer[Any]):
    """The number of decisions of a kind at a step."""

    step = serializers.CharField()
    kind = UpperChoiceField(choices=DECISION_KINDS)
    reason = ReasonField()
    handle = BlankAsNullField(help_text="the handle of the branch or split that was taken")
    count = serializers.IntegerField()


class MessageCountsSerializer(serializers.Serializer[Any]):
    """Counts of the messages of one channel."""

    total = serializers.IntegerField()
    byStatus = serializers.DictField(child=serializers.IntegerField(), source="by_status")
    opened = serializers.IntegerField()
    clicked = serializers.IntegerField()


class ReportSerializer(serializers.Serializer[Any]):
    """A campaign's report: counts of enrollments, messages and decisions."""

    entered = serializers.IntegerField()
    notEntered = serializers.DictField(
        source="not_entered", child=serializers.IntegerField(), help_text="by reason"
    )
    runs = _UpperKeysField(source="enrollments", child=serializers.IntegerField(), help_text="by status")
    ended = serializers.DictField(child=serializers.IntegerField(), help_text="by reason")
    messages = _UpperKeysField(child=MessageCountsSerializer(), help_text="by channel")
    notSent = serializers.DictField(
        source="not_sent", child=serializers.IntegerField(), help_text="by reason"
    )
    deferred = serializers.DictField(child=serializers.IntegerField(), help_text="by reason")
    steps = StepCountSerializer(many=True)
