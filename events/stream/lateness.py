"""Late events: older on arrival than the limit of their definition. They are history and start no campaign."""

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from events.models import EffectsLevel, EventDefinition

LATE_AFTER: Final = timedelta(hours=72)
"""Of names that nobody has defined."""

IS_LATE: Final = f"""
CASE WHEN e.occurred_at < e.received_at THEN e.received_at - e.occurred_at > make_interval(hours => COALESCE((
    SELECT late_after_hours FROM events_eventdefinition
    WHERE workspace_id = %s AND name = e.name AND deleted_at IS NULL
), {LATE_AFTER // timedelta(hours=1)})) ELSE false END
"""
"""Whether an event `e` is late, in SQL; its parameter is the workspace."""

Moments = tuple[str, datetime, datetime]
"""An event's name, when it happened and when it was received."""


def are_late(workspace_id: UUID, events: Iterable[Moments]) -> list[bool]:
    """Return for each event whether it is late.

    What waited for its effects is not late by that.
    """
    events = list(events)
    old = {name for name, occurred_at, received_at in events if occurred_at < received_at}
    limits = _limits(workspace_id, old) if old else {}
    return [
        received_at - occurred_at > limits.get(name, LATE_AFTER) for name, occurred_at, received_at in events
    ]


def _limits(workspace_id: UUID, names: Collection[str]) -> dict[str, timedelta]:
    definitions = EventDefinition.objects.in_workspace(workspace_id).active().filter(name__in=names)
    return {
        name: timedelta(hours=hours) for name, hours in definitions.values_list("name", "late_after_hours")
    }


def level_of(level: int, is_late: bool) -> EffectsLevel:
    """Return the effects level of a late event, and of what it causes."""
    return EffectsLevel(min(level, EffectsLevel.SCORES_AND_SEGMENTS) if is_late else level)
