"""Filters of the list of scoring rules, and of contacts by their score."""

from decimal import Decimal
from typing import Any

import django_filters
from django.db.models import QuerySet

from contacts.models import Contact, ContactScore
from scoring.models import ScoringRule
from workspaces.api.filters import StrictBooleanFilter


class ScoringRuleFilterSet(django_filters.FilterSet):  # type: ignore[misc]  # it has no types
    """Scoring rules by their event type, and by whether they are active."""

    eventType = django_filters.CharFilter(field_name="event_name", max_length=255)
    active = StrictBooleanFilter()

    class Meta:
        model = ScoringRule
        fields: list[str] = []


class ContactsWithScore(django_filters.NumberFilter):  # type: ignore[misc]  # it has no types
    """The contacts with so many points at least; who has earned none yet has zero."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            help_text="only contacts with this score at least", max_digits=30, decimal_places=6, **kwargs
        )

    def filter(self, contacts: QuerySet[Contact], value: Decimal | None) -> QuerySet[Contact]:
        """Leave those with a row of enough points; where zero is enough, all but those with too few."""
        if value is None:
            return contacts
        scores = ContactScore.objects.in_workspace(self.parent.workspace_id)
        if value > 0:
            return contacts.filter(id__in=scores.filter(points__gte=value).values("contact_id"))
        return contacts.exclude(id__in=scores.filter(points__lt=value).values("contact_id"))
