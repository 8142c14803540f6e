"""Buttons of a campaign's page: status changes, and starts for a contact, as a trial, or for a segment."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
)
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from unfold.widgets import (
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from campaigns.admin.base import campaign_link
from campaigns.admin.confirmations import broadcast_question, start_question
from campaigns.admin.contact_choice import ForContactForm
from campaigns.admin.status_changes import STATUS_CHANGES, available_changes
from campaigns.journeys.lifecycle import broadcast_campaign, execute_campaign, start_trial
from campaigns.models import Campaign
from config.errors import DomainError
from config.ids import NO_ID, parse_uuid
from contacts.crud import get_contact
from contacts.models import Contact
from events.models import Event
from segments.models import Segment
from workspaces.staff.columns import utc
from workspaces.staff.confirmation import ask
from workspaces.staff.links import link
from workspaces.staff.model_admin import page
from workspaces.staff.permissions import admin_of

SEGMENT_CHOICES = 1_000


class EnrollContactForm(ForContactForm):
    """One contact to start a campaign for."""

    key = forms.CharField(
        max_length=255,
        required=False,
        help_text="Of a campaign that has one enrollment a key. A trial has none.",
        widget=UnfoldAdminTextInputWidget,
    )
    skip_waits = forms.BooleanField(
        required=False,
        label="Skip waits",
        help_text="Of a trial: no time passes in it.",
        widget=UnfoldBooleanSwitchWidget,
    )


class SegmentForm(forms.Form):
    """A segment to start a campaign for, and when."""

    segment = forms.ChoiceField(widget=UnfoldAdminSelectWidget)
    at = forms.DateTimeField(
        required=False,
        label="At (UTC)",
        help_text="Nothing: now.",
        widget=UnfoldAdminTextInputWidget(attrs={"type": "datetime-local"}),
    )

    def __init__(self, workspace_id: UUID, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        segments = Segment.objects.in_workspace(workspace_id).order_by("name")
        self.fields["segment"].choices = [  # type: ignore[attr-defined]  # a ChoiceField
            (str(pk), name) for pk, name in segments.values_list("pk", "name")[:SEGMENT_CHOICES]
        ]


class CampaignActionsMixin:
    """Adds buttons for status changes to a campaign's page, and a page of its own that starts enrollments."""

    admin_site: Any
    opts: Any
    may: Callable[..., bool]
    row_for: Callable[..., Campaign]
    change_form_outer_before_template = "admin/campaigns/campaign_status.html"

    def has_change_status_permission(self, request: HttpRequest, campaign: Campaign | None = None) -> bool:
        return self.may(request, "change", campaign)

    def has_start_permission(self, request: HttpRequest, campaign: Campaign) -> bool:
        """Tell whether a user may start a campaign: it takes seeing contacts and segments, which the page finds."""
        return self.may(request, "change", campaign) and all(
            admin_of(model).has_view_permission(request, campaign) for model in (Contact, Segment)
        )

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Offer the status changes that the campaign allows, and its start."""
        campaign = context.get("original")
        context["may_change_status"] = campaign is not None and self.has_change_status_permission(
            request, campaign
        )
        context["may_start"] = campaign is not None and self.has_start_permission(request, campaign)
        if campaign is not None:
            context["changes"] = available_changes(campaign)
            context["can_start"] = campaign.status not in (Campaign.Status.PAUSED, Campaign.Status.ARCHIVED)
        return super().render_change_form(request, context, *args, **kwargs)  # type: ignore[misc, no-any-return]

    @page("<str:campaign_id>/status/", "campaigns_campaign_change_status")
    def change_status_view(self, request: HttpRequest, campaign_id: str) -> HttpResponse:
        """Change the status as a button says, and show the campaign again, with the refusal if there is one."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        campaign = self.row_for(request, campaign_id, self.has_change_status_permission)
        name = request.POST.get("status_change", "")
        if name not in STATUS_CHANGES:
            raise Http404
        change = STATUS_CHANGES[name]
        back = reverse("admin:campaigns_campaign_change", args=[campaign.pk])
        if change.question:
            chosen = Campaign.objects.select_related("active_version").filter(pk=campaign.pk)
            page = ask(request, self, partial(change.question, chosen), back=back)
            if page is not None:
                return page
        try:
            change.apply(campaign, str(request.user))
            messages.success(request, f"The campaign is {change.done}.")
        except DomainError as error:
            messages.error(request, error.sentence)
        return HttpResponseRedirect(back)

    @page("<str:campaign_id>/start/", "campaigns_campaign_start")
    def start_view(self, request: HttpRequest, campaign_id: str) -> HttpResponse:
        """Ask for whom a campaign is to start, and start it."""
        campaign = self.row_for(request, campaign_id, self.has_start_permission)
        how = request.POST.get("start", "") if request.method == "POST" else ""
        data = request.POST if how else None
        for_contact = EnrollContactForm(campaign.workspace_id, data if how in ("try", "execute") else None)
        for_segment = SegmentForm(campaign.workspace_id, data if how == "broadcast" else None)
        for_contact.fields["event"].disabled = not admin_of(Event).has_view_permission(request, campaign)
        is_done, question = False, None
        if _is_startable(for_contact, is_trial=how == "try"):
            contact_id = for_contact.cleaned_data["contact"]
            question = partial(start_question, campaign, contact_id, is_trial=how == "try")
        elif for_segment.is_valid():
            segment_id, at = parse_uuid(for_segment.cleaned_data["segment"]), for_segment.cleaned_data["at"]
            question = partial(broadcast_question, campaign, segment_id or NO_ID, at)
        if question is not None:
            if (page := ask(request, self, question)) is not None:
                return page
            if how == "broadcast":
                is_done = _start_broadcast(request, campaign, for_segment)
            else:
                is_done = _enroll_one_contact(request, campaign, for_contact, is_trial=how == "try")
        if is_done:
            return HttpResponseRedirect(request.path)
        context = {
            **self.admin_site.each_context(request),
            "title": f"Start {campaign}",
            "opts": self.opts,
            "back": campaign_link(campaign),
            "campaign": campaign,
            "for_contact": for_contact,
            "for_segment": for_segment,
        }
        return TemplateResponse(request, "admin/campaigns/start.html", context)


def _is_startable(form: EnrollContactForm, *, is_trial: bool) -> bool:
    """Return whether the form is valid for a start or a trial; faults are added to the form."""
    if not form.is_valid():
        return False
    if form.cleaned_data["skip_waits"] and not is_trial:
        form.add_error("skip_waits", "Only a trial skips them.")
    if form.cleaned_data["key"] and is_trial:
        form.add_error("key", "A trial has none.")
    return not form.errors


def _enroll_one_contact(
    request: HttpRequest, campaign: Campaign, form: EnrollContactForm, *, is_trial: bool
) -> bool:
    """Start an enrollment for a contact and show the outcome; False: it was refused, and the form says why."""
    data = form.cleaned_data
    workspace_id = campaign.workspace_id
    try:
        contact = get_contact(workspace_id, data["contact"])
        if is_trial:
            entered = start_trial(
                workspace_id,
                campaign,
                contact,
                event=data["event"],
                skips_waits=data["skip_waits"],
                actor=str(request.user),
            )
        else:
            key = data["key"] or None
            entered = execute_campaign(workspace_id, campaign, contact, event=data["event"], key=key)
    except DomainError as error:
        form.add_error(None, error.message)
        return False
    if entered.enrollment_id is None:
        form.add_error(None, f"The contact did not enter: {entered.reason.replace('_', ' ')}.")
        return False
    way = link("campaigns_enrollment_change", entered.enrollment_id, "its way")
    messages.success(
        request, format_html("The {} has begun: {}.", "trial" if is_trial else "enrollment", way)
    )
    return True


def _start_broadcast(request: HttpRequest, campaign: Campaign, form: SegmentForm) -> bool:
    """Schedule a broadcast and show when it starts; False: it was refused, and the form says why."""
    data = form.cleaned_data
    segment_id = parse_uuid(data["segment"])
    try:
        broadcast = broadcast_campaign(
            campaign.workspace_id, campaign, segment_id=segment_id, at=data["at"], actor=str(request.user)
        )
    except DomainError as error:
        form.add_error(None, error.message)
        return False
    row = link("campaigns_broadcast_change", broadcast.pk, "A broadcast")
    messages.success(request, format_html("{} starts at {} UTC.", row, utc(broadcast.due_at)))
    return True
