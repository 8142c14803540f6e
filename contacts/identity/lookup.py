"""Look up contacts by ids and identifiers, any number of them in one statement."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import orjson
from django.db import connection

from config.db.arrays import array
from config.db.statements import fetch_all
from config.ids import NO_ID
from contacts.identifiers import Identification
from contacts.models import Consent
from contacts.profiles.schema import SCHEMA_COLUMNS, ContactSchema, schema_from
from contacts.profiles.state import ConsentTime, ContactState
from contacts.tombstones import erased_among


@dataclass(slots=True)
class Found:
    """What a look-up found; merged contacts stand for their survivors already."""

    by_id: dict[UUID, UUID] = field(default_factory=dict)
    by_identifier: dict[Identification, UUID] = field(default_factory=dict)
    # Whose an identifier is where that contact was merged into the one above.
    owners: dict[Identification, UUID] = field(default_factory=dict)
    # Only when asked for, and of survivors, with what those merged into them have.
    states: dict[UUID, ContactState] = field(default_factory=dict)
    schema: ContactSchema = field(default_factory=ContactSchema)
    # Only when asked for: the identifiers of those not found that nobody is to have any more.
    erased: set[Identification] = field(default_factory=set)


def find(
    workspace_id: UUID,
    ids: Collection[UUID] = (),
    identifiers: Collection[Identification] = (),
    *,
    with_states: bool = False,
    with_schema: bool = False,
    with_erased: bool = False,
) -> Found:
    """Return the contacts that ids and normalised identifiers lead to, and the schema if it is asked for.

    Costs one statement, up to two more for the states of merged contacts, and one for identifiers that are not
    found where anybody was ever erased.
    """
    # Of ids alone, only those that are not themselves come back.
    found = Found() if with_states else Found(dict(zip(ids, ids, strict=True)))
    survivors: set[UUID] = set()
    has_erased = False
    rows = _rows(workspace_id, ids, identifiers, with_states, with_schema, with_erased)
    for kind, value, contact_id, merged_into, *state in rows:
        if contact_id is None and merged_into is not None:
            has_erased = True
            continue
        if contact_id is None:
            found.schema = schema_from(kind, value)
            continue
        if kind is None and merged_into is None and not state:
            found.by_id.pop(contact_id, None)
            continue
        if kind is None:
            found.by_id[contact_id] = merged_into or contact_id
        else:
            found.by_identifier[kind, value] = merged_into or contact_id
            if merged_into is not None:
                found.owners[kind, value] = contact_id
        if merged_into is not None:
            survivors.add(merged_into)
        elif state:
            found.states[contact_id] = _state(state[0])
    if with_states and (unread := survivors - found.states.keys()):
        own = _rows(workspace_id, unread, (), with_states)
        found.states.update({row[2]: _state(row[4]) for row in own if row[3] is None})
    if has_merged := [contact_id for contact_id, state in found.states.items() if state.merged]:
        _add_rows(workspace_id, found, has_merged)
    if has_erased:
        # Whoever was erased before the look-up is not in it, and is among these.
        found.erased = erased_among(workspace_id, set(identifiers) - found.by_identifier.keys())
    return found


def ids_of(workspace_id: UUID, contact_id: UUID) -> list[UUID]:
    """Return the ids of one person: the survivor's, then those of the contacts merged into it."""
    return [row[0] for row in fetch_all(_IDS, {"workspace": workspace_id, "id": contact_id})] or [contact_id]


def lock(workspace_id: UUID, ids: Collection[UUID]) -> set[UUID]:
    """Lock contacts for a change, in the order that everybody takes, and return those that still stand."""
    return {row[0] for row in fetch_all(_LOCK, {"workspace": workspace_id, "ids": sorted(ids)})}


def lock_persons(workspace_id: UUID, survivors: Collection[UUID]) -> dict[UUID, UUID | None]:
    """Lock all that some persons are, and return whom each of these contacts was merged into.

    In the order that everybody takes, merged ones too: who thinks that they still stand locks them before it looks.
    """
    return dict(fetch_all(_LOCK_PERSONS, {"workspace": workspace_id, "ids": list(survivors)}))


def _rows(
    workspace_id: UUID,
    ids: Collection[UUID],
    identifiers: Collection[Identification],
    with_states: bool,
    with_schema: bool = False,
    with_erased: bool = False,
) -> list[tuple[Any, ...]]:
    """Return rows of kind, value, contact, survivor and, if asked for, its state.

    The kind is None where an id was looked up. The contact is None in two rows: that of the schema, and that which
    says that somebody was erased; only the latter has a survivor.
    """
    parts = []
    parameters: dict[str, Any] = {"workspace": workspace_id}
    state = _STATE if with_states else ""
    if ids:
        parts.append(_BY_ID.replace("/*state*/", state) if with_states else _NOT_THEMSELVES)
        parameters["ids"] = array(ids)
    if len(identifiers) == 1:
        parts.append(_BY_ONE_IDENTIFIER.replace("/*state*/", state))
        ((parameters["kind"], parameters["value"]),) = identifiers
    elif identifiers:
        parts.append(_BY_IDENTIFIERS.replace("/*state*/", state))
        parameters["kinds"] = array(kind for kind, _ in identifiers)
        parameters["values"] = array(value for _, value in identifiers)
    if with_schema:
        parts.append(_SCHEMA_ROW.replace("/*state*/", ", NULL::text" if with_states else ""))
    if with_erased and identifiers:
        parts.append(_ANY_ERASED.replace("/*state*/", ", NULL::text" if with_states else ""))
    if not parts:
        return []
    return fetch_all(" UNION ALL ".join(parts), parameters)


def _add_rows(workspace_id: UUID, found: Found, survivors: Collection[UUID]) -> None:
    """Add to the survivors' states what those merged into them have, and their ids."""
    with connection.cursor() as cursor:
        cursor.execute(_MERGED, {"workspace": workspace_id, "ids": list(survivors)})
        rows = [(survivor, owner, orjson.loads(text)) for survivor, owner, text in cursor.fetchall()]
    for survivor in survivors:
        found.states[survivor].merged = tuple(owner for into, owner, _ in rows if into == survivor)
    known = [
        (UUID(row[3]), into, owner, row) for into, owner, raw in rows for row in raw["identifiers"] or ()
    ]
    for _, survivor, owner, (kind, value, is_primary, _) in sorted(known, key=lambda row: row[0]):
        state = found.states[survivor]
        state.identifiers[kind, value] = is_primary and state.primary(kind) is None
        state.owners[kind, value] = owner
    for survivor, _, raw in rows:
        state = found.states[survivor]
        state.tags.update(dict.fromkeys(raw["tags"] or ()))
        for channel, status, *time in raw["consents"] or ():
            _add_consent(state, channel, status, _consent_time(time))


def _state(text: str) -> ContactState:
    raw = orjson.loads(text)
    consents = raw["consents"] or ()
    return ContactState(
        raw["first_name"],
        raw["last_name"],
        raw["attributes"],
        {(kind, value): is_primary for kind, value, is_primary, _ in raw["identifiers"] or ()},
        dict.fromkeys(raw["tags"] or ()),
        {channel: status for channel, status, *_ in consents},
        # That there are any; which ones is read with what they have.
        (NO_ID,) if raw["has_merged"] else (),
        consent_times={channel: _consent_time(time) for channel, _, *time in consents},
    )


def _consent_time(time: Sequence[Any]) -> ConsentTime:
    at, is_dated = time
    return ConsentTime(datetime.fromisoformat(at), is_dated)


def _add_consent(state: ContactState, channel: str, status: str, time: ConsentTime) -> None:
    """Add what a merged contact said: one who opted out speaks for the person, and the latest who said the same."""
    known = state.consents.get(channel)
    is_out = status == Consent.Status.OPTED_OUT
    if known is None or (is_out and known != status):
        state.consents[channel], state.consent_times[channel] = status, time
    elif known == status:
        both = (state.consent_times[channel], time)
        # An opt-in without a time is older than all else.
        state.consent_times[channel] = max(both, key=lambda each: (each.is_dated or is_out, each.at))


# One look-up by key an id: of a workspace that the statistics do not know, a planner may read all contacts.
_BY_ID: Final = """
SELECT NULL::varchar, NULL::varchar, c.id, c.merged_into_id /*state*/
FROM unnest(%(ids)s::uuid[]) AS wanted (id) CROSS JOIN LATERAL (
    SELECT * FROM contacts_contact WHERE workspace_id = %(workspace)s AND id = wanted.id OFFSET 0
) c
"""

# Those ids of which no contact is, or one that was merged into another.
_NOT_THEMSELVES: Final = """
SELECT NULL::varchar, NULL::varchar, wanted.id, c.merged_into_id
FROM unnest(%(ids)s::uuid[]) AS wanted (id) LEFT JOIN LATERAL (
    SELECT * FROM contacts_contact WHERE workspace_id = %(workspace)s AND id = wanted.id OFFSET 0
) c ON true
WHERE c.id IS NULL OR c.merged_into_id IS NOT NULL
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

# A row where anybody was ever erased.
_ANY_ERASED: Final = """
(SELECT NULL::varchar, NULL::varchar, NULL::uuid, e.id /*state*/
FROM contacts_erasedidentifier e WHERE e.workspace_id = %(workspace)s LIMIT 1)
"""

_STATE: Final = """, jsonb_build_object(
    'first_name', c.first_name,
    'last_name', c.last_name,
    'attributes', c.attributes,
    'identifiers', (
        SELECT jsonb_agg(jsonb_build_array(own.kind, own.value, own.is_primary, own.id) ORDER BY own.id)
        FROM contacts_identifier own WHERE own.workspace_id = %(workspace)s AND own.contact_id = c.id
    ),
    'tags', (
        SELECT jsonb_agg(tag.name ORDER BY has.id)
        FROM contacts_contacttag has
        JOIN contacts_tag tag ON tag.workspace_id = %(workspace)s AND tag.id = has.tag_id
        WHERE has.workspace_id = %(workspace)s AND has.contact_id = c.id
    ),
    'consents', (
        SELECT jsonb_agg(
            jsonb_build_array(own.channel, own.status, own.changed_at, own.is_dated) ORDER BY own.channel
        )
        FROM contacts_consent own WHERE own.workspace_id = %(workspace)s AND own.contact_id = c.id
    ),
    'has_merged', EXISTS (
        SELECT FROM contacts_contact one WHERE one.workspace_id = %(workspace)s AND one.merged_into_id = c.id
    )
)::text"""

_MERGED: Final = f"""
SELECT c.merged_into_id, c.id {_STATE}
FROM contacts_contact c
WHERE c.workspace_id = %(workspace)s AND c.merged_into_id = ANY(%(ids)s::uuid[])
ORDER BY c.id
"""

_IDS: Final = """
WITH survivor AS (
    SELECT COALESCE(merged_into_id, id) AS id FROM contacts_contact
    WHERE workspace_id = %(workspace)s AND id = %(id)s
)
SELECT id, 0 AS place FROM survivor
UNION ALL
SELECT c.id, 1 FROM survivor JOIN contacts_contact c
    ON c.workspace_id = %(workspace)s AND c.merged_into_id = survivor.id
ORDER BY place, id
"""

_LOCK: Final = """
SELECT id FROM contacts_contact
WHERE workspace_id = %(workspace)s AND id = ANY(%(ids)s::uuid[]) AND merged_into_id IS NULL
ORDER BY id
FOR NO KEY UPDATE
"""

_LOCK_PERSONS: Final = """
SELECT id, merged_into_id FROM contacts_contact
WHERE workspace_id = %(workspace)s AND (id = ANY(%(ids)s::uuid[]) OR merged_into_id = ANY(%(ids)s::uuid[]))
ORDER BY id
FOR NO KEY UPDATE
"""
