"""Filters of enrollments and decisions."""

from typing import Any, cast
from uuid import UUID

import django_filters
from django.db.models import QuerySet

from campaigns.api.choices import REASONS, upper
from campaigns.api.filters.base import IdFilter, PersonFilter, UpperChoiceFilter
from campaigns.models import Decision, Enrollment
from campaigns.models.enrollments import DecisionQuerySet


class AboutFilter(IdFilter):
    """Filter decisions by a campaign that they are about, alone or with others."""

    def narrowed(self, rows: QuerySet[Any], identifier: UUID) -> QuerySet[Any]:
        """Return the decisions about the campaign, alone or with others."""
        workspace_id: UUID = self.parent.request.parser_context["view"].workspace.id
        return cast(DecisionQuerySet, rows).about(workspace_id, identifier)


class EnrollmentFilterSet(django_filters.FilterSet):  # type: ignore[misc]  # it has no types
    """Enrollments by contact or status."""

    contactId = PersonFilter(help_text="only enrollments of this contact")
    status = UpperChoiceFilter(choices=upper(Enrollment.Status))

    class Meta:
        model = Enrollment
        fields: list[str] = []


class DecisionFilterSet(django_filters.FilterSet):  # type: ignore[misc]  # it has no types
    """Decisions by kind, reason, step, contact, campaign, enrollment or event."""

    kind = UpperChoiceFilter(choices=upper(Decision.Kind))
    reason = django_filters.ChoiceFilter(choices=REASONS)
    step = django_filters.CharFilter(max_length=64)
    contactId = PersonFilter(help_text="only decisions about this contact")
    campaignId = AboutFilter(help_text="only decisions about this campaign, alone or with others")
    runId = IdFilter(field_name="enrollment_id")
    eventId = IdFilter(field_name="event_id")

    class Meta:
        model = Decision
        fields: list[str] = []
