"""Strict parsing of bodies and query parameters, without coercion."""

import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import APIException, ValidationError
from rest_framework.request import Request

from config.values.names import composed
from workspaces.api.base import object_body
from workspaces.api.serializers import ErrorSerializer

UNKNOWN_KEY = "This key is not known."
_REFUSED = OpenApiResponse(ErrorSerializer)
# What any route of a workspace may answer besides its success; a write takes a body, too.
READ_REFUSALS: dict[int, Any] = {400: _REFUSED, 401: _REFUSED, 403: _REFUSED, 404: _REFUSED, 429: _REFUSED}
WRITE_REFUSALS: dict[int, Any] = {**READ_REFUSALS, 409: _REFUSED, 413: _REFUSED, 415: _REFUSED}

_INTEGER = re.compile(r"[+-]?[0-9]{1,1000}", re.ASCII)
_DIGITS_THAT_MATTER = 12


class StrictBooleanField(serializers.BooleanField):
    """`true` or `false`, and nothing that merely can be read as one."""

    def to_internal_value(self, data: Any) -> bool:
        """Return the boolean. Raises ValidationError for any other type."""
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


class StrictIntegerField(serializers.IntegerField):
    """A JSON number without a fraction."""

    def to_internal_value(self, data: Any) -> int:
        """Return the integer. Raises ValidationError for any other type."""
        if isinstance(data, bool) or not isinstance(data, int | float) or data != math.floor(data):
            self.fail("invalid")
        return int(data)


@extend_schema_field(OpenApiTypes.NUMBER)
class NumberField(serializers.DecimalField):
    """A JSON number, kept as the decimal that it spells, and written as a number again."""

    def __init__(self, *, max_digits: int = 15, decimal_places: int = 6, **kwargs: Any) -> None:
        super().__init__(max_digits=max_digits, decimal_places=decimal_places, **kwargs)

    def to_internal_value(self, data: Any) -> Decimal:
        """Return the number. Raises ValidationError for any other type."""
        if isinstance(data, bool) or not isinstance(data, int | float):
            self.fail("invalid")
        return super().to_internal_value(repr(data))

    def to_representation(self, value: Any) -> Any:
        """Return an int where the number is whole."""
        return json_number(value)


@extend_schema_field(OpenApiTypes.OBJECT)
class ObjectField(serializers.Field[Any, Any, Any, Any]):
    """A JSON object of any content."""

    default_error_messages = {"invalid": "Must be an object."}

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        """Return the object. Raises ValidationError for any other type."""
        if not isinstance(data, dict):
            self.fail("invalid")
        return data

    def to_representation(self, value: Any) -> Any:
        """Return the object as it is stored."""
        return value


_MOST_TOLD = 100


class KnownKeysSerializer(serializers.Serializer[Any]):
    """A body in which a key that is not known is refused, rather than dropped in silence."""

    def to_internal_value(self, data: Any) -> Any:
        """Return the values. Raises ValidationError, which tells what else is wrong too."""
        unknown = (
            sorted(str(key) for key in data if key not in self.fields) if isinstance(data, Mapping) else []
        )
        faults: dict[str, Any] = {key: [UNKNOWN_KEY] for key in unknown[:_MOST_TOLD]}
        try:
            values = super().to_internal_value(data)
        except ValidationError as error:
            detail = error.detail if isinstance(error.detail, dict) else {"non_field_errors": error.detail}
            raise ValidationError({**detail, **faults}) from error
        if faults:
            raise ValidationError(faults)
        return values


def json_number(value: Decimal | None) -> int | float | None:
    """Return a stored number as JSON writes it: whole ones without a fraction."""
    if value is None:
        return None
    return int(value) if value == value.to_integral_value() else float(value)


def read_body(
    serializer_class: type[serializers.BaseSerializer[Any]], request: Request, *, partial: bool = False
) -> dict[str, Any]:
    """Return the request's body as the serializer reads it. Raises NotAnObject or ValidationError."""
    serializer = serializer_class(data=object_body(request), partial=partial)
    try:
        serializer.is_valid(raise_exception=True)
    except OverflowError as error:
        # A date near the end of time leaves Python's range when its zone is applied.
        raise ValidationError("A date is out of range.") from error
    data: dict[str, Any] = serializer.validated_data
    return data


def wire_names(serializer_class: type[serializers.Serializer[Any]]) -> dict[str, str]:
    """Return by its `source` how a body spells each field: a path where it stands in a part of the body."""
    names: dict[str, str] = {}
    for name, body_field in serializer_class().fields.items():
        if isinstance(body_field, serializers.Serializer) and body_field.source == "*":
            inner = wire_names(type(body_field))
            names |= {source: f"{name}.{path}" for source, path in inner.items()}
        else:
            names[str(body_field.source)] = name
    return names


def refuse_body(request: Request) -> None:
    """Refuse keys in the body of a request that takes none, rather than to drop them in silence; `{}` is nothing.

    Raises ValidationError.
    """
    try:
        data = request.data
    except APIException:  # nothing that could be meant for us
        return
    if isinstance(data, Mapping) and data:
        raise ValidationError({str(key): [UNKNOWN_KEY] for key in sorted(data, key=str)[:_MOST_TOLD]})


def text_parameter(request: Request, name: str) -> str | None:
    """Return a parameter of the address, None if it is absent or empty. Raises ValidationError."""
    text = request.query_params.get(name, "")
    if "\x00" in text:
        raise ValidationError({name: ["Null characters are not allowed."]})
    return composed(text) or None


def integer_parameter(
    request: Request, name: str, default: int, *, lowest: int = 1, highest: int | None = None
) -> int:
    """Return a parameter of the address, clamped to what is allowed. Raises ValidationError for a non-number."""
    text = text_parameter(request, name)
    if text is None:
        return default
    if not _INTEGER.fullmatch(text.strip()):
        raise ValidationError({name: ["A valid integer is required."]})
    number = max(
        int(text[: _DIGITS_THAT_MATTER + 1]) if len(text) > _DIGITS_THAT_MATTER else int(text), lowest
    )
    return number if highest is None else min(number, highest)


def choice_parameter(request: Request, name: str, choices: Mapping[str, Any], default: str) -> str:
    """Return a parameter of the address that is one of `choices`. Raises ValidationError."""
    text = text_parameter(request, name) or default
    if text not in choices:
        raise ValidationError({name: [f"Must be one of {', '.join(choices)}."]})
    return text
