"""What the admin is made of: what a role allows, one workspace at a time, refusals shown as form errors."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, ClassVar, TypeVar
from uuid import UUID

from django import forms
from django.apps import apps
from django.contrib import admin, messages
from django.contrib.admin import ShowFacets
from django.contrib.admin.models import LogEntry
from django.contrib.admin.views.main import ERROR_FLAG
from django.contrib.admin.widgets import AutocompleteSelect
from django.contrib.contenttypes.models import ContentType
from django.contrib.contenttypes.views import shortcut
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import FieldDoesNotExist, PermissionDenied, ValidationError
from django.core.paginator import Paginator
from django.db import DataError, IntegrityError, OperationalError, models
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.module_loading import import_string
from django.utils.safestring import SafeString
from psycopg.errors import ProgramLimitExceeded
from rest_framework.exceptions import ParseError
from unfold.admin import ModelAdmin, TabularInline
from unfold.contrib.filters.admin import AutocompleteSelectFilter, DropdownFilter
from unfold.widgets import UnfoldAdminSelectWidget

from config.db.plans import force_custom_plan
from config.errors import DomainError
from config.http.json import parse_json
from config.ids import parse_uuid
from workspaces.authentication.sign_in import count_password
from workspaces.models import AuditEntry, User, Workspace
from workspaces.staff.access import RoleAccess, get_role_access, permission_name

COUNT_LIMIT = 10_000
WORKSPACE_CHOICES = 200
RECENT_ACTIONS = 10
_SESSION_KEY = "admin_workspace"
_NO_WORKSPACE = UUID(int=0)


_SectionT = TypeVar("_SectionT", bound=Callable[..., Any])


def chosen_workspace(request: HttpRequest) -> UUID:
    """Return the workspace that lists show: the one asked for, else the last one chosen, else the first.

    A member is shown no workspace but one where the role lets them see what the list is of.
    """
    asked, remembered = (
        parse_uuid(text)
        for text in (request.GET.get(WorkspaceFilter.parameter_name), request.session.get(_SESSION_KEY))
    )
    seen = _workspaces_shown(request)
    if asked and (seen is None or asked in seen):
        if asked != remembered:
            request.session[_SESSION_KEY] = str(asked)
        return asked
    if remembered and (seen is None or remembered in seen):
        return remembered
    if seen is not None:
        return seen[0] if seen else _NO_WORKSPACE
    return Workspace.objects.values_list("pk", flat=True).first() or _NO_WORKSPACE


def _workspaces_shown(request: HttpRequest) -> list[UUID] | None:
    """Return the workspaces that a member may choose, for the list that is asked for; None: all there are."""
    if get_role_access(request).is_superuser:
        return None
    listing: RolePermissionMixin | None = getattr(request, "listing", None)
    return listing.workspaces_for(request, "view") if listing else list(get_role_access(request).roles)


def workspaces_searched(request: HttpRequest) -> models.QuerySet[Workspace]:
    """Return where a search looks: a list in its workspace, the choices of a form in all that one may see."""
    match = request.resolver_match
    if match and (match.url_name or "").endswith("_changelist"):
        return Workspace.objects.filter(pk=chosen_workspace(request))
    access = get_role_access(request)
    return Workspace.objects.all() if access.is_superuser else Workspace.objects.filter(pk__in=access.roles)


# Who may do what ---------------------------------------------------------------------------------------------


class RolePermissionMixin:
    """Rows that a member of staff sees and works on in their workspaces alone, as the role there allows.

    `resource` is what the API's scopes call what is shown: who has `contacts:read` sees contacts, who has
    `contacts:write` adds, changes and deletes them. None: it is for superusers. `workspace_path` leads from a row to
    its workspace, as a look-up does.
    """

    resource: ClassVar[str | None]
    workspace_path = "workspace_id"
    model: Any
    admin_site: Any

    def scope_of(self, action: str) -> str | None:
        """Return the scope that an action asks for: view, add, change or delete. None: nobody's but superusers'."""
        if self.resource is None:
            return None
        return f"{self.resource}:{'read' if action == 'view' else 'write'}"

    def workspaces_for(self, request: HttpRequest, action: str) -> list[UUID] | None:
        """Return where a user may do something, in the order of the names; None: everywhere."""
        access = get_role_access(request)
        if access.is_superuser:
            return None
        scope = self.scope_of(action)
        # Who may change rows may see them.
        actions = ("view", "change") if action == "view" else (action,)
        return (
            []
            if scope is None
            else access.workspaces(scope, [permission_name(one, self.model) for one in actions])
        )

    def workspaces_of(self, row: Any) -> Collection[UUID]:
        """Return the workspaces that a row is in."""
        *steps, last = self.workspace_path.split("__")
        for step in steps:
            row = getattr(row, step, None)
        found = getattr(row, last if last.endswith("_id") else f"{last}_id", None)
        return [found] if found else []

    def may(self, request: HttpRequest, action: str, row: Any = None) -> bool:
        """Return whether the user may do something to a row; without one, to any: in a list, to any of that list."""
        where = self.workspaces_for(request, action)
        if where is None:
            return True
        if row is not None:
            return not set(where).isdisjoint(self.workspaces_of(row))
        if getattr(request, "listing", None) is self and self.is_listed_by_workspace(request):
            return chosen_workspace(request) in where
        return bool(where)

    def is_listed_by_workspace(self, request: HttpRequest) -> bool:
        """Return whether a list of the rows has those of one workspace alone."""
        return False

    def restrict_queryset(self, request: HttpRequest, rows: models.QuerySet[Any]) -> models.QuerySet[Any]:
        """Leave the rows that the user may see."""
        where = self.workspaces_for(request, "view")
        if where is None:
            return rows
        return self.in_workspaces(rows, where) if where else rows.none()

    def in_workspaces(self, rows: models.QuerySet[Any], workspaces: Collection[UUID]) -> models.QuerySet[Any]:
        """Leave the rows of the workspaces."""
        return rows.filter(**{f"{self.workspace_path}__in": workspaces})

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Any]:
        """Return the rows that the user may see."""
        return self.restrict_queryset(request, super().get_queryset(request))  # type: ignore[misc]  # a mixin

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "view") or self.may(request, "add")

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.may(request, "view", obj)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.may(request, "add", obj)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.may(request, "change", obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.may(request, "delete", obj)

    def formfield_for_foreignkey(
        self, db_field: models.ForeignKey[Any, Any], request: HttpRequest, **kwargs: Any
    ) -> Any:
        """Let a member choose among what they may see, and add rows where the role allows it."""
        if not get_role_access(request).is_superuser and "queryset" not in kwargs:
            related = db_field.remote_field.model
            kwargs["queryset"] = self.choices_of(request, related)
            if related is Workspace:
                # A few, of those that may be seen: no search among all is needed.
                kwargs["widget"] = UnfoldAdminSelectWidget()
        return super().formfield_for_foreignkey(db_field, request, **kwargs)  # type: ignore[misc]  # a mixin

    def choices_of(self, request: HttpRequest, related: type[models.Model]) -> models.QuerySet[Any]:
        """Return what a member may choose for a field of theirs."""
        if related is Workspace:
            return Workspace.objects.filter(pk__in=self.workspaces_for(request, "add") or ())
        rows = related._default_manager.all()
        return (
            admin_of(related).restrict_queryset(request, rows)
            if related in admin.site._registry
            else rows.none()
        )


def admin_of(model: type[models.Model]) -> Any:
    """Return the model's page in the admin, which knows who may do what to its rows."""
    return admin.site.get_model_admin(model)


def may_open(label: str, request: HttpRequest) -> bool:
    """Return whether a user may open a list, such as `contacts_contact`: what the menu asks."""
    return bool(admin_of(apps.get_model(label.replace("_", ".", 1))).has_view_permission(request))


def shows(*models_shown: type[models.Model]) -> Callable[[_SectionT], _SectionT]:
    """Say what a section of a page is of: who may not see such rows does not see the section."""

    def mark(section: _SectionT) -> _SectionT:
        section.shows = models_shown  # type: ignore[attr-defined]  # read by `sections_for`
        return section

    return mark


def sections_for(request: HttpRequest, paths: Iterable[str], row: Any) -> list[SafeString | str]:
    """Return what the settings add to a row's page, in their order, as far as the user may see it."""
    found = (import_string(path) for path in paths)
    return [
        one(row) for one in found if all(admin_of(model).may(request, "view", row) for model in one.shows)
    ]


def recent_actions(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add to the first page what the user did last, where they still may look."""
    entries = LogEntry.objects.filter(user_id=str(request.user.pk)).select_related("content_type", "user")
    access = get_role_access(request)
    if not access.is_superuser:
        own = AuditEntry.objects.filter(workspace_id__in=access.roles)
        entries = entries.filter(pk__in=own.values("entry_id"))
    return {**context, "admin_log": entries.order_by("-action_time", "-id")[:RECENT_ACTIONS]}


class OwnChoicesFilter(AutocompleteSelectFilter):  # type: ignore[misc]  # unfold has no types
    """What rows point to, of what the user may see; what is asked for beside that is not named."""

    def choices(self, changelist: Any) -> Any:
        for choice in super().choices(changelist):
            for field in choice["form"].fields.values():
                field.queryset = admin_of(field.queryset.model).restrict_queryset(
                    self.request, field.queryset.all()
                )
            yield choice


# Lists -------------------------------------------------------------------------------------------------------


def change_own_password(request: HttpRequest) -> HttpResponse:
    """Serve the admin's page; who tells a wrong old password too often waits. Raises Throttled."""
    if request.method == "POST" and isinstance(request.user, User):
        count_password(request, request.user)
    answer: HttpResponse = admin.site.password_change(request)
    return answer


def page_of_row(request: HttpRequest, content_type_id: int, object_id: str) -> HttpResponse:
    """Lead from a row that the user may see to its address. Raises Http404."""
    kind = ContentType.objects.filter(pk=content_type_id).first()
    model = kind.model_class() if kind else None
    if model not in admin.site._registry:
        raise Http404
    admin_of(model).get_object(request, object_id)
    answer: HttpResponse = shortcut(request, str(content_type_id), object_id)
    return answer


class WorkspaceFilter(DropdownFilter):  # type: ignore[misc]  # unfold has no types
    """Show one workspace: every index starts with it, so no list has to read all tenants' rows."""

    title = "workspace"
    parameter_name = "workspace"
    all_option = None

    def __init__(self, request: HttpRequest, params: Any, model: Any, model_admin: Any) -> None:
        self.workspace_id = chosen_workspace(request)
        self.workspace_path = model_admin.workspace_path
        super().__init__(request, params, model, model_admin)

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        if (seen := _workspaces_shown(request)) is not None:
            names = get_role_access(request).names
            return [(str(pk), names[pk]) for pk in seen]
        choices = dict(Workspace.objects.values_list("pk", "name")[:WORKSPACE_CHOICES])
        if self.workspace_id not in choices:
            choices.update(Workspace.objects.filter(pk=self.workspace_id).values_list("pk", "name"))
        return [(str(pk), name) for pk, name in choices.items()]

    def value(self) -> str:
        return str(self.workspace_id)

    @property
    def shown(self) -> str:
        """The name of the workspace whose rows are listed."""
        names: dict[str, str] = dict(self.lookup_choices)
        return names.get(self.value(), "none")

    def queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> models.QuerySet[Any]:
        return queryset.filter(**{self.workspace_path: self.workspace_id})


class BoundedPaginator(Paginator):  # type: ignore[type-arg]  # not generic when it runs
    """Count no further than `COUNT_LIMIT`: nobody turns that many pages, and a full count reads the table."""

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        with force_custom_plan():
            return (
                rows.order_by().values("pk")[:COUNT_LIMIT].count()
                if isinstance(rows, models.QuerySet)
                else len(rows)
            )

    def page(self, number: int | str) -> Any:
        """Find the page's keys first: what the columns look up is not looked up for the rows that are skipped."""
        rows: Any = self.object_list
        if not isinstance(rows, models.QuerySet):
            return super().page(number)
        number = self.validate_number(number)
        start = (number - 1) * self.per_page
        with force_custom_plan():
            keys = list(rows.values_list("pk", flat=True)[start : start + self.per_page])
        return self._get_page(rows.filter(pk__in=keys)[: self.per_page], number, self)  # type: ignore[attr-defined]


class StrictJSONField(forms.JSONField):
    """JSON that the database can store: no NaN, NUL, lone surrogates or bottomless nesting."""

    def to_python(self, value: Any) -> Any:
        if isinstance(value, str) and value not in self.empty_values:
            try:
                parse_json(value)
            except ParseError as error:
                raise ValidationError(str(error.detail), code="invalid") from error
        return super().to_python(value)

    def prepare_value(self, value: Any) -> Any:
        """Return JSON as people read and write it: a line for each key."""
        if isinstance(value, forms.fields.InvalidJSONInput):
            return value
        return json.dumps(value, ensure_ascii=False, indent=2, cls=self.encoder)

    def bound_data(self, data: Any, initial: Any) -> Any:
        try:
            self.to_python(data)
        except ValidationError:
            return forms.fields.InvalidJSONInput(data)
        return super().bound_data(data, initial)


class StrictJSONObjectField(StrictJSONField):
    """A JSON object; nothing typed is an empty one."""

    def clean(self, value: Any) -> Any:
        cleaned = super().clean(value)
        if cleaned is None or cleaned == "":
            return {}
        if not isinstance(cleaned, dict):
            raise ValidationError("Enter a JSON object, such as {}.", code="invalid")
        return cleaned


class StrictModelForm(forms.ModelForm):  # type: ignore[type-arg]  # not generic when it runs
    """A form that leaves no error unseen: those of hidden fields are shown with those of the whole form."""

    def non_field_errors(self) -> Any:
        errors = self.error_class(super().non_field_errors(), error_class="nonfield", renderer=self.renderer)
        for field in self.hidden_fields():
            errors.extend(f"{field.label}: {error}" for error in field.errors)
        return errors


class WorkspaceModelForm(StrictModelForm):
    """A row of one workspace: its uniqueness is checked there, and what it points to is there too."""

    refusal: str | None = None
    access: RoleAccess
    # The row whose page this row's form is a part of; it gets its own workspace when it is validated.
    parent: Any = None

    def full_clean(self) -> None:
        """Validate in the workspace of the row that this is a row of."""
        if self.parent is not None and self.parent.workspace_id is not None:
            self.instance.workspace = self.parent.workspace
        super().full_clean()

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        workspace = cleaned.get("workspace")
        workspace_id = workspace.pk if workspace else getattr(self.instance, "workspace_id", None)
        # Without a workspace there is nothing to compare with; the form that asks for it says so.
        for name, value in list(cleaned.items()) if workspace_id else ():
            if (
                isinstance(value, models.Model)
                and getattr(value, "workspace_id", workspace_id) != workspace_id
            ):
                self.add_error(name, "This belongs to another workspace.")
        if self.refusal:
            raise ValidationError(self.refusal)
        return cleaned

    def _get_validation_exclusions(self) -> set[str]:
        exclusions: set[str] = super()._get_validation_exclusions()  # type: ignore[misc]  # private
        if "workspace" not in self.fields and self.instance.workspace_id is None:
            return exclusions  # the form that this is a row of has none either, and says so
        # The workspace is not asked for twice, but every unique constraint starts with it.
        return exclusions - {"workspace"}


class KnownIdsSelect(AutocompleteSelect):
    """Show no choice for what is no id: Django's own select would ask the database for it, and fail."""

    def optgroups(self, name: str, value: Sequence[str], attrs: Any = None) -> Any:
        return super().optgroups(name, [each for each in value if parse_uuid(each)], attrs)


class StrictFieldsMixin:
    """Ask for what a row points to, and for JSON, in fields that refuse what could not be stored."""

    def formfield_for_foreignkey(
        self, db_field: models.ForeignKey[Any, Any], request: HttpRequest, **kwargs: Any
    ) -> Any:
        if db_field.name in self.get_autocomplete_fields(request):  # type: ignore[attr-defined]  # a mixin
            kwargs["widget"] = KnownIdsSelect(db_field, self.admin_site, using=kwargs.get("using"))  # type: ignore[attr-defined]  # a mixin
        return super().formfield_for_foreignkey(db_field, request, **kwargs)  # type: ignore[misc]  # a mixin

    def formfield_for_dbfield(
        self, db_field: models.Field[Any, Any], request: HttpRequest, **kwargs: Any
    ) -> Any:
        if isinstance(db_field, models.JSONField):
            kwargs["form_class"] = StrictJSONObjectField if db_field.default is dict else StrictJSONField
        return super().formfield_for_dbfield(db_field, request, **kwargs)  # type: ignore[misc]  # a mixin


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


class ParkedFilter(DropdownFilter):  # type: ignore[misc]  # unfold has no types
    """Those that failed and wait for somebody to look at them."""

    title = "failure"
    parameter_name = "parked"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Parked"), ("no", "Not parked")]

    def queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> models.QuerySet[Any]:
        if self.value() not in ("yes", "no"):
            return queryset
        return queryset.filter(parked_at__isnull=self.value() == "no")


class ServiceDeleteMixin:
    """Rows that a service deletes: it may refuse, and sees itself to what hangs on them."""

    model: type[models.Model]
    has_delete_permission: Callable[..., bool]

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        """Delete; if the service refuses, say why on the row's page."""
        try:
            return super().delete_view(request, object_id, extra_context)  # type: ignore[misc, no-any-return]
        except DomainError as error:
            messages.error(request, error.sentence)
            page = f"admin:{self.model._meta.label_lower.replace('.', '_')}_change"
            return HttpResponseRedirect(reverse(page, args=[object_id]))

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


class StrictInlineFormSet(TabularInline.formset):  # type: ignore[misc]  # unfold has no types
    """Rows of a row; what went wrong with one that is gone by now is told above the others."""

    def add_fields(self, form: Any, index: int | None) -> None:
        """Name each field for who does not see the head of its column."""
        super().add_fields(form, index)
        for bound in form.visible_fields():
            # Django's wrapper draws the widget in it.
            widget = getattr(bound.field.widget, "widget", bound.field.widget)
            widget.attrs.setdefault("aria-label", str(bound.label))

    def non_form_errors(self) -> Any:
        errors = self.error_class(super().non_form_errors(), error_class="nonform", renderer=self.renderer)
        for form in self.initial_forms[len(self.get_queryset()) :]:
            errors.extend(error for field in form.hidden_fields() for error in field.errors)
        return errors


class WorkspaceInlineFormSet(StrictInlineFormSet):
    """Rows of a row: they are in its workspace."""

    def _construct_form(self, index: int, **kwargs: Any) -> Any:
        form = super()._construct_form(index, **kwargs)
        form.parent = self.instance
        return form


class RoleInline(StrictFieldsMixin, RolePermissionMixin, TabularInline):  # type: ignore[misc]  # unfold has no types
    """Rows of a row, shown on its page to who may see them; by what the page of their own says."""

    def scope_of(self, action: str) -> str | None:
        return admin_of(self.model).scope_of(action)  # type: ignore[no-any-return]  # an admin of ours


class WorkspaceInline(RoleInline):
    """Rows of a row of a workspace."""

    form = WorkspaceModelForm
    formset = WorkspaceInlineFormSet
    exclude: Sequence[str] = ["workspace"]
    extra = 0
    hide_title = True


class FixedRowsMixin:
    """Rows that are added and removed, never changed: so no choice is queried for a row that stands."""

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
