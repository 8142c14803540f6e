"""Rehearsals in the admin: order one, and read what a version would have done, two versions side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from campaigns.admin.base import CampaignFilter, CampaignRowAdmin, campaign_link
from campaigns.models import Campaign, CampaignVersion, Rehearsal, RehearsedEnrollment
from campaigns.rehearsal.rehearsals import DRAFT, order_rehearsal
from config.errors import DomainError
from workspaces.staff.columns import utc, utc_column
from workspaces.staff.filters import WorkspaceFilter
from workspaces.staff.model_admin import ReadOnlyAdminMixin, WorkspaceModelAdmin, page

VERSION_CHOICES = 50
_MOMENT = UnfoldAdminTextInputWidget(attrs={"type": "datetime-local"})


class RehearsalForm(forms.Form):
    """The period and the versions to rehearse."""

    since = forms.DateTimeField(label="From (UTC)", widget=_MOMENT)
    until = forms.DateTimeField(label="To (UTC)", widget=_MOMENT)
    version = forms.ChoiceField(widget=UnfoldAdminSelectWidget)
    other = forms.ChoiceField(
        label="Compared with", required=False, widget=UnfoldAdminSelectWidget, help_text="Nothing: no other."
    )

    def __init__(self, campaign: Campaign, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        versions = CampaignVersion.objects.in_workspace(campaign.workspace_id).filter(
            campaign=campaign, number__isnull=False
        )
        numbers = versions.order_by("-number").values_list("number", flat=True)[:VERSION_CHOICES]
        choices = [(str(number), f"version {number}") for number in numbers]
        self.fields["version"].choices = [*choices, (DRAFT, "the draft")]  # type: ignore[attr-defined]
        self.fields["other"].choices = [("", ""), (DRAFT, "the draft"), *choices]  # type: ignore[attr-defined]

    @property
    def versions(self) -> list[str | int]:
        """Return the chosen versions."""
        chosen = [self.cleaned_data["version"], self.cleaned_data["other"]]
        return [version if version == DRAFT else int(version) for version in chosen if version]


class RehearseMixin:
    """Adds to a campaign's page one that orders a rehearsal of it."""

    admin_site: Any
    opts: Any
    row_for: Callable[..., Campaign]
    has_change_status_permission: Callable[..., bool]

    @page("<str:campaign_id>/rehearse/", "campaigns_campaign_rehearse")
    def rehearse_view(self, request: HttpRequest, campaign_id: str) -> HttpResponse:
        """Ask for the period and the versions, order the rehearsal and show it."""
        campaign = self.row_for(request, campaign_id, self.has_change_status_permission)
        form = RehearsalForm(campaign, request.POST if request.method == "POST" else None)
        if form.is_valid():
            data = form.cleaned_data
            try:
                rehearsal = order_rehearsal(
                    campaign, data["since"], data["until"], form.versions, actor=str(request.user)
                )
            except DomainError as error:
                form.add_error(None, error.sentence)
            else:
                return HttpResponseRedirect(reverse("admin:campaigns_rehearsal_change", args=[rehearsal.pk]))
        context = {
            **self.admin_site.each_context(request),
            "title": f"Rehearse {campaign}",
            "opts": self.opts,
            "back": campaign_link(campaign),
            "form": form,
        }
        return TemplateResponse(request, "admin/campaigns/rehearse.html", context)


@admin.register(Rehearsal)
class RehearsalAdmin(ReadOnlyAdminMixin, WorkspaceModelAdmin):
    resource = "campaigns"
    list_display = ["created_at", "campaign_label", "period", "labels", "status", "progress_label"]
    list_filter = [WorkspaceFilter, CampaignFilter, ("status", ChoicesDropdownFilter)]
    list_select_related = ["campaign"]
    sortable_by = ()
    ordering = ["-id"]
    fields = [
        *("workspace", "campaign_label", "period", "labels", "status", "progress_label", "error", "actor"),
        *("created_at", "finished_at", "result", "limits", "enrollments"),
    ]
    readonly_fields = [
        "campaign_label",
        "period",
        "labels",
        "progress_label",
        "result",
        "limits",
        "enrollments",
    ]

    @admin.display(description="campaign")
    def campaign_label(self, rehearsal: Rehearsal) -> SafeString | str:
        return campaign_link(rehearsal.campaign)

    @admin.display(description="period (UTC)")
    def period(self, rehearsal: Rehearsal) -> str:
        return f"{utc(rehearsal.since)} to {utc(rehearsal.until)}"

    @admin.display(description="versions")
    def labels(self, rehearsal: Rehearsal) -> str:
        return ", ".join(_labels(rehearsal))

    @admin.display(description="done")
    def progress_label(self, rehearsal: Rehearsal) -> str:
        return f"{rehearsal.progress:.0%}"

    @admin.display(description="what would have happened")
    def result(self, rehearsal: Rehearsal) -> SafeString | str:
        reports = rehearsal.report.get("versions")
        if not reports:
            return "Not yet: this page shows it once it is done."
        rows = [list(row) for row in _rows(reports)]
        if differences := rehearsal.report.get("differences"):
            rows += [
                ["Contacts that enter both", f"{differences['both']:,}", f"{differences['both']:,}"],
                [
                    "Contacts that enter this one only",
                    f"{differences['onlyFirst']:,}",
                    f"{differences['onlySecond']:,}",
                ],
            ]
        headers = ["What", *(report["label"] for report in reports)]
        return render_to_string("admin/campaigns/table.html", {"table": {"headers": headers, "rows": rows}})

    @admin.display(description="what it can't know")
    def limits(self, rehearsal: Rehearsal) -> SafeString | str:
        reports = rehearsal.report.get("versions", [])
        rows = [[report["label"], limit["text"]] for report in reports for limit in report.get("limits", ())]
        return (
            render_to_string(
                "admin/campaigns/table.html", {"table": {"headers": ["Version", "Limit"], "rows": rows}}
            )
            if rows
            else "–"
        )

    @admin.display(description="who would have entered")
    def enrollments(self, rehearsal: Rehearsal) -> SafeString:
        url = reverse("admin:campaigns_rehearsedenrollment_changelist")
        return SafeString(
            f'<a class="text-primary-600 dark:text-primary-500"'
            f' href="{url}?workspace={rehearsal.workspace_id}&q={rehearsal.pk}">All of them</a>'
        )


def _labels(rehearsal: Rehearsal) -> list[str]:
    return [version["label"] for version in rehearsal.versions]


Row = tuple[str, ...]


def _rows(reports: list[dict[str, Any]]) -> Iterable[Row]:
    """Yield what is counted, with the figure of each version."""
    yield _row("Events that concern it", [report["events"] for report in reports])
    yield _row("Entered", [report["entered"] for report in reports])
    for words, key in (
        ("Did not enter", "not_entered"),
        ("Enrollments", "enrollments"),
        ("Ended", "ended"),
        ("Not sent", "not_sent"),
        ("Deferred", "deferred"),
    ):
        yield from _named_rows(words, [report[key] for report in reports])
    sent = [
        {
            f"{channel.lower()}, {status.lower()}": count
            for channel, counts in report["messages"].items()
            for status, count in counts["by_status"].items()
        }
        for report in reports
    ]
    yield from _named_rows("Messages", sent)
    steps = [
        {
            " ".join(filter(None, [step["step"], step["kind"], step["reason"], step["handle"]])): step[
                "count"
            ]
            for step in report["steps"]
        }
        for report in reports
    ]
    yield from _named_rows("Step", steps)


def _named_rows(words: str, counts: Sequence[Mapping[str, int]]) -> Iterable[Row]:
    for name in sorted({name for of_version in counts for name in of_version}):
        yield _row(f"{words}: {name.replace('_', ' ')}", [of_version.get(name, 0) for of_version in counts])


def _row(words: str, counts: Iterable[int]) -> Row:
    return (words, *(f"{count:,}" for count in counts))


@admin.register(RehearsedEnrollment)
class RehearsedEnrollmentAdmin(CampaignRowAdmin):
    by_ids = ("event_id", "rehearsal_id")
    campaign_path = "rehearsal__campaign"
    search_help_text = "A contact's id, identifier or name, or the id of a rehearsal or of an event."
    list_display = ["started_utc", "contact_label", "version_label", "status", "end_reason", "ended_utc"]
    list_filter = [WorkspaceFilter]
    fields = [
        *("workspace", "rehearsal", "contact_label", "version_label", "status", "end_reason"),
        *("started_utc", "ended_utc", "trace", "way", "sent"),
    ]
    readonly_fields = ["contact_label", "version_label", "started_utc", "ended_utc", "trace", "way", "sent"]

    @admin.display(description="campaign")
    def campaign_label(self, row: RehearsedEnrollment) -> SafeString | str:
        return campaign_link(row.rehearsal.campaign)

    @admin.display(description="version")
    def version_label(self, row: RehearsedEnrollment) -> str:
        return dict(enumerate(_labels(row.rehearsal))).get(row.version, "")

    started_utc = utc_column("started_at", "would start (UTC)")
    ended_utc = utc_column("ended_at", "would end (UTC)")

    @admin.display(description="its way")
    def way(self, row: RehearsedEnrollment) -> SafeString:
        names = ("at", "step", "kind", "reason", "handle")
        return _table(["When (UTC)", "Step", "Decided", "Why", "Way"], row.path, names)

    @admin.display(description="messages")
    def sent(self, row: RehearsedEnrollment) -> SafeString:
        names = ("at", "step", "channel", "status", "reason")
        return _table(["When (UTC)", "Step", "Channel", "Status", "Why"], row.messages, names)


def _table(headers: list[str], rows: Iterable[Mapping[str, Any]], names: Iterable[str]) -> SafeString:
    cells = [[row.get(name) or "" for name in names] for row in rows]
    return render_to_string("admin/campaigns/table.html", {"table": {"headers": headers, "rows": cells}})
