"""Regroup the waiting batches of imports by contact, so that effects evaluate a contact once for all its history."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Final
from uuid import UUID

from config import clock
from config.db.statements import fetch_all
from config.ids import first_id_at, uuid7
from events.models import EventBatch
from events.processing.passes import lock_lane
from events.stream.outbox import BEHIND_ALL, LANE_COUNT

_BATCH_EVENTS: Final = 300
"""Events of a batch, unless one contact has more: about what a pass takes of a lane."""
_INSERTED_AT_ONCE: Final = 200


def regroup_imported(workspace_id: UUID) -> int:
    """Regroup what waits of imports in each lane, a transaction each. Returns the events."""
    waiting = EventBatch.objects.in_workspace(workspace_id).filter(
        id__gte=first_id_at(clock.now() + BEHIND_ALL / 2)
    )
    count = 0
    for lane in range(LANE_COUNT):
        if waiting.filter(lane=lane).exists():
            count += _regroup_lane(workspace_id, lane)
    return count


def _regroup_lane(workspace_id: UUID, lane: int) -> int:
    with lock_lane(workspace_id, lane):
        bound = first_id_at(clock.now() + BEHIND_ALL / 2)
        rows = fetch_all(_TAKE, [workspace_id, lane, bound, workspace_id])
        batches = [
            EventBatch(
                id=uuid7(clock.now() + BEHIND_ALL, place % 4_096),
                workspace_id=workspace_id,
                lane=lane,
                event_ids=event_ids,
                level=level,
                first_contact_id=first,
                last_contact_id=last,
            )
            for place, (level, event_ids, first, last) in enumerate(_batches_of(rows))
        ]
        # No signal: the batches before have woken the workers.
        EventBatch.objects.bulk_create(batches, batch_size=_INSERTED_AT_ONCE)
    return len(rows)


def _batches_of(
    rows: Sequence[tuple[int, UUID, UUID]],
) -> Iterator[tuple[int, list[UUID], UUID, UUID]]:
    """Yield the level, the events and the first and last contact of batches.

    `rows` are of level, contact and event, and ordered so.
    """
    for level, leveled in groupby(rows, key=itemgetter(0)):
        batch: list[UUID] = []
        contacts: list[UUID] = []
        for contact_id, owned in groupby(leveled, key=itemgetter(1)):
            batch += [event_id for _, _, event_id in owned]
            contacts.append(contact_id)
            if len(batch) >= _BATCH_EVENTS:
                yield level, batch, contacts[0], contacts[-1]
                batch, contacts = [], []
        if batch:
            yield level, batch, contacts[0], contacts[-1]


_TAKE: Final = """
WITH taken AS (
    DELETE FROM events_eventbatch WHERE workspace_id = %s AND lane = %s AND id >= %s AND NOT is_repeat
    RETURNING event_ids, level
)
SELECT taken.level, e.contact_id, e.id
FROM taken CROSS JOIN unnest(taken.event_ids) AS waiting (id) CROSS JOIN LATERAL (
    SELECT id, contact_id FROM events_event WHERE workspace_id = %s AND id = waiting.id OFFSET 0
) e
ORDER BY taken.level, e.contact_id, e.id
"""
