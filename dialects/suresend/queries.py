"""Queries for Sure Send's answers."""

from collections.abc import Collection
from typing import Any, Final
from uuid import UUID

from config.db.fields import loads
from config.db.statements import fetch_all


def persons(workspace_id: UUID, contact_ids: Collection[UUID]) -> dict[UUID, dict[str, Any]]:
    """Return contacts with `known_identifiers` and `known_tags`, by the id that an event came with; one statement."""
    rows = fetch_all(_PERSONS, {"workspace": workspace_id, "ids": list(contact_ids)})
    return {came_with: _person(columns) for came_with, *columns in rows}


def _person(columns: list[Any]) -> dict[str, Any]:
    contact_id, first_name, last_name, attributes, created_at, updated_at, identifiers, tags = columns
    return {
        "id": contact_id,
        "first_name": first_name,
        "last_name": last_name,
        "attributes": loads(attributes),
        "created_at": created_at,
        "updated_at": updated_at,
        "known_identifiers": loads(identifiers),
        "known_tags": tags,
    }


# OFFSET 0 and the laterals keep it to look-ups by key, whatever the planner thinks that there is.
_PERSONS: Final = """
SELECT asked.id, c.id, c.first_name, c.last_name, c.attributes::text, c.created_at, c.updated_at,
    (
        SELECT COALESCE(jsonb_agg(
            jsonb_build_object('kind', i.kind, 'value', i.value, 'is_primary', i.is_primary)
            ORDER BY i.is_primary DESC, i.contact_id = c.id DESC, i.created_at, i.id
        ), '[]')::text
        FROM contacts_identifier i
        WHERE i.workspace_id = %(workspace)s AND i.contact_id = ANY(person.ids)
    ),
    ARRAY(
        SELECT DISTINCT tag.name
        FROM contacts_contacttag has
        JOIN contacts_tag tag ON tag.workspace_id = %(workspace)s AND tag.id = has.tag_id
        WHERE has.workspace_id = %(workspace)s AND has.contact_id = ANY(person.ids)
        ORDER BY tag.name
    )
FROM unnest(%(ids)s::uuid[]) AS asked (id)
CROSS JOIN LATERAL (
    SELECT COALESCE(merged_into_id, id) AS survivor FROM contacts_contact
    WHERE workspace_id = %(workspace)s AND id = asked.id OFFSET 0
) wanted
CROSS JOIN LATERAL (
    SELECT * FROM contacts_contact WHERE workspace_id = %(workspace)s AND id = wanted.survivor OFFSET 0
) c
CROSS JOIN LATERAL (
    SELECT c.id || ARRAY(
        SELECT merged.id FROM contacts_contact merged
        WHERE merged.workspace_id = %(workspace)s AND merged.merged_into_id = c.id
    ) AS ids
) person
"""
