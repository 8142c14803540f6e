"""The command `export_contacts`: export contacts to a file."""

from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

from contacts.imports.exports import CONTACT_COLUMNS, contacts_to_export, exported_contacts
from contacts.management.exports import ExportCommand


class Command(ExportCommand):
    """`export_contacts`: see docs/imports.md."""

    help = "Write contacts to a file that import_contacts takes."
    unit = "contacts"
    columns = CONTACT_COLUMNS

    def rows(self, workspace_id: UUID, options: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Return the contacts."""
        return exported_contacts(workspace_id, segment=options["segment"])

    def total(self, workspace_id: UUID, options: Mapping[str, Any]) -> int:
        """Return how many contacts there are."""
        return contacts_to_export(workspace_id, segment=options["segment"]).count()
