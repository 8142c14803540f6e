"""A campaign moved from its page, and started: for one contact, as a trial of its draft, or for a segment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.db.models import QuerySet
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
)
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from unfold.widgets import (
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from campaigns.admin.base import campaign_link, link, utc
from campaigns.admin.confirmations import (
    activation_question,
    archive_question,
    broadcast_question,
    finish_question,
    resumption_question,
    start_question,
)
from campaigns.admin.contact_choice import ForContactForm
from campaigns.journeys.lifecycle import (
    activate_campaign,
    archive_campaign,
    broadcast_campaign,
    execute_campaign,
    finish_campaign,
    pause_campaign,
    resume_campaign,
    start_trial,
)
from campaigns.models import Campaign
from config.errors import DomainError
from config.ids import NO_ID, parse_uuid
from contacts.crud import get_contact
from contacts.models import Contact
from events.models import Event
from segments.models import Segment
from workspaces.models import Workspace
from workspaces.staff.confirmation import Question, ask
from workspaces.staff.permissions import admin_of

SEGMENT_CHOICES = 1_000
_ACTIVE, _PAUSED = Campaign.Status.ACTIVE, Campaign.Status.PAUSED
_CLOSED = Campaign.Status.ARCHIVED


@dataclass(frozen=True, slots=True)
class CampaignAction:
    """What a button on a campaign's page does, in the words of its hint."""

    name: str
    words: str


_ACTIVATE = CampaignAction("activate", "Let the draft serve from now on")
_PAUSE = CampaignAction("pause", "Let nothing start, and leave enrollments where they are")
_RESUME = CampaignAction("resume", "Go on as before the pause")
_FINISH = CampaignAction("finish", "Let nothing start any more; enrollments go on to their end")
_QUESTIONS: dict[str, Callable[[QuerySet[Campaign]], Question | None]] = {
    "activate": activation_question,
    "resume": resumption_question,
    "finish": finish_question,
    "archive": archive_question,
}
_SERVICES: dict[str, tuple[Callable[[Workspace, Campaign], Campaign], str]] = {
    "activate": (activate_campaign, "activated"),
    "pause": (pause_campaign, "paused"),
    "resume": (resume_campaign, "resumed"),
    "finish": (finish_campaign, "finished"),
    "archive": (archive_campaign, "archived"),
}


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
    """Buttons on a campaign's page, and a page beside it that starts enrollments; all by the services."""

    admin_site: Any
    opts: Any
    may: Callable[..., bool]
    row_for: Callable[..., Campaign]
    change_form_outer_before_template = "admin/campaigns/campaign_moves.html"

    def has_move_permission(self, request: HttpRequest, campaign: Campaign | None = None) -> bool:
        return self.may(request, "change", campaign)

    def has_start_permission(self, request: HttpRequest, campaign: Campaign) -> bool:
        """Tell whether a user may start a campaign for whom the page finds: contacts and segments."""
        return self.may(request, "change", campaign) and all(
            admin_of(model).has_view_permission(request, campaign) for model in (Contact, Segment)
        )

    def get_urls(self) -> list[URLPattern]:
        move = path(
            "<str:campaign_id>/move/",
            self.admin_site.admin_view(self.move_view),
            name="campaigns_campaign_move",
        )
        start = path(
            "<str:campaign_id>/start/",
            self.admin_site.admin_view(self.start_view),
            name="campaigns_campaign_start",
        )
        return [move, start, *super().get_urls()]  # type: ignore[misc]  # a mixin

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Offer what can be done to a campaign as it stands."""
        campaign = context.get("original")
        context["may_move"] = campaign is not None and self.has_move_permission(request, campaign)
        context["may_start"] = campaign is not None and self.has_start_permission(request, campaign)
        if campaign is not None:
            context["moves"] = available_actions(campaign)
            context["can_start"] = campaign.status not in (_PAUSED, _CLOSED)
            context["can_archive"] = campaign.status != _CLOSED
        return super().render_change_form(request, context, *args, **kwargs)  # type: ignore[misc, no-any-return]

    def move_view(self, request: HttpRequest, campaign_id: str) -> HttpResponse:
        """Do what a button says, and show the campaign again; a refusal is shown there."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        campaign = self.row_for(request, campaign_id, self.has_move_permission)
        name = request.POST.get("move", "")
        if name not in _SERVICES:
            raise Http404
        act, word = _SERVICES[name]
        if act is activate_campaign:
            act = partial(activate_campaign, actor=str(request.user))
        back = reverse("admin:campaigns_campaign_change", args=[campaign.pk])
        if name in _QUESTIONS:
            chosen = Campaign.objects.select_related("version").filter(pk=campaign.pk)
            page = ask(request, self, partial(_QUESTIONS[name], chosen), back=back)
            if page is not None:
                return page
        try:
            act(campaign.workspace, campaign)
            messages.success(request, f"The campaign is {word}.")
        except DomainError as error:
            messages.error(request, error.sentence)
        return HttpResponseRedirect(back)

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


def available_actions(campaign: Campaign) -> list[CampaignAction]:
    """Return what can be done to a campaign as it stands, archiving aside."""
    if campaign.status == _CLOSED:
        return []
    moves = []
    is_newer = campaign.version is None or campaign.version.definition != campaign.draft
    if campaign.status not in (_ACTIVE, _PAUSED) or is_newer or campaign.parked_at:
        moves.append(_ACTIVATE)
    if campaign.status == _ACTIVE:
        moves.append(_PAUSE)
    if campaign.status == _PAUSED:
        moves.append(_RESUME)
    if campaign.status in (_ACTIVE, _PAUSED):
        moves.append(_FINISH)
    return moves


def _is_startable(form: EnrollContactForm, *, is_trial: bool) -> bool:
    """Return whether the form says what to start and how; the fault is in the form."""
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
    """Start an enrollment for a contact, and tell what came of it; False with the refusal in the form."""
    wanted = form.cleaned_data
    workspace = campaign.workspace
    try:
        contact = get_contact(workspace.id, wanted["contact"])
        if is_trial:
            entered = start_trial(
                workspace,
                campaign,
                contact,
                event=wanted["event"],
                skips_waits=wanted["skip_waits"],
                actor=str(request.user),
            )
        else:
            key = wanted["key"] or None
            entered = execute_campaign(workspace, campaign, contact, event=wanted["event"], key=key)
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
    """Plan a broadcast, and tell when it starts; False with the refusal in the form."""
    wanted = form.cleaned_data
    segment_id = parse_uuid(wanted["segment"])
    try:
        broadcast = broadcast_campaign(
            campaign.workspace, campaign, segment_id=segment_id, at=wanted["at"], actor=str(request.user)
        )
    except DomainError as error:
        form.add_error(None, error.message)
        return False
    row = link("campaigns_broadcast_change", broadcast.pk, "A broadcast")
    messages.success(request, format_html("{} starts at {} UTC.", row, utc(broadcast.due_at)))
    return True
