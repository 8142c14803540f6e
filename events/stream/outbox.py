"""The outbox: insert events together with the batches that carry them to the effects."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from operator import attrgetter
from uuid import UUID

import orjson
from django.db import IntegrityError, connection, transaction
from django.db.models.signals import post_save
from psycopg.types.json import Jsonb, JsonbBinaryDumper

from config import clock, ids
from config.db.arrays import array
from config.db.statements import fetch_all
from events.models import EffectsLevel, Event, EventBatch
from events.stream.partitions import ensure_partitions
from events.stream.types import RecordedEvent

LANE_COUNT = 16
BEHIND_ALL = timedelta(days=36_500)
"""By how much the ids of an import's batches are later: a lane's batches are applied in their order, and what happens
now does not wait behind history."""
LANE_SQL = f"(get_byte(uuid_send({{}}), 15) & {LANE_COUNT - 1})"
"""The lane of a contact in SQL; `.format` takes the expression of its id."""

COPY_FROM = 1_000
"""So many events at once are copied; fewer go in by one statement, in one round trip."""

_COLUMNS = {
    "workspace_id": "uuid",
    "received_at": "timestamptz",
    "id": "uuid",
    "contact_id": "uuid",
    "company_id": "uuid",
    "name": "varchar",
    "occurred_at": "timestamptz",
    "source": "varchar",
    "message_id": "varchar",
    "cause_id": "uuid",
    "depth": "smallint",
    "is_ahead": "boolean",
    "properties": "jsonb",
    "context": "jsonb",
}
_COPY = f"COPY events_event ({', '.join(_COLUMNS)}) FROM STDIN (FORMAT BINARY)"
_WHERE_NEW = "ON CONFLICT (workspace_id, id) DO NOTHING"
# One statement, one round trip: the batches hold only what was new, so a duplicate triggers no effects.
# Columns cost PostgreSQL, and the driver, less than rows: a row's keys are looked up one by one.
_INSERT_NEW = f"""
WITH recorded AS (
    INSERT INTO events_event ({", ".join(_COLUMNS)})
    SELECT %s::uuid, %s::timestamptz, incoming.*
    FROM ROWS FROM (
        unnest(%s::uuid[], %s::uuid[], %s::uuid[], %s::varchar[], %s::timestamptz[], %s::varchar[], %s::varchar[],
            %s::uuid[], %s::smallint[], %s::boolean[]),
        jsonb_array_elements(%s::jsonb),
        jsonb_array_elements(%s::jsonb)
    ) AS incoming
    {_WHERE_NEW}
    RETURNING id
), batched AS (
    INSERT INTO events_eventbatch (id, workspace_id, lane, event_ids, level, created_at)
    SELECT slot.id, %s::uuid, lane, array_agg(DISTINCT recorded.id), %s::smallint, %s::timestamptz
    FROM json_to_recordset(%s::json) AS slot (id uuid, lane smallint, event_ids uuid[])
    CROSS JOIN unnest(event_ids) AS event (id) JOIN recorded ON recorded.id = event.id
    GROUP BY slot.id, lane
    RETURNING id, lane
)
SELECT NULL::uuid, NULL::smallint, count(*), CASE WHEN count(*) < %s THEN array_agg(id) END FROM recorded
UNION ALL SELECT id, lane, NULL, NULL FROM batched
"""
# A conflict that may happen costs as much as a fifth of the insert, and an id that is by chance has none.
_INSERT_ALL = _INSERT_NEW.replace(_WHERE_NEW, "")
_values_of = attrgetter(*list(_COLUMNS)[2:])


def lane_of(contact_id: UUID) -> int:
    """Return the lane in which a contact's effects are applied, one after the other."""
    return contact_id.int % LANE_COUNT


def insert_events(
    workspace_id: UUID, events: Sequence[RecordedEvent], *, level: EffectsLevel, received_at: datetime
) -> list[bool]:
    """Insert the events that are new, with their batches. Returns whether each was new.

    Only one with its sender's key may be there already: the ids of all others are by chance.
    """
    ensure_partitions(ids.days_of(event.id for event in events))
    turning = events if level is not EffectsLevel.NONE else ()
    is_import = bool(events) and events[-1].source == Event.Source.IMPORT
    queued_at = received_at + BEHIND_ALL if is_import else received_at
    slots = [
        {"id": ids.uuid7(queued_at), "lane": lane, "event_ids": event_ids}
        for lane, event_ids in _events_by_lane((event.id, event.survivor_id) for event in turning)
    ]
    if len(events) >= COPY_FROM and _are_copied(workspace_id, events, received_at):
        own = {"workspace_id": workspace_id, "level": level, "created_at": received_at}
        batches = EventBatch.objects.bulk_create(EventBatch(**slot, **own) for slot in slots)
        _publish_batches(batches)
        return [True] * len(events)
    *columns, properties, context = zip(*map(_values_of, events), strict=True)
    statement = _INSERT_NEW if any(event.message_id for event in events) else _INSERT_ALL
    rows = fetch_all(
        statement,
        [
            workspace_id,
            received_at,
            *map(array, columns),
            _json(properties),
            _json(context),
            workspace_id,
            int(level),
            received_at,
            _json(slots),
            len(events),
        ],
    )
    (_, _, count, recorded), *inserted = rows
    # What is not given here is read from the row if anybody asks for it.
    given = ["id", "workspace_id", "lane", "level", "created_at"]
    _publish_batches(
        EventBatch.from_db(connection.alias, given, [id_, workspace_id, lane, level, received_at])
        for id_, lane, *_ in inserted
    )
    return [True] * len(events) if count == len(events) else _first_occurrences(events, set(recorded or ()))


def _are_copied(workspace_id: UUID, events: Sequence[RecordedEvent], received_at: datetime) -> bool:
    """Copy events, at half of what inserting costs the database; False, with nothing copied, if one is not new."""
    if len({event.id.int for event in events}) < len(events):
        return False
    try:
        with transaction.atomic(), connection.cursor() as cursor, connection.wrap_database_errors:
            cursor.adapters.register_dumper(Jsonb, _Document)
            with cursor.copy(_COPY) as copy:
                copy.set_types(list(_COLUMNS.values()))
                for values in map(_values_of, events):
                    copy.write_row((workspace_id, received_at, *values))
    except IntegrityError:
        return False
    return True


def enqueue_events(
    workspace_id: UUID,
    events: Iterable[tuple[UUID, UUID]],
    *,
    level: int,
    is_repeat: bool = False,
    is_history: bool = False,
) -> int:
    """Enqueue (event, contact) pairs of stored events for their effects; history behind all else.

    Returns the batches.
    """
    queued_at = clock.now() + (BEHIND_ALL if is_history else timedelta())
    events = list(events)
    contacts = dict(events)
    batches = [
        EventBatch(
            id=ids.uuid7(queued_at, place),
            workspace_id=workspace_id,
            lane=lane,
            event_ids=event_ids,
            level=level,
            is_repeat=is_repeat,
            first_contact_id=min(contacts[event_id] for event_id in event_ids),
            last_contact_id=max(contacts[event_id] for event_id in event_ids),
        )
        for place, (lane, event_ids) in enumerate(_events_by_lane(events))
    ]
    EventBatch.objects.bulk_create(batches)
    _publish_batches(batches)
    return len(batches)


def _events_by_lane(events: Iterable[tuple[UUID, UUID | None]]) -> list[tuple[int, list[UUID]]]:
    """Group events by lane; events without a contact have none."""
    lanes: dict[int, list[UUID]] = {}
    for event_id, contact_id in events:
        if contact_id is not None:
            lanes.setdefault(lane_of(contact_id), []).append(event_id)
    return sorted(lanes.items())


def _first_occurrences(events: Iterable[RecordedEvent], recorded: set[UUID]) -> list[bool]:
    """Return which events are new: the first of each id."""
    are_new = []
    for event in events:
        are_new.append(event.id in recorded)
        recorded.discard(event.id)
    return are_new


class _Document(JsonbBinaryDumper):
    """Writes JSON for a copy; a byte with the format's version comes first."""

    def dump(self, obj: object) -> bytes:
        return b"\x01" + orjson.dumps(obj, default=dict)


def _json(value: object) -> str:
    return orjson.dumps(value, default=dict).decode()


def _publish_batches(batches: Iterable[EventBatch]) -> None:
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
