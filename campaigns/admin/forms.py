"""Forms, their submissions and pending consents in the admin."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import BooleanRadioFilter

from campaigns.admin.base import trace_link
from campaigns.forms.forms import FormValues, create_form, delete_form, update_form
from campaigns.messaging.public_links import public_url
from campaigns.models import Form, FormSubmission, PendingConsent
from contacts.admin import ContactRowMixin
from workspaces.staff.columns import utc_column
from workspaces.staff.filters import WorkspaceFilter
from workspaces.staff.forms import WorkspaceModelForm
from workspaces.staff.links import link
from workspaces.staff.model_admin import ReadOnlyAdminMixin, ServiceDeleteMixin, WorkspaceModelAdmin


class FormForm(WorkspaceModelForm):
    """A form to write; its fields are JSON, as the API takes them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, (rows, help_text) in _HELP.items():
            if name in self.fields:
                self.fields[name].widget.attrs["rows"] = rows
                self.fields[name].help_text = help_text


_HELP = {
    "fields": (
        12,
        'such as [{"name": "email", "type": "email", "label": "E-mail", "required": true}, {"name": "first", "label":'
        ' "First name", "mapsTo": "firstName"}]; the API\'s document (/docs) has all',
    ),
    "allowed_origins": (2, 'such as ["https://shop.example"]; none: any page may use it'),
    "on_known": (
        1,
        "Nobody has checked who a visitor is: answers about somebody known fill in what is missing; to overwrite asks"
        " by the confirmation template.",
    ),
    "consents": (2, 'what whoever sends it agrees to, such as ["EMAIL"]'),
}


@admin.register(Form)
class FormAdmin(ServiceDeleteMixin, WorkspaceModelAdmin):
    resource = "campaigns"
    form = FormForm
    list_display = ["name", "active", "double_opt_in", "updated_at"]
    list_filter = [WorkspaceFilter, ("active", BooleanRadioFilter)]
    search_fields = ["name"]
    ordering = ["name", "id"]
    fields = [
        *("workspace", "name", "active", "fields", "allowed_origins", "consents", "double_opt_in"),
        *(
            "confirmation_template",
            "on_known",
            "redirect_url",
            "submit_url",
            "snippet",
            "created_at",
            "updated_at",
        ),
    ]
    autocomplete_fields = ["workspace", "confirmation_template"]
    readonly_fields = ["submit_url", "snippet", "created_at", "updated_at"]

    @admin.display(description="answers are posted to")
    def submit_url(self, form: Form) -> str:
        return "" if form._state.adding else public_url(f"/api/forms/{form.pk}/submit")

    @admin.display(description="for a page")
    def snippet(self, form: Form) -> str:
        """Return the HTML that embeds the form in a page."""
        if form._state.adding:
            return ""
        return f'<script async src="{public_url(f"/api/forms/{form.pk}/embed.js")}"></script>'

    def save_model(self, request: HttpRequest, obj: Form, form: Any, change: bool) -> None:
        """Create or update the form by its service; `obj` itself is not saved."""
        data = form.cleaned_data
        template = data["confirmation_template"]
        values = FormValues(
            name=data["name"],
            fields=data["fields"],
            active=data["active"],
            allowed_origins=data["allowed_origins"] or [],
            consents=data["consents"] or [],
            double_opt_in=data["double_opt_in"],
            confirmation_template=str(template.pk) if template else "",
            redirect_url=data["redirect_url"],
            on_known=data["on_known"],
        )
        if change:
            update_form(obj.workspace_id, obj, values)
            return
        saved = create_form(obj.workspace_id, values)
        obj.pk, obj._state.adding = saved.pk, False

    def delete_model(self, request: HttpRequest, obj: Form) -> None:
        delete_form(obj.workspace_id, obj)


@admin.register(FormSubmission)
class FormSubmissionAdmin(ContactRowMixin, ReadOnlyAdminMixin, WorkspaceModelAdmin):
    resource = "campaigns"
    list_display = ["created_utc", "contact_label", "form_label", "confirmed_utc", "trace"]
    list_filter = [WorkspaceFilter]
    sortable_by = ()
    search_fields = ["contact_id"]
    search_help_text = "A contact's id, identifier or name."
    fields = [
        *(
            "workspace",
            "form_label",
            "contact_label",
            "answers",
            "held",
            "created_utc",
            "confirmed_utc",
            "trace",
        ),
    ]
    readonly_fields = ["form_label", "contact_label", "created_utc", "confirmed_utc", "trace"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Add the forms, in the same statement."""
        return super().get_queryset(request).select_related("form")

    created_utc = utc_column("created_at", "sent (UTC)")
    confirmed_utc = utc_column("confirmed_at", "confirmed (UTC)")

    @admin.display(description="form")
    def form_label(self, submission: FormSubmission) -> SafeString:
        return link("campaigns_form_change", submission.form_id, submission.form.name)

    @admin.display(description="event")
    def trace(self, submission: FormSubmission) -> SafeString | str:
        return trace_link(submission.event_id)


@admin.register(PendingConsent)
class PendingConsentAdmin(ContactRowMixin, ReadOnlyAdminMixin, WorkspaceModelAdmin):
    resource = "campaigns"
    list_display = ["created_utc", "contact_label", "channel"]
    list_filter = [WorkspaceFilter]
    sortable_by = ()
    search_fields = ["contact_id"]
    search_help_text = "A contact's id, identifier or name."
    # The order of the index that finds them.
    ordering = ["contact_id", "channel"]
    fields = ["workspace", "contact_label", "channel", "created_utc"]
    readonly_fields = ["contact_label", "created_utc"]

    created_utc = utc_column("created_at", "asked (UTC)")
