"""Templates and messages in the admin."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from unfold.contrib.filters.admin import BooleanRadioFilter, ChoicesDropdownFilter

from campaigns.admin.base import CampaignFilter, CampaignRowAdmin
from campaigns.admin.confirmations import sending_question
from campaigns.admin.previews import PreviewedMixin
from campaigns.errors import TemplateFault
from campaigns.journeys.warnings import template_warnings
from campaigns.messaging.senders import SENDERS, sender_error
from campaigns.messaging.templates import check_template, delete_template, save_template
from campaigns.messaging.unknown_outcomes import resolve_message
from campaigns.models import Message, Template
from config.errors import DomainError
from workspaces.staff.columns import utc_column
from workspaces.staff.confirmation import ask
from workspaces.staff.filters import WorkspaceFilter
from workspaces.staff.forms import WorkspaceModelForm
from workspaces.staff.links import link
from workspaces.staff.model_admin import ServiceDeleteMixin, WorkspaceModelAdmin

SHOWN_CHARACTERS = 80
_PARTS = ("subject", "body", "text")
_BODY_HELP = (
    "HTML for e-mail and Telegram, JSON for a webhook, in Liquid. It knows contact (firstName, lastName, email,"
    " attributes.…, tags, score), event (type, properties.…, timestamp) where one is the cause, campaign.name,"
    " unsubscribeUrl and preferencesUrl. Filters money, number, date, time and datetime write as the contact does."
    " A value that is missing leaves no hole: the message is not sent,"
    ' unless {{ contact.firstName | default: "there" }} fills it.'
)


class TemplateForm(WorkspaceModelForm):
    """A template to write; faults of its Liquid are shown at the part that has them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "subject" in self.fields:
            self.fields["subject"].widget.attrs["rows"] = 2
        if "body" in self.fields:
            self.fields["body"].widget.attrs["rows"] = 20
            self.fields["body"].help_text = _BODY_HELP

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        if self.errors:
            return cleaned
        parts = {name: cleaned.get(name) or "" for name in _PARTS}
        channel = cleaned.get("channel") or self.instance.channel
        try:
            check_template(Template(channel=channel, **parts))
        except TemplateFault as error:
            part, _, fault = error.message.partition(": ")
            if part in _PARTS:
                self.add_error(part, fault)
            else:
                self.add_error("body", error.message)
        for field in SENDERS:
            if fault := sender_error(channel, cleaned.get(field)):
                self.add_error(field, fault)
        return cleaned


@admin.register(Template)
class TemplateAdmin(PreviewedMixin, ServiceDeleteMixin, WorkspaceModelAdmin):
    resource = "campaigns"
    form = TemplateForm
    change_form_outer_before_template = "admin/campaigns/template_links.html"
    list_display = ["name", "channel", "subject", "updated_at"]
    list_filter = [WorkspaceFilter, ("channel", ChoicesDropdownFilter)]
    search_fields = ["name"]
    ordering = ["name", "id"]
    fields = [
        *("workspace", "name", "channel", "subject", "body", "text"),
        *("sender", "reply_to", "warnings", "created_at", "updated_at"),
    ]
    readonly_fields = ["warnings", "created_at", "updated_at"]
    fixed_fields = ["workspace", "channel"]

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Link a saved template to its preview."""
        template = context.get("original")
        context["may_preview"] = template is not None and self.has_preview_permission(request, template)
        return super().render_change_form(request, context, *args, **kwargs)  # type: ignore[no-any-return]  # untyped

    def save_model(self, request: HttpRequest, obj: Template, form: Any, change: bool) -> None:
        save_template(obj)
        for warning in template_warnings(obj.workspace_id, [obj])[obj.pk]:
            messages.warning(request, f"{obj}: {warning}.")

    @admin.display(description="warnings")
    def warnings(self, template: Template) -> str:
        """Return the warnings about a saved template, such as that there is no link to unsubscribe."""
        if template.pk is None or template._state.adding:
            return ""
        warnings = template_warnings(template.workspace_id, [template])[template.pk]
        return " ".join(f"{warning}." for warning in warnings)

    def delete_model(self, request: HttpRequest, obj: Template) -> None:
        delete_template(obj)


@admin.register(Message)
class MessageAdmin(CampaignRowAdmin):
    resource = "messages"
    list_display = [
        *("created_utc", "contact_label", "channel", "address", "subject_shown", "status", "campaign_label"),
        *("sent_utc", "error_shown"),
    ]
    list_filter = [
        WorkspaceFilter,
        CampaignFilter,
        ("channel", ChoicesDropdownFilter),
        ("status", ChoicesDropdownFilter),
        ("is_test", BooleanRadioFilter),
    ]
    by_ids: Sequence[str] = ("id", "enrollment_id", "event_id")
    fields = [
        *(
            "workspace",
            "contact_label",
            "campaign_label",
            "enrollment_label",
            "trace",
            "step",
            "channel",
            "address",
        ),
        *("status", "error", "attempts", "is_transactional", "is_test", "priority"),
        *("created_utc", "send_utc", "sent_utc", "opened_utc", "clicked_utc"),
        *("subject", "text", "body", "headers_shown", "provider_id", "key"),
    ]
    readonly_fields = [
        *("contact_label", "campaign_label", "enrollment_label", "trace"),
        *("created_utc", "send_utc", "sent_utc", "opened_utc", "clicked_utc", "headers_shown"),
    ]
    actions = ["were_sent", "send_again"]

    created_utc = utc_column("created_at", "made (UTC)")
    send_utc = utc_column("send_at", "may leave (UTC)")
    sent_utc = utc_column("sent_at", "sent (UTC)")
    opened_utc = utc_column("opened_at", "opened (UTC)")
    clicked_utc = utc_column("clicked_at", "clicked (UTC)")

    @admin.display(description="subject")
    def subject_shown(self, message: Message) -> str:
        return Truncator(message.subject).chars(SHOWN_CHARACTERS)

    @admin.display(description="error")
    def error_shown(self, message: Message) -> str:
        return Truncator(message.error).chars(SHOWN_CHARACTERS)

    @admin.display(description="headers")
    def headers_shown(self, message: Message) -> SafeString:
        lines = list(message.headers.items())
        return render_to_string("admin/campaigns/email_headers.html", {"lines": lines})

    @admin.display(description="enrollment")
    def enrollment_label(self, message: Message) -> SafeString | str:
        return (
            link("campaigns_enrollment_change", message.enrollment_id, "Its way")
            if message.enrollment_id
            else ""
        )

    def has_resolve_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "change")

    @admin.action(description="Unknown: they were sent", permissions=["resolve"])
    def were_sent(self, request: HttpRequest, queryset: QuerySet[Message]) -> None:
        """Resolve the chosen messages of unknown outcome as sent."""
        self._resolve(request, queryset, was_sent=True)

    @admin.action(description="Unknown: send them again", permissions=["resolve"])
    def send_again(self, request: HttpRequest, queryset: QuerySet[Message]) -> HttpResponse | None:
        """Send the chosen messages of unknown outcome again, after a confirmation."""
        unknown = queryset.filter(status=Message.Status.UNKNOWN)
        question = partial(sending_question, unknown) if unknown.exists() else lambda: None
        if (page := ask(request, self, question)) is not None:
            return page
        self._resolve(request, queryset, was_sent=False)
        return None

    def _resolve(self, request: HttpRequest, queryset: QuerySet[Message], *, was_sent: bool) -> None:
        done = 0
        for message in queryset:
            try:
                resolve_message(message.workspace_id, message.pk, was_sent=was_sent)
                done += 1
            except DomainError as error:
                messages.error(request, f"{message}: {error.sentence}")
        if done:
            messages.success(request, f"{done} message{'' if done == 1 else 's'} resolved.")
