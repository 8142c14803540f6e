"""What the lists of campaigns, enrollments, decisions, messages and what they need can be narrowed by."""

from typing import Any, cast
from uuid import UUID

import django_filters
from django.db.models import QuerySet, TextChoices

from campaigns.messaging.suppressions import normalized_address
from campaigns.models import Campaign, Decision, Enrollment, Form, Message, Suppression, Template
from campaigns.models.enrollments import DecisionQuerySet
from campaigns.models.messages import Channel
from campaigns.reasons import Reason
from config.ids import parse_uuid
from contacts.identity.lookup import ids_of
from workspaces.api.filters import StrictBooleanFilter


def upper(choices: type[TextChoices]) -> list[tuple[str, str]]:
    """Return choices as the wire spells them."""
    return [(choice.value.upper(), str(choice.label)) for choice in choices]


REASONS = [(reason.value, reason.value.replace("_", " ")) for reason in Reason]


class UpperChoiceFilter(django_filters.ChoiceFilter):  # type: ignore[misc]  # it has no types
    """A choice that the wire spells in capitals, and the rows do not."""

    def filter(self, rows: QuerySet[Any], value: str | None) -> QuerySet[Any]:
        """Leave the rows with the choice."""
        return super().filter(rows, value and value.lower())  # type: ignore[no-any-return]  # untyped


class IdFilter(django_filters.CharFilter):  # type: ignore[misc]  # it has no types
    """The rows of an id; none for what is no id."""

    def filter(self, rows: QuerySet[Any], value: str | None) -> QuerySet[Any]:
        """Leave the rows of the id."""
        if not value:
            return rows
        identifier = parse_uuid(value)
        return rows.none() if identifier is None else self.narrowed(rows, identifier)

    def narrowed(self, rows: QuerySet[Any], identifier: UUID) -> QuerySet[Any]:
        """Return the rows that have the id."""
        return rows.filter(**{self.field_name: identifier})


class PersonFilter(IdFilter):
    """The rows of a person: of the contact by any of its ids."""

    def narrowed(self, rows: QuerySet[Any], identifier: UUID) -> QuerySet[Any]:
        """Return the rows of the contact and of those merged into it."""
        workspace_id: UUID = self.parent.request.parser_context["view"].workspace.id
        return rows.filter(contact_id__in=ids_of(workspace_id, identifier))


class AboutFilter(IdFilter):
    """The decisions about a campaign."""

    def narrowed(self, rows: QuerySet[Any], identifier: UUID) -> QuerySet[Any]:
        """Return the decisions about the campaign, alone or with others."""
        workspace_id: UUID = self.parent.request.parser_context["view"].workspace.id
        return cast(DecisionQuerySet, rows).about(workspace_id, identifier)


class CampaignFilterSet(django_filters.FilterSet):  # type: ignore[misc]  # it has no types
    """Campaigns by name, type, status, and whether they fail."""

    name = django_filters.CharFilter(lookup_expr="icontains", max_length=255, help_text="part of the name")
    type = django_filters.ChoiceFilter(choices=Campaign.Type.choices)
    status = django_filters.ChoiceFilter(choices=Campaign.Status.choices)
    parked = StrictBooleanFilter(
        field_name="parked_at", lookup_expr="isnull", exclude=True, help_text="whether it failed and waits"
    )

    class Meta:
        model = Campaign
        fields: list[str] = []


class EnrollmentFilterSet(django_filters.FilterSet):  # type: ignore[misc]  # it has no types
    """Enrollments of a person, or of a status."""

    contactId = PersonFilter(help_text="only enrollments of this contact")
    status = UpperChoiceFilter(choices=upper(Enrollment.Status))

    class Meta:
        model = Enrollment
        fields: list[str] = []


class DecisionFilterSet(django_filters.FilterSet):  # type: ignore[misc]  # it has no types
    """Decisions of a kind, for a reason, about a person, an enrollment, an event or a step."""

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


class MessageFilterSet(django_filters.FilterSet):  # type: ignore[misc]  # it has no types
    """Messages of a channel and a status, to a person, of a campaign or an enrollment, or because of an event."""

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
    """Suppressions of a channel, for a reason, of an address."""

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
        """Leave those of an address, as any channel keeps it."""
        return suppressions.filter(address__in={normalized_address(one, text) for one in Channel})


class FormFilterSet(django_filters.FilterSet):  # type: ignore[misc]  # it has no types
    """Forms by name, or those that are active."""

    name = django_filters.CharFilter(lookup_expr="icontains", max_length=255, help_text="part of the name")
    active = StrictBooleanFilter()

    class Meta:
        model = Form
        fields: list[str] = []
