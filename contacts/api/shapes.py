"""How contacts look in the native format, from a fixed number of statements for any number of them."""

from collections.abc import Collection
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import OuterRef, Subquery

from config.wire import iso_millis
from contacts.models import Consent, Contact, Identifier
from workspaces.api.strict import json_number

Row = dict[str, Any]
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
    # In SQL, for it is on the path of every single event that comes in.
    with connection.cursor() as cursor:
        cursor.execute(_BRIEFS, [workspace_id, workspace_id, list(contact_ids)])
        rows = cursor.fetchall()
    return {
        contact_id: {
            "id": str(contact_id),
            "email": email,
            "firstName": first_name or None,
            "lastName": last_name or None,
        }
        for contact_id, email, first_name, last_name in rows
    }


_BRIEFS = """
SELECT c.id, i.value, c.first_name, c.last_name
FROM contacts_contact c LEFT JOIN contacts_identifier i
    ON i.workspace_id = %s AND i.contact_id = c.id AND i.kind = 'email' AND i.is_primary
WHERE c.workspace_id = %s AND c.id = ANY(%s)
"""


def primary_identifier(kind: str) -> Subquery:
    """Return the expression for the primary identifier of a kind of a contact's row."""
    own = Identifier.objects.filter(
        workspace_id=OuterRef("workspace_id"), contact_id=OuterRef("id"), kind=kind, is_primary=True
    )
    return Subquery(own.values("value")[:1])


def row(contact: Contact) -> Row:
    """Return a contact as the list shows it; it comes `with_details`."""
    identifiers = contact.identifiers.all()
    primary = {identifier.kind: identifier.value for identifier in identifiers if identifier.is_primary}
    tags = [{"id": str(has.tag_id), "name": has.tag.name} for has in contact.contact_tags.all()]
    return {
        "id": str(contact.id),
        **{name: primary.get(kind) for kind, name in _NAMED_KINDS.items()},
        "firstName": contact.first_name or None,
        "lastName": contact.last_name or None,
        "score": next((json_number(score.points) for score in contact.scores.all()), 0),
        "attributes": contact.attributes,
        "tags": sorted(tags, key=lambda tag: tag["name"]),
        "createdAt": iso_millis(contact.created_at),
        "updatedAt": iso_millis(contact.updated_at),
    }


def detail(contact: Contact) -> Row:
    """Return a contact with all its identifiers and consents; it comes `with_details`."""
    return {
        **row(contact),
        "identities": [_identity(identifier) for identifier in contact.identifiers.all()],
        "consents": [_consent(consent) for consent in contact.consents.all()],
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
