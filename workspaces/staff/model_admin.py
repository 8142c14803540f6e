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
from django.urls import URLPattern, path, reverse
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


def page(route: str, name: str) -> Callable[[Any], Any]:
    """Serve a method of an admin class at `route`, below the list of its rows, under the URL name `admin:name`."""

    def mark(view: Any) -> Any:
        view.admin_page = route, name
        return view

    return mark


class RoleModelAdmin(StrictFieldsMixin, RolePermissionMixin, ModelAdmin):  # type: ignore[misc]  # unfold has no types
    """A ModelAdmin restricted by role, quick on big tables, whose forms show errors of services."""

    paginator = BoundedPaginator
    show_full_result_count = False
    list_per_page = 50
    # Filters are applied by a button, without counts, which would read the table.
    list_filter_submit = True
    list_filter_sheet = False
    show_facets = ShowFacets.NEVER
    warn_unsaved_form = True
    view_on_site = False

    def get_urls(self) -> list[URLPattern]:
        """Return the URLs of the class's pages (see `page`), then those of Django."""
        views = [
            getattr(self, name)
            for name in dir(type(self))
            if hasattr(getattr(type(self), name), "admin_page")
        ]
        pages = [
            path(route, self.admin_site.admin_view(view), name=name)
            for view in views
            for route, name in [view.admin_page]
        ]
        return [*pages, *super().get_urls()]

    def is_listed_by_workspace(self, request: HttpRequest) -> bool:
        return WorkspaceFilter in self.list_filter

    def restrict_queryset(self, request: HttpRequest, rows: models.QuerySet[Any]) -> models.QuerySet[Any]:
        """Return the rows that the user may see; a list has those of the chosen workspace."""
        is_list = getattr(request, "listing", None) is self and self.is_listed_by_workspace(request)
        if is_list and not get_role_access(request).is_superuser and self.may(request, "view"):
            return self.in_workspaces(rows, [chosen_workspace(request)])
        return super().restrict_queryset(request, rows)

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """Return a row that the user may see. Raises Http404 otherwise."""
        found = self.find_object(request, object_id, from_field)
        if found is None:
            raise Http404
        return found

    def find_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """Return a row that the user may see, else None."""
        return super().get_object(request, object_id, from_field)

    def row_for(self, request: HttpRequest, object_id: str, *allowed: Callable[..., bool]) -> Any:
        """Return the row of a custom page.

        Raises Http404 unless the user may see it, and PermissionDenied unless all checks of `allowed`, such
        as `has_change_permission`, hold.
        """
        found = self.get_object(request, object_id)
        if not all(allows(request, found) for allows in (self.has_view_permission, *allowed)):
            raise PermissionDenied
        return found

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Omit form fields that are not model fields where the row cannot be changed."""
        fieldsets = super().get_fieldsets(request, obj)
        if obj is None or self.has_change_permission(request, obj):
            return fieldsets
        asked = set(self.form.declared_fields) - {field.name for field in self.opts.get_fields()}
        return [
            (title, {**options, "fields": _without(options["fields"], asked)}) for title, options in fieldsets
        ]

    def get_list_filter(self, request: HttpRequest) -> list[Any]:
        """Omit filters by rows that the user may not see."""
        return [
            listed
            for listed in super().get_list_filter(request)
            if all(admin_of(model).may(request, "view") for model in getattr(listed, "shows", ()))
        ]

    def lookup_allowed(self, lookup: str, value: Any, request: Any = None) -> bool:
        """Allow members only the filters that the list offers.

        Other look-ups would reveal values that no page shows.
        """
        if request is None or not get_role_access(request).is_superuser:
            offered = self.get_list_filter(request)
            if not any(
                _is_requested_lookup(listed[0] if isinstance(listed, tuple) else listed, lookup)
                for listed in offered
            ):
                return False
        return bool(super().lookup_allowed(lookup, value, request))

    def affected_workspaces(self, row: Any) -> Collection[UUID]:
        """Return the workspaces in whose audit log a change of the row appears."""
        return self.workspaces_of(row)

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        return self._audited([obj], [super().log_addition(request, obj, message)])[0]

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        return self._audited([obj], [super().log_change(request, obj, message)])[0]

    def log_deletions(self, request: HttpRequest, queryset: Iterable[Any]) -> Any:
        rows = list(queryset)
        return self._audited(rows, super().log_deletions(request, rows))

    def _audited(self, rows: Sequence[Any], entries: Sequence[LogEntry]) -> Sequence[LogEntry]:
        """Record the affected workspaces of log entries, one entry per row."""
        AuditEntry.objects.bulk_create(
            AuditEntry(workspace_id=workspace_id, entry=entry)
            for row, entry in zip(rows, entries, strict=True)
            for workspace_id in self.affected_workspaces(row)
        )
        return entries

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Show the list; redirect to it without filters if their values do not fit the columns."""
        request.listing = self  # type: ignore[attr-defined]  # read by `chosen_workspace`
        try:
            return super().changelist_view(request, extra_context)  # type: ignore[no-any-return]  # untyped
        except (DataError, OverflowError, TypeError, ValueError, ValidationError, OperationalError) as error:
            if isinstance(error, OperationalError) and not isinstance(error.__cause__, ProgramLimitExceeded):
                raise
            if not request.GET or ERROR_FLAG in request.GET:
                raise
            return HttpResponseRedirect(f"{request.path}?{ERROR_FLAG}=1")

    def get_paginator(self, request: HttpRequest, queryset: Any, *args: Any, **kwargs: Any) -> Any:
        """Show a row's history newest first, on bounded pages."""
        if isinstance(queryset, models.QuerySet) and queryset.model is LogEntry:
            return BoundedPaginator(queryset.order_by("-action_time", "-id"), *args, **kwargs)
        return super().get_paginator(request, queryset, *args, **kwargs)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Return the query's initial values that fit their fields."""
        initial = super().get_changeform_initial_data(request)
        values = ((name, _typed(self.model, name, value)) for name, value in initial.items())
        return {name: value for name, value in values if value is not None}

    def get_search_results(
        self, request: HttpRequest, queryset: models.QuerySet[Any], search_term: str
    ) -> tuple[models.QuerySet[Any], bool]:
        """Search without NUL, which PostgreSQL refuses."""
        return super().get_search_results(request, queryset, search_term.replace("\x00", ""))  # type: ignore[no-any-return]

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change=change, **kwargs)
        form.refusal = getattr(request, "refusal", None)
        form.access = get_role_access(request)
        return form

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Save; on errors of services or constraints show the form again with the reason."""
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
    """Tell whether a look-up belongs to a list filter, by column or by its parameter name."""
    if isinstance(offered, str):
        return lookup == offered or lookup.startswith(f"{offered}__")
    name = offered.parameter_name
    return lookup in (name, f"{name}_from", f"{name}_to")


def _without(fields: Iterable[Any], names: Collection[str]) -> list[Any]:
    """Return fields, possibly grouped side by side, without the named ones."""
    remaining = (field if isinstance(field, str) else _without(field, names) for field in fields)
    return [field for field in remaining if field and (isinstance(field, list) or field not in names)]


def _typed(model: type[models.Model], name: str, value: Any) -> Any:
    """Return a query value in the type of its field, None if it does not fit or the field is a list."""
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
    """A ModelAdmin of rows of a workspace, which never move to another."""

    form = WorkspaceModelForm
    list_before_template = "admin/workspace_shown.html"
    list_filter: Sequence[Any] = [WorkspaceFilter]
    autocomplete_fields: Sequence[str] = ["workspace"]
    ordering: Sequence[str] = ["-id"]
    fixed_fields: Sequence[str] = ["workspace"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """Add the fields that are fixed once the row exists."""
        fixed = self.fixed_fields if obj else []
        return [*super().get_readonly_fields(request, obj), *fixed]

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Create new rows in the chosen workspace."""
        chosen, where = chosen_workspace(request), self.workspaces_for(request, "add")
        if where and chosen not in where:
            chosen = where[0]
        return {"workspace": chosen, **super().get_changeform_initial_data(request)}


class ServiceDeleteMixin:
    """Delete rows by a service, which may refuse and deletes related rows itself."""

    model: type[models.Model]
    has_delete_permission: Callable[..., bool]
    delete_model: Callable[..., None]

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        """Delete; if the service refuses, show the reason on the row's page."""
        try:
            return super().delete_view(request, object_id, extra_context)  # type: ignore[misc, no-any-return]
        except DomainError as error:
            messages.error(request, error.sentence)
            page = f"admin:{self.model._meta.label_lower.replace('.', '_')}_change"
            return HttpResponseRedirect(reverse(page, args=[object_id]))

    def delete_queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> None:
        """Delete each chosen row by the service; if it refuses, say why and go on."""
        for row in queryset:
            try:
                self.delete_model(request, row)
            except DomainError as error:
                messages.error(request, f"{row}: {error.sentence}")

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """List the rows alone, not the related rows, of which there may be a million."""
        rows = list(objs)
        names = [str(row) for row in rows]
        is_forbidden = not all(self.has_delete_permission(request, row) for row in rows)
        verbose_name = str(self.model._meta.verbose_name)
        return (
            names,
            {str(self.model._meta.verbose_name_plural): len(names)},
            {verbose_name} if is_forbidden else set(),
            [],
        )


class ReadOnlyAdminMixin:
    """Rows that only the system writes: staff may view them."""

    def has_add_permission(self, request: HttpRequest, *args: Any) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
