"""Publish membership changes, once each: as membership periods and as events of the stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from config.db.arrays import array
from config.db.statements import fetch_all
from events.models import EffectsLevel
from events.names import SEGMENT_ENTERED, SEGMENT_EXITED
from events.processing.passes import EffectEvent
from events.stream.derived_events import DerivedEvent
from segments.evaluation import Transition


@dataclass(frozen=True, slots=True)
class MembershipChange:
    """A contact came into a segment, or left it."""

    segment_id: UUID
    contact_id: UUID
    is_in: bool
    at: datetime


Moved = TypeVar("Moved", MembershipChange, Transition)


def publish_changes(workspace_id: UUID, moves: Sequence[Moved]) -> list[Moved]:
    """Open and close membership periods. Returns the changes that were not published before."""
    if not moves:
        return []
    latest = max(move.at for move in moves)
    rows = fetch_all(
        _PUBLISH,
        [
            latest,
            array([move.segment_id for move in moves]),
            array([move.contact_id for move in moves]),
            array(move.is_in for move in moves),
            # An array that is left empty is filled up with nulls: most moves are of one moment.
            array(move.at for move in moves) if any(move.at != latest for move in moves) else "{}",
            workspace_id,
            workspace_id,
            workspace_id,
        ],
    )
    return [moves[place - 1] if at is None else replace(moves[place - 1], at=at) for place, at in rows]


def derived_event_of(
    move: MembershipChange | Transition,
    segment_name: str,
    *,
    cause: EffectEvent | None = None,
    level: EffectsLevel = EffectsLevel.ALL,
) -> DerivedEvent:
    """Return the event of a membership change; one that an event caused is of its level, and one deeper."""
    return DerivedEvent(
        name=SEGMENT_ENTERED if move.is_in else SEGMENT_EXITED,
        contact_id=move.contact_id,
        occurred_at=move.at,
        properties={"segmentId": str(move.segment_id), "segmentName": segment_name},
        level=level if cause is None else min(level, cause.level),
        cause_id=None if cause is None else cause.id,
        depth=0 if cause is None else cause.depth + 1,
    )


# A period never ends before it began, whatever the order in which moments are decided. The lateral keeps it to one
# look-up by key a move, whatever the planner thinks there is, and the row is closed where it was seen to stand. A
# moment that stands as given comes back as null.
_PUBLISH = """
WITH moves AS MATERIALIZED (
    SELECT segment_id, contact_id, is_in, COALESCE(given, %s::timestamptz) AS at, place
    FROM unnest(%s::uuid[], %s::uuid[], %s::boolean[], %s::timestamptz[])
        WITH ORDINALITY AS m (segment_id, contact_id, is_in, given, place)
), opened AS (
    INSERT INTO segments_membershipperiod (id, workspace_id, segment_id, contact_id, entered_at)
    SELECT gen_random_uuid(), %s, segment_id, contact_id, at FROM moves WHERE is_in
    ON CONFLICT (workspace_id, segment_id, contact_id) WHERE left_at IS NULL DO NOTHING
    RETURNING segment_id, contact_id
), closing AS (
    SELECT s.tid, m.place, m.at, GREATEST(s.entered_at, m.at) AS left_at
    FROM moves m CROSS JOIN LATERAL (
        SELECT ctid AS tid, entered_at FROM segments_membershipperiod
        WHERE workspace_id = %s AND segment_id = m.segment_id AND contact_id = m.contact_id AND left_at IS NULL
        LIMIT 1
    ) s WHERE NOT m.is_in
), closed AS (
    UPDATE segments_membershipperiod stay SET left_at = c.left_at FROM closing c
    WHERE stay.workspace_id = %s AND stay.ctid = c.tid
    RETURNING c.place, NULLIF(c.left_at, c.at) AS at
)
SELECT place::int, NULL::timestamptz FROM opened JOIN moves USING (segment_id, contact_id) WHERE is_in
UNION ALL SELECT place::int, at FROM closed
"""
