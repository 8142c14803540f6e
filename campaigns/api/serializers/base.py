"""Base of serializers of rows about a contact; the field of reasons."""

from collections.abc import Sequence
from typing import Any

from rest_framework import serializers

from campaigns.api.choices import REASONS
from contacts.api.briefs import briefs
from contacts.api.serializers import ContactBriefSerializer
from workspaces.api.batches import BatchSerializer


class ContactRowsSerializer(BatchSerializer):
    """A row about a contact; declare `contact = contact_field()`, which renders the canonical contact."""

    def load(self, rows: Sequence[Any]) -> None:
        """Add `contact_brief` by one statement; of a deleted contact it has the id only."""
        found = briefs(rows[0].workspace_id, {row.contact_id for row in rows})
        for row in rows:
            nobody = {"id": row.contact_id, "email": None, "firstName": None, "lastName": None}
            vars(row).update(contact_brief=found.get(row.contact_id, nobody))


def contact_field() -> ContactBriefSerializer:
    """Return the field `contact` of a ContactRowsSerializer."""
    return ContactBriefSerializer(source="contact_brief")


class ReasonField(serializers.ChoiceField):
    """A reason of campaigns.reasons; null where rows have none."""

    def __init__(self, **options: Any) -> None:
        super().__init__(choices=REASONS, allow_null=True, **options)

    def to_representation(self, value: Any) -> Any:
        """Return the reason, None for a blank one."""
        return value or None
