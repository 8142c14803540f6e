"""How contacts look in the native format, from a fixed number of statements for any number of them."""

from collections.abc import Collection
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import OuterRef, Subquery

from config.http.rendering import iso_millis
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
    """Return what an event shows of its contact, by the id it came with; one statement, none for no contact."""
    if not contact_ids:
        return {}
    # In SQL, for it is on the path of every single event that comes in.
    with connection.cursor() as cursor:
        cursor.execute(_BRIEFS, {"workspace": workspace_id, "ids": list(contact_ids)})
        rows = cursor.fetchall()
    return {
        came_with: {
            "id": str(contact_id),
            "email": email,
            "firstName": first_name or None,
            "lastName": last_name or None,
        }
        for came_with, contact_id, email, first_name, last_name in rows
    }


def ids_only(workspace_id: UUID, contact_ids: Collection[UUID]) -> dict[UUID, Row]:
    """Return of contacts what they came with: for who may not read them."""
    return {
        contact_id: {"id": str(contact_id), "email": None, "firstName": None, "lastName": None}
        for contact_id in contact_ids
    }


# OFFSET 0 and the laterals keep it to look-ups by key, whatever the planner thinks that there is: without
# statistics it would read all contacts of the workspace for one.
_BRIEFS = """
SELECT wanted.id, c.id, COALESCE(own.value, (
        SELECT of_merged.value FROM contacts_contact merged JOIN contacts_identifier of_merged
            ON of_merged.workspace_id = %(workspace)s AND of_merged.contact_id = merged.id
            AND of_merged.kind = 'email' AND of_merged.is_primary
        WHERE merged.workspace_id = %(workspace)s AND merged.merged_into_id = c.id
        ORDER BY of_merged.id LIMIT 1
    )), c.first_name, c.last_name
FROM unnest(%(ids)s::uuid[]) AS asked (id)
CROSS JOIN LATERAL (
    SELECT id, merged_into_id FROM contacts_contact
    WHERE workspace_id = %(workspace)s AND id = asked.id OFFSET 0
) wanted
CROSS JOIN LATERAL (
    SELECT id, first_name, last_name FROM contacts_contact
    WHERE workspace_id = %(workspace)s AND id = COALESCE(wanted.merged_into_id, wanted.id) OFFSET 0
) c
LEFT JOIN LATERAL (
    SELECT value FROM contacts_identifier
    WHERE workspace_id = %(workspace)s AND contact_id = c.id AND kind = 'email' AND is_primary OFFSET 0
) own ON true
"""


def primary_identifier(kind: str) -> Subquery:
    """Return the expression for the primary identifier of a kind of a contact's row."""
    own = Identifier.objects.filter(
        workspace_id=OuterRef("workspace_id"), contact_id=OuterRef("id"), kind=kind, is_primary=True
    )
    return Subquery(own.values("value")[:1])


def row(contact: Contact) -> Row:
    """Return a contact as the list shows it; it comes `with_details`."""
    identifiers = contact.known_identifiers
    primary = {identifier.kind: identifier.value for identifier in identifiers if identifier.is_primary}
    tags = [{"id": str(tag.id), "name": tag.name} for tag in contact.known_tags]
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
        "identities": [_identity(identifier) for identifier in contact.known_identifiers],
        "consents": [_consent(consent) for consent in contact.known_consents],
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
