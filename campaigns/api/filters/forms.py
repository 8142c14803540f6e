"""Filters of forms."""

import django_filters

from campaigns.models import Form
from workspaces.api.filters import StrictBooleanFilter


class FormFilterSet(django_filters.FilterSet):  # type: ignore[misc]  # it has no types
    """Forms by name, or whether they are active."""

    name = django_filters.CharFilter(lookup_expr="icontains", max_length=255, help_text="part of the name")
    active = StrictBooleanFilter()

    class Meta:
        model = Form
        fields: list[str] = []
