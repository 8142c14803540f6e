"""When decisions are to be taken again because of time alone."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

from django.db import connection

from config import ids
from config.schedule import notify_beat
from events.models import Due
from events.services.outbox import lane_of


def schedule(workspace_id: UUID, decisions: Iterable[tuple[UUID, UUID, datetime]]) -> None:
    """Have (subject, contact) decided again at a moment, unless it is to be even earlier."""
    rows = sorted(decisions, key=lambda row: (row[0], row[1]))
    if not rows:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO events_due AS d (id, workspace_id, subject, contact_id, lane, due_at)"
            " SELECT new.id, %s, new.subject, new.contact_id, new.lane, new.due_at FROM unnest(%s::uuid[],"
            " %s::uuid[], %s::uuid[], %s::int[], %s::timestamptz[])"
            " AS new (id, subject, contact_id, lane, due_at)"
            " ON CONFLICT (workspace_id, subject, contact_id) DO UPDATE SET due_at = excluded.due_at"
            " WHERE excluded.due_at < d.due_at",
            [
                workspace_id,
                [ids.uuid7() for _ in rows],
                [subject for subject, _, _ in rows],
                [contact_id for _, contact_id, _ in rows],
                [lane_of(contact_id) for _, contact_id, _ in rows],
                [due_at for _, _, due_at in rows],
            ],
        )
    notify_beat("timetable", min(due_at for _, _, due_at in rows))


def forget_due(workspace_id: UUID, *, subjects: Sequence[UUID] = (), contacts: Sequence[UUID] = ()) -> None:
    """Take everything on these subjects, and everything on these contacts, off the timetable."""
    due = Due.objects.filter(workspace_id=workspace_id)
    if subjects:
        due.filter(subject__in=subjects).delete()
    if contacts:
        due.filter(contact_id__in=contacts).delete()
