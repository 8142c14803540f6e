"""Import contacts: each row makes one, or adds what it says to the one that its identifiers find."""

from collections.abc import Mapping, Sequence
from typing import Self
from uuid import UUID

from config.errors import DomainError
from config.files.mapping import ColumnMapping
from config.files.rows import Row
from contacts.companies import CompanyResolution, link_companies
from contacts.identity.resolution import resolve_contacts
from contacts.imports.fields import CONTACT_FIELDS, ContactRow, contact_row
from contacts.imports.kinds import Decision, ImportKind
from contacts.models import Import
from contacts.references import Resolution
from contacts.signals import Effects, limit_effects


class ContactImport(ImportKind[ContactRow]):
    """Identifiers that another contact has are left out, as in an upsert."""

    kind = Import.Kind.CONTACTS
    fields = CONTACT_FIELDS
    batch_rows = 2_000
    is_ordered = True

    def __init__(self, *, overwrites_consents: bool = False) -> None:
        """`overwrites_consents`: what a file says of consents counts, whatever was said later."""
        self._overwrites = overwrites_consents
        self.options = {"consents": "overwrite"} if overwrites_consents else {}

    @classmethod
    def with_options(cls, options: Mapping[str, str]) -> Self:
        """Return the kind with what was chosen for an import."""
        return cls(overwrites_consents=options.get("consents") == "overwrite")

    def prepare(self, mapping: ColumnMapping, row: Row, key: str) -> ContactRow:
        """Return the contact that a row describes."""
        return contact_row(mapping, row.values or {}, overwrites_consents=self._overwrites)

    def record(self, workspace_id: UUID, effects: Effects, items: Sequence[ContactRow]) -> list[Decision]:
        """Make and change contacts, and bring them into their companies."""
        with limit_effects(effects):
            companies = _RowCompanies(workspace_id, items)
            sound = [place for place in range(len(items)) if place not in companies.refused]
            resolved = resolve_contacts(workspace_id, [items[place].contact for place in sound])
            results = {**companies.refused, **dict(zip(sound, resolved, strict=True))}
            companies.link(results)
        return [_decision(results[place]) for place in range(len(items))]


class _RowCompanies:
    """The companies of a batch of rows: looked up at once, made when it is known which rows count."""

    def __init__(self, workspace_id: UUID, rows: Sequence[ContactRow]) -> None:
        self._workspace_id = workspace_id
        references = [(place, company) for place, row in enumerate(rows) for company in row.companies]
        self._places = [place for place, _ in references]
        self._companies = (
            CompanyResolution(workspace_id, [company for _, company in references]) if references else None
        )
        self.refused: dict[int, DomainError] = {}
        """By place, why a row has a company that cannot be."""
        for place, error in zip(
            self._places, self._companies.refusals if self._companies else (), strict=True
        ):
            if error is not None:
                self.refused.setdefault(place, error)

    def link(self, results: Mapping[int, Resolution | DomainError]) -> None:
        """Bring contacts into the companies of their rows, which are made if missing."""
        if self._companies is None:
            return
        members = {place: each.contact_id for place, each in results.items() if isinstance(each, Resolution)}
        wanted = [index for index, place in enumerate(self._places) if place in members]
        made = self._companies.apply(wanted)
        link_companies(
            self._workspace_id,
            [
                (members[self._places[index]], company[0].id)
                for index, company in zip(wanted, made, strict=True)
                if not isinstance(company, DomainError)
            ],
        )


def _decision(result: Resolution | DomainError) -> Decision:
    return Decision(False, result.message) if isinstance(result, DomainError) else Decision(result.created)
