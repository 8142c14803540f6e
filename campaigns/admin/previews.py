"""Previews of a template for a contact, and tests of it sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.widgets import UnfoldAdminTextInputWidget

from campaigns.admin.contact_choice import ForContactForm
from campaigns.admin.inbox import framed
from campaigns.errors import InvalidAddress
from campaigns.messaging.preview import preview_template
from campaigns.messaging.queue import EnqueuedMessage, MessageRequest, RefusedMessage, enqueue_message
from campaigns.messaging.rendering import Rendered
from campaigns.messaging.suppressions import checked_address
from campaigns.models import Message, Template
from campaigns.models.messages import Channel
from config import clock, ids
from config.errors import DomainError
from contacts.models import Contact
from events.models import Event
from workspaces.staff.columns import utc
from workspaces.staff.links import link
from workspaces.staff.model_admin import page
from workspaces.staff.permissions import admin_of


class PreviewForm(ForContactForm):
    """The contact and event that a template is shown for, and where a test of it goes."""

    to = forms.CharField(
        max_length=2048,
        required=False,
        label="Send the test to",
        help_text="Elsewhere than to the contact; nothing: to the contact.",
        widget=UnfoldAdminTextInputWidget,
    )

    def __init__(self, template: Template, *args: Any, **kwargs: Any) -> None:
        super().__init__(template.workspace_id, *args, **kwargs)
        self.channel = template.channel

    def clean_to(self) -> str:
        text: str = self.cleaned_data["to"]
        try:
            return checked_address(self.channel, text) if text else ""
        except InvalidAddress as error:
            raise ValidationError(error.message) from error


class PreviewedMixin:
    """Adds a page to a template's that shows what a contact would get, and sends a test."""

    admin_site: Any
    opts: Any
    may: Callable[..., bool]
    row_for: Callable[..., Template]

    def has_preview_permission(self, request: HttpRequest, template: Template) -> bool:
        """Tell whether a user may see contacts, whose values the preview shows."""
        return bool(admin_of(Contact).has_view_permission(request, template))

    def has_test_permission(self, request: HttpRequest, template: Template) -> bool:
        """Tell whether a user may change the template and send messages: a test is one."""
        return self.may(request, "change", template) and bool(admin_of(Message).may(request, "add", template))

    @page("<str:template_id>/preview/", "campaigns_template_preview")
    def preview_view(self, request: HttpRequest, template_id: str) -> HttpResponse:
        """Show a template for a contact; send a test if that button was pressed."""
        template = self.row_for(request, template_id, self.has_preview_permission)
        form = PreviewForm(template, request.POST if request.method == "POST" else None)
        form.fields["event"].disabled = not admin_of(Event).has_view_permission(request, template)
        rendered = None
        if form.is_valid():
            if "send" in request.POST:
                if not self.has_test_permission(request, template):
                    raise PermissionDenied
                _show_outcome(request, _send_test(template, form))
            rendered = _preview(template, form)
        context = {
            **self.admin_site.each_context(request),
            "title": f"Preview of {template}",
            "opts": self.opts,
            "back": link("campaigns_template_change", template.pk, template),
            "form": form,
            "rendered": rendered,
            "page": _page(template, rendered),
            "may_test": self.has_test_permission(request, template),
        }
        return TemplateResponse(request, "admin/campaigns/preview.html", context)


def _show_outcome(request: HttpRequest, outcome: EnqueuedMessage | RefusedMessage) -> None:
    """Show that the test leaves, or why it was refused."""
    if isinstance(outcome, RefusedMessage):
        more = "".join(f", {name}: {value}" for name, value in outcome.detail.items())
        messages.error(request, f"Not sent: {outcome.reason.replace('_', ' ')}{more}.")
        return
    message = outcome.message
    test = link("campaigns_message_change", message.pk, f"A test to {message.address}")
    if outcome.deferred_until:
        messages.warning(request, format_html("{} waits until {} UTC.", test, utc(outcome.deferred_until)))
    else:
        messages.success(request, format_html("{} is on its way.", test))


def _send_test(template: Template, form: PreviewForm) -> EnqueuedMessage | RefusedMessage:
    data = form.cleaned_data
    request = MessageRequest(
        data["contact"],
        template.channel,
        template,
        f"admin:{ids.uuid7()}",
        event=data["event"],
        is_test=True,
        address=data["to"],
    )
    return enqueue_message(template.workspace_id, request, now=clock.now())


def _preview(template: Template, form: PreviewForm) -> Rendered | None:
    """Return what the contact would get; None: it cannot be rendered, and the form says why."""
    data = form.cleaned_data
    try:
        return preview_template(template.workspace_id, template, data["contact"], event=data["event"])
    except DomainError as error:
        form.add_error(None, error.message)
        return None


def _page(template: Template, rendered: Rendered | None) -> SafeString | str:
    """Return an e-mail's HTML in a frame, \"\" for other channels, whose bodies are shown as text."""
    if rendered is None or template.channel != Channel.EMAIL:
        return ""
    return framed(rendered.body)
