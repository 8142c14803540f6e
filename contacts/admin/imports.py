"""Imports of contacts and events: what has come in, and a form that uploads a file."""

from __future__ import annotations

from functools import partial
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Count
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils.text import get_valid_filename
from unfold.contrib.filters.admin import (
    ChoicesDropdownFilter,
)
from unfold.widgets import (
    UnfoldAdminFileFieldWidget,
    UnfoldAdminRadioSelectWidget,
    UnfoldAdminSelectWidget,
    UnfoldBooleanSwitchWidget,
)

from config.errors import DomainError
from config.files.received import receive
from config.http.spooled_responses import spooled
from contacts.imports.maps import vendors
from contacts.imports.refused_rows import write_refused
from contacts.imports.uploads import UploadRequest, accept_upload, cancel_import
from contacts.models import Import, RefusedRow
from workspaces.scopes import ALL_SCOPES
from workspaces.staff.access import get_role_access
from workspaces.staff.columns import utc_column
from workspaces.staff.filters import WorkspaceFilter
from workspaces.staff.forms import WorkspaceModelForm
from workspaces.staff.model_admin import ReadOnlyAdminMixin, WorkspaceModelAdmin, page

SHOWN_CAUSES = 10
MAX_MAP_BYTES = 100_000


class UploadForm(WorkspaceModelForm):
    """A file to be imported, and how."""

    file = forms.FileField(
        widget=UnfoldAdminFileFieldWidget,
        help_text="CSV, JSON Lines, gzip of both, or Parquet.",
    )
    map = forms.ChoiceField(
        label="Columns",
        required=False,
        widget=UnfoldAdminSelectWidget,
        help_text="Which column is which field: as the header says, or as the exports of a vendor have it.",
    )
    own_map = forms.FileField(
        label="Map of your own",
        required=False,
        widget=UnfoldAdminFileFieldWidget,
        help_text="A file of YAML that says so instead, see “Maps” in the documentation of imports.",
    )
    consents = forms.ChoiceField(
        choices=[
            ("newer", "Count where nothing newer is known"),
            ("overwrite", "Count in any case, also against who has opted out since"),
        ],
        initial="newer",
        widget=UnfoldAdminSelectWidget,
        help_text="Of contacts: what the file says of consents.",
    )

    class Meta:
        model = Import
        fields = ["workspace", "kind", "effects", "dry_run"]
        widgets = {"kind": UnfoldAdminRadioSelectWidget, "dry_run": UnfoldBooleanSwitchWidget}
        labels = {"kind": "Rows are", "effects": "What may follow", "dry_run": "Only try"}
        help_texts = {
            "effects": "Of late events no campaign starts in any case.",
            "dry_run": "Every row is decided, the refused ones are listed, and nothing is recorded.",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        names = sorted({name for kind in Import.Kind for name in vendors(kind)})
        self.fields["map"].choices = [("", "By the header"), *((name, name) for name in names)]  # type: ignore[attr-defined]

    def clean_own_map(self) -> str:
        """Return the map as a text."""
        given = self.cleaned_data["own_map"]
        if given is None:
            return ""
        if given.size > MAX_MAP_BYTES:
            raise forms.ValidationError(f"A map has at most {MAX_MAP_BYTES:,} bytes.")
        try:
            return str(given.read().decode("utf-8-sig"))
        except UnicodeDecodeError as error:
            raise forms.ValidationError("The map is not valid UTF-8.") from error

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        if cleaned.get("map") and cleaned.get("own_map"):
            self.add_error("own_map", "Choose a vendor or a map of your own.")
        workspace = cleaned.get("workspace")
        scopes = ALL_SCOPES if workspace is None else self.access.scopes_in(workspace.pk, ALL_SCOPES)
        if cleaned.get("kind") == Import.Kind.EVENTS and "events:write" not in scopes:
            self.add_error("kind", "Your role may not record events there.")
        return cleaned


@admin.register(Import)
class ImportAdmin(WorkspaceModelAdmin):
    """Files of contacts and events: how far each has come, and what became of its rows."""

    resource = "contacts"
    form = UploadForm
    change_form_template = "admin/contacts/import/change_form.html"
    list_before_template = "admin/contacts/import/list_before.html"
    list_display = [
        *("started_utc", "name", "kind", "status", "progress", "row_count", "recorded", "known", "refused"),
        *("origin", "tried", "finished_utc"),
    ]
    list_filter = [
        WorkspaceFilter,
        ("kind", ChoicesDropdownFilter),
        ("status", ChoicesDropdownFilter),
        ("origin", ChoicesDropdownFilter),
    ]
    sortable_by = ()
    search_fields = ["name"]
    search_help_text = "The file's name"
    add_fieldsets = (
        (None, {"fields": ["workspace", "kind", "file", "effects", "dry_run"]}),
        ("How it is read", {"fields": ["map", "own_map", "consents"]}),
    )
    fieldsets = (
        (
            None,
            {
                "fields": [
                    *("workspace", "kind", "name", "status", "error", "progress"),
                    *("row_count", "recorded", "known", "refused", "left_out", "refused_file"),
                ]
            },
        ),
        (
            "How it is imported",
            {"fields": ["effects", "dry_run", "mapping", "options", "origin", "actor", "form", "delimiter"]},
        ),
        (
            "Where it stands",
            {
                "fields": [
                    *("position", "line", "size", "fingerprint", "upload"),
                    *("started_at", "updated_at", "finished_at"),
                ]
            },
        ),
    )
    started_utc = utc_column("started_at", "started (UTC)")
    finished_utc = utc_column("finished_at", "finished (UTC)")

    @admin.display(description="progress")
    def progress(self, run: Import) -> str | None:
        """Return the part of the file that is decided."""
        return None if run.progress is None else f"{run.progress:.0%}"

    @admin.display(description="rows")
    def row_count(self, run: Import) -> int:
        """Return how many rows are decided."""
        return run.rows

    @admin.display(description="only tried")
    def tried(self, run: Import) -> str:
        return "yes" if run.dry_run else ""

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_cancel_permission(self, request: HttpRequest, run: Import) -> bool:
        """Tell whether a user may end an import: who may begin one."""
        return self.may(request, "add", run)

    def has_refused_permission(self, request: HttpRequest, run: Import) -> bool:
        """Tell whether a user may read the rows of an import."""
        scopes = get_role_access(request).scopes_in(run.workspace_id, ALL_SCOPES)
        return run.kind == Import.Kind.CONTACTS or "events:read" in scopes

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.add_fieldsets if obj is None else self.fieldsets

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        if obj is None:
            return []
        return [field for _, options in self.fieldsets for field in options["fields"]]

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Take the file in before the view's transaction begins; show an import with its causes."""
        if object_id is not None or "file" not in request.FILES:
            return super().changeform_view(request, object_id, *args, **kwargs)
        file: Any = request.FILES["file"]
        try:
            with receive(file, file.name or "upload", settings.MAX_UPLOAD_BYTES) as received:
                request.received = received  # type: ignore[attr-defined]  # read by save_model
                return super().changeform_view(request, object_id, *args, **kwargs)
        except DomainError as error:
            request.refusal = error.message  # type: ignore[attr-defined]  # read by get_form
            return super().changeform_view(request, object_id, *args, **kwargs)

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        run = context.get("original")
        if run is not None:
            context["run"], context["summary"] = run, _summary(run)
            context["percent"] = None if run.progress is None else int(run.progress * 100)
            context["causes"] = _causes(run)
            context["may_cancel"] = run.is_open and self.has_cancel_permission(request, run)
            context["may_download"] = (
                run.refused_bytes
                and run.origin != Import.Origin.COMMAND
                and self.has_refused_permission(request, run)
            )
        else:
            context |= {"title": "Import a file", "show_save_and_add_another": False}
            context["show_save_and_continue"] = False
        return super().render_change_form(request, context, *args, **kwargs)

    def save_model(self, request: HttpRequest, obj: Import, form: Any, change: bool) -> None:
        """Have the service store the file; the row that the form made is never saved itself."""
        data = form.cleaned_data
        upload = UploadRequest(
            kind=Import.Kind(data["kind"]),
            effects=Import.Effects(data["effects"]),
            map=data["own_map"] or data["map"],
            dry_run=data["dry_run"],
            options={"consents": data["consents"]},
            origin=Import.Origin.ADMIN,
            actor=str(request.user),
        )
        run = accept_upload(obj.workspace_id, request.received, upload)  # type: ignore[attr-defined]  # see above
        obj.pk, obj.name, obj._state.adding = run.pk, run.name, False

    def response_add(self, request: HttpRequest, obj: Import, post_url_continue: Any = None) -> HttpResponse:
        """Show how far it is."""
        messages.success(request, f"{obj.name} is stored, and will be imported now.")
        return HttpResponseRedirect(_url_of(obj))

    @page("<str:import_id>/refused/", "contacts_import_refused")
    def refused_view(self, request: HttpRequest, import_id: str) -> HttpResponseBase:
        """Return the refused rows as a file."""
        run = self.row_for(request, import_id, self.has_refused_permission)
        try:
            response = spooled(partial(write_refused, run), "application/jsonl")
        except DomainError as error:
            messages.error(request, error.sentence)
            return HttpResponseRedirect(_url_of(run))
        name = get_valid_filename(f"{run.name}.refused.jsonl")
        response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
        return response

    @page("<str:import_id>/cancel/", "contacts_import_cancel")
    def cancel_view(self, request: HttpRequest, import_id: str) -> HttpResponse:
        """End an import where it stands."""
        run = self.row_for(request, import_id, self.has_cancel_permission)
        if request.method != "POST":
            raise PermissionDenied
        try:
            cancel_import(run.workspace_id, run)
        except DomainError as error:
            messages.error(request, error.sentence)
        else:
            self.log_change(request, run, "Cancelled.")
            messages.success(request, "It is cancelled; what was recorded stays.")
        return HttpResponseRedirect(_url_of(run))


def _url_of(run: Import) -> str:
    return reverse("admin:contacts_import_change", args=[run.pk])


def _summary(run: Import) -> str:
    new, known = ("recorded", "repeated") if run.kind == Import.Kind.EVENTS else ("made", "known")
    counts = (
        f"{run.rows:,} rows decided, {run.recorded:,} {new}, {run.known:,} {known}, {run.refused:,} refused."
    )
    tried = "Only tried, nothing is recorded. " if run.dry_run else ""
    return f"{tried}{run.get_status_display()}: {counts}"


def _causes(run: Import) -> dict[str, Any] | None:
    """Return the most frequent causes of refusals as a table, None where there are none."""
    rows = RefusedRow.objects.in_workspace(run.workspace_id).filter(run=run)
    counted = rows.values_list("cause").annotate(count=Count("id")).order_by("-count", "cause")[:SHOWN_CAUSES]
    lines = [[cause, f"{count:,}"] for cause, count in counted]
    return {"headers": ["Cause", "Rows"], "rows": lines} if lines else None


@admin.register(RefusedRow)
class RefusedRowAdmin(ReadOnlyAdminMixin, WorkspaceModelAdmin):
    """Rows of uploaded files that were not taken; the page of an import has them as a file."""

    resource = "contacts"
    list_display = ["run", "line", "cause"]
    list_select_related = ["run"]
    sortable_by = ()
    search_fields = ["cause"]
    search_help_text = "The cause"
    fields = ["workspace", "run", "line", "cause", "content"]
