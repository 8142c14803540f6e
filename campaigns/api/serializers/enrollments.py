"""Enrollments and decisions."""

from collections.abc import Sequence
from itertools import chain
from typing import Any

from rest_framework import serializers

from campaigns.api.choices import DECISION_KINDS, RUN_STATUSES
from campaigns.api.serializers.base import ContactRowsSerializer, ReasonField, contact_field
from campaigns.journeys.decisions import campaign_names
from campaigns.models import Decision, Enrollment
from workspaces.api.fields import BlankAsNullField, MillisecondsField, StrictCharField, UpperChoiceField
from workspaces.api.strict import (
    KnownKeysSerializer,
    ObjectField,
    StrictBooleanField,
)

MAX_DECISIONS = 1_000


class NamedSerializer(serializers.Serializer[Any]):
    """What something is called."""

    id = serializers.UUIDField()
    name = serializers.CharField(allow_null=True, help_text="null: it is gone")


class EnrollmentSerializer(ContactRowsSerializer):
    """A contact's way through a campaign; it comes with its `version`."""

    id = serializers.UUIDField()
    campaignId = serializers.UUIDField(source="campaign_id")
    version = serializers.IntegerField(
        source="version.number",
        allow_null=True,
        help_text="of the definition that it keeps to; null: a draft that is tried out",
    )
    contact = contact_field()
    status = UpperChoiceField(choices=RUN_STATUSES)
    eventId = serializers.UUIDField(
        source="event_id", allow_null=True, help_text="what started it; null: somebody did"
    )
    step = BlankAsNullField(help_text="what comes next, or what it waits in")
    wakeAt = MillisecondsField(source="wake_at", allow_null=True, help_text="when it goes on by itself")
    awaits = BlankAsNullField(source="awaited_event", help_text="the event that it waits for")
    startedAt = MillisecondsField(source="started_at")
    endedAt = MillisecondsField(source="ended_at", allow_null=True)
    endReason = BlankAsNullField(
        source="end_reason", help_text="as the decision has it, or what the workflow's own exit calls it"
    )
    isTest = serializers.BooleanField(source="is_test")
    error = BlankAsNullField(help_text="how its step failed the last time")


class RecentEnrollmentSerializer(serializers.Serializer[Any]):
    """An enrollment as an answer about its contact shows it; it comes with its `campaign`."""

    id = serializers.UUIDField(source="campaign_id")
    name = serializers.CharField(source="campaign.name")
    runId = serializers.UUIDField(source="pk")
    status = UpperChoiceField(choices=RUN_STATUSES)
    startedAt = MillisecondsField(source="started_at")
    endedAt = MillisecondsField(source="ended_at", allow_null=True)
    endReason = BlankAsNullField(source="end_reason")


class DecisionSerializer(ContactRowsSerializer):
    """One thing that was decided, also that nothing was to happen, and why; it comes with its `campaign_set`."""

    id = serializers.UUIDField()
    kind = UpperChoiceField(choices=DECISION_KINDS)
    reason = ReasonField()
    detail = ObjectField()
    step = BlankAsNullField()
    campaigns = NamedSerializer(
        source="named_campaigns",
        many=True,
        help_text="one, but for what one event means alike to several; none of a message that is nobody's",
    )
    contact = contact_field()
    runId = serializers.UUIDField(source="enrollment_id", allow_null=True)
    messageId = serializers.UUIDField(source="message_id", allow_null=True)
    eventId = serializers.UUIDField(source="event_id", allow_null=True)
    decidedAt = MillisecondsField(source="decided_at")

    def load(self, rows: Sequence[Decision]) -> None:
        """Add the contacts by one statement, and the campaigns' names by one."""
        super().load(rows)
        ids = chain.from_iterable(decision.campaign_ids for decision in rows)
        names = campaign_names(rows[0].workspace_id, ids)
        for decision in rows:
            named = [
                {"id": campaign_id, "name": names.get(campaign_id)} for campaign_id in decision.campaign_ids
            ]
            vars(decision).update(named_campaigns=named)


class EnrollmentDetailSerializer(EnrollmentSerializer):
    """An enrollment with all that was decided on its way, the first first."""

    decisions = DecisionSerializer(source="own_decisions", many=True)

    def load(self, rows: Sequence[Enrollment]) -> None:
        """Add the contacts, and the decisions of each enrollment."""
        super().load(rows)
        for enrollment in rows:
            decisions = Decision.objects.in_workspace(enrollment.workspace_id).filter(
                enrollment_id=enrollment.id
            )
            vars(enrollment).update(own_decisions=decisions.order_by("id")[:MAX_DECISIONS])


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
    reason = ReasonField(help_text="why not")
    run = EnrollmentSerializer(allow_null=True)
