"""Short forms of contacts in other answers, loaded by one statement."""

from collections.abc import Collection
from typing import Any
from uuid import UUID

from config.db.statements import fetch_all

Row = dict[str, Any]


def briefs(workspace_id: UUID, contact_ids: Collection[UUID]) -> dict[UUID, Row]:
    """Return what an event shows of its contact, by the id it came with; one statement, none for no contact."""
    if not contact_ids:
        return {}
    # In SQL, for it is on the path of every single event that comes in.
    rows = fetch_all(_BRIEFS, {"workspace": workspace_id, "ids": list(contact_ids)})
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
