"""Apply the effects of what an import recorded without any, as if they had been on."""

from typing import Final
from uuid import UUID

from config.db.backfill import Batch
from config.db.statements import fetch_all
from config.ids import NO_ID
from contacts.models import Import
from events.id_bounds import CLOCK_TOLERANCE
from events.models import EffectsLevel
from events.names import (
    CONTACT_CREATED,
    CONTACT_SUBSCRIBED,
    CONTACT_TAGGED,
    CONTACT_UNSUBSCRIBED,
    CONTACT_UPDATED,
)
from events.stream.outbox import enqueue_events

_CHANGES: Final = (CONTACT_CREATED, CONTACT_UPDATED, CONTACT_TAGGED, CONTACT_SUBSCRIBED, CONTACT_UNSUBSCRIBED)


def enqueue_effects(run: Import, cursor: str | None, limit: int) -> Batch:
    """Enqueue what an import recorded of the next contacts for its effects; no campaign starts.

    They are repeats: what has been counted, or earned its points, is not counted again. So is what others imported
    meanwhile, which cannot be told apart.
    """
    rows = fetch_all(
        _OF_CONTACTS,
        {
            "workspace": run.workspace_id,
            "after": UUID(cursor) if cursor else NO_ID,
            "limit": limit,
            "names": list(_CHANGES),
            # Who began it may have another clock than who recorded it.
            "since": run.started_at - CLOCK_TOLERANCE,
            "until": run.updated_at + CLOCK_TOLERANCE,
        },
    )
    pairs = [(event_id, survivor) for _, survivor, event_id in rows if event_id is not None]
    enqueue_events(
        run.workspace_id, pairs, level=EffectsLevel.SCORES_AND_SEGMENTS, is_repeat=True, is_history=True
    )
    contact_ids = {contact_id for contact_id, _, _ in rows}
    following = str(max(contact_ids)) if len(contact_ids) == limit else None
    return Batch(following, done=len(contact_ids), counts={"events": len(pairs)})


# Contact by contact, so that each is evaluated once for all its history.
_OF_CONTACTS: Final = """
WITH person AS MATERIALIZED (
    SELECT id, COALESCE(merged_into_id, id) AS survivor_id FROM contacts_contact
    WHERE workspace_id = %(workspace)s AND id > %(after)s ORDER BY id LIMIT %(limit)s
)
SELECT person.id, person.survivor_id, e.id FROM person LEFT JOIN LATERAL (
    SELECT id FROM events_event
    WHERE workspace_id = %(workspace)s AND contact_id = person.id AND received_at BETWEEN %(since)s AND %(until)s
        AND (source = 'import' OR (source = 'system' AND name = ANY(%(names)s::varchar[])))
    OFFSET 0
) e ON true
ORDER BY person.id, e.id
"""
