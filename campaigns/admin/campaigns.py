"""Campaigns, their versions and broadcasts in the admin."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter

from campaigns.admin.base import CampaignFilter, campaign_link
from campaigns.admin.rehearsals import RehearseMixin
from campaigns.admin.reports import Section, report_sections, trace_lead, trace_sections
from campaigns.admin.start import CampaignActionsMixin
from campaigns.admin.status_changes import STATUS_CHANGES, list_action
from campaigns.errors import BroadcastFinished, InvalidDefinition
from campaigns.journeys.broadcasts import cancel_broadcast, reschedule_broadcast
from campaigns.journeys.definition_checks import check_definition
from campaigns.journeys.lifecycle import create_campaign, delete_campaign, get_campaign, update_campaign
from campaigns.journeys.versions import open_enrollment_counts
from campaigns.journeys.warnings import campaign_warnings, rule_warnings
from campaigns.messaging.senders import SENDERS, sender_error
from campaigns.models import Broadcast, Campaign, CampaignVersion
from campaigns.models.messages import Channel
from campaigns.reporting.report import campaign_report
from campaigns.reporting.trace import trace_event
from config.errors import DomainError
from contacts.models import Contact
from events.models import Event
from workspaces.staff.filters import ParkedFilter, WorkspaceFilter
from workspaces.staff.forms import WorkspaceModelForm
from workspaces.staff.links import link, list_link
from workspaces.staff.model_admin import ReadOnlyAdminMixin, ServiceDeleteMixin, WorkspaceModelAdmin, page
from workspaces.staff.permissions import admin_of

_EDITABLE = ("name", "description", "type", "starts_at", "ends_at", "priority", *SENDERS)
_DRAFT_HELP = (
    'such as {"triggers": [{"type": "EVENT", "eventType": "signup"}], "reentry": {"mode": "once"}, "workflow":'
    ' {"nodes": [{"id": "a-day", "type": "wait", "data": {"duration": "1d"}}, {"id": "welcome", "type": "send",'
    ' "data": {"channel": "email", "templateId": "…"}}], "edges": [{"source": "a-day", "target": "welcome"}]},'
    ' "goal": {"eventType": "purchase", "within": "7d"}}; the API\'s document (/docs) has all. It is used once'
    " it is activated, by the button above."
)


class CampaignForm(WorkspaceModelForm):
    """A campaign to write; `draft` is its definition, as the API takes it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "description" in self.fields:
            self.fields["description"].widget.attrs["rows"] = 2
        if "draft" in self.fields:
            self.fields["draft"].widget.attrs["rows"] = 30
            self.fields["draft"].help_text = _DRAFT_HELP

    def clean(self) -> dict[str, Any]:
        """Check the definition and the senders; each fault is at its field."""
        cleaned = super().clean()
        workspace = cleaned.get("workspace") or getattr(self.instance, "workspace", None)
        if workspace is not None and "draft" in cleaned:
            try:
                check_definition(workspace.pk, cleaned["draft"], require_complete=False)
            except InvalidDefinition as error:
                self.add_error("draft", error.message)
        for field in SENDERS:
            if fault := sender_error(Channel.EMAIL, cleaned.get(field)):
                self.add_error(field, fault)
        return cleaned


@admin.register(Campaign)
class CampaignAdmin(RehearseMixin, CampaignActionsMixin, ServiceDeleteMixin, WorkspaceModelAdmin):
    resource = "campaigns"
    form = CampaignForm
    list_display = [
        "name",
        "type",
        "status",
        "active_version_label",
        "shortened_error",
        "updated_at",
        "report_label",
    ]
    list_filter = [
        WorkspaceFilter,
        ("status", ChoicesDropdownFilter),
        ("type", ChoicesDropdownFilter),
        ParkedFilter,
    ]
    list_select_related = ["active_version"]
    search_fields = ["name"]
    ordering = ["name", "id"]
    fields = [
        *("workspace", "name", "description", "type", "priority", "starts_at", "ends_at", *SENDERS, "draft"),
        *("status", "active_version_label", "error", "led_to", "activated_at", "created_at", "updated_at"),
    ]
    readonly_fields = [
        *("status", "active_version_label", "error", "led_to", "activated_at", "created_at", "updated_at"),
    ]
    actions = [list_action(change) for change in STATUS_CHANGES.values()]

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Sequence[str]:
        """Leave out of a new campaign's form what it cannot have yet."""
        shown = list(self.fields)
        return shown[: shown.index("status")] if obj is None else shown

    @admin.display(description="active version")
    def active_version_label(self, campaign: Campaign) -> str:
        if campaign.active_version is None:
            return "nothing yet"
        newer = ", the draft is newer" if campaign.active_version.definition != campaign.draft else ""
        return f"version {campaign.active_version.number}{newer}"

    @admin.display(description="error")
    def shortened_error(self, campaign: Campaign) -> str:
        return campaign.error[:80]

    @admin.display(description="report")
    def report_label(self, campaign: Campaign) -> SafeString:
        return link("campaigns_campaign_report", campaign.pk, "Report")

    @admin.display(description="what became of it")
    def led_to(self, campaign: Campaign) -> SafeString:
        chosen = {"workspace": campaign.workspace_id, "campaign": campaign.pk}
        lists = {
            "enrollment": "enrollments",
            "decision": "decisions",
            "message": "messages",
            "broadcast": "broadcasts",
            "campaignversion": "versions",
            "rehearsal": "rehearsals",
        }
        links = [link("campaigns_campaign_report", campaign.pk, "report")]
        links += [list_link(f"campaigns_{model}", words, **chosen) for model, words in lists.items()]
        return SafeString(", ".join(links))

    def save_model(self, request: HttpRequest, obj: Campaign, form: Any, change: bool) -> None:
        """Create or update the campaign by its service, and show its warnings; `obj` itself is not saved."""
        data = form.cleaned_data
        values = {name: data[name] for name in _EDITABLE}
        if not change:
            saved = create_campaign(obj.workspace_id, definition=data["draft"], **values)
            obj.pk, obj._state.adding = saved.pk, False
        else:
            draft = data["draft"] if "draft" in form.changed_data else None
            campaign = get_campaign(obj.workspace_id, obj.pk)
            saved = update_campaign(obj.workspace_id, campaign, definition=draft, **values)
        for warning in campaign_warnings(obj.workspace_id, [saved])[saved.pk]:
            messages.warning(request, f"{obj}: {warning}.")
        for warning in rule_warnings(saved):
            messages.warning(request, warning)

    def delete_model(self, request: HttpRequest, obj: Campaign) -> None:
        delete_campaign(obj.workspace_id, obj)

    @page("<str:campaign_id>/report/", "campaigns_campaign_report")
    def report_view(self, request: HttpRequest, campaign_id: str) -> HttpResponse:
        """Show what became of a campaign."""
        campaign = self.row_for(request, campaign_id)
        lead = format_html("What became of {}. Trials are not counted.", campaign_link(campaign))
        return self._tables(
            request, f"Report of {campaign}", lead, report_sections(campaign_report(campaign))
        )

    @page("trace/<str:event_id>/", "campaigns_trace")
    def trace_view(self, request: HttpRequest, event_id: str) -> HttpResponse:
        """Show what one event caused."""
        event = admin_of(Event).row_for(request, event_id, self.has_view_permission)
        trace = trace_event(event)
        sees_contact = admin_of(Contact).has_view_permission(request, event)
        lead = trace_lead(trace, names_contact=sees_contact)
        sections = [
            section
            for model, section in trace_sections(trace)
            if admin_of(model).has_view_permission(request, event)
        ]
        return self._tables(request, f"What {event.name} caused", lead, sections)

    def _tables(
        self, request: HttpRequest, title: str, lead: SafeString, sections: Iterable[Section]
    ) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": title,
            "opts": self.opts,
            "lead": lead,
            "sections": sections,
        }
        return TemplateResponse(request, "admin/campaigns/tables.html", context)


@admin.register(CampaignVersion)
class CampaignVersionAdmin(ReadOnlyAdminMixin, WorkspaceModelAdmin):
    resource = "campaigns"
    list_display = ["created_at", "campaign_label", "version_label", "actor", "retired_at"]
    list_display_links = ["created_at", "version_label"]
    list_filter = [WorkspaceFilter, CampaignFilter]
    list_select_related = ["campaign"]
    sortable_by = ()
    fields = [
        *(
            "workspace",
            "campaign_label",
            "version_label",
            "definition",
            "created_at",
            "actor",
            "open_enrollments",
        ),
        "retired_at",
    ]
    readonly_fields = ["campaign_label", "version_label", "open_enrollments"]

    @admin.display(description="version")
    def version_label(self, version: CampaignVersion) -> str:
        active = ", active" if version.pk == version.campaign.active_version_id else ""
        return "on trial" if version.number is None else f"{version.number}{active}"

    @admin.display(description="open enrollments")
    def open_enrollments(self, version: CampaignVersion) -> str:
        return f"{open_enrollment_counts(version.workspace_id, [version.pk]).get(version.pk, 0):,}"

    @admin.display(description="campaign")
    def campaign_label(self, version: CampaignVersion) -> SafeString | str:
        return campaign_link(version.campaign)


@admin.register(Broadcast)
class BroadcastAdmin(ReadOnlyAdminMixin, WorkspaceModelAdmin):
    resource = "campaigns"
    list_display = ["due_at", "campaign_label", "addressees", "done", "finished_at"]
    list_filter = [WorkspaceFilter, CampaignFilter]
    list_select_related = ["campaign"]
    sortable_by = ()
    ordering = ["-due_at", "-id"]
    fields = [
        *(
            "workspace",
            "campaign_label",
            "addressees",
            "due_at",
            "done",
            "error",
            "finished_at",
            "cancelled_at",
        ),
        *("what_was_done", "created_at"),
    ]
    readonly_fields = [
        *("workspace", "campaign_label", "addressees", "done", "error", "finished_at", "cancelled_at"),
        *("what_was_done", "created_at"),
    ]
    actions = ["cancel"]

    def has_change_permission(self, request: HttpRequest, obj: Broadcast | None = None) -> bool:
        """Let staff reschedule or cancel a broadcast that has not begun."""
        is_allowed = self.may(request, "change", obj)
        return is_allowed and (obj is None or (obj.finished_at is None and not obj.has_begun))

    def save_model(self, request: HttpRequest, obj: Broadcast, form: Any, change: bool) -> None:
        """Reschedule the broadcast; a refusal is shown as a message."""
        try:
            reschedule_broadcast(obj.workspace_id, obj.pk, obj.due_at, actor=str(request.user))
        except DomainError as error:
            messages.set_level(request, messages.ERROR)
            messages.error(request, error.sentence)

    @admin.action(description="Cancel the selected broadcasts", permissions=["change"])
    def cancel(self, request: HttpRequest, queryset: QuerySet[Broadcast]) -> None:
        """Cancel the chosen broadcasts; finished ones stay as they are."""
        cancelled = finished = 0
        for broadcast in queryset:
            try:
                cancel_broadcast(broadcast.workspace_id, broadcast.pk, actor=str(request.user))
            except BroadcastFinished:
                finished += 1
            else:
                self.log_change(request, broadcast, "Cancelled.")
                cancelled += 1
        words = f" {finished} were finished already." if finished else ""
        self.message_user(request, f"Cancelled: {cancelled}.{words}")

    @admin.display(description="what was done")
    def what_was_done(self, broadcast: Broadcast) -> SafeString | str:
        return format_html_join(
            "",
            "<div>{}: {} by {}{}</div>",
            (
                (change["at"], change["kind"], change["by"] or "nobody known", _until(change["dueAt"]))
                for change in broadcast.changes
            ),
        )

    @admin.display(description="campaign")
    def campaign_label(self, broadcast: Broadcast) -> SafeString | str:
        return campaign_link(broadcast.campaign)

    @admin.display(description="for")
    def addressees(self, broadcast: Broadcast) -> SafeString | str:
        if broadcast.contact_ids is not None:
            return f"{len(broadcast.contact_ids):,} contacts"
        return link("segments_segment_change", broadcast.segment_id, "A segment")


def _until(due_at: str | None) -> str:
    return f", for {due_at}" if due_at else ""
