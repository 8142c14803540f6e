"""Timers: when a contact is to be evaluated again because time alone may change the result."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

from config import ids
from config.beat_schedule import PROCESS_DUE_TIMERS
from config.db.statements import execute
from config.runtime.beat_notifications import notify_beat
from events.models import Timer
from events.stream.outbox import lane_of


def schedule_timers(workspace_id: UUID, timers: Iterable[tuple[UUID, UUID, datetime]]) -> None:
    """Set timers, one per (timer key, contact); an earlier one that is set already stays."""
    rows = sorted(timers, key=lambda row: (row[0], row[1]))
    if not rows:
        return
    execute(
        "INSERT INTO events_timer AS d (id, workspace_id, timer_key, contact_id, lane, due_at)"
        " SELECT new.id, %s, new.timer_key, new.contact_id, new.lane, new.due_at FROM unnest(%s::uuid[],"
        " %s::uuid[], %s::uuid[], %s::int[], %s::timestamptz[])"
        " AS new (id, timer_key, contact_id, lane, due_at)"
        " ON CONFLICT (workspace_id, timer_key, contact_id) DO UPDATE SET due_at = excluded.due_at"
        " WHERE excluded.due_at < d.due_at",
        [
            workspace_id,
            [ids.uuid7() for _ in rows],
            [timer_key for timer_key, _, _ in rows],
            [contact_id for _, contact_id, _ in rows],
            [lane_of(contact_id) for _, contact_id, _ in rows],
            [due_at for _, _, due_at in rows],
        ],
    )
    notify_beat(PROCESS_DUE_TIMERS, min(due_at for _, _, due_at in rows))


def cancel_timers(
    workspace_id: UUID, *, timer_keys: Sequence[UUID] = (), contacts: Sequence[UUID] = ()
) -> None:
    """Cancel all timers of these keys and all timers of these contacts."""
    due = Timer.objects.in_workspace(workspace_id)
    if timer_keys:
        due.filter(timer_key__in=timer_keys).delete()
    if contacts:
        due.filter(contact_id__in=contacts).delete()
