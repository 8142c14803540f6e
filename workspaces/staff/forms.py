"""Admin forms that refuse what the database could not store, or what another workspace owns."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib.admin.widgets import AutocompleteSelect
from django.core.exceptions import ValidationError
from django.db import models
from django.http import HttpRequest
from rest_framework.exceptions import ParseError

from config.http.json import parse_json
from config.ids import parse_uuid
from workspaces.staff.access import RoleAccess


class StrictJSONField(forms.JSONField):
    """JSON that the database can store: no NaN, NUL, lone surrogates or deep nesting."""

    def to_python(self, value: Any) -> Any:
        if isinstance(value, str) and value not in self.empty_values:
            try:
                parse_json(value)
            except ParseError as error:
                raise ValidationError(str(error.detail), code="invalid") from error
        return super().to_python(value)

    def prepare_value(self, value: Any) -> Any:
        """Return indented JSON."""
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
    """A JSON object; empty input is an empty object."""

    def clean(self, value: Any) -> Any:
        cleaned = super().clean(value)
        if cleaned is None or cleaned == "":
            return {}
        if not isinstance(cleaned, dict):
            raise ValidationError("Enter a JSON object, such as {}.", code="invalid")
        return cleaned


class StrictModelForm(forms.ModelForm):  # type: ignore[type-arg]  # not generic when it runs
    """A form that shows errors of hidden fields, too."""

    def non_field_errors(self) -> Any:
        errors = self.error_class(super().non_field_errors(), error_class="nonfield", renderer=self.renderer)
        for field in self.hidden_fields():
            errors.extend(f"{field.label}: {error}" for error in field.errors)
        return errors


class WorkspaceModelForm(StrictModelForm):
    """A form for a row of a workspace: related rows are of the same one, and uniqueness is checked there."""

    refusal: str | None = None
    access: RoleAccess
    # For inlines: the row of the page, which gets its workspace when it is validated.
    parent: Any = None

    def full_clean(self) -> None:
        """Validate in the workspace of the parent row."""
        if self.parent is not None and self.parent.workspace_id is not None:
            self.instance.workspace = self.parent.workspace
        super().full_clean()

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        workspace = cleaned.get("workspace")
        workspace_id = workspace.pk if workspace else getattr(self.instance, "workspace_id", None)
        # Without a workspace there is nothing to compare; its own field reports that.
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
            return exclusions  # the parent form reports the missing workspace
        # Not a field of the form, but every unique constraint starts with it.
        return exclusions - {"workspace"}


class KnownIdsSelect(AutocompleteSelect):
    """An autocomplete that ignores malformed ids, on which Django's own fails in the database."""

    def optgroups(self, name: str, value: Sequence[str], attrs: Any = None) -> Any:
        return super().optgroups(name, [item for item in value if parse_uuid(item)], attrs)


class StrictFieldsMixin:
    """Use form fields for relations and JSON that refuse what cannot be stored."""

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
