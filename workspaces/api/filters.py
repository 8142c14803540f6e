"""Filters that reject values they cannot parse."""

from typing import Any

import django_filters
from django import forms


class _TruthField(forms.TypedChoiceField):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            choices=[("true", "true"), ("false", "false")], coerce="true".__eq__, empty_value=None, **kwargs
        )

    def to_python(self, value: Any) -> str:
        return str(super().to_python(value)).lower()


class StrictBooleanFilter(django_filters.BooleanFilter):  # type: ignore[misc]  # it has no types
    """`true` or `false`, in any case; the library's own takes anything else for no filter at all."""

    field_class = _TruthField
