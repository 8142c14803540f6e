"""Import contacts: each row makes one, or adds what it says to the one that its identifiers find."""

from collections.abc import Sequence
from uuid import UUID

from config.errors import DomainError
from config.files.mapping import ColumnMapping
from config.files.rows import Row
from contacts.identity.resolution import resolve_contacts
from contacts.imports.fields import CONTACT_FIELDS, contact_reference
from contacts.imports.kinds import Decision, ImportKind
from contacts.models import Import
from contacts.references import ContactReference
from contacts.signals import Effects, limit_effects


class ContactImport(ImportKind[ContactReference]):
    """Identifiers that another contact has are left out, as in an upsert."""

    kind = Import.Kind.CONTACTS
    fields = CONTACT_FIELDS

    def __init__(self, *, overwrites_consents: bool = False) -> None:
        """`overwrites_consents`: what a file says of consents counts, whatever was said later."""
        self._overwrites = overwrites_consents
        self.options = {"consents": "overwrite"} if overwrites_consents else {}

    def prepare(self, mapping: ColumnMapping, row: Row, key: str) -> ContactReference:
        """Return the contact that a row describes."""
        return contact_reference(mapping, row.values or {}, overwrites_consents=self._overwrites)

    def record(
        self, workspace_id: UUID, effects: Effects, items: Sequence[ContactReference]
    ) -> list[Decision]:
        """Make and change contacts."""
        with limit_effects(effects):
            results = resolve_contacts(workspace_id, items)
        return [
            Decision(False, result.message) if isinstance(result, DomainError) else Decision(result.created)
            for result in results
        ]
