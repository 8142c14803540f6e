"""Enrollments and decisions in the admin, read-only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast
from uuid import UUID

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter, DropdownFilter

from campaigns.admin.base import CampaignFilter, CampaignRowAdmin, about_label, campaign_links
from campaigns.journeys.decisions import campaign_names
from campaigns.models import CampaignSet, Decision, Enrollment
from campaigns.models.enrollments import DecisionQuerySet
from campaigns.reasons import Reason
from config.http.rendering import dumps
from workspaces.staff.columns import utc, utc_column
from workspaces.staff.filters import WorkspaceFilter
from workspaces.staff.links import link
from workspaces.staff.model_admin import ReadOnlyAdminMixin, WorkspaceModelAdmin
from workspaces.staff.workspace_choice import chosen_workspace

SHOWN_DECISIONS = 200


class ReasonFilter(DropdownFilter):  # type: ignore[misc]  # unfold has no types
    """Filter by the reason of a decision."""

    title = "reason"
    parameter_name = "reason"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(reason.value, reason.value.replace("_", " ")) for reason in Reason]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Decision]) -> QuerySet[Decision]:
        return queryset.filter(reason=self.value()) if self.value() else queryset


@admin.register(Enrollment)
class EnrollmentAdmin(CampaignRowAdmin):
    list_display = ["started_utc", "contact_label", "campaign_label", "status", "step", "end_reason", "trace"]
    list_filter = [WorkspaceFilter, CampaignFilter, ("status", ChoicesDropdownFilter)]
    by_ids: Sequence[str] = ("id", "event_id")
    fields = [
        *("workspace", "campaign_label", "version_number", "contact_label", "status", "step", "wake_utc"),
        *(
            "awaited_event",
            "awaited_value",
            "started_utc",
            "ended_utc",
            "end_reason",
            "error",
            "attempts",
            "is_test",
        ),
        *("trace", "way"),
    ]
    readonly_fields = [
        *("campaign_label", "version_number", "contact_label", "started_utc", "ended_utc", "wake_utc"),
        *("trace", "way"),
    ]

    started_utc = utc_column("started_at", "started (UTC)")
    ended_utc = utc_column("ended_at", "ended (UTC)")
    wake_utc = utc_column("wake_at", "goes on at (UTC)")

    @admin.display(description="version")
    def version_number(self, enrollment: Enrollment) -> int | None:
        return enrollment.version.number

    @admin.display(description="its way")
    def way(self, enrollment: Enrollment) -> SafeString:
        """Return a table of the enrollment's decisions, oldest first."""
        decisions = (
            Decision.objects.in_workspace(enrollment.workspace_id)
            .filter(enrollment_id=enrollment.pk)
            .order_by("id")
        )
        rows = [
            [
                utc(decision.decided_at),
                decision.step,
                decision.get_kind_display(),
                reason_of(decision),
                message_of(decision),
            ]
            for decision in decisions[:SHOWN_DECISIONS]
        ]
        headers = ["When (UTC)", "Step", "Decided", "Why", "Message"]
        return render_to_string("admin/campaigns/table.html", {"table": {"headers": headers, "rows": rows}})


class AboutFilter(CampaignFilter):
    """Filter decisions by a campaign that they are about, alone or with others."""

    def about(self, request: HttpRequest, queryset: QuerySet[Any], campaign_id: UUID) -> QuerySet[Any]:
        return cast(DecisionQuerySet, queryset).about(chosen_workspace(request), campaign_id)


@admin.register(Decision)
class DecisionAdmin(CampaignRowAdmin):
    list_display = [
        *("decided_utc", "contact_label", "about", "kind", "why", "step", "enrollment_label", "trace"),
    ]
    list_filter = [WorkspaceFilter, AboutFilter, ("kind", ChoicesDropdownFilter), ReasonFilter]
    fields = [
        *("workspace", "campaigns", "contact_label", "decided_utc", "kind", "why", "step"),
        *("enrollment_label", "message_label", "trace"),
    ]
    readonly_fields = [
        *("campaigns", "contact_label", "decided_utc", "why", "enrollment_label", "message_label", "trace"),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).select_related("campaign_set")

    @admin.display(description="campaign")
    def about(self, decision: Decision) -> SafeString | str:
        return about_label(decision)

    @admin.display(description="campaigns")
    def campaigns(self, decision: Decision) -> SafeString:
        return campaign_links(campaign_names(decision.workspace_id, decision.campaign_ids))

    decided_utc = utc_column("decided_at", "decided (UTC)")

    @admin.display(description="why")
    def why(self, decision: Decision) -> str:
        return reason_of(decision)

    @admin.display(description="enrollment")
    def enrollment_label(self, decision: Decision) -> SafeString | str:
        return (
            link("campaigns_enrollment_change", decision.enrollment_id, "Its way")
            if decision.enrollment_id
            else ""
        )

    @admin.display(description="message")
    def message_label(self, decision: Decision) -> SafeString | str:
        return message_of(decision)


@admin.register(CampaignSet)
class CampaignSetAdmin(ReadOnlyAdminMixin, WorkspaceModelAdmin):
    resource = "campaigns"
    list_display = ["id", "__str__"]
    list_filter = [WorkspaceFilter]
    ordering = ["id"]
    fields = ["workspace", "campaigns"]
    readonly_fields = ["campaigns"]

    @admin.display(description="campaigns")
    def campaigns(self, row: CampaignSet) -> SafeString:
        return campaign_links(campaign_names(row.workspace_id, row.campaign_ids))


def reason_of(decision: Decision) -> str:
    """Return a decision's reason and its detail, in words."""
    words = [decision.reason.replace("_", " ")] if decision.reason else []
    # The message has a link of its own.
    words += [f"{name}: {_spelled(value)}" for name, value in decision.detail.items() if name != "messageId"]
    return ", ".join(words)


def _spelled(value: Any) -> str:
    return value if isinstance(value, str) else dumps(value).decode()


def message_of(decision: Decision) -> SafeString | str:
    """Return a link to the message that a decision is about."""
    if decision.message_id is None:
        return ""
    return link("campaigns_message_change", decision.message_id, "The message")
