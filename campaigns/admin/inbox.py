"""The local inbox in the admin: e-mails that the embedded default keeps instead of sending them."""

from __future__ import annotations

import email
from email.message import EmailMessage
from email.policy import default
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils.html import format_html
from django.utils.safestring import SafeString

from campaigns.models import SentEmail
from workspaces.staff.columns import utc_column
from workspaces.staff.links import link
from workspaces.staff.model_admin import ReadOnlyAdminMixin, RoleModelAdmin, page

SHOWN_HEADERS = ("From", "To", "Subject", "Date", "Message-ID", "List-Unsubscribe", "List-Unsubscribe-Post")


@admin.register(SentEmail)
class SentEmailAdmin(ReadOnlyAdminMixin, RoleModelAdmin):
    resource = "messages"
    list_display = ["received_utc", "to", "subject_or_none", "sender"]
    list_display_links = ["received_utc", "subject_or_none"]
    search_fields = ["subject", "recipients"]
    search_help_text = "Words of the subject, or of an address."
    ordering = ["-received_at"]
    sortable_by = ()
    fields = ["headers", "page", "text", "message_link", "source_link"]
    readonly_fields = fields

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Let staff delete e-mails of the inbox: nothing refers to them."""
        return RoleModelAdmin.has_delete_permission(self, request, obj)

    def get_queryset(self, request: HttpRequest) -> Any:
        """Load no bodies for the list."""
        rows = super().get_queryset(request)
        match = request.resolver_match
        is_list = match is not None and (match.url_name or "").endswith("_changelist")
        return rows.defer("source") if is_list else rows

    @page("<str:email_id>/source/", "campaigns_sentemail_source")
    def source_view(self, request: HttpRequest, email_id: str) -> HttpResponse:
        """Return an e-mail's source, as a mail server would get it."""
        row = self.row_for(request, email_id)
        answer = HttpResponse(bytes(row.source), content_type="text/plain; charset=utf-8")
        answer["X-Content-Type-Options"] = "nosniff"
        return answer

    received_utc = utc_column("received_at", "received (UTC)", "-received_at")

    @admin.display(description="to")
    def to(self, row: SentEmail) -> str:
        return ", ".join(row.recipients)

    @admin.display(description="subject")
    def subject_or_none(self, row: SentEmail) -> str:
        return row.subject or "(none)"

    @admin.display(description="headers")
    def headers(self, row: SentEmail) -> SafeString:
        mail = _mail(row)
        lines = [(name, str(mail[name]).strip()) for name in SHOWN_HEADERS if mail[name]]
        return render_to_string("admin/campaigns/email_headers.html", {"lines": lines})

    @admin.display(description="as it looks")
    def page(self, row: SentEmail) -> SafeString | str:
        """Return the HTML in a frame without scripts."""
        html = _part(_mail(row), "html")
        return framed(html) if html else "(no HTML)"

    @admin.display(description="text")
    def text(self, row: SentEmail) -> SafeString:
        return format_html(
            '<pre class="whitespace-pre-wrap text-sm" style="max-width: calc(100vw - 4rem)">{}</pre>',
            _part(_mail(row), "plain") or "(no text)",
        )

    @admin.display(description="message")
    def message_link(self, row: SentEmail) -> SafeString | str:
        if row.message_id is None:
            return "none of a campaign's"
        return link("campaigns_message_change", row.message_id, row.message_id)

    @admin.display(description="source")
    def source_link(self, row: SentEmail) -> SafeString:
        return link("campaigns_sentemail_source", row.pk, "as it was sent")


_FRAME = (
    '<iframe sandbox title="e-mail" srcdoc="{}" class="w-full rounded border bg-white"'
    ' style="height: 32rem; max-width: calc(100vw - 4rem)" referrerpolicy="no-referrer"></iframe>'
)


def framed(html: str) -> SafeString:
    """Return HTML in a sandboxed frame: no scripts, an origin of its own."""
    return format_html(_FRAME, html)


def _mail(row: SentEmail) -> EmailMessage:
    return email.message_from_bytes(bytes(row.source), policy=default)


def _part(mail: EmailMessage, subtype: str) -> str:
    part = mail.get_body(preferencelist=(subtype,))
    return str(part.get_content()) if part is not None else ""
