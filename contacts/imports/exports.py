"""Export contacts: rows that import again to the same contacts."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.db.models import QuerySet
from django.utils.module_loading import import_string

from config.db.statements import execute
from contacts.models import Company, Consent, Contact, Identifier
from contacts.queries import with_details

CONTACT_COLUMNS: Final = (
    *("email", "phone", "external_id", "anonymous_id", "identifiers", "first_name", "last_name"),
    *("attributes", "tags", "consents", "companies"),
)
CHUNK_ROWS: Final = 2_000
_COMPANY_PARTS: Final = ("name", "external_id", "website", "industry", "size", "attributes")
_OWN_COLUMNS: Final = CONTACT_COLUMNS[:4]


def contacts_to_export(workspace_id: UUID, *, segment: str = "") -> QuerySet[Contact]:
    """Return the contacts of a workspace, or of a segment."""
    contacts = Contact.objects.in_workspace(workspace_id).canonical()
    if segment:
        contacts = import_string(settings.EXPORTED_SEGMENT)(workspace_id, contacts, segment)
    return contacts.order_by("id")


def exported_contacts(workspace_id: UUID, *, segment: str = "") -> Iterator[dict[str, Any]]:
    """Yield contacts as one moment has them, the oldest first, with what was merged into each.

    Who has no identifier is known by its id as `anonymous_id`: nothing else would find it again.
    """
    with snapshot():
        contacts = with_details(contacts_to_export(workspace_id, segment=segment), companies=True)
        for contact in contacts.iterator(CHUNK_ROWS):
            identifiers = [
                (identifier.kind, identifier.value, identifier.is_primary)
                for identifier in contact.known_identifiers
            ]
            yield {
                **identity_columns(contact.id, identifiers, with_rest=True),
                "first_name": contact.first_name,
                "last_name": contact.last_name,
                "attributes": contact.attributes,
                "tags": contact.tag_names,
                "consents": {consent.channel: _consent(consent) for consent in contact.known_consents},
                "companies": [_company(company) for company in contact.known_companies],
            }


def _consent(consent: Consent) -> Any:
    """Return what was said of a channel, and when, where that is known."""
    return {"status": consent.status, "at": consent.changed_at} if consent.is_dated else consent.status


def _company(company: Company) -> dict[str, Any]:
    """Return what makes the same company elsewhere."""
    parts = {name: getattr(company, name) for name in _COMPANY_PARTS}
    return {name: value for name, value in parts.items() if value}


@contextmanager
def snapshot() -> Iterator[None]:
    """Open a transaction in which all is read, so that the server keeps the cursor and memory stays small.

    All of it is of one moment, also what is loaded with each row, unless the caller has a transaction.
    """
    is_own = not connection.in_atomic_block
    with transaction.atomic():
        if is_own:
            execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        # A plan that finds the first rows soon may take for ever for the rest.
        execute("SET LOCAL cursor_tuple_fraction = 1")
        yield


KnownIdentifiers = Iterable[tuple[str, str, bool]]
"""Kind, value and whether it is the primary one of its kind, in their order."""


def identity_columns(contact_id: UUID, identifiers: KnownIdentifiers, *, with_rest: bool) -> dict[str, Any]:
    """Return the columns by which a contact is found again; `with_rest`: and all that it is known by besides."""
    ordered = sorted(identifiers, key=lambda identifier: not identifier[2])
    if not ordered:
        return {"anonymous_id": str(contact_id)}
    columns: dict[str, Any] = {}
    rest: list[dict[str, str]] = []
    for kind, value, _ in ordered:
        if kind in _OWN_COLUMNS and kind not in columns:
            columns[kind] = value
        else:
            rest.append({"kind": kind, "value": value})
    if rest and (with_rest or not columns):
        columns["identifiers"] = rest
    return columns


def identities_of(workspace_id: UUID, contact_ids: Collection[UUID]) -> Mapping[UUID, dict[str, Any]]:
    """Return for contacts, merged ones too, the columns by which each is found again; deleted ones have none."""
    survivors = dict(
        Contact.objects.in_workspace(workspace_id)
        .filter(id__in=contact_ids)
        .values_list("id", "merged_into_id")
    )
    wanted = {*survivors, *filter(None, survivors.values())}
    known: dict[UUID, list[tuple[str, str, bool]]] = {}
    rows = Identifier.objects.in_workspace(workspace_id).filter(contact_id__in=wanted).order_by("id")
    for owner, kind, value, is_primary in rows.values_list("contact_id", "kind", "value", "is_primary"):
        known.setdefault(owner, []).append((kind, value, is_primary))
    found = {}
    for contact_id, survivor in survivors.items():
        person = survivor or contact_id
        identifiers = known.get(contact_id) or known.get(person) or ()
        found[contact_id] = identity_columns(person, identifiers, with_rest=False)
    return found


def chunks(rows: Iterable[Any], size: int = CHUNK_ROWS) -> Iterator[list[Any]]:
    """Yield rows in lists."""
    remaining = iter(rows)
    while chunk := list(islice(remaining, size)):
        yield chunk
