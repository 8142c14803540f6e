"""Links, filters and the base admin of rows about a contact in a campaign."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import DropdownFilter

from campaigns.models import Campaign, Decision
from config.ids import parse_uuid
from contacts.admin import ContactRowMixin
from workspaces.staff.links import link
from workspaces.staff.model_admin import ReadOnlyAdminMixin, WorkspaceModelAdmin
from workspaces.staff.workspace_choice import chosen_workspace

CAMPAIGN_CHOICES = 200


def campaign_link(campaign: Campaign | None) -> SafeString | str:
    """Return a campaign's name, linked to its page."""
    return "" if campaign is None else link("campaigns_campaign_change", campaign.pk, campaign.name)


def campaign_links(names: Mapping[UUID, str]) -> SafeString:
    """Return campaigns' names, each linked to its page."""
    links = ((link("campaigns_campaign_change", pk, name),) for pk, name in names.items())
    # One element: a cell of a narrow page sets what stands in it side by side, without the spaces between.
    return format_html("<span>{}</span>", format_html_join(", ", "{}", links))


def about_label(decision: Decision) -> SafeString | str:
    """Return the campaign that a decision is about, or how many there are."""
    return campaign_link(decision.campaign) if decision.campaign_set is None else str(decision.campaign_set)


def trace_link(event_id: UUID | None) -> SafeString | str:
    """Return a link to the trace of an event."""
    return "" if event_id is None else link("campaigns_trace", event_id, "What it caused")


class CampaignFilter(DropdownFilter):  # type: ignore[misc]  # unfold has no types
    """Filter by a campaign of the chosen workspace."""

    shows = (Campaign,)
    title = "campaign"
    parameter_name = "campaign"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        campaigns = Campaign.objects.in_workspace(chosen_workspace(request))
        choices = dict(campaigns.order_by("name").values_list("pk", "name")[:CAMPAIGN_CHOICES])
        chosen = parse_uuid(self.value())
        if chosen is not None and chosen not in choices:
            choices.update(campaigns.filter(pk=chosen).values_list("pk", "name"))
        return [(str(pk), name) for pk, name in choices.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = parse_uuid(self.value())
        return queryset if chosen is None else self.about(request, queryset, chosen)

    def about(self, request: HttpRequest, queryset: QuerySet[Any], campaign_id: UUID) -> QuerySet[Any]:
        """Return the campaign's rows of the list."""
        return queryset.filter(campaign_id=campaign_id)


class CampaignRowAdmin(ContactRowMixin, ReadOnlyAdminMixin, WorkspaceModelAdmin):
    """Base of read-only rows about a contact in a campaign, searched by contact or by the ids in `by_ids`."""

    resource = "campaigns"
    sortable_by = ()
    search_fields = ["contact_id"]
    search_help_text = "A contact's id, identifier or name, or the id of an enrollment or of an event."
    by_ids: Sequence[str] = ("enrollment_id", "event_id")
    campaign_path = "campaign"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Add the campaigns, in the same statement."""
        return super().get_queryset(request).select_related(self.campaign_path)

    def match(self, contact_ids: Sequence[UUID], text: str) -> Q:
        found = super().match(contact_ids, text)
        if (identifier := parse_uuid(text)) is not None:
            for name in self.by_ids:
                found |= Q(**{name: identifier})
        return found

    @admin.display(description="campaign")
    def campaign_label(self, row: Any) -> SafeString | str:
        return campaign_link(row.campaign)

    @admin.display(description="event")
    def trace(self, row: Any) -> SafeString | str:
        return trace_link(row.event_id)
