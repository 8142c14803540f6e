"""Reading the stream: newest or oldest first, by key, and counts that stay cheap."""

import hashlib
from uuid import UUID

from django.core.cache import cache
from django.db import connection
from django.db.models import QuerySet

from config.planning import planned_for_its_values
from contacts.services import ids_of
from events.models import Event

EXACT_UP_TO = 10_000
ESTIMATE_SECONDS = 60


def events_of(
    workspace_id: UUID, *, contact_id: UUID | None = None, name: str | None = None, search: str = ""
) -> QuerySet[Event]:
    """Return the events of a workspace, of one person by any of its ids, of one name, of names with a text."""
    events = Event.objects.filter(workspace_id=workspace_id)
    if contact_id is not None:
        events = events.filter(contact_id__in=ids_of(workspace_id, contact_id))
    if name is not None:
        events = events.filter(name=name)
    if search:
        events = events.filter(name__icontains=search)
    return events


@planned_for_its_values()
def list_events(
    workspace_id: UUID,
    *,
    contact_id: UUID | None = None,
    name: str | None = None,
    search: str = "",
    newest_first: bool = True,
    limit: int,
    before: UUID | None = None,
    offset: int = 0,
) -> list[Event]:
    """Return a page of events in the order of their time; `before` is the last id of the page before."""
    events = events_of(workspace_id, name=name, search=search)
    if before is not None:
        events = events.filter(id__lt=before) if newest_first else events.filter(id__gt=before)
    events = events.order_by("-id" if newest_first else "id")
    if contact_id is None:
        return list(events[offset : offset + limit])
    # Each contact's events are read in their order by the index; those of several at once would all be sorted.
    found = [
        event
        for one in ids_of(workspace_id, contact_id)
        for event in events.filter(contact_id=one)[: offset + limit]
    ]
    found.sort(key=lambda event: event.id, reverse=newest_first)
    return found[offset : offset + limit]


@planned_for_its_values()
def bounded_count(rows: QuerySet[Event], cache_key: str) -> int:
    """Count rows exactly up to 10,000; above that return an estimate, kept for a minute under `cache_key`."""
    key = f"count:{hashlib.sha256(cache_key.encode()).hexdigest()}"
    estimate: int | None = cache.get(key)
    if estimate is not None:
        return estimate
    count = rows.order_by()[: EXACT_UP_TO + 1].count()
    if count <= EXACT_UP_TO:
        return count
    estimate = max(_planned_rows(rows), EXACT_UP_TO + 1)
    cache.set(key, estimate, ESTIMATE_SECONDS)
    return estimate


def _planned_rows(rows: QuerySet[Event]) -> int:
    sql, parameters = rows.order_by().values("id").query.sql_with_params()
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}", parameters)
        return int(cursor.fetchone()[0][0]["Plan"]["Plan Rows"])
