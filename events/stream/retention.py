"""Retention: delete events older than a time, with what refers to them.

`settings.EVENT_DEPENDENTS` lists, from the uppermost app down, what deletes rows that refer to events. Events whose
effects are still to come are kept. All-time aggregates keep what they have counted.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import sleep
from typing import Final, Literal
from uuid import UUID

from django.conf import settings
from django.db import OperationalError, transaction
from django.utils.module_loading import import_string

from config.db.errors import Fault, classify_database_error
from config.db.statements import execute, fetch_all
from config.ids import NO_ID, first_id_at
from events.id_bounds import end_id_of_events
from events.models import MessageKey
from events.stream.partitions import is_droppable, is_oldest, month_of_partition

LOCK_MILLISECONDS: Final = 200
"""How long a month's removal waits for a lock: who comes after it waits for it meanwhile, ingestion too."""
HELD_MILLISECONDS: Final = 1_000
"""How long a statement takes at most that runs with the locks."""
ATTEMPTS: Final = 30
PAUSE_SECONDS: Final = 1.0
_IN_THE_WAY: Final = frozenset({Fault.LOCK_TIMEOUT, Fault.STATEMENT_TIMEOUT, Fault.CONFLICT})

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


@dataclass(frozen=True, slots=True)
class RemovedMonths:
    """What became of partitions in which every event is too old, by their names.

    `emptied`: those that stay, without rows, for inserts go by their being there. `waiting`: events in them wait for
    their effects. `kept`: for workspaces whose events were to stay. `busy`: others used them whenever it was tried.
    """

    dropped: list[str] = field(default_factory=list)
    emptied: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    busy: list[str] = field(default_factory=list)


def old_partitions(before: datetime) -> list[str]:
    """Return the names of the partitions in which every event is too old, the oldest first."""
    names = [name for (name,) in fetch_all(_PARTITIONS)]
    return sorted(name for name in names if _end_of(name) <= before.astimezone(UTC))


def start_of_kept_events(before: datetime) -> datetime:
    """Return the end of the last partition in which every event is too old."""
    return before.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def remove_months(before: datetime, keeps: Collection[UUID] = ()) -> RemovedMonths:
    """Drop the old partitions, of every workspace, each in a transaction of its own.

    The next event of such a time makes its month anew. Partitions of the last months, and the one for all that is
    older than the months, are emptied instead. One in which an event waits for its effects stays as it is, and so
    does one with events of the workspaces `keeps`.
    """
    removed = RemovedMonths()
    for name in old_partitions(before):
        drops = not is_oldest(name) and is_droppable(month_of_partition(name))
        if not drops and not fetch_all(f"SELECT 1 FROM {name} LIMIT 1"):
            continue
        # Without a lock first, as it takes long where very much waits.
        if fetch_all(_WAITING, _bounds_of(name)):
            removed.waiting.append(name)
        else:
            getattr(removed, _remove_patiently(name, keeps, drops=drops)).append(name)
    return removed


Outcome = Literal["dropped", "emptied", "waiting", "kept", "busy"]


def _remove_patiently(name: str, keeps: Collection[UUID], *, drops: bool) -> Outcome:
    """Try to remove a partition until nobody is in the way, with pauses in which those who waited go on."""
    for attempt in range(ATTEMPTS):
        if attempt:
            sleep(PAUSE_SECONDS)
        try:
            return _remove(name, keeps, drops=drops)
        except OperationalError as error:
            if classify_database_error(error) not in _IN_THE_WAY:
                raise
    return "busy"


@transaction.atomic
def _remove(name: str, keeps: Collection[UUID], *, drops: bool) -> Outcome:
    """Drop or empty a partition. Others wait for its locks, and for no longer than for what bounds this.

    To drop it the whole stream is locked: no plan of a query or an insert has it any more.
    """
    execute(
        f"SET LOCAL lock_timeout = {LOCK_MILLISECONDS}; SET LOCAL statement_timeout = {HELD_MILLISECONDS}"
    )
    if drops:
        execute("LOCK TABLE ONLY events_event IN ACCESS EXCLUSIVE MODE")
    # Before the look at what waits: nothing comes in any more that could wait unseen.
    execute(f"LOCK TABLE {name} IN ACCESS EXCLUSIVE MODE")
    if fetch_all(f"SELECT 1 FROM {name} WHERE workspace_id = ANY(%s) LIMIT 1", [list(keeps)]):
        return "kept"
    if fetch_all(_WAITING, _bounds_of(name)):
        return "waiting"
    execute(f"DROP TABLE {name}" if drops else f"TRUNCATE {name}")
    return "dropped" if drops else "emptied"


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


def _bounds_of(name: str) -> list[UUID]:
    """Return the first id of a partition, and the first after it."""
    start = NO_ID if is_oldest(name) else first_id_at(_month_start(name))
    return [start, first_id_at(_end_of(name))]


def _end_of(name: str) -> datetime:
    start = _month_start(name)
    if is_oldest(name):
        return start
    return start.replace(year=start.year + start.month // 12, month=start.month % 12 + 1)


def _month_start(name: str) -> datetime:
    year, month = month_of_partition(name)
    return datetime(year, month, 1, tzinfo=UTC)


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
WHERE inhparent = 'events_event'::regclass
"""
# Of every workspace: a partition is everybody's.
_WAITING: Final = """
SELECT 1 FROM events_eventbatch, unnest(event_ids) AS waiting (id)
WHERE waiting.id >= %s AND waiting.id < %s LIMIT 1
"""
