"""Filters of messages, templates and suppressions."""

import django_filters
from django.db.models import QuerySet

from campaigns.api.choices import upper
from campaigns.api.filters.base import IdFilter, PersonFilter, UpperChoiceFilter
from campaigns.messaging.suppressions import normalized_address
from campaigns.models import Message, Suppression, Template
from campaigns.models.messages import Channel


class MessageFilterSet(django_filters.FilterSet):  # type: ignore[misc]  # it has no types
    """Messages by channel, status, contact, campaign, enrollment or event."""

    channel = UpperChoiceFilter(choices=upper(Channel))
    status = django_filters.ChoiceFilter(choices=Message.Status.choices)
    contactId = PersonFilter(help_text="only messages to this contact")
    campaignId = IdFilter(field_name="campaign_id")
    runId = IdFilter(field_name="enrollment_id")
    eventId = IdFilter(field_name="event_id")

    class Meta:
        model = Message
        fields: list[str] = []


class TemplateFilterSet(django_filters.FilterSet):  # type: ignore[misc]  # it has no types
    """Templates by name and channel."""

    name = django_filters.CharFilter(lookup_expr="icontains", max_length=255, help_text="part of the name")
    channel = UpperChoiceFilter(choices=upper(Channel))

    class Meta:
        model = Template
        fields: list[str] = []


class SuppressionFilterSet(django_filters.FilterSet):  # type: ignore[misc]  # it has no types
    """Suppressions by channel, reason or address."""

    channel = UpperChoiceFilter(choices=upper(Channel))
    reason = UpperChoiceFilter(choices=upper(Suppression.Reason))
    address = django_filters.CharFilter(
        method="filter_address", max_length=2048, help_text="the whole address, spelled in any way"
    )

    class Meta:
        model = Suppression
        fields: list[str] = []

    def filter_address(
        self, suppressions: QuerySet[Suppression], name: str, text: str
    ) -> QuerySet[Suppression]:
        """Filter by an address, in each channel's normalised spelling."""
        return suppressions.filter(address__in={normalized_address(channel, text) for channel in Channel})
