"""How contacts look in the native format, from a fixed number of statements for any number of them."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any, TypeVar
from uuid import UUID

from django.db.models import OuterRef, QuerySet, Subquery

from config.wire import iso_millis
from contacts.models import Consent, Contact, ContactScore, ContactTag, Identifier
from workspaces.api.strict import json_number

Row = dict[str, Any]
_ModelT = TypeVar("_ModelT")
# How the identifiers that every contact may have are called; the others stand in `identities` only.
_NAMED_KINDS = {
    Identifier.EMAIL: "email",
    Identifier.PHONE: "phone",
    Identifier.EXTERNAL_ID: "externalId",
}


def briefs(workspace_id: UUID, contact_ids: Collection[UUID]) -> dict[UUID, Row]:
    """Return what an event shows of its contact, by id; one statement, none for no contact."""
    if not contact_ids:
        return {}
    contacts = (
        Contact.objects.in_workspace(workspace_id)
        .filter(id__in=contact_ids)
        .annotate(email=primary_identifier(Identifier.EMAIL))
        .values_list("id", "email", "first_name", "last_name")
    )
    return {
        contact_id: {
            "id": str(contact_id),
            "email": email,
            "firstName": first_name or None,
            "lastName": last_name or None,
        }
        for contact_id, email, first_name, last_name in contacts
    }


def primary_identifier(kind: str) -> Subquery:
    """Return the expression for the primary identifier of a kind of a contact's row."""
    own = Identifier.objects.filter(
        workspace_id=OuterRef("workspace_id"), contact_id=OuterRef("id"), kind=kind, is_primary=True
    )
    return Subquery(own.values("value")[:1])


def rows(workspace_id: UUID, contacts: Sequence[Contact]) -> list[Row]:
    """Return contacts as the list shows them; three statements in all."""
    ids = [contact.id for contact in contacts]
    identifiers = _by_contact(_of(Identifier.objects.filter(is_primary=True), workspace_id, ids))
    tags = _by_contact(_of(ContactTag.objects.select_related("tag"), workspace_id, ids))
    scores = {score.contact_id: score for score in _of(ContactScore.objects.all(), workspace_id, ids)}
    return [
        _row(contact, identifiers.get(contact.id, ()), tags.get(contact.id, ()), scores.get(contact.id))
        for contact in contacts
    ]


def detail(workspace_id: UUID, contact: Contact) -> Row:
    """Return one contact with all its identifiers and consents."""
    (row,) = rows(workspace_id, [contact])
    identifiers = _of(Identifier.objects.order_by("created_at", "id"), workspace_id, [contact.id])
    consents = _of(Consent.objects.order_by("channel"), workspace_id, [contact.id])
    row["identities"] = [_identity(identifier) for identifier in identifiers]
    row["consents"] = [_consent(consent) for consent in consents]
    return row


def _of(rows_of_all: "QuerySet[_ModelT]", workspace_id: UUID, contact_ids: list[UUID]) -> "QuerySet[_ModelT]":
    return rows_of_all.filter(workspace_id=workspace_id, contact_id__in=contact_ids)


def _by_contact(found: Iterable[Any]) -> dict[UUID, list[Any]]:
    grouped: dict[UUID, list[Any]] = {}
    for one in found:
        grouped.setdefault(one.contact_id, []).append(one)
    return grouped


def _row(
    contact: Contact,
    identifiers: Iterable[Identifier],
    tags: Iterable[ContactTag],
    score: ContactScore | None,
) -> Row:
    primary = {identifier.kind: identifier.value for identifier in identifiers}
    return {
        "id": str(contact.id),
        **{name: primary.get(kind) for kind, name in _NAMED_KINDS.items()},
        "firstName": contact.first_name or None,
        "lastName": contact.last_name or None,
        "score": json_number(score.points) if score else 0,
        "attributes": contact.attributes,
        "tags": sorted(
            ({"id": str(has.tag_id), "name": has.tag.name} for has in tags), key=lambda tag: tag["name"]
        ),
        "createdAt": iso_millis(contact.created_at),
        "updatedAt": iso_millis(contact.updated_at),
    }


def _identity(identifier: Identifier) -> Row:
    return {
        "type": _NAMED_KINDS.get(identifier.kind, identifier.kind),
        "value": identifier.value,
        "primary": identifier.is_primary,
    }


def _consent(consent: Consent) -> Row:
    return {
        "channel": consent.channel.upper(),
        "status": consent.status.upper(),
        "changedAt": iso_millis(consent.changed_at),
    }
