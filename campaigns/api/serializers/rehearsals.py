"""Rehearsals of campaigns."""

from typing import Any

from rest_framework import serializers

from campaigns.api.choices import RUN_STATUSES
from campaigns.api.serializers.campaigns import ReportSerializer
from campaigns.models import Rehearsal
from contacts.api.serializers import ContactBriefField, ContactsSerializer
from workspaces.api.fields import (
    BlankAsNullField,
    MillisecondsField,
    MomentField,
    StrictCharField,
    UpperChoiceField,
)
from workspaces.api.strict import KnownKeysSerializer


class RehearsalBodySerializer(KnownKeysSerializer):
    """A period of the past to rehearse a campaign over."""

    vars()["from"] = MomentField(help_text="events from then on")
    to = MomentField(help_text="events before; not in the future")
    versions = serializers.ListField(
        child=StrictCharField(max_length=10),
        required=False,
        max_length=2,
        help_text="`draft`, or numbers of versions, two to compare them; by default what serves, else the draft",
    )


class RehearsalLimitSerializer(serializers.Serializer[Any]):
    """Something that the rehearsal could not know of the past, or left out."""

    code = serializers.CharField()
    text = serializers.CharField(help_text="in plain words")


class RehearsedReportSerializer(ReportSerializer):
    """What a version would have done: a report's counts."""

    version = serializers.CharField(source="label", help_text="`draft` or `version 3`")
    events = serializers.IntegerField(help_text="events of the period that concern the campaign")
    limits = RehearsalLimitSerializer(many=True, default=list, help_text="what it could not know or left out")


class DifferencesSerializer(serializers.Serializer[Any]):
    """How many contacts would have entered both versions, or one of them only."""

    both = serializers.IntegerField()
    onlyFirst = serializers.IntegerField()
    onlySecond = serializers.IntegerField()


class RehearsalSerializer(serializers.Serializer[Any]):
    """A rehearsal and its report."""

    id = serializers.UUIDField()
    vars()["from"] = MillisecondsField(source="since")
    to = MillisecondsField(source="until")
    status = serializers.ChoiceField(choices=Rehearsal.Status.values)
    progress = serializers.FloatField(help_text="the share that is done, 0 to 1")
    versions = serializers.SerializerMethodField()
    reports = RehearsedReportSerializer(source="report.versions", many=True, default=list)
    differences = DifferencesSerializer(source="report.differences", allow_null=True, default=None)
    error = BlankAsNullField()
    createdAt = MillisecondsField(source="created_at")
    finishedAt = MillisecondsField(source="finished_at", allow_null=True)

    def get_versions(self, rehearsal: Rehearsal) -> list[str]:
        """Return the labels of the versions."""
        return [version["label"] for version in rehearsal.versions]


class DecidedStepSerializer(serializers.Serializer[Any]):
    """A decision on the way of a rehearsed enrollment."""

    at = serializers.CharField()
    kind = serializers.CharField()
    step = serializers.CharField(allow_null=True)
    reason = serializers.CharField(allow_null=True)
    handle = serializers.CharField(allow_null=True)


class RehearsedMessageSerializer(serializers.Serializer[Any]):
    """A message that would have been sent, or not."""

    step = serializers.CharField()
    channel = serializers.CharField()
    templateId = serializers.CharField(allow_null=True)
    status = serializers.CharField()
    at = serializers.CharField(help_text="when it would have left, or would leave next")
    reason = serializers.CharField(allow_null=True)


class RehearsedEnrollmentSerializer(ContactsSerializer):
    """An enrollment that a version would have made."""

    id = serializers.UUIDField()
    version = serializers.IntegerField(help_text="its place in the rehearsal's `versions`, from 0")
    contact = ContactBriefField(source="contact_id")
    eventId = serializers.UUIDField(source="event_id", allow_null=True)
    status = UpperChoiceField(choices=RUN_STATUSES)
    endReason = BlankAsNullField(source="end_reason")
    startedAt = MillisecondsField(source="started_at")
    endedAt = MillisecondsField(source="ended_at", allow_null=True)
    path = DecidedStepSerializer(many=True)
    messages = RehearsedMessageSerializer(many=True)
