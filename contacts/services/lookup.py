"""Who is who: contacts by ids and identifiers, any number of them in one statement."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

import orjson
from django.db import connection

from contacts.services.identifiers import Identification
from contacts.services.schema import SCHEMA_COLUMNS, ContactSchema, schema_from
from contacts.services.states import ContactState


@dataclass(slots=True)
class Found:
    """What a look-up found; merged contacts stand for their survivors already."""

    by_id: dict[UUID, UUID] = field(default_factory=dict)
    by_identifier: dict[Identification, UUID] = field(default_factory=dict)
    # Only when asked for.
    states: dict[UUID, ContactState] = field(default_factory=dict)
    schema: ContactSchema = field(default_factory=ContactSchema)


def find(
    workspace_id: UUID,
    ids: Collection[UUID] = (),
    identifiers: Collection[Identification] = (),
    *,
    with_states: bool = False,
    with_schema: bool = False,
) -> Found:
    """Return the contacts that ids and normalised identifiers lead to, and the schema if it is asked for.

    Costs one statement, two more if any of them was merged into another.
    """
    found = Found()
    merged: set[UUID] = set()
    rows = _rows(workspace_id, ids, identifiers, with_states, with_schema)
    for kind, value, contact_id, merged_into, *state in rows:
        if contact_id is None:
            found.schema = schema_from(kind, value)
            continue
        if kind is None:
            found.by_id[contact_id] = contact_id
        else:
            found.by_identifier[kind, value] = contact_id
        if merged_into is not None:
            merged.add(contact_id)
        elif state:
            found.states[contact_id] = _state(state[0])
    if merged:
        _follow(workspace_id, found, merged, with_states)
    return found


def survivors_of(workspace_id: UUID, ids: Collection[UUID]) -> dict[UUID, UUID]:
    """Return where each of the merged contacts went in the end."""
    with connection.cursor() as cursor:
        cursor.execute(_SURVIVORS, {"workspace": workspace_id, "ids": list(ids)})
        return dict(cursor.fetchall())


def lock(workspace_id: UUID, ids: Collection[UUID]) -> set[UUID]:
    """Lock contacts for a change, in the order that everybody takes, and return those that still stand."""
    with connection.cursor() as cursor:
        cursor.execute(_LOCK, {"workspace": workspace_id, "ids": sorted(ids)})
        return {row[0] for row in cursor.fetchall()}


def _rows(
    workspace_id: UUID,
    ids: Collection[UUID],
    identifiers: Collection[Identification],
    with_states: bool,
    with_schema: bool = False,
) -> list[tuple[Any, ...]]:
    parts = []
    parameters: dict[str, Any] = {"workspace": workspace_id}
    state = _STATE if with_states else ""
    if ids:
        parts.append(_BY_ID.replace("/*state*/", state))
        parameters["ids"] = list(ids)
    if len(identifiers) == 1:
        parts.append(_BY_ONE_IDENTIFIER.replace("/*state*/", state))
        ((parameters["kind"], parameters["value"]),) = identifiers
    elif identifiers:
        parts.append(_BY_IDENTIFIERS.replace("/*state*/", state))
        parameters["kinds"] = [kind for kind, _ in identifiers]
        parameters["values"] = [value for _, value in identifiers]
    if with_schema:
        parts.append(_SCHEMA_ROW.replace("/*state*/", ", NULL::text" if with_states else ""))
    if not parts:
        return []
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(parts), parameters)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows


def _follow(workspace_id: UUID, found: Found, merged: set[UUID], with_states: bool) -> None:
    survivors = survivors_of(workspace_id, merged)
    found.by_id = {key: survivors.get(contact, contact) for key, contact in found.by_id.items()}
    found.by_identifier = {
        key: survivors.get(contact, contact) for key, contact in found.by_identifier.items()
    }
    if with_states and (unread := set(survivors.values()) - found.states.keys()):
        found.states.update(find(workspace_id, unread, with_states=True).states)


def _state(text: str) -> ContactState:
    raw = orjson.loads(text)
    return ContactState(
        raw["first_name"],
        raw["last_name"],
        raw["attributes"],
        {(kind, value): primary for kind, value, primary in raw["identifiers"] or ()},
        dict.fromkeys(raw["tags"] or ()),
        dict(raw["consents"] or ()),
    )


_BY_ID: Final = """
SELECT NULL::varchar, NULL::varchar, c.id, c.merged_into_id /*state*/
FROM contacts_contact c
WHERE c.workspace_id = %(workspace)s AND c.id = ANY(%(ids)s::uuid[])
"""

_BY_ONE_IDENTIFIER: Final = """
SELECT i.kind, i.value, c.id, c.merged_into_id /*state*/
FROM contacts_identifier i
JOIN contacts_contact c ON c.workspace_id = %(workspace)s AND c.id = i.contact_id
WHERE i.workspace_id = %(workspace)s AND i.kind = %(kind)s AND i.value = %(value)s
"""

# One probe of the unique index per identifier: joined freely, a planner without fresh statistics may
# read all identifiers of the workspace instead.
_BY_IDENTIFIERS: Final = """
SELECT i.kind, i.value, c.id, c.merged_into_id /*state*/
FROM unnest(%(kinds)s::varchar[], %(values)s::varchar[]) AS wanted (kind, value)
CROSS JOIN LATERAL (
    SELECT one.kind, one.value, one.contact_id
    FROM contacts_identifier one
    WHERE one.workspace_id = %(workspace)s AND one.kind = wanted.kind AND one.value = wanted.value
    LIMIT 1
) i
CROSS JOIN LATERAL (
    SELECT * FROM contacts_contact one
    WHERE one.workspace_id = %(workspace)s AND one.id = i.contact_id
    LIMIT 1
) c
"""

_SCHEMA_ROW: Final = f"""
SELECT {SCHEMA_COLUMNS}, NULL::uuid, NULL::uuid /*state*/
FROM workspaces_workspace w WHERE w.id = %(workspace)s
"""

_STATE: Final = """, jsonb_build_object(
    'first_name', c.first_name,
    'last_name', c.last_name,
    'attributes', c.attributes,
    'identifiers', (
        SELECT jsonb_agg(jsonb_build_array(own.kind, own.value, own.is_primary) ORDER BY own.id)
        FROM contacts_identifier own WHERE own.workspace_id = %(workspace)s AND own.contact_id = c.id
    ),
    'tags', (
        SELECT jsonb_agg(tag.name ORDER BY has.id)
        FROM contacts_contacttag has
        JOIN contacts_tag tag ON tag.workspace_id = %(workspace)s AND tag.id = has.tag_id
        WHERE has.workspace_id = %(workspace)s AND has.contact_id = c.id
    ),
    'consents', (
        SELECT jsonb_agg(jsonb_build_array(own.channel, own.status) ORDER BY own.channel)
        FROM contacts_consent own WHERE own.workspace_id = %(workspace)s AND own.contact_id = c.id
    )
)::text"""

# The depth ends a circle, which no merge makes but a hand in the database could.
_SURVIVORS: Final = """
WITH RECURSIVE chain (start, id, next, depth) AS (
    SELECT c.id, c.id, c.merged_into_id, 0
    FROM contacts_contact c WHERE c.workspace_id = %(workspace)s AND c.id = ANY(%(ids)s::uuid[])
    UNION ALL
    SELECT chain.start, c.id, c.merged_into_id, chain.depth + 1
    FROM chain
    JOIN contacts_contact c ON c.workspace_id = %(workspace)s AND c.id = chain.next
    WHERE chain.depth < 100
)
SELECT DISTINCT ON (start) start, id FROM chain ORDER BY start, depth DESC
"""

_LOCK: Final = """
SELECT id FROM contacts_contact
WHERE workspace_id = %(workspace)s AND id = ANY(%(ids)s::uuid[]) AND merged_into_id IS NULL
ORDER BY id
FOR NO KEY UPDATE
"""
