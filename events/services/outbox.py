"""The write path's last statement: events and the batches that carry them to the wheels, together."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

import orjson
from django.db import connection
from django.db.models.signals import post_save

from config import ids
from events.models import EffectsLevel, EventBatch
from events.partitions import ensure_partitions
from events.services.stream import RecordedEvent

LANES = 16

# One statement, one round trip: the batches hold only what was new, so a duplicate turns no wheel.
_INSERT = """
WITH incoming AS (
    SELECT * FROM jsonb_to_recordset(%s::jsonb) AS i (
        id uuid, contact_id uuid, company_id uuid, name text, properties jsonb, context jsonb,
        occurred_at timestamptz, message_id text, source text, cause_id uuid, depth smallint, is_ahead boolean,
        lane smallint)
), recorded AS (
    INSERT INTO events_event (id, workspace_id, contact_id, company_id, name, properties, context,
        occurred_at, received_at, source, message_id, cause_id, depth, is_ahead)
    SELECT id, %s::uuid, contact_id, company_id, name, properties, context,
        occurred_at, %s::timestamptz, source, message_id, cause_id, depth, is_ahead
    FROM incoming ON CONFLICT (workspace_id, id) DO NOTHING
    RETURNING id
), batched AS (
    INSERT INTO events_eventbatch (id, workspace_id, lane, event_ids, level, created_at)
    SELECT slot.id, %s::uuid, lane, array_agg(DISTINCT recorded.id), %s::smallint, %s::timestamptz
    FROM recorded JOIN incoming ON incoming.id = recorded.id
    JOIN unnest(%s::smallint[], %s::uuid[]) AS slot (lane, id) USING (lane)
    GROUP BY slot.id, lane
    RETURNING id, lane, event_ids
)
SELECT NULL::uuid, NULL::smallint, array_agg(id) FROM recorded
UNION ALL SELECT id, lane, event_ids FROM batched
"""


def lane_of(contact_id: UUID) -> int:
    """Return the lane in which a contact's effects are applied, one after the other."""
    return contact_id.int % LANES


def insert_events(
    workspace_id: UUID, events: Sequence[RecordedEvent], *, level: EffectsLevel, received_at: datetime
) -> set[UUID]:
    """Insert the events that are new, with their batches, in one statement. Returns the ids of the new ones."""
    ensure_partitions({ids.time_of(event.id) for event in events})
    rows = [_row(event, level) for event in events]
    lanes = list({row["lane"] for row in rows} - {None})
    with connection.cursor() as cursor:
        cursor.execute(
            _INSERT,
            [
                orjson.dumps(rows, default=dict).decode(),
                workspace_id,
                received_at,
                workspace_id,
                int(level),
                received_at,
                lanes,
                [ids.uuid7(received_at) for _ in lanes],
            ],
        )
        (_, _, recorded), *batches = cursor.fetchall()
    _announce(
        EventBatch(id=id_, workspace_id=workspace_id, lane=lane, event_ids=event_ids, level=level)
        for id_, lane, event_ids in batches
    )
    return set(recorded or ())


def enqueue_events(
    workspace_id: UUID, events: Iterable[tuple[UUID, UUID]], *, level: int, is_repeat: bool = False
) -> int:
    """Put (event, contact) pairs that are in the stream already before the wheels. Returns the batches."""
    lanes: dict[int, list[UUID]] = {}
    for event_id, contact_id in events:
        lanes.setdefault(lane_of(contact_id), []).append(event_id)
    batches = [
        EventBatch(
            workspace_id=workspace_id, lane=lane, event_ids=event_ids, level=level, is_repeat=is_repeat
        )
        for lane, event_ids in sorted(lanes.items())
    ]
    EventBatch.objects.bulk_create(batches)
    _announce(batches)
    return len(batches)


def _row(event: RecordedEvent, level: EffectsLevel) -> dict[str, object]:
    survivor_id = None if level is EffectsLevel.NONE else event.survivor_id
    return {
        "id": event.id,
        "contact_id": event.contact_id,
        "company_id": event.company_id,
        "name": event.name,
        "properties": event.properties,
        "context": event.context,
        "occurred_at": event.occurred_at,
        "message_id": event.message_id,
        "source": event.source,
        "cause_id": event.cause_id,
        "depth": event.depth,
        "is_ahead": event.is_ahead,
        "lane": None if survivor_id is None else lane_of(survivor_id),
    }


def _announce(batches: Iterable[EventBatch]) -> None:
    """Send `post_save` for rows that SQL made: it is what wakes the workers."""
    for batch in batches:
        post_save.send(
            sender=EventBatch,
            instance=batch,
            created=True,
            update_fields=None,
            raw=False,
            using=connection.alias,
        )
