"""Retention: delete events older than a time, with what refers to them.

`settings.EVENT_DEPENDENTS` lists, from the uppermost app down, what deletes rows that refer to events. Events whose
effects are still to come are kept. All-time aggregates keep what they have counted.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from django.conf import settings
from django.utils.module_loading import import_string

from config.db.statements import execute, fetch_all
from config.ids import first_id_at
from events.id_bounds import end_id_of_events
from events.models import MessageKey

DeleteDependents = Callable[[UUID, Sequence[UUID], bool], Mapping[str, int]]
"""Called with the workspace, ids of events and whether their points go too. Returns how many rows of which kind."""


@dataclass(frozen=True, slots=True)
class RetentionRule:
    """Which events are too old: those that happened before a time, of some names or all.

    `deletes_points`: what they earned goes as well, and scores are calculated again; else it stays.
    `keeps_events`: only what refers to them goes.
    """

    before: datetime
    event_names: tuple[str, ...] = ()
    deletes_points: bool = False
    keeps_events: bool = False


@dataclass(frozen=True, slots=True)
class DeletedEvents:
    """A batch of deleted events. `after`: the last one, None where none is left."""

    after: UUID | None
    events: int
    dependents: Mapping[str, int] = field(default_factory=dict)


def delete_old_events(workspace_id: UUID, rule: RetentionRule, after: UUID, limit: int) -> DeletedEvents:
    """Delete the next events by id that are too old, in the caller's transaction."""
    until = end_id_of_events(rule.before)
    rows = fetch_all(
        _OLD_EVENTS,
        {
            "workspace": workspace_id,
            "after": after,
            "until": until,
            "before": rule.before,
            "names": list(rule.event_names),
            "limit": limit,
        },
    )
    event_ids = [event_id for (event_id,) in rows]
    if not event_ids:
        return DeletedEvents(None, 0)
    dependents: Counter[str] = Counter()
    for path in settings.EVENT_DEPENDENTS:
        delete: DeleteDependents = import_string(path)
        dependents.update(delete(workspace_id, event_ids, rule.deletes_points))
    keys = MessageKey.objects.in_workspace(workspace_id).filter(event_id__in=event_ids)
    dependents["message keys"] += keys.delete()[0]
    if not rule.keeps_events:
        execute(_DELETE, [workspace_id, event_ids, min(event_ids), max(event_ids)])
    return DeletedEvents(event_ids[-1] if len(event_ids) == limit else None, len(event_ids), dependents)


def old_partitions(before: datetime) -> list[str]:
    """Return the names of the monthly partitions in which every event is too old, the oldest first."""
    names = [name for (name,) in fetch_all(_PARTITIONS)]
    return sorted(name for name in names if _end_of(name) <= before.astimezone(UTC))


def start_of_kept_events(before: datetime) -> datetime:
    """Return the end of the last partition in which every event is too old."""
    return before.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def empty_partitions(before: datetime, keeps: Collection[UUID] = ()) -> tuple[list[str], list[str]]:
    """Remove all events of old partitions, of every workspace, in the caller's transaction.

    The partitions stay, for an event of such a time may still come in. One in which an event waits for its effects is
    left as it is, and so is one with events of the workspaces `keeps`. Returns the names of those that were emptied,
    and of those that were kept for these workspaces.
    """
    emptied, kept = [], []
    for name in old_partitions(before):
        if not fetch_all(f"SELECT 1 FROM {name} LIMIT 1"):
            continue
        # Before the look at what waits: nothing comes in any more that could wait unseen.
        execute(f"SET LOCAL lock_timeout = '10s'; LOCK TABLE {name} IN ACCESS EXCLUSIVE MODE")
        if fetch_all(f"SELECT 1 FROM {name} WHERE workspace_id = ANY(%s) LIMIT 1", [list(keeps)]):
            kept.append(name)
        elif not fetch_all(_WAITING, [first_id_at(_start_of(name)), first_id_at(_end_of(name))]):
            execute(f"TRUNCATE {name}")
            emptied.append(name)
    return emptied, kept


def count_events(workspace_id: UUID, rule: RetentionRule) -> int:
    """Return how many events are too old."""
    ((count,),) = fetch_all(
        _COUNT,
        {
            "workspace": workspace_id,
            "until": end_id_of_events(rule.before),
            "before": rule.before,
            "names": list(rule.event_names),
        },
    )
    return int(count)


def _start_of(name: str) -> datetime:
    year, month = name.removeprefix("events_event_y").split("m")
    return datetime(int(year), int(month), 1, tzinfo=UTC)


def _end_of(name: str) -> datetime:
    start = _start_of(name)
    return start.replace(year=start.year + start.month // 12, month=start.month % 12 + 1)


_CHOSEN: Final = """
workspace_id = %(workspace)s AND id < %(until)s AND occurred_at < %(before)s
    AND (%(names)s::text[] = '{}' OR name = ANY(%(names)s))
    AND id <> ALL (ARRAY(SELECT unnest(event_ids) FROM events_eventbatch WHERE workspace_id = %(workspace)s))
"""
_OLD_EVENTS: Final = (
    f"SELECT id FROM events_event WHERE {_CHOSEN} AND id > %(after)s ORDER BY id LIMIT %(limit)s"
)
_COUNT: Final = f"SELECT count(*) FROM events_event WHERE {_CHOSEN}"
_DELETE: Final = "DELETE FROM events_event WHERE workspace_id = %s AND id = ANY(%s) AND id BETWEEN %s AND %s"
_PARTITIONS: Final = """
SELECT inhrelid::regclass::text FROM pg_inherits
WHERE inhparent = 'events_event'::regclass AND inhrelid::regclass::text ~ '^events_event_y[0-9]{4}m[0-9]{2}$'
"""
# Of every workspace: a partition is everybody's.
_WAITING: Final = """
SELECT 1 FROM events_eventbatch, unnest(event_ids) AS waiting (id)
WHERE waiting.id >= %s AND waiting.id < %s LIMIT 1
"""
