"""Campaigns themselves: written, started and stopped by the services, with what became of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter

from campaigns.admin.base import CampaignFilter, campaign_link, campaign_links, link, utc
from campaigns.admin.confirmations import (
    activation_question,
    archive_question,
    finish_question,
    resumption_question,
)
from campaigns.admin.enrollments import reason_of
from campaigns.admin.start import CampaignActionsMixin
from campaigns.errors import BroadcastFinished, InvalidDefinition
from campaigns.journeys.broadcasts import cancel_broadcast, reschedule_broadcast
from campaigns.journeys.lifecycle import (
    activate_campaign,
    archive_campaign,
    check_definition,
    create_campaign,
    delete_campaign,
    finish_campaign,
    get_campaign,
    open_enrollment_counts,
    pause_campaign,
    resume_campaign,
    update_campaign,
)
from campaigns.journeys.warnings import campaign_warnings, rule_warnings
from campaigns.messaging.senders import SENDERS, sender_error
from campaigns.models import Broadcast, Campaign, CampaignVersion, Decision, Enrollment, Message
from campaigns.models.messages import Channel
from campaigns.reporting.report import CampaignReport, campaign_report
from campaigns.reporting.trace import Trace, trace_event
from config.errors import DomainError
from config.http.rendering import dumps
from contacts.models import Contact
from events.admin import event_link
from events.models import Event, ParkedEffect
from scoring.models import ScoreEntry
from workspaces.models import Workspace
from workspaces.staff.confirmation import Question, ask
from workspaces.staff.filters import ParkedFilter, WorkspaceFilter
from workspaces.staff.forms import WorkspaceModelForm
from workspaces.staff.model_admin import ReadOnlyAdminMixin, ServiceDeleteMixin, WorkspaceModelAdmin
from workspaces.staff.permissions import admin_of

_EDITABLE = ("name", "description", "type", "starts_at", "ends_at", "priority", *SENDERS)
_DRAFT_HELP = (
    'such as {"triggers": [{"type": "EVENT", "eventType": "signup"}], "reentry": {"mode": "once"}, "workflow":'
    ' {"nodes": [{"id": "a-day", "type": "wait", "data": {"duration": "1d"}}, {"id": "welcome", "type": "send",'
    ' "data": {"channel": "email", "templateId": "…"}}], "edges": [{"source": "a-day", "target": "welcome"}]},'
    ' "goal": {"eventType": "purchase", "within": "7d"}}; the API\'s document (/docs) has all. It serves once'
    " it is activated, by the button above."
)
Section = dict[str, Any]


class CampaignForm(WorkspaceModelForm):
    """A campaign as the API takes it; the definition is the draft."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "description" in self.fields:
            self.fields["description"].widget.attrs["rows"] = 2
        if "draft" in self.fields:
            self.fields["draft"].widget.attrs["rows"] = 30
            self.fields["draft"].help_text = _DRAFT_HELP

    def clean(self) -> dict[str, Any]:
        """Check the definition by what reads it, and tell at the field where in it the fault is."""
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
class CampaignAdmin(CampaignActionsMixin, ServiceDeleteMixin, WorkspaceModelAdmin):
    resource = "campaigns"
    form = CampaignForm
    list_display = ["name", "type", "status", "serves", "shortened_error", "updated_at", "report_label"]
    list_filter = [
        WorkspaceFilter,
        ("status", ChoicesDropdownFilter),
        ("type", ChoicesDropdownFilter),
        ParkedFilter,
    ]
    list_select_related = ["version"]
    search_fields = ["name"]
    ordering = ["name", "id"]
    fields = [
        *("workspace", "name", "description", "type", "priority", "starts_at", "ends_at", *SENDERS, "draft"),
        *("status", "serves", "error", "led_to", "activated_at", "created_at", "updated_at"),
    ]
    readonly_fields = [
        *("status", "serves", "error", "led_to", "activated_at", "created_at", "updated_at"),
    ]
    actions = ["activate", "pause", "resume", "finish", "archive"]

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Sequence[str]:
        """Leave out of a new campaign's form what it cannot have yet."""
        shown = list(self.fields)
        return shown[: shown.index("status")] if obj is None else shown

    def get_urls(self) -> list[URLPattern]:
        report = path(
            "<str:campaign_id>/report/",
            self.admin_site.admin_view(self.report_view),
            name="campaigns_campaign_report",
        )
        trace = path(
            "trace/<str:event_id>/", self.admin_site.admin_view(self.trace_view), name="campaigns_trace"
        )
        return [report, trace, *super().get_urls()]

    @admin.display(description="serves")
    def serves(self, campaign: Campaign) -> str:
        if campaign.version is None:
            return "nothing yet"
        newer = ", the draft is newer" if campaign.version.definition != campaign.draft else ""
        return f"version {campaign.version.number}{newer}"

    @admin.display(description="error")
    def shortened_error(self, campaign: Campaign) -> str:
        return campaign.error[:80]

    @admin.display(description="report")
    def report_label(self, campaign: Campaign) -> SafeString:
        return link("campaigns_campaign_report", campaign.pk, "Report")

    @admin.display(description="what became of it")
    def led_to(self, campaign: Campaign) -> SafeString:
        chosen = f"?workspace={campaign.workspace_id}&campaign={campaign.pk}"
        lists = {
            "enrollment": "enrollments",
            "decision": "decisions",
            "message": "messages",
            "broadcast": "broadcasts",
            "campaignversion": "versions",
        }
        links = [link("campaigns_campaign_report", campaign.pk, "report")]
        links += [
            format_html(
                '<a class="text-primary-600 dark:text-primary-500" href="{}">{}</a>',
                reverse(f"admin:campaigns_{model}_changelist") + chosen,
                words,
            )
            for model, words in lists.items()
        ]
        return SafeString(", ".join(links))

    def save_model(self, request: HttpRequest, obj: Campaign, form: Any, change: bool) -> None:
        """Have the service write what the form says; the row that the form made is never saved itself."""
        data = form.cleaned_data
        values = {name: data[name] for name in _EDITABLE}
        if not change:
            saved = create_campaign(obj.workspace, definition=data["draft"], **values)
            obj.pk, obj._state.adding = saved.pk, False
        else:
            draft = data["draft"] if "draft" in form.changed_data else None
            standing = get_campaign(obj.workspace_id, obj.pk)
            saved = update_campaign(obj.workspace, standing, definition=draft, **values)
        for warning in campaign_warnings(obj.workspace_id, [saved])[saved.pk]:
            messages.warning(request, f"{obj}: {warning}.")
        for warning in rule_warnings(saved):
            messages.warning(request, warning)

    def delete_model(self, request: HttpRequest, obj: Campaign) -> None:
        delete_campaign(obj.workspace, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Campaign]) -> None:
        for campaign in queryset.select_related("workspace"):
            try:
                delete_campaign(campaign.workspace, campaign)
            except DomainError as error:
                messages.error(request, f"{campaign}: {error.sentence}")

    @admin.action(description="Activate: let the draft serve", permissions=["move"])
    def activate(self, request: HttpRequest, queryset: QuerySet[Campaign]) -> HttpResponse | None:
        """Let the drafts of the chosen campaigns serve."""
        return self._each(
            request,
            queryset,
            partial(activate_campaign, actor=str(request.user)),
            "activated",
            activation_question,
        )

    @admin.action(description="Pause", permissions=["move"])
    def pause(self, request: HttpRequest, queryset: QuerySet[Campaign]) -> None:
        """Let nothing start in the chosen campaigns, and leave their enrollments where they are."""
        self._each(request, queryset, pause_campaign, "paused")

    @admin.action(description="Resume", permissions=["move"])
    def resume(self, request: HttpRequest, queryset: QuerySet[Campaign]) -> HttpResponse | None:
        """Let the chosen campaigns go on."""
        return self._each(request, queryset, resume_campaign, "resumed", resumption_question)

    @admin.action(description="Finish: let nothing start any more", permissions=["move"])
    def finish(self, request: HttpRequest, queryset: QuerySet[Campaign]) -> HttpResponse | None:
        """Let the enrollments of the chosen campaigns go on to their end, and no more begin."""
        return self._each(request, queryset, finish_campaign, "finished", finish_question)

    @admin.action(description="Archive: end all runs", permissions=["move"])
    def archive(self, request: HttpRequest, queryset: QuerySet[Campaign]) -> HttpResponse | None:
        """Put the chosen campaigns away for good."""
        return self._each(request, queryset, archive_campaign, "archived", archive_question)

    def _each(
        self,
        request: HttpRequest,
        queryset: QuerySet[Campaign],
        act: Callable[[Workspace, Campaign], Campaign],
        word: str,
        question: Callable[[QuerySet[Campaign]], Question | None] | None = None,
    ) -> HttpResponse | None:
        if question and (page := ask(request, self, partial(question, queryset))) is not None:
            return page
        done = 0
        for campaign in queryset.select_related("workspace"):
            try:
                act(campaign.workspace, campaign)
                done += 1
            except DomainError as error:
                messages.error(request, f"{campaign}: {error.sentence}")
        if done:
            messages.success(request, f"{done} campaign{'' if done == 1 else 's'} {word}.")
        return None

    def report_view(self, request: HttpRequest, campaign_id: str) -> HttpResponse:
        """Show what became of a campaign."""
        campaign = self.row_for(request, campaign_id)
        lead = format_html("What became of {}. Trials are not counted.", campaign_link(campaign))
        return self._tables(
            request, f"Report of {campaign}", lead, report_sections(campaign_report(campaign))
        )

    def trace_view(self, request: HttpRequest, event_id: str) -> HttpResponse:
        """Show what one event caused."""
        event = admin_of(Event).row_for(request, event_id, self.has_view_permission)
        found = trace_event(event)
        sees_contact = admin_of(Contact).has_view_permission(request, event)
        lead = lead_of(found, names_contact=sees_contact)
        seen = [
            section
            for model, section in trace_sections(found)
            if admin_of(model).has_view_permission(request, event)
        ]
        return self._tables(request, f"What {event.name} caused", lead, seen)

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
        serves = ", serves" if version.pk == version.campaign.version_id else ""
        return "on trial" if version.number is None else f"{version.number}{serves}"

    @admin.display(description="runs under way")
    def open_enrollments(self, version: CampaignVersion) -> str:
        return f"{open_enrollment_counts(version.workspace_id, [version.pk]).get(version.pk, 0):,}"

    @admin.display(description="campaign")
    def campaign_label(self, version: CampaignVersion) -> SafeString | str:
        return campaign_link(version.campaign)


@admin.register(Broadcast)
class BroadcastAdmin(ReadOnlyAdminMixin, WorkspaceModelAdmin):
    resource = "campaigns"
    list_display = ["due_at", "campaign_label", "addressees", "processed_count", "finished_at"]
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
            "processed_count",
            "finished_at",
            "cancelled_at",
        ),
        *("what_was_done", "created_at"),
    ]
    readonly_fields = [
        *("workspace", "campaign_label", "addressees", "processed_count", "finished_at", "cancelled_at"),
        *("what_was_done", "created_at"),
    ]
    actions = ["cancel"]

    def has_change_permission(self, request: HttpRequest, obj: Broadcast | None = None) -> bool:
        """Let staff move what has not begun, and cancel."""
        may = self.may(request, "change", obj)
        return may and (obj is None or (obj.finished_at is None and obj.last_contact_id is None))

    def save_model(self, request: HttpRequest, obj: Broadcast, form: Any, change: bool) -> None:
        """Move it to the moment that was written; a refusal is told."""
        try:
            reschedule_broadcast(obj.workspace_id, obj.pk, obj.due_at, actor=str(request.user))
        except DomainError as error:
            messages.set_level(request, messages.ERROR)
            messages.error(request, error.sentence)

    @admin.action(description="Cancel the selected broadcasts", permissions=["change"])
    def cancel(self, request: HttpRequest, queryset: QuerySet[Broadcast]) -> None:
        """Let them take nobody any more; those that are finished stay as they are."""
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
                (one["at"], one["kind"], one["by"] or "nobody known", _until(one["dueAt"]))
                for one in broadcast.changes
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


# Reports and traces ------------------------------------------------------------------------------------------


def report_sections(report: CampaignReport) -> list[Section]:
    """Return what a report has, as tables."""
    return [
        _section(
            "Runs",
            ["Status", "Runs"],
            [[status, f"{count:,}"] for status, count in report.enrollments.items()],
        ),
        _reasons("How they ended", report.ended),
        _reasons("Who did not enter, and why", report.not_entered),
        _section(
            "Messages",
            ["Channel", "Status", "Messages"],
            [
                [channel, status.lower(), f"{count:,}"]
                for channel, counts in report.messages.items()
                for status, count in {
                    **counts.by_status,
                    "ever opened": counts.opened,
                    "ever clicked": counts.clicked,
                }.items()
            ],
        ),
        _reasons("Not sent, and why", report.not_sent),
        _reasons("Deferred, and why", report.deferred),
        _section(
            "By step",
            ["Step", "Decided", "Why", "Way", "Times"],
            [
                [
                    one.step,
                    one.kind.replace("_", " "),
                    one.reason.replace("_", " "),
                    one.handle,
                    f"{one.count:,}",
                ]
                for one in report.steps
            ],
        ),
    ]


def lead_of(trace: Trace, *, names_contact: bool) -> SafeString:
    """Return whom an event is about and how it was read, in a sentence or two."""
    contact = "nobody"
    if trace.contact_id is not None:
        person = Contact.objects.filter(pk=trace.contact_id).first() if names_contact else None
        contact = link("contacts_contact_change", trace.contact_id, person or trace.contact_id)
    problems = "; ".join(f"{name} is {fault}" for name, fault in trace.schema.problems.items())
    return format_html(
        "{} of {} UTC, received {} UTC, about {} ({}). Its definition: {}. Its effects: {}.",
        event_link(trace.event),
        utc(trace.event.occurred_at),
        utc(trace.event.received_at),
        contact,
        trace.resolved.value,
        problems or ("fits" if trace.schema.definition_id else "none"),
        trace.state.value,
    )


def trace_sections(trace: Trace) -> list[tuple[type[Model], Section]]:
    """Return what a trace has, as tables, each row with its time, and what each is of."""
    campaigns = {one: link("campaigns_campaign_change", one, name) for one, name in trace.campaigns.items()}
    return [
        (
            ParkedEffect,
            _section(
                "Parked",
                ["When (UTC)", "Effect", "Culprit", "Error"],
                [[utc(one.created_at), one.effect, one.subject, one.error[:200]] for one in trace.parked],
            ),
        ),
        (
            ScoreEntry,
            _section(
                "Scores",
                ["When (UTC)", "Rule", "Points", ""],
                [
                    [
                        utc(entry.created_at),
                        rule,
                        f"{entry.points.normalize():+f}",
                        "past the limit" if entry.is_superseded else "",
                    ]
                    for entry, rule in trace.scores
                ],
            ),
        ),
        (
            Event,
            _section(
                "Events that followed",
                ["When (UTC)", "Event", "Properties"],
                [
                    [utc(one.occurred_at), event_link(one), dumps(one.properties).decode()[:200]]
                    for one in trace.derived_events
                ],
            ),
        ),
        (
            Decision,
            _section(
                "Decided",
                ["When (UTC)", "Campaign", "What", "Why", "Step"],
                [
                    [
                        utc(one.decided_at),
                        campaign_links({id_: trace.campaigns.get(id_, str(id_)) for id_ in one.campaign_ids}),
                        one.get_kind_display(),
                        reason_of(one),
                        one.step,
                    ]
                    for one in trace.decisions
                ],
            ),
        ),
        (
            Enrollment,
            _section(
                "Runs",
                ["Started (UTC)", "Campaign", "Run", "How it ended"],
                [
                    [
                        utc(enrollment.started_at),
                        campaigns.get(enrollment.campaign_id, ""),
                        link("campaigns_enrollment_change", enrollment.pk, enrollment.status),
                        enrollment.end_reason,
                    ]
                    for enrollment in trace.enrollments
                ],
            ),
        ),
        (
            Message,
            _section(
                "Messages",
                ["Made (UTC)", "Message", "Status", "Sent (UTC)"],
                [
                    [
                        utc(message.created_at),
                        link("campaigns_message_change", message.pk, message),
                        message.get_status_display(),
                        utc(message.sent_at),
                    ]
                    for message in trace.messages
                ],
            ),
        ),
    ]


def _reasons(title: str, counts: dict[str, int]) -> Section:
    rows = [[reason.replace("_", " "), f"{count:,}"] for reason, count in sorted(counts.items())]
    return _section(title, ["Why", "Times"], rows)


def _section(title: str, headers: list[str], rows: list[list[Any]]) -> Section:
    return {"title": title, "table": {"headers": headers, "rows": rows}, "nothing": "Nothing."}
