"""Bases of the answers: rows with what one statement loads for all of them, and fields that spell as the API does."""

from collections.abc import Sequence
from typing import Any

from rest_framework import serializers

from campaigns.api.choices import REASONS
from contacts.api.presentation import briefs
from contacts.api.serializers import ContactBriefSerializer


class BatchListSerializer(serializers.ListSerializer[Any]):
    """A list whose serializer loads what its rows need for all of them at once."""

    child: "BatchSerializer"

    def to_representation(self, data: Any) -> list[Any]:
        """Load, then render each row."""
        rows = list(data)
        if rows:
            self.child.load(rows)
        return super().to_representation(rows)


class BatchSerializer(serializers.Serializer[Any]):
    """A row that needs more than its own columns: `load` adds it to the attributes of all rows of an answer."""

    class Meta:
        list_serializer_class = BatchListSerializer

    def load(self, rows: Sequence[Any]) -> None:
        """Add to the attributes of some rows of one workspace, in a fixed number of statements."""
        raise NotImplementedError

    def to_representation(self, instance: Any) -> dict[str, Any]:
        """Render a row, which is loaded here unless its list did."""
        if not isinstance(self.parent, BatchListSerializer):
            self.load([instance])
        return super().to_representation(instance)


class ContactRowsSerializer(BatchSerializer):
    """A row about a contact, whose `contact = contact_field()` is as it reads now."""

    def load(self, rows: Sequence[Any]) -> None:
        """Add `contact_brief`; of a deleted contact the id is what is left. One statement."""
        found = briefs(rows[0].workspace_id, {row.contact_id for row in rows})
        for row in rows:
            nobody = {"id": row.contact_id, "email": None, "firstName": None, "lastName": None}
            vars(row).update(contact_brief=found.get(row.contact_id, nobody))


def contact_field() -> ContactBriefSerializer:
    """Return the field `contact` of a ContactRowsSerializer."""
    return ContactBriefSerializer(source="contact_brief")


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


class ReasonField(serializers.ChoiceField):
    """A reason of campaigns.reasons; null where rows have none."""

    def __init__(self, **options: Any) -> None:
        super().__init__(choices=REASONS, allow_null=True, **options)

    def to_representation(self, value: Any) -> Any:
        """Return the reason, None for a blank one."""
        return value or None
