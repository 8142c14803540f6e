"""Reading the stream: newest or oldest first, by key, and counts that stay cheap."""

import hashlib
from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from django.core.cache import cache
from django.db.models import Q, QuerySet

from config.db.plans import force_custom_plan
from config.db.statements import fetch_one
from config.ids import first_id_at, time_of
from contacts.identity.lookup import ids_of
from events.id_bounds import end_id_of_events, first_id_of_events, in_milliseconds
from events.models import Event

EXACT_UP_TO = 10_000
ESTIMATE_SECONDS = 60
_ALWAYS: Final = datetime.min.replace(tzinfo=UTC)


def events_of(
    workspace_id: UUID, *, contact_id: UUID | None = None, name: str | None = None, search: str = ""
) -> QuerySet[Event]:
    """Return the events of a workspace, of one person by any of its ids, of one name, of names with a text."""
    events = Event.objects.in_workspace(workspace_id)
    if contact_id is not None:
        events = events.filter(contact_id__in=ids_of(workspace_id, contact_id))
    if name is not None:
        events = events.filter(name=name)
    if search:
        events = events.filter(name__icontains=search)
    return events


def named_events_of(
    workspace_id: UUID,
    contact_ids: Collection[UUID],
    names: Collection[str],
    *,
    received_from: datetime = _ALWAYS,
) -> Iterable[Event]:
    """Return the events of some names that came with some contacts, in no order.

    Contact by contact, whatever the planner knows of the stream: else it may read everybody's for a few.
    """
    return Event.objects.raw(
        _NAMED_EVENTS, [list(contact_ids), workspace_id, list(names), received_from]
    ).iterator()


_NAMED_EVENTS: Final = """
SELECT e.* FROM unnest(%s::uuid[]) AS one (id) CROSS JOIN LATERAL (
    SELECT * FROM events_event
    WHERE workspace_id = %s AND contact_id = one.id AND name || '' = ANY(%s) AND received_at >= %s OFFSET 0
) e
"""


@force_custom_plan()
def list_events(
    workspace_id: UUID,
    *,
    contact_id: UUID | None = None,
    name: str | None = None,
    search: str = "",
    is_sent: bool = False,
    newest_first: bool = True,
    limit: int,
    before: UUID | None = None,
    offset: int = 0,
) -> list[Event]:
    """Return a page of events in the order of (their time as it is shown, id).

    `before` is the last id of the page before. `is_sent`: without what the system notes by itself.
    """
    events = events_of(workspace_id, name=name, search=search)
    if is_sent:
        events = events.exclude(source=Event.Source.SYSTEM)
    after = None if before is None else _place_of_id(workspace_id, before)
    if contact_id is None:
        return page_of(events, limit, offset, newest_first=newest_first, after=after)
    # Each contact's events are read in their order by the index; those of several at once would all be sorted.
    found = [
        event
        for member_id in ids_of(workspace_id, contact_id)
        for event in page_of(
            events.filter(contact_id=member_id), offset + limit, newest_first=newest_first, after=after
        )
    ]
    found.sort(key=place_of, reverse=newest_first)
    return found[offset : offset + limit]


Place = tuple[datetime, UUID]
"""Where an event is in a list: its time in milliseconds, as it is shown, and its id."""


def place_of(event: Event) -> Place:
    """Return an event's place in a list: (its time as it is shown, id)."""
    return in_milliseconds(event.occurred_at), event.id


def page_of(
    events: QuerySet[Event],
    limit: int,
    offset: int = 0,
    *,
    newest_first: bool = True,
    after: Place | None = None,
) -> list[Event]:
    """Return a page of some events, in their order, after a place in it; by an index, however many there are.

    All are in the order of their ids but those whose senders' clocks were ahead, which have an index of their own.
    """
    most = offset + limit
    ahead, in_time = events.filter(is_ahead=True), events.filter(is_ahead=False)
    if newest_first:
        ahead, in_time = ahead.order_by("-occurred_at", "-id"), in_time.order_by("-id")
    else:
        ahead, in_time = ahead.order_by("occurred_at", "id"), in_time.order_by("id")
    if after is not None:
        ahead, in_time = _beyond(ahead, in_time, after, newest_first=newest_first)
    found = list(ahead[:most])
    if len(found) == most and most:
        # No further: a page full is there already.
        last = found[-1].occurred_at
        in_time = (
            in_time.filter(id__gte=first_id_of_events(last))
            if newest_first
            else in_time.filter(id__lt=end_id_of_events(last))
        )
    found += in_time[:most]
    found.sort(key=place_of, reverse=newest_first)
    return found[offset:most]


def _beyond(
    ahead: QuerySet[Event], in_time: QuerySet[Event], after: Place, *, newest_first: bool
) -> tuple[QuerySet[Event], QuerySet[Event]]:
    moment, event_id = after
    # Of those in time, whose ids hold their time, those of this very moment come after all that are ahead of it.
    next_id = first_id_at(moment + timedelta(milliseconds=1))
    if newest_first:
        left = Q(occurred_at__lt=moment) | Q(occurred_at=moment, id__lt=event_id)
        # The ids' bound keeps the months to come out of the search.
        ahead = ahead.filter(left, occurred_at__lte=moment, id__lt=end_id_of_events(moment))
        return ahead, in_time.filter(id__lt=min(event_id, next_id))
    left = Q(occurred_at__gt=moment) | Q(occurred_at=moment, id__gt=event_id)
    ahead = ahead.filter(left, occurred_at__gte=moment, id__gte=first_id_of_events(moment))
    return ahead, in_time.filter(id__gt=event_id) if event_id < next_id else in_time.filter(id__gte=next_id)


def _place_of_id(workspace_id: UUID, event_id: UUID) -> Place:
    """Return where the event of an id is, or was."""
    event = Event.objects.in_workspace(workspace_id).filter(id=event_id).first()
    return (time_of(event_id), event_id) if event is None else place_of(event)


@force_custom_plan()
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
    return int(fetch_one(f"EXPLAIN (FORMAT JSON) {sql}", parameters)[0][0]["Plan"]["Plan Rows"])
