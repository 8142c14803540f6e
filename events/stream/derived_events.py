"""Derived events: system events that Headrace records because of other events."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from config import ids
from events.models import EffectsLevel
from events.stream.outbox import insert_events
from events.stream.types import RecordedEvent

MAX_DEPTH = 10
"""How many events may follow from one another; the one after is recorded, and triggers no effects."""


@dataclass(frozen=True, slots=True)
class DerivedEvent:
    """A system event to record, and what caused it, if an event did."""

    name: str
    contact_id: UUID
    occurred_at: datetime
    properties: Mapping[str, Any] = field(default_factory=dict)
    level: EffectsLevel = EffectsLevel.ALL
    cause_id: UUID | None = None
    # The cause's depth and one.
    depth: int = 0


def record_derived_events(
    workspace_id: UUID, derived_events: Sequence[DerivedEvent], *, now: datetime
) -> None:
    """Record system events in the transaction that decided them. The end of a loop says `loopCut`."""
    by_level: dict[EffectsLevel, list[RecordedEvent]] = defaultdict(list)
    for place, derived_event in enumerate(derived_events):
        is_cut = derived_event.depth > MAX_DEPTH
        level = EffectsLevel.NONE if is_cut else derived_event.level
        by_level[level].append(_recorded(workspace_id, derived_event, place, now, is_cut))
    for level, events in by_level.items():
        insert_events(workspace_id, events, level=level, received_at=now)


def _recorded(
    workspace_id: UUID, derived_event: DerivedEvent, place: int, now: datetime, is_cut: bool
) -> RecordedEvent:
    properties = derived_event.properties
    return RecordedEvent(
        id=ids.uuid7(derived_event.occurred_at, place),
        workspace_id=workspace_id,
        name=derived_event.name,
        contact_id=derived_event.contact_id,
        properties={**properties, "loopCut": True} if is_cut else properties,
        context={},
        occurred_at=derived_event.occurred_at,
        received_at=now,
        source="system",
        cause_id=derived_event.cause_id,
        depth=derived_event.depth,
    )
