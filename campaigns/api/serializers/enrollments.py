"""Enrollments and decisions."""

from typing import Any

from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from campaigns.api.choices import (
    DECISION_KINDS,
    REASONS,
    RUN_STATUSES,
)
from contacts.api.serializers import ContactBriefSerializer
from workspaces.api.fields import MillisecondsField, StrictCharField
from workspaces.api.strict import (
    KnownKeysSerializer,
    ObjectField,
    StrictBooleanField,
)


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
