"""Stays and the stream: who came into a segment and who left it, told once each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import connection

from events.models import EffectsLevel
from events.services import Consequence, EffectEvent

ENTERED, EXITED = "segment.entered", "segment.exited"


@dataclass(frozen=True, slots=True)
class Move:
    """A contact came into a segment, or left it."""

    segment_id: UUID
    contact_id: UUID
    is_in: bool
    at: datetime


def tell(workspace_id: UUID, moves: Sequence[Move]) -> list[Move]:
    """Open and close stays. Returns the moves that are news; the others were told before."""
    if not moves:
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            _TELL,
            [
                [move.segment_id for move in moves],
                [move.contact_id for move in moves],
                [move.is_in for move in moves],
                [move.at for move in moves],
                workspace_id,
                workspace_id,
                workspace_id,
            ],
        )
        return [Move(*row) for row in cursor.fetchall()]


def consequence_of(
    move: Move,
    names: Mapping[UUID, str],
    *,
    cause: EffectEvent | None = None,
    level: EffectsLevel = EffectsLevel.ALL,
) -> Consequence:
    """Return the event that tells of a move; one that an event caused is of its level, and one deeper."""
    return Consequence(
        name=ENTERED if move.is_in else EXITED,
        contact_id=move.contact_id,
        occurred_at=move.at,
        properties={"segmentId": str(move.segment_id), "segmentName": names.get(move.segment_id, "")},
        level=level if cause is None else min(level, cause.level),
        cause_id=None if cause is None else cause.id,
        depth=0 if cause is None else cause.depth + 1,
    )


# A stay never ends before it began, whatever the order in which moments are decided. The lateral keeps it to one
# look-up by key a move, whatever the planner thinks there is.
_TELL = """
WITH moves AS MATERIALIZED (
    SELECT * FROM unnest(%s::uuid[], %s::uuid[], %s::boolean[], %s::timestamptz[])
        AS m (segment_id, contact_id, is_in, at)
), opened AS (
    INSERT INTO segments_stay (id, workspace_id, segment_id, contact_id, entered_at)
    SELECT gen_random_uuid(), %s, segment_id, contact_id, at FROM moves WHERE is_in
    ON CONFLICT (workspace_id, segment_id, contact_id) WHERE left_at IS NULL DO NOTHING
    RETURNING segment_id, contact_id, entered_at
), closing AS (
    SELECT s.id, m.segment_id, m.contact_id, GREATEST(s.entered_at, m.at) AS at
    FROM moves m CROSS JOIN LATERAL (
        SELECT id, entered_at FROM segments_stay
        WHERE workspace_id = %s AND segment_id = m.segment_id AND contact_id = m.contact_id AND left_at IS NULL
        LIMIT 1
    ) s WHERE NOT m.is_in
), closed AS (
    UPDATE segments_stay stay SET left_at = c.at FROM closing c
    WHERE stay.workspace_id = %s AND stay.id = c.id AND stay.id = ANY (ARRAY(SELECT id FROM closing))
        AND stay.left_at IS NULL
    RETURNING stay.segment_id, stay.contact_id, stay.left_at
)
SELECT segment_id, contact_id, true, entered_at FROM opened
UNION ALL SELECT segment_id, contact_id, false, left_at FROM closed
"""
