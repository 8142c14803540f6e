"""Rows edited on the page of the row that they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.http import HttpRequest
from unfold.admin import TabularInline

from workspaces.staff.forms import StrictFieldsMixin, WorkspaceModelForm
from workspaces.staff.permissions import RolePermissionMixin, admin_of


class StrictInlineFormSet(TabularInline.formset):  # type: ignore[misc]  # unfold has no types
    """An inline formset that shows errors of rows deleted meanwhile above the rest."""

    def add_fields(self, form: Any, index: int | None) -> None:
        """Label each field for screen readers."""
        super().add_fields(form, index)
        for bound in form.visible_fields():
            # Django's wrapper renders the inner widget.
            widget = getattr(bound.field.widget, "widget", bound.field.widget)
            widget.attrs.setdefault("aria-label", str(bound.label))

    def non_form_errors(self) -> Any:
        errors = self.error_class(super().non_form_errors(), error_class="nonform", renderer=self.renderer)
        for form in self.initial_forms[len(self.get_queryset()) :]:
            errors.extend(error for field in form.hidden_fields() for error in field.errors)
        return errors


class WorkspaceInlineFormSet(StrictInlineFormSet):
    """An inline formset whose rows are in the workspace of their parent."""

    def _construct_form(self, index: int, **kwargs: Any) -> Any:
        form = super()._construct_form(index, **kwargs)
        form.parent = self.instance
        return form


class RoleInline(StrictFieldsMixin, RolePermissionMixin, TabularInline):  # type: ignore[misc]  # unfold has no types
    """An inline with the permissions of the rows' own admin page."""

    def scope_of(self, action: str) -> str | None:
        return admin_of(self.model).scope_of(action)  # type: ignore[no-any-return]  # an admin of ours


class WorkspaceInline(RoleInline):
    """An inline of rows of the parent's workspace."""

    form = WorkspaceModelForm
    formset = WorkspaceInlineFormSet
    exclude: Sequence[str] = ["workspace"]
    extra = 0
    hide_title = True


class FixedRowsMixin:
    """Rows that are added and removed, never changed: saves queries for their choices."""

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
