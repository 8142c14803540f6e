"""The base of every ModelAdmin: rows by role and workspace, errors of services shown on the form."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.admin import ShowFacets
from django.contrib.admin.models import LogEntry
from django.contrib.admin.views.main import ERROR_FLAG
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import FieldDoesNotExist, PermissionDenied, ValidationError
from django.db import DataError, IntegrityError, OperationalError, models
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from psycopg.errors import ProgramLimitExceeded
from unfold.admin import ModelAdmin

from config.errors import DomainError
from workspaces.models import AuditEntry
from workspaces.staff.access import get_role_access
from workspaces.staff.filters import WorkspaceFilter
from workspaces.staff.forms import StrictFieldsMixin, WorkspaceModelForm
from workspaces.staff.pagination import BoundedPaginator
from workspaces.staff.permissions import RolePermissionMixin, admin_of
from workspaces.staff.workspace_choice import chosen_workspace


class RoleModelAdmin(StrictFieldsMixin, RolePermissionMixin, ModelAdmin):  # type: ignore[misc]  # unfold has no types
    """An admin whose lists stay quick on big tables, and whose forms show what a service refuses."""

    paginator = BoundedPaginator
    show_full_result_count = False
    list_per_page = 50
    # Choices are applied by a button, and not counted: a count of each would read the table.
    list_filter_submit = True
    list_filter_sheet = False
    show_facets = ShowFacets.NEVER
    warn_unsaved_form = True
    view_on_site = False

    def is_listed_by_workspace(self, request: HttpRequest) -> bool:
        return WorkspaceFilter in self.list_filter

    def restrict_queryset(self, request: HttpRequest, rows: models.QuerySet[Any]) -> models.QuerySet[Any]:
        """Leave what the user may see; a list of one workspace has no other's rows to be looked for."""
        is_list = getattr(request, "listing", None) is self and self.is_listed_by_workspace(request)
        if is_list and not get_role_access(request).is_superuser and self.may(request, "view"):
            return self.in_workspaces(rows, [chosen_workspace(request)])
        return super().restrict_queryset(request, rows)

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """Return a row that the user may see. Raises Http404, whether there is another or none."""
        found = self.find_object(request, object_id, from_field)
        if found is None:
            raise Http404
        return found

    def find_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """Return a row that the user may see, None if there is none."""
        return super().get_object(request, object_id, from_field)

    def row_for(self, request: HttpRequest, object_id: str, *allowed: Callable[..., bool]) -> Any:
        """Return the row that a page of its own is about.

        Raises Http404 unless the user may see it, and PermissionDenied unless all of `allowed`, such as
        `has_change_permission`, let them do what the page does.
        """
        found = self.get_object(request, object_id)
        if not all(allows(request, found) for allows in (self.has_view_permission, *allowed)):
            raise PermissionDenied
        return found

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Leave out of a page that is only looked at what is asked for by its form, and is nothing of the row."""
        fieldsets = super().get_fieldsets(request, obj)
        if obj is None or self.has_change_permission(request, obj):
            return fieldsets
        asked = set(self.form.declared_fields) - {field.name for field in self.opts.get_fields()}
        return [
            (title, {**options, "fields": _without(options["fields"], asked)}) for title, options in fieldsets
        ]

    def get_list_filter(self, request: HttpRequest) -> list[Any]:
        """Leave out what is of rows that the user may not see."""
        return [
            one
            for one in super().get_list_filter(request)
            if all(admin_of(model).may(request, "view") for model in getattr(one, "shows", ()))
        ]

    def lookup_allowed(self, lookup: str, value: Any, request: Any = None) -> bool:
        """Let members filter by what the list offers.

        Any other column, or what a list adds to its rows and whatever that leads to, would tell what no page shows.
        """
        if request is None or not get_role_access(request).is_superuser:
            offered = self.get_list_filter(request)
            if not any(
                _is_requested_lookup(one[0] if isinstance(one, tuple) else one, lookup) for one in offered
            ):
                return False
        return bool(super().lookup_allowed(lookup, value, request))

    def affected_workspaces(self, row: Any) -> Collection[UUID]:
        """Return the workspaces whose business it is what was done to a row."""
        return self.workspaces_of(row)

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        return self._audited([obj], [super().log_addition(request, obj, message)])[0]

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        return self._audited([obj], [super().log_change(request, obj, message)])[0]

    def log_deletions(self, request: HttpRequest, queryset: Iterable[Any]) -> Any:
        rows = list(queryset)
        return self._audited(rows, super().log_deletions(request, rows))

    def _audited(self, rows: Sequence[Any], entries: Sequence[LogEntry]) -> Sequence[LogEntry]:
        """Note whose business entries are, of each row one."""
        AuditEntry.objects.bulk_create(
            AuditEntry(workspace_id=one, entry=entry)
            for row, entry in zip(rows, entries, strict=True)
            for one in self.affected_workspaces(row)
        )
        return entries

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Show the list; without its filters, as Django does it, if they ask for what no column can hold."""
        request.listing = self  # type: ignore[attr-defined]  # what `chosen_workspace` chooses for
        try:
            return super().changelist_view(request, extra_context)  # type: ignore[no-any-return]  # untyped
        except (DataError, OverflowError, TypeError, ValueError, ValidationError, OperationalError) as error:
            if isinstance(error, OperationalError) and not isinstance(error.__cause__, ProgramLimitExceeded):
                raise
            if not request.GET or ERROR_FLAG in request.GET:
                raise
            return HttpResponseRedirect(f"{request.path}?{ERROR_FLAG}=1")

    def get_paginator(self, request: HttpRequest, queryset: Any, *args: Any, **kwargs: Any) -> Any:
        """Show a row's history as all that has a time: the newest first, and not paged as the rows are."""
        if isinstance(queryset, models.QuerySet) and queryset.model is LogEntry:
            return BoundedPaginator(queryset.order_by("-action_time", "-id"), *args, **kwargs)
        return super().get_paginator(request, queryset, *args, **kwargs)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Return what the address fills in, as far as its field can hold it."""
        initial = super().get_changeform_initial_data(request)
        values = ((name, _typed(self.model, name, value)) for name, value in initial.items())
        return {name: value for name, value in values if value is not None}

    def get_search_results(
        self, request: HttpRequest, queryset: models.QuerySet[Any], search_term: str
    ) -> tuple[models.QuerySet[Any], bool]:
        """Search; the database has no NUL to be found."""
        return super().get_search_results(request, queryset, search_term.replace("\x00", ""))  # type: ignore[no-any-return]

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change=change, **kwargs)
        form.refusal = getattr(request, "refusal", None)
        form.access = get_role_access(request)
        return form

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Save; if a service or a constraint refuses, show the form again with the reason."""
        try:
            return super().changeform_view(request, *args, **kwargs)  # type: ignore[no-any-return]  # untyped
        except DomainError as error:
            refusal = error.message
        except IntegrityError:
            refusal = "Somebody saved the same at the same moment. Look again before you save."
        if getattr(request, "refusal", None):
            raise PermissionDenied(refusal)
        request.refusal = refusal  # type: ignore[attr-defined]  # read by get_form in the second pass
        return super().changeform_view(request, *args, **kwargs)  # type: ignore[no-any-return]  # untyped


def _is_requested_lookup(offered: Any, lookup: str) -> bool:
    """Return whether a look-up is what a filter of a list asks: one of a column, or one with a name of its own."""
    if isinstance(offered, str):
        return lookup == offered or lookup.startswith(f"{offered}__")
    name = offered.parameter_name
    return lookup in (name, f"{name}_from", f"{name}_to")


def _without(fields: Iterable[Any], names: Collection[str]) -> list[Any]:
    """Return a page's fields, some of them side by side, without some."""
    kept = (one if isinstance(one, str) else _without(one, names) for one in fields)
    return [one for one in kept if one and (isinstance(one, list) or one not in names)]


def _typed(model: type[models.Model], name: str, value: Any) -> Any:
    """Return a text from an address in its field's type, None if it is none of that; lists are not spelled so."""
    if not isinstance(value, str):
        return value
    try:
        field = model._meta.get_field(name)
        if "\x00" in value or isinstance(field, ArrayField) or not isinstance(field, models.Field):
            return None
        return field.to_python(value)
    except (FieldDoesNotExist, ValidationError, ValueError, OverflowError):
        return None


class WorkspaceModelAdmin(RoleModelAdmin):
    """An admin of rows that belong to a workspace, and never move to another."""

    form = WorkspaceModelForm
    list_before_template = "admin/workspace_shown.html"
    list_filter: Sequence[Any] = [WorkspaceFilter]
    autocomplete_fields: Sequence[str] = ["workspace"]
    ordering: Sequence[str] = ["-id"]
    fixed_fields: Sequence[str] = ["workspace"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """Add what cannot change once the row exists."""
        fixed = self.fixed_fields if obj else []
        return [*super().get_readonly_fields(request, obj), *fixed]

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Start a new row in the workspace that the lists show."""
        chosen, where = chosen_workspace(request), self.workspaces_for(request, "add")
        if where and chosen not in where:
            chosen = where[0]
        return {"workspace": chosen, **super().get_changeform_initial_data(request)}


class ServiceDeleteMixin:
    """Rows that a service deletes: it may refuse, and sees itself to what hangs on them."""

    model: type[models.Model]
    has_delete_permission: Callable[..., bool]
    delete_model: Callable[..., None]

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        """Delete; if the service refuses, say why on the row's page."""
        try:
            return super().delete_view(request, object_id, extra_context)  # type: ignore[misc, no-any-return]
        except DomainError as error:
            messages.error(request, error.sentence)
            page = f"admin:{self.model._meta.label_lower.replace('.', '_')}_change"
            return HttpResponseRedirect(reverse(page, args=[object_id]))

    def delete_queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> None:
        """Delete each chosen row by the service; if it refuses, say why and go on."""
        for row in queryset.select_related("workspace"):
            try:
                self.delete_model(request, row)
            except DomainError as error:
                messages.error(request, f"{row}: {error.sentence}")

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """List the rows alone: what hangs on them may be a million rows, and goes by the service."""
        rows = list(objs)
        names = [str(one) for one in rows]
        kept = not all(self.has_delete_permission(request, one) for one in rows)
        verbose_name = str(self.model._meta.verbose_name)
        return (
            names,
            {str(self.model._meta.verbose_name_plural): len(names)},
            {verbose_name} if kept else set(),
            [],
        )


class ReadOnlyAdminMixin:
    """Rows that only the system writes: staff may look at them."""

    def has_add_permission(self, request: HttpRequest, *args: Any) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
