"""Filters of campaigns."""

import django_filters

from campaigns.models import Campaign
from workspaces.api.filters import StrictBooleanFilter


class CampaignFilterSet(django_filters.FilterSet):  # type: ignore[misc]  # it has no types
    """Campaigns by name, type, status, or whether they are parked."""

    name = django_filters.CharFilter(lookup_expr="icontains", max_length=255, help_text="part of the name")
    type = django_filters.ChoiceFilter(choices=Campaign.Type.choices)
    status = django_filters.ChoiceFilter(choices=Campaign.Status.choices)
    parked = StrictBooleanFilter(
        field_name="parked_at",
        lookup_expr="isnull",
        exclude=True,
        help_text="whether it failed and is parked",
    )

    class Meta:
        model = Campaign
        fields: list[str] = []
