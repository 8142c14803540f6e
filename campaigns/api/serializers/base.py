"""Fields that several serializers of campaigns share: a decision's reason, the contact of a row."""

from typing import Any

from rest_framework import serializers

from campaigns.api.choices import REASONS


class ReasonField(serializers.ChoiceField):
    """A reason of campaigns.reasons; null where rows have none."""

    def __init__(self, **options: Any) -> None:
        super().__init__(choices=REASONS, allow_null=True, **options)

    def to_representation(self, value: Any) -> Any:
        """Return the reason, None for a blank one."""
        return value or None
