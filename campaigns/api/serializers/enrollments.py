"""Enrollments and decisions."""

from collections.abc import Sequence
from itertools import chain
from typing import Any

from rest_framework import serializers

from campaigns.api.choices import DECISION_KINDS, RUN_STATUSES
from campaigns.api.serializers.base import ReasonField
from campaigns.journeys.decisions import campaign_names
from campaigns.models import Decision, Enrollment
from contacts.api.serializers import ContactBriefField, ContactsSerializer
from workspaces.api.fields import BlankAsNullField, MillisecondsField, StrictCharField, UpperChoiceField
from workspaces.api.strict import (
    KnownKeysSerializer,
    ObjectField,
    StrictBooleanField,
)

MAX_DECISIONS = 1_000


class NamedSerializer(serializers.Serializer[Any]):
    """An id and its name."""

    id = serializers.UUIDField()
    name = serializers.CharField(allow_null=True, help_text="null: deleted")


class EnrollmentSerializer(ContactsSerializer):
    """An enrollment: a contact in a campaign. Rows come with their `version`."""

    id = serializers.UUIDField()
    campaignId = serializers.UUIDField(source="campaign_id")
    version = serializers.IntegerField(
        source="version.number",
        allow_null=True,
        help_text="the version that it began with and keeps; null: a trial of the draft",
    )
    contact = ContactBriefField(source="contact_id")
    status = UpperChoiceField(choices=RUN_STATUSES)
    eventId = serializers.UUIDField(
        source="event_id",
        allow_null=True,
        help_text="the event that started it; null: a request or a member of staff did",
    )
    step = BlankAsNullField(help_text="the step that comes next, or that it waits in")
    wakeAt = MillisecondsField(
        source="wake_at", allow_null=True, help_text="when it continues without an event"
    )
    awaits = BlankAsNullField(source="awaited_event", help_text="the type of event that it waits for")
    startedAt = MillisecondsField(source="started_at")
    endedAt = MillisecondsField(source="ended_at", allow_null=True)
    endReason = BlankAsNullField(
        source="end_reason",
        help_text="a decision's reason, or the reason that the workflow's exit step names",
    )
    isTest = serializers.BooleanField(source="is_test")
    error = BlankAsNullField(help_text="the last failure of its step")


class RecentEnrollmentSerializer(serializers.Serializer[Any]):
    """An enrollment as the answer about its contact has it. Rows come with their `campaign`."""

    id = serializers.UUIDField(source="campaign_id")
    name = serializers.CharField(source="campaign.name")
    runId = serializers.UUIDField(source="pk")
    status = UpperChoiceField(choices=RUN_STATUSES)
    startedAt = MillisecondsField(source="started_at")
    endedAt = MillisecondsField(source="ended_at", allow_null=True)
    endReason = BlankAsNullField(source="end_reason")


class DecisionSerializer(ContactsSerializer):
    """A decision about a contact and its reason. Rows come with their `campaign_set`."""

    id = serializers.UUIDField()
    kind = UpperChoiceField(choices=DECISION_KINDS)
    reason = ReasonField()
    detail = ObjectField()
    step = BlankAsNullField()
    campaigns = NamedSerializer(
        source="named_campaigns",
        many=True,
        help_text="several where an event was decided alike for them; none for a message without a campaign",
    )
    contact = ContactBriefField(source="contact_id")
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
    """An enrollment with its decisions, oldest first."""

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
    """A contact to enroll, and how."""

    contactId = StrictCharField(max_length=64)
    eventId = StrictCharField(
        required=False, allow_null=True, max_length=64, help_text="the event that is the cause"
    )
    key = StrictCharField(
        required=False,
        allow_null=True,
        max_length=255,
        help_text="the value of the property, where re-entry is by key",
    )
    isTest = StrictBooleanField(
        required=False,
        default=False,
        help_text="try out the draft, whether or not it serves: regardless of other enrollments, and not counted",
    )
    skipWaits = StrictBooleanField(
        required=False,
        default=False,
        help_text="in a trial, wait for nothing: events that did not come already time out at once",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Refuse `skipWaits` without a trial, and `key` with one."""
        if attrs["skipWaits"] and not attrs["isTest"]:
            raise serializers.ValidationError({"skipWaits": ["Only of a trial."]})
        if attrs["isTest"] and attrs.get("key") is not None:
            raise serializers.ValidationError({"key": ["A trial has none."]})
        return attrs


class ExecutedSerializer(serializers.Serializer[Any]):
    """Whether the contact was enrolled, or why not."""

    entered = serializers.BooleanField()
    reason = ReasonField(help_text="why not")
    run = EnrollmentSerializer(allow_null=True)
