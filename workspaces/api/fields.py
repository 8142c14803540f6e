"""Serializer fields that coerce nothing."""

from typing import Any

from rest_framework import serializers

from config.http.rendering import iso_millis
from config.values.datetimes import has_time_of_day, parse_timestamp
from config.values.names import composed


class StrictCharField(serializers.CharField):
    """A string, and nothing that merely can be turned into one."""

    def to_internal_value(self, data: Any) -> str:
        """Return the string. Raises ValidationError for any other type."""
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class NameCharField(StrictCharField):
    """A name: a string in NFC."""

    def to_internal_value(self, data: Any) -> str:
        """Return the name. Raises ValidationError for any other type."""
        return composed(super().to_internal_value(data))


class MomentField(serializers.DateTimeField):
    """A moment, read as everywhere."""

    def to_internal_value(self, value: Any) -> Any:
        """Return the moment. Raises ValidationError for what spells none."""
        moment = (
            parse_timestamp(value.strip())
            if isinstance(value, str) and has_time_of_day(value.strip())
            else None
        )
        return super().to_internal_value(value) if moment is None else self.enforce_timezone(moment)


class MillisecondsField(MomentField):
    """A moment, written as the native format writes it: UTC, milliseconds, `Z`."""

    def to_representation(self, value: Any) -> Any:
        """Return e.g. `2026-01-15T10:00:00.000Z`."""
        return value and iso_millis(value)


class UpperChoiceField(serializers.ChoiceField):
    """A choice that the API spells in capitals, and rows do not; `choices` are the API's."""

    def to_internal_value(self, data: Any) -> Any:
        """Return it as rows have it. Raises ValidationError."""
        return super().to_internal_value(data).lower()

    def to_representation(self, value: Any) -> Any:
        """Return it in capitals."""
        return value.upper()


class BlankAsNullField(serializers.CharField):
    """A text that rows have blank where the API has null."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_null=True, **options)

    def to_representation(self, value: Any) -> Any:
        """Return the text, None for a blank one."""
        return value or None
