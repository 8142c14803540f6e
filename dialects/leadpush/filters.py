"""Filters and sorting of Leadpush's lists, in parameters that hold JSON."""

from collections.abc import Collection
from typing import Any

import django_filters
from django import forms
from django.forms.utils import ErrorDict
from django.http import QueryDict
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework.exceptions import ParseError, ValidationError

from campaigns.models import Suppression
from config.http.json import parse_json
from contacts.models import Field

_NOT_TEXT = "The search field must be text."


def parse_search(query: QueryDict) -> str:
    """Return what a list is searched for. Raises a 422."""
    search = query.get("search", "").strip()
    if "\x00" in search:
        raise ValidationError({"search": [_NOT_TEXT]})
    return search


def parse_newest_first(query: QueryDict) -> bool:
    """Return whether `sorting[]` asks for the newest first; the oldest is by default (L9). Raises a 422."""
    orders = [
        _is_descending(f"sorting.{index}", text) for index, text in enumerate(query.getlist("sorting[]"))
    ]
    return orders[0] if orders else False


def _is_descending(path: str, text: str) -> bool:
    try:
        order = parse_json(text)
    except ParseError as error:
        raise ValidationError({path: [_not_json(path)]}) from error
    if not isinstance(order, dict):
        raise ValidationError({path: [f"The {path} field must be an object."]})
    if order.get("id") != "created_at":
        raise ValidationError({f"{path}.id": [f"The selected {path}.id is invalid."]})
    is_descending = order.get("desc", False)
    if not isinstance(is_descending, bool):
        raise ValidationError({f"{path}.desc": [f"The {path}.desc field must be true or false."]})
    return is_descending


def _not_json(path: str) -> str:
    return f"The {path} field must be a valid JSON string."


class _RepeatedTexts(forms.Widget):
    """Reads the SDK's `filters` and the documentation's `filters[]`."""

    def value_from_datadict(self, data: Any, files: Any, name: str) -> list[tuple[str, bool]]:
        return [(text, False) for text in data.getlist(f"{name}[]")] + [
            (text, True) for text in data.getlist(name)
        ]


class _TypesForm(forms.Field):
    widget = _RepeatedTexts

    def __init__(self, *, types: Collection[str], **kwargs: Any) -> None:
        self.types = types
        super().__init__(**kwargs)

    def to_python(self, value: Any) -> frozenset[str] | None:
        """Return the types that all filters allow, None without any."""
        filters: list[Any] = []
        for text, may_be_list in value:
            try:
                parsed = parse_json(text)
            except ParseError as error:
                raise forms.ValidationError(_not_json("filters")) from error
            filters.extend(parsed if may_be_list and isinstance(parsed, list) else [parsed])
        return frozenset.intersection(*map(self._types_of, filters)) if filters else None

    def _types_of(self, wanted: Any) -> frozenset[str]:
        if not isinstance(wanted, dict) or wanted.get("id") != "type":
            raise forms.ValidationError("The selected filters.id is invalid.")
        types = wanted.get("value")
        types = types if isinstance(types, list) else [types]
        if not types or not all(isinstance(each, str) and each in self.types for each in types):
            raise forms.ValidationError("The selected filters.value is invalid.")
        return frozenset(types)


@extend_schema_field(OpenApiTypes.STR)
class _TypesFilter(django_filters.Filter):  # type: ignore[misc]  # it has no types
    field_class = _TypesForm

    def filter(self, queryset: Any, value: frozenset[str] | None) -> Any:
        """Keep the rows of these types; no type at all keeps none."""
        return queryset if value is None else queryset.filter(**{f"{self.field_name}__in": value})


class _ListFilterSet(django_filters.FilterSet):  # type: ignore[misc]  # it has no types
    @property
    def errors(self) -> ErrorDict:
        """Return the first parameter that is wrong."""
        return ErrorDict(list(self.form.errors.items())[:1])


class FieldFilterSet(_ListFilterSet):
    """Contact fields by type and by a part of the name, in any case."""

    filters = _TypesFilter(
        "type", types=Field.Type.values, label='`[{"id":"type","value":["text"]}]`; or repeat `filters[]`'
    )
    search = django_filters.CharFilter(
        "name",
        "icontains",
        label="A part of the name, in any case",
        error_messages={"null_characters_not_allowed": _NOT_TEXT},
    )

    class Meta:
        model = Field
        fields: list[str] = []


class SuppressionFilterSet(_ListFilterSet):
    """Suppressions by type and by a part of the address, in any case."""

    filters = _TypesFilter(
        "reason",
        types=Suppression.Reason.values,
        label='`[{"id":"type","value":["bounce"]}]`; or repeat `filters[]`',
    )
    search = django_filters.CharFilter(
        "address",
        "icontains",
        label="A part of the address, in any case",
        error_messages={"null_characters_not_allowed": _NOT_TEXT},
    )

    class Meta:
        model = Suppression
        fields: list[str] = []
