"""The shapes of campaigns, of what they did, and of what they send, in the native format."""

from typing import Any

from drf_spectacular.utils import OpenApiExample, extend_schema_serializer
from rest_framework import serializers

from campaigns.api.filters import REASONS, upper
from campaigns.models import Campaign, Decision, Enrollment, Form, Message, Suppression
from campaigns.models.messages import Channel
from contacts.api.serializers import ContactBriefSerializer
from contacts.models import Consent
from workspaces.api.fields import MillisecondsField, MomentField, StrictCharField
from workspaces.api.strict import (
    UNKNOWN_KEY,
    KnownKeysSerializer,
    ObjectField,
    StrictBooleanField,
    StrictIntegerField,
)

CHANNELS = upper(Channel)
RUN_STATUSES = upper(Enrollment.Status)
DECISION_KINDS = upper(Decision.Kind)
MAX_SOURCE = 500_000
MAX_CONTACTS = 10_000
_OF_CHANNELS = ("frequencyCap", "quietHours")
_SMALLEST, _GREATEST = -(2**15), 2**15 - 1

_DEFINITION = {
    "triggers": """\
What starts an enrollment, any of: `{"type": "EVENT", "eventType", "condition"?}` (a condition as scoring rules have it),
`{"type": "SEGMENT_ENTER"|"SEGMENT_EXIT", "segmentId"}`, `{"type": "CONTACT_CREATED"}`,
`{"type": "ATTRIBUTE_CHANGED", "field": "attributes.plan", "condition"?}` (also of a new contact that comes with it),
`{"type": "TAG_ADDED"|"TAG_REMOVED", "tag"}` (likewise),
`{"type": "DATE", "field": "attributes.birthday", "offset": "-3d", "at": "09:00", "repeats": "yearly"|"never"}`,
`{"type": "MANUAL"}`, `{"type": "SCHEDULE", "segmentId", "at": moment|null}`.""",
    "reentry": """\
Whether a contact comes in again: `{"mode": "afterwards"}` (the default: not beside an open enrollment), `"once"`, `"every"`
match, `{"mode": "interval", "days": n}` (at most once in n days), `{"mode": "key", "property": "order_id"}` (one enrollment
per value).""",
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
`{"eventType", "condition"?, "within": "7d"}`: the event that makes an enrollment converted, if it comes so soon after the
start.""",
    "exits": """\
What ends an enrollment early: `{"eventType", "condition"?}` when the event comes, `{"condition"}` on the contact, looked at
before every step.""",
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
    triggers = serializers.ListField(child=ObjectField(), required=False, help_text=_DEFINITION["triggers"])
    reentry = ObjectField(required=False, allow_null=True, help_text=_DEFINITION["reentry"])
    workflow = ObjectField(required=False, help_text=_DEFINITION["workflow"])
    goal = ObjectField(required=False, allow_null=True, help_text=_DEFINITION["goal"])
    exits = serializers.ListField(child=ObjectField(), required=False, help_text=_DEFINITION["exits"])
    includesHistory = StrictBooleanField(
        required=False, help_text="whether imports, builds and late events start enrollments too"
    )


class CampaignChangesSerializer(_DefinitionSerializer):
    """What to change of a campaign."""

    name = StrictCharField(required=False, max_length=255)
    description = StrictCharField(required=False, allow_blank=True, allow_null=True, max_length=10_000)
    priority = StrictIntegerField(
        required=False,
        min_value=_SMALLEST,
        max_value=_GREATEST,
        help_text="of its messages, where a cap leaves room for some: the higher first",
    )
    sender = StrictCharField(
        required=False,
        allow_blank=True,
        max_length=320,
        help_text="who its e-mails are from, such as `Acme <news@acme.com>`; blank: the template's, or the channel's",
    )
    replyTo = StrictCharField(
        required=False,
        allow_blank=True,
        max_length=320,
        help_text="who gets the answers; blank: the template's, or the channel's `options.replyTo`, or the sender",
    )
    startAt = MomentField(required=False, allow_null=True, help_text="no enrollment starts before it")
    endAt = MomentField(required=False, allow_null=True, help_text="no enrollment starts after it")
    settings = ObjectField(
        required=False,
        help_text="for clients of the format; `frequencyCap` and `quietHours` belong to a channel here, and are"
        " refused",
    )

    def validate_settings(self, value: dict[str, Any]) -> dict[str, Any]:
        """Refuse what a campaign cannot have by itself, rather than to drop it in silence."""
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
    """A campaign to create: a draft, until it is activated."""

    name = StrictCharField(max_length=255)
    type = serializers.ChoiceField(choices=Campaign.Type.choices)


class CampaignCountSerializer(serializers.Serializer[Any]):
    """What a campaign did, trials left out; persons who were erased stay counted here."""

    enrollments = serializers.IntegerField(help_text="runs that began")
    messages = serializers.IntegerField()


class CampaignSerializer(serializers.Serializer[Any]):
    """A campaign, with the definition that is being written; what serves is the one last activated."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    description = serializers.CharField()
    type = serializers.ChoiceField(choices=Campaign.Type.choices)
    status = serializers.ChoiceField(choices=Campaign.Status.choices)
    priority = serializers.IntegerField()
    sender = serializers.CharField()
    replyTo = serializers.CharField()
    triggers = serializers.ListField(child=ObjectField())
    reentry = ObjectField(allow_null=True)
    workflow = ObjectField()
    goal = ObjectField(allow_null=True)
    exits = serializers.ListField(child=ObjectField())
    includesHistory = serializers.BooleanField()
    version = serializers.IntegerField(allow_null=True, help_text="of what serves; null: never activated")
    hasChanges = serializers.BooleanField(help_text="whether the definition here is not what serves")
    error = serializers.CharField(
        allow_null=True, help_text="why the campaign is parked: nothing enters until it is activated again"
    )
    startAt = MillisecondsField(allow_null=True)
    endAt = MillisecondsField(allow_null=True)
    activatedAt = MillisecondsField(allow_null=True)
    createdAt = MillisecondsField()
    updatedAt = MillisecondsField()
    warnings = serializers.ListField(
        child=serializers.CharField(),
        help_text="such as a step whose e-mail, no transactional one, has no link to unsubscribe",
    )
    _count = CampaignCountSerializer()


class CampaignDefinitionSerializer(serializers.Serializer[Any]):
    """What a campaign does."""

    triggers = serializers.ListField(child=ObjectField())
    reentry = ObjectField(allow_null=True)
    workflow = ObjectField()
    goal = ObjectField(allow_null=True)
    exits = serializers.ListField(child=ObjectField())
    includesHistory = serializers.BooleanField()


class VersionSerializer(serializers.Serializer[Any]):
    """What a campaign did from one activation to the next, or what was tried out of a draft."""

    id = serializers.UUIDField()
    version = serializers.IntegerField(allow_null=True, help_text="null: a draft that was tried out")
    serves = serializers.BooleanField(help_text="whether it is what starts runs")
    createdAt = MillisecondsField()
    by = serializers.CharField(
        allow_null=True, help_text="who activated it or tried it out, if that is known"
    )
    retiredAt = MillisecondsField(allow_null=True, help_text="since when no event means anything to it")
    openRuns = serializers.IntegerField(help_text="runs under way that keep to it, trials too")
    definition = CampaignDefinitionSerializer()


@extend_schema_serializer(many=False)  # a page is one object
class VersionPageSerializer(serializers.Serializer[Any]):
    """A page of versions."""

    data = VersionSerializer(many=True)  # type: ignore[assignment]  # the format's name for its rows
    next = serializers.CharField(allow_null=True, help_text="the next page's `before`; null on the last page")


class StepCountSerializer(serializers.Serializer[Any]):
    """How often one thing was decided at a step."""

    step = serializers.CharField()
    kind = serializers.ChoiceField(choices=DECISION_KINDS)
    reason = serializers.ChoiceField(choices=REASONS, allow_null=True)
    handle = serializers.CharField(allow_null=True, help_text="the way that a branch or a split sent them")
    count = serializers.IntegerField()


class MessageCountsSerializer(serializers.Serializer[Any]):
    """Messages of one channel."""

    total = serializers.IntegerField()
    byStatus = serializers.DictField(child=serializers.IntegerField())
    opened = serializers.IntegerField()
    clicked = serializers.IntegerField()


class ReportSerializer(serializers.Serializer[Any]):
    """What became of a campaign."""

    entered = serializers.IntegerField()
    notEntered = serializers.DictField(child=serializers.IntegerField(), help_text="by reason")
    runs = serializers.DictField(child=serializers.IntegerField(), help_text="by status")
    ended = serializers.DictField(child=serializers.IntegerField(), help_text="by reason")
    messages = serializers.DictField(child=MessageCountsSerializer(), help_text="by channel")
    notSent = serializers.DictField(child=serializers.IntegerField(), help_text="by reason")
    deferred = serializers.DictField(child=serializers.IntegerField(), help_text="by reason")
    steps = StepCountSerializer(many=True)


class NamedSerializer(serializers.Serializer[Any]):
    """What something is called."""

    id = serializers.UUIDField()
    name = serializers.CharField(allow_null=True, help_text="null: it is gone")


class EnrollmentSerializer(serializers.Serializer[Any]):
    """A contact's way through a campaign."""

    id = serializers.UUIDField()
    campaignId = serializers.UUIDField()
    version = serializers.IntegerField(
        allow_null=True, help_text="of the definition that it keeps to; null: a draft that is tried out"
    )
    contact = ContactBriefSerializer()
    status = serializers.ChoiceField(choices=RUN_STATUSES)
    eventId = serializers.UUIDField(allow_null=True, help_text="what started it; null: somebody did")
    step = serializers.CharField(allow_null=True, help_text="what comes next, or what it waits in")
    wakeAt = MillisecondsField(allow_null=True, help_text="when it goes on by itself")
    awaits = serializers.CharField(allow_null=True, help_text="the event that it waits for")
    startedAt = MillisecondsField()
    endedAt = MillisecondsField(allow_null=True)
    endReason = serializers.CharField(
        allow_null=True, help_text="as the decision has it, or what the workflow's own exit calls it"
    )
    isTest = serializers.BooleanField()
    error = serializers.CharField(allow_null=True, help_text="how its step failed the last time")


class DecisionSerializer(serializers.Serializer[Any]):
    """One thing that was decided, also that nothing was to happen, and why."""

    id = serializers.UUIDField()
    kind = serializers.ChoiceField(choices=DECISION_KINDS)
    reason = serializers.ChoiceField(choices=REASONS, allow_null=True)
    detail = ObjectField()
    step = serializers.CharField(allow_null=True)
    campaigns = NamedSerializer(
        many=True,
        help_text="one, but for what one event means alike to several; none of a message that is nobody's",
    )
    contact = ContactBriefSerializer()
    runId = serializers.UUIDField(allow_null=True)
    messageId = serializers.UUIDField(allow_null=True)
    eventId = serializers.UUIDField(allow_null=True)
    decidedAt = MillisecondsField()


class EnrollmentDetailSerializer(EnrollmentSerializer):
    """An enrollment with all that was decided on its way."""

    decisions = DecisionSerializer(many=True)


@extend_schema_serializer(many=False)  # a page is one object
class EnrollmentPageSerializer(serializers.Serializer[Any]):
    """A page of enrollments."""

    data = EnrollmentSerializer(many=True)  # type: ignore[assignment]  # the format's name for its rows
    next = serializers.CharField(allow_null=True, help_text="the next page's `before`; null on the last page")


@extend_schema_serializer(many=False)  # a page is one object
class DecisionPageSerializer(serializers.Serializer[Any]):
    """A page of decisions."""

    data = DecisionSerializer(many=True)  # type: ignore[assignment]  # the format's name for its rows
    next = serializers.CharField(allow_null=True, help_text="the next page's `before`; null on the last page")


class ExecuteBodySerializer(KnownKeysSerializer):
    """For whom to start an enrollment."""

    contactId = StrictCharField(max_length=64)
    eventId = StrictCharField(
        required=False, allow_null=True, max_length=64, help_text="the event that it is to be because of"
    )
    key = StrictCharField(
        required=False,
        allow_null=True,
        max_length=255,
        help_text="of a campaign that has one enrollment for each value of a property: the value",
    )
    isTest = StrictBooleanField(
        required=False,
        default=False,
        help_text="a trial of the definition as it is written now, whether or not it serves: beside all other enrollments,"
        " and counted nowhere",
    )
    skipWaits = StrictBooleanField(
        required=False,
        default=False,
        help_text="of a trial: no time passes in it, and what it waits for has come already or does not come",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Refuse what only a trial can have, and what it has no use for."""
        if attrs["skipWaits"] and not attrs["isTest"]:
            raise serializers.ValidationError({"skipWaits": ["Only of a trial."]})
        if attrs["isTest"] and attrs.get("key") is not None:
            raise serializers.ValidationError({"key": ["A trial has none."]})
        return attrs


class ExecutedSerializer(serializers.Serializer[Any]):
    """Whether the contact got in."""

    entered = serializers.BooleanField()
    reason = serializers.ChoiceField(choices=REASONS, allow_null=True, help_text="why not")
    run = EnrollmentSerializer(allow_null=True)


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


# Templates ---------------------------------------------------------------------------------------------------

_LIQUID = """Liquid. It knows `contact` (`firstName`, `email`, `attributes.…`, `tags`, `score`), `event` (`type`,
`properties.…`, `timestamp`) where one is the cause, `campaign.name`, `unsubscribeUrl` and `preferencesUrl`. A value
that is missing makes no hole: the message is not sent, and the decision says so; `| default: "…"` fills it.
`money: "EUR"`, `number: 2`, `date: "long"`, `time` and `datetime` write as the contact does, by its `locale` and
`timezone`."""


class TemplateSerializer(KnownKeysSerializer):
    """A text of which each contact gets its own."""

    id = serializers.UUIDField(read_only=True)
    name = StrictCharField(max_length=255)
    channel = serializers.ChoiceField(choices=CHANNELS, default="EMAIL", help_text="fixed once it is made")
    subject = StrictCharField(
        required=False, allow_blank=True, max_length=MAX_SOURCE, help_text="Liquid; e-mail only"
    )
    body = StrictCharField(
        max_length=MAX_SOURCE,
        trim_whitespace=False,
        help_text=f"HTML for e-mail and Telegram, JSON for a webhook. {_LIQUID}",
    )
    text = StrictCharField(
        required=False,
        allow_blank=True,
        trim_whitespace=False,
        max_length=MAX_SOURCE,
        help_text="Liquid; the text part of an e-mail, blank: made from the body",
    )
    sender = StrictCharField(
        required=False,
        allow_blank=True,
        max_length=320,
        help_text="e-mail only: who it is from, such as `Acme <news@acme.com>`; a campaign's comes first, blank: the"
        " channel's",
    )
    replyTo = StrictCharField(
        source="reply_to",
        required=False,
        allow_blank=True,
        max_length=320,
        help_text="e-mail only: who gets the answers; blank: the channel's `options.replyTo`, or the sender",
    )
    createdAt = MillisecondsField(source="created_at", read_only=True)
    updatedAt = MillisecondsField(source="updated_at", read_only=True)
    warnings = serializers.ListField(
        child=serializers.CharField(),
        read_only=True,
        help_text="such as that there is no link to unsubscribe, unless all that sends it is transactional",
    )

    def validate_channel(self, value: str) -> str:
        """Spell it as rows do."""
        return value.lower()

    def to_representation(self, instance: Any) -> dict[str, Any]:
        """Spell the channel as the wire does."""
        return {**super().to_representation(instance), "channel": instance.channel.upper()}


class TemplateChangesSerializer(TemplateSerializer):
    """What to change of a template."""

    channel = serializers.CharField(read_only=True)  # type: ignore[assignment]  # a template's stays


class _ForContactSerializer(KnownKeysSerializer):
    contactId = StrictCharField(max_length=64)
    eventId = StrictCharField(
        required=False, allow_null=True, max_length=64, help_text="the event that `event` stands for"
    )


class PreviewBodySerializer(_ForContactSerializer):
    """Whose message is to be shown."""


class TryOutBodySerializer(TemplateSerializer, _ForContactSerializer):
    """A template that is not saved, and whose message is to be shown."""

    name = StrictCharField(required=False, allow_blank=True, max_length=255)


class RenderedSerializer(serializers.Serializer[Any]):
    """What a contact would get."""

    subject = serializers.CharField()
    body = serializers.CharField()
    text = serializers.CharField()


class TestBodySerializer(_ForContactSerializer):
    """For whom, and where to, a test is sent."""

    to = StrictCharField(
        required=False, allow_null=True, max_length=2048, help_text="elsewhere than to the contact"
    )


# Messages ----------------------------------------------------------------------------------------------------


class MessageRowSerializer(serializers.Serializer[Any]):
    """A message as the list shows it."""

    id = serializers.UUIDField()
    channel = serializers.ChoiceField(choices=CHANNELS)
    status = serializers.ChoiceField(choices=Message.Status.choices)
    contact = ContactBriefSerializer()
    to = serializers.CharField()
    subject = serializers.CharField()
    campaignId = serializers.UUIDField(allow_null=True)
    runId = serializers.UUIDField(allow_null=True)
    eventId = serializers.UUIDField(allow_null=True)
    step = serializers.CharField(allow_null=True)
    templateId = serializers.UUIDField(allow_null=True)
    isTransactional = serializers.BooleanField()
    isTest = serializers.BooleanField()
    priority = serializers.IntegerField()
    attempts = serializers.IntegerField()
    reason = serializers.ChoiceField(
        choices=REASONS, allow_null=True, help_text="why it has not left; null: it has, or it waits"
    )
    error = serializers.CharField(allow_null=True)
    sendAt = MillisecondsField(help_text="when it may leave, or was to be tried again")
    createdAt = MillisecondsField()
    sentAt = MillisecondsField(allow_null=True)
    openedAt = MillisecondsField(allow_null=True)
    clickedAt = MillisecondsField(allow_null=True)


class MessageSerializer(MessageRowSerializer):
    """A message with what it says."""

    body = serializers.CharField()
    text = serializers.CharField()
    headers = serializers.DictField(child=serializers.CharField())
    providerId = serializers.CharField(allow_null=True)


@extend_schema_serializer(many=False)  # a page is one object
class MessagePageSerializer(serializers.Serializer[Any]):
    """A page of messages."""

    data = MessageRowSerializer(many=True)  # type: ignore[assignment]  # the format's name for its rows
    next = serializers.CharField(allow_null=True, help_text="the next page's `before`; null on the last page")


class MessageBodySerializer(_ForContactSerializer):
    """A message to one contact: a template's, or with what it says here."""

    channel = serializers.ChoiceField(choices=CHANNELS)
    templateId = StrictCharField(required=False, allow_null=True, max_length=64)
    subject = StrictCharField(required=False, allow_blank=True, max_length=MAX_SOURCE, help_text="Liquid")
    body = StrictCharField(required=False, trim_whitespace=False, max_length=MAX_SOURCE, help_text="Liquid")
    text = StrictCharField(
        required=False, allow_blank=True, trim_whitespace=False, max_length=MAX_SOURCE, help_text="Liquid"
    )
    transactional = StrictBooleanField(
        required=False,
        default=False,
        help_text="a receipt or the like: asks for no consent, cap or quiet hours, but for suppressions",
    )
    priority = StrictIntegerField(required=False, default=0, min_value=_SMALLEST, max_value=_GREATEST)
    key = StrictCharField(
        required=False,
        max_length=200,
        help_text="the sender's own: the same one again gets the first message",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Want a template or a body, and not both."""
        if bool(attrs.get("templateId")) == bool(attrs.get("body")):
            raise serializers.ValidationError({"templateId": ["Give either a template or a body."]})
        return attrs


class DispatchSerializer(serializers.Serializer[Any]):
    """A message that was taken."""

    message = MessageSerializer()
    deferredUntil = MillisecondsField(allow_null=True, help_text="why is in its decisions")


class SettleBodySerializer(KnownKeysSerializer):
    """What became of a message of which nobody knows."""

    wasSent = StrictBooleanField(help_text="false: it is sent again")
    providerId = StrictCharField(required=False, allow_blank=True, max_length=255)


# Permission --------------------------------------------------------------------------------------------------


class SuppressionSerializer(serializers.Serializer[Any]):
    """An address to which nothing is sent any more."""

    id = serializers.UUIDField()
    channel = serializers.ChoiceField(choices=CHANNELS)
    address = serializers.CharField()
    reason = serializers.ChoiceField(choices=upper(Suppression.Reason))
    note = serializers.CharField()
    messageId = serializers.UUIDField(allow_null=True, help_text="the message that came back")
    createdAt = MillisecondsField()


@extend_schema_serializer(many=False)  # a page is one object
class SuppressionPageSerializer(serializers.Serializer[Any]):
    """A page of suppressions."""

    data = SuppressionSerializer(many=True)  # type: ignore[assignment]  # the format's name for its rows
    next = serializers.CharField(allow_null=True, help_text="the next page's `before`; null on the last page")


class SuppressionBodySerializer(KnownKeysSerializer):
    """An address to suppress."""

    address = StrictCharField(max_length=2048)
    channel = serializers.ChoiceField(choices=CHANNELS, default="EMAIL")
    note = StrictCharField(required=False, allow_blank=True, max_length=10_000)


class QuietHoursSerializer(KnownKeysSerializer):
    """When nothing is sent, by the contact's own clock; it may go past midnight."""

    start = serializers.TimeField(format="%H:%M")
    end = serializers.TimeField(format="%H:%M")


class FrequencyCapSerializer(KnownKeysSerializer):
    """How many messages a contact gets in a time; what is more waits."""

    count = StrictIntegerField(min_value=1, max_value=_GREATEST)
    hours = StrictIntegerField(min_value=1, max_value=_GREATEST)


class ChannelChangesSerializer(KnownKeysSerializer):
    """How a channel is to be used; what the body does not name stays."""

    sender = StrictCharField(required=False, allow_blank=True, max_length=320)
    secret = StrictCharField(
        required=False,
        allow_blank=True,
        max_length=255,
        help_text="of Telegram the bot's token; written, never shown",
    )
    options = ObjectField(required=False)
    requiresOptIn = StrictBooleanField(
        required=False, help_text="else whoever has not opted out is written to"
    )
    frequencyCap = FrequencyCapSerializer(required=False, allow_null=True, help_text="null: as many as come")
    quietHours = QuietHoursSerializer(required=False, allow_null=True, help_text="null: none")
    timeZone = StrictCharField(
        required=False, max_length=64, help_text="of contacts that have none of their own"
    )
    onUnknown = serializers.ChoiceField(
        choices=["HOLD", "RETRY"],
        required=False,
        help_text="what becomes of a message that may have left or not: it is left alone, or sent again",
    )
    maxAttempts = StrictIntegerField(required=False, min_value=1, max_value=_GREATEST)


class ChannelSerializer(serializers.Serializer[Any]):
    """How a channel is used."""

    channel = serializers.ChoiceField(choices=CHANNELS)
    sender = serializers.CharField()
    hasSecret = serializers.BooleanField()
    options = ObjectField()
    requiresOptIn = serializers.BooleanField()
    frequencyCap = FrequencyCapSerializer(allow_null=True)
    quietHours = QuietHoursSerializer(allow_null=True)
    timeZone = serializers.CharField()
    onUnknown = serializers.ChoiceField(choices=["HOLD", "RETRY"])
    maxAttempts = serializers.IntegerField()


class SecretSerializer(serializers.Serializer[Any]):
    """What webhooks are signed with; shown this once."""

    secret = serializers.CharField()


# Traces ------------------------------------------------------------------------------------------------------


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


# Forms -------------------------------------------------------------------------------------------------------

_FIELDS = """\
What is asked for: `{"name", "label"?, "type": "text"|"email"|"phone"|"number"|"checkbox"|"select", "required"?,
"options"?, "mapsTo"?}`; `mapsTo` is `email`, `phone`, `firstName`, `lastName` or `attributes.…`, and one required
field maps to `email` or `phone`: it says whose answers they are."""
_FORM_CHANNELS = upper(Consent.Channel)


_ON_KNOWN = [choice.upper() for choice in Form.OnKnown.values]


class FormChangesSerializer(KnownKeysSerializer):
    """What to change of a form."""

    name = StrictCharField(required=False, max_length=255)
    fields = serializers.ListField(  # type: ignore[assignment]  # the format's name for it
        child=ObjectField(), required=False, help_text=_FIELDS
    )
    active = StrictBooleanField(required=False, help_text="else nobody can submit it")
    allowedOrigins = serializers.ListField(
        child=StrictCharField(max_length=2048),
        required=False,
        max_length=1_000,
        help_text="the pages that may use it; none: any",
    )
    consents = serializers.ListField(
        child=serializers.ChoiceField(choices=_FORM_CHANNELS),
        required=False,
        help_text="the channels that a submission opts into",
    )
    doubleOptIn = StrictBooleanField(
        required=False,
        help_text="only once the link in the e-mail was followed (`event.properties.confirmUrl`)",
    )
    confirmationTemplateId = StrictCharField(required=False, allow_null=True, max_length=64)
    redirectUrl = StrictCharField(required=False, allow_blank=True, max_length=2048)
    onKnown = serializers.ChoiceField(
        choices=_ON_KNOWN,
        required=False,
        help_text="of somebody known, answers fill in what is missing, or overwrite once the e-mail is confirmed",
    )


@extend_schema_serializer(
    examples=[
        OpenApiExample(
            "A newsletter",
            {
                "name": "Newsletter",
                "fields": [
                    {"name": "email", "type": "email", "label": "E-mail", "required": True},
                    {"name": "firstName", "label": "First name", "mapsTo": "firstName"},
                ],
                "consents": ["EMAIL"],
            },
            request_only=True,
        )
    ]
)
class FormBodySerializer(FormChangesSerializer):
    """A form to create."""

    name = StrictCharField(max_length=255)
    fields = serializers.ListField(child=ObjectField(), help_text=_FIELDS)


class FormCountSerializer(serializers.Serializer[Any]):
    """What a form was sent."""

    submissions = serializers.IntegerField()


class FormSerializer(serializers.Serializer[Any]):
    """A form, and how a page uses it."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    fields = serializers.ListField(child=ObjectField())  # type: ignore[assignment]  # as above
    active = serializers.BooleanField()
    allowedOrigins = serializers.ListField(child=serializers.CharField())
    consents = serializers.ListField(child=serializers.ChoiceField(choices=_FORM_CHANNELS))
    doubleOptIn = serializers.BooleanField()
    confirmationTemplateId = serializers.UUIDField(allow_null=True)
    redirectUrl = serializers.CharField(allow_blank=True)
    onKnown = serializers.ChoiceField(choices=_ON_KNOWN)
    submitUrl = serializers.CharField(help_text="where answers are posted to, without a credential")
    createdAt = MillisecondsField()
    updatedAt = MillisecondsField()
    _count = FormCountSerializer()


class SubmissionSerializer(serializers.Serializer[Any]):
    """What somebody sent."""

    id = serializers.UUIDField()
    contact = ContactBriefSerializer()
    eventId = serializers.UUIDField()
    answers = ObjectField()
    confirmedAt = MillisecondsField(allow_null=True)
    createdAt = MillisecondsField()


@extend_schema_serializer(many=False)  # a page is one object
class SubmissionPageSerializer(serializers.Serializer[Any]):
    """A page of submissions."""

    data = SubmissionSerializer(many=True)  # type: ignore[assignment]  # the format's name for its rows
    next = serializers.CharField(allow_null=True, help_text="the next page's `before`; null on the last page")
