"""A worker's pass: lock free lanes, claim their batches and due timers, call `settings.EVENT_EFFECTS` with them."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from time import monotonic
from typing import NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.utils.module_loading import import_string

from config import clock
from config.db.plans import keep_more_prepared
from config.db.statements import execute, fetch_all
from config.db.timeouts import milliseconds
from config.db.timestamps import TimestampCache, epoch_microseconds
from events.id_bounds import known_until
from events.metrics import EFFECTS, PASS_SECONDS
from events.models import EffectsLevel, Event
from events.names import MERGE_EVENTS
from events.processing.bisection import bisect_failures
from events.processing.parked_effects import park
from events.stream.lateness import IS_LATE, level_of
from events.stream.outbox import enqueue_events, lane_of


class EffectEvent(NamedTuple):
    """An event as effects get it; its properties are read from the stream by id."""

    id: UUID
    contact_id: UUID
    name: str
    occurred_at: datetime
    source: str
    depth: int
    level: EffectsLevel
    # It went through the effects already; what adds up must not count it again.
    is_repeat: bool = False
    # None: received when it occurred.
    received_at: datetime | None = None
    # It was too old on arrival to start anything: its level says so too.
    is_late: bool = False

    @property
    def order(self) -> tuple[datetime, datetime, UUID]:
        """The order in which events became known: (time of receipt, id)."""
        return self.received_at or self.occurred_at, self.occurred_at, self.id


@dataclass(frozen=True, slots=True)
class DueTimer:
    """A timer that is due: what `timer_key` stands for may have another result for the contact as of `due_at`."""

    timer_key: UUID
    contact_id: UUID
    due_at: datetime


@dataclass(frozen=True)
class EffectBatch:
    """Events of some lanes of one workspace, in (time, id) order, and the timers that are due in these lanes.

    What is due comes before the events: an effect decides it as of its moment, which may be long past.
    """

    workspace_id: UUID
    events: Sequence[EffectEvent]
    now: datetime
    due: Sequence[DueTimer] = ()
    # Contacts whose score an earlier effect of this batch has changed.
    scores_changed: set[UUID] = field(default_factory=set)
    # The version of the rules that the batch is held against.
    rules_version: int | None = None

    @property
    def identities_changed(self) -> set[UUID]:
        """Contacts of a merge or its undo: everything about them is to be evaluated anew.

        Those that are merged into them now have nothing of their own any more.
        """
        return {event.contact_id for event in self.system_events if event.name in MERGE_EVENTS}

    @cached_property
    def system_events(self) -> Sequence[EffectEvent]:
        """The system events: those that Headrace itself recorded."""
        return [event for event in self.events if event.source == Event.Source.SYSTEM]

    @cached_property
    def names(self) -> frozenset[str]:
        """The names of the events."""
        return frozenset(event.name for event in self.events)


Effect = Callable[[EffectBatch], None]


def runs_only_when(concerns: Callable[[EffectBatch], bool]) -> Callable[[Effect], Effect]:
    """Decorate an effect with a check, without a statement, whether a batch concerns it; otherwise it is
    not called.
    """

    def mark(effect: Effect) -> Effect:
        _concerns[effect] = concerns
        return effect

    return mark


_concerns: dict[Effect, Callable[[EffectBatch], bool]] = {}


def apply_effects(workspace_id: UUID) -> str:
    """Apply the effects of all open batches, and of the events that they record, until none is left.
    Returns "done" or "nothing".
    """
    passes = 0
    while _apply_pass(workspace_id).applied:
        passes += 1
    return "done" if passes else "nothing"


def process_wake_up(workspace_id: UUID, *, at_most_seconds: float) -> str:
    """Apply the effects of what was open when the wake-up came; later events have a wake-up of their own.

    So a worker makes few passes with many events each, not as many as it can. Returns "nothing", "done", "more"
    where the time was up, or "held" where another worker had lanes that it may not look at again.
    """
    started = monotonic()
    word = "nothing"
    while True:
        turn = _apply_pass(workspace_id)
        if turn.applied:
            word = "done"
        if not turn.is_more:
            return "held" if turn.is_held else word
        if monotonic() - started > at_most_seconds:
            return "more"


def workspaces_with_open_batches() -> list[UUID]:
    """Return the workspaces with open batches."""
    return [
        workspace_id for (workspace_id,) in fetch_all("SELECT DISTINCT workspace_id FROM events_eventbatch")
    ]


def workspaces_with_due_timers() -> list[UUID]:
    """Return the workspaces with timers that are due."""
    rows = fetch_all(
        "SELECT w.id FROM workspaces_workspace w WHERE EXISTS ("
        " SELECT 1 FROM events_timer d WHERE d.workspace_id = w.id AND d.due_at <= %s)",
        [clock.now()],
    )
    return [workspace_id for (workspace_id,) in rows]


_LOCK_LANE = "SELECT pg_advisory_xact_lock(hashtextextended(%s::text, %s::int))"


@contextmanager
def lock_lane(workspace_id: UUID, lane: int) -> Iterator[None]:
    """Open a transaction for background work on a lane: no effects are applied there, and the rules do not change.

    Waits for a runner that has the lane.
    """
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        cursor.execute(_LOCK_LANE, [str(workspace_id), lane])
        lock_rules(workspace_id)
        yield


def lock_lanes(workspace_id: UUID, lanes: Collection[int], *, at_most_seconds: float) -> None:
    """Lock lanes against effects until the caller's transaction ends; it must not have locked any contact yet.

    Waits for whoever has them. Raises OperationalError if that takes longer.
    """
    execute(f"SET LOCAL lock_timeout = {milliseconds(at_most_seconds)}")
    for lane in sorted(lanes):
        execute(_LOCK_LANE, [str(workspace_id), lane])
    execute("SET LOCAL lock_timeout TO DEFAULT")
    lock_rules(workspace_id)


def bump_rules_version(workspace_id: UUID) -> None:
    """Raise the workspace's rules version in the edit's transaction; waits for passes under the old rules."""
    execute(
        "INSERT INTO events_rulesversion (workspace_id, version) VALUES (%s, 1)"
        " ON CONFLICT (workspace_id) DO UPDATE SET version = events_rulesversion.version + 1",
        [workspace_id],
    )


@dataclass(frozen=True, slots=True)
class _Pass:
    """What one transaction did: how many events it applied, and whether there are more, also in lanes that
    others hold.
    """

    applied: int = 0
    is_more: bool = False
    is_held: bool = False


def _apply_pass(workspace_id: UUID) -> _Pass:
    """Claim free lanes, some thousands of events in all, and apply all effects to them in one transaction."""
    began = monotonic()
    with transaction.atomic(durable=True):
        look = _lock_waiting_lanes(workspace_id, clock.now())
        taken = _claim_work(workspace_id, look.lanes, clock.now()) if look.lanes else _ClaimedWork()
        if taken.events or taken.due:
            version = lock_rules(workspace_id) if taken.rules_version is None else taken.rules_version
            loaded = _load(workspace_id, taken.events) if taken.events else []
            events = _hand_over(workspace_id, look.lanes, loaded)
            batch = EffectBatch(workspace_id, events, _moment_of(events), taken.due, rules_version=version)
            for path in settings.EVENT_EFFECTS:
                _run(path, batch)
    applied = len(taken.events) + len(taken.due)
    if applied:
        PASS_SECONDS.observe(monotonic() - began)
        EFFECTS.labels("event").inc(len(taken.events))
        EFFECTS.labels("due").inc(len(taken.due))
    return _Pass(
        applied=applied,
        is_more=applied > 0 and (applied < look.expected or look.leaves_lanes),
        is_held=look.held > 0,
    )


@dataclass(frozen=True, slots=True)
class _LockedLanes:
    """Lanes that this transaction locked, with how much waits there; how many lanes others hold; whether
    some were left out.
    """

    lanes: Sequence[int]
    expected: int
    held: int
    leaves_lanes: bool


def _lock_waiting_lanes(workspace_id: UUID, now: datetime) -> _LockedLanes:
    """Lock lanes where something waits, as many as one transaction can process, skipping those that others hold.

    In random order: two workers start apart. From here on a statement's time is bounded, and it is planned once for
    all values: these are chains of look-ups by key, and to plan one takes longer than to run it.
    """
    keep_more_prepared()
    limits = settings.TIMEOUTS["effects"]
    bounds = [str(milliseconds(limits.statement_seconds)), str(milliseconds(limits.lock_seconds))]
    rows = fetch_all(
        _LOOK,
        [str(workspace_id), settings.EFFECTS_BATCH_SIZE, workspace_id, workspace_id, now, *bounds],
    )
    locked = {lane: int(number) for lane, number, _, is_locked in rows if is_locked}
    return _LockedLanes(
        lanes=list(locked),
        expected=sum(locked.values()),
        held=sum(1 for _, _, is_wanted, is_locked in rows if is_wanted and not is_locked),
        leaves_lanes=any(not is_wanted for _, _, is_wanted, _ in rows),
    )


_LOOK = """
SELECT lane, number, is_wanted,
    CASE WHEN is_wanted THEN pg_try_advisory_xact_lock(hashtextextended(%s::text, lane)) ELSE false END
FROM (
    SELECT lane, number, sum(number) OVER (ORDER BY place, lane) - number < %s AS is_wanted FROM (
        SELECT lane, sum(number) AS number, random() AS place FROM (
            (SELECT lane, cardinality(event_ids) AS number FROM events_eventbatch WHERE workspace_id = %s
             ORDER BY lane, id LIMIT 50000)
            UNION ALL
            (SELECT lane, 1 FROM events_timer WHERE workspace_id = %s AND due_at <= %s ORDER BY due_at LIMIT 50000)
        ) waiting GROUP BY lane
    ) lanes OFFSET 0
) lanes, set_config('statement_timeout', %s, true) AS bounded,
    set_config('lock_timeout', %s, true) AS lock_bounded,
    set_config('plan_cache_mode', 'force_generic_plan', true) AS planned
"""


_ClaimedEvents = dict[str, tuple[EffectsLevel, bool]]
"""By event, its id as text: its level, and whether it is a repeat."""


@dataclass(frozen=True, slots=True)
class _ClaimedWork:
    """Batches claimed from the outbox, and timers that are due."""

    events: _ClaimedEvents = field(default_factory=dict)
    due: Sequence[DueTimer] = ()
    # None: the workspace has never had a rule.
    rules_version: int | None = None


def _claim_work(workspace_id: UUID, lanes: Sequence[int], now: datetime) -> _ClaimedWork:
    """Claim the lanes' oldest batches and the timers longest due, and lock the rules.

    A statement of its own: only now that the locks are held is it certain what the last holder left.
    """
    room = max(settings.EFFECTS_BATCH_SIZE // len(lanes), 1)
    rows = fetch_all(
        _TAKE,
        [
            *(workspace_id, workspace_id, list(lanes), workspace_id, room, room),
            *(workspace_id, workspace_id, now, list(lanes), settings.EFFECTS_BATCH_SIZE),
        ],
    )
    # A first time beats a repeat: what adds up must count the event once.
    batches = sorted((row for row in rows if row[1] is not None), key=lambda row: not row[3])
    return _ClaimedWork(
        events={
            event_id: terms
            for _, ids, level, is_repeat, *_ in batches
            for terms in [(EffectsLevel(level), is_repeat)]
            for event_id in ids[1:-1].split(",")
        },
        due=[DueTimer(*due) for _, ids, _, _, *due in rows if ids is None],
        rules_version=rows[0][0] if rows else None,
    )


# A lane's oldest batches, until they have as many events as there is room for: at least one batch. Of the timers,
# rows are named by where they were seen to stand: by id, the planner may read all of the workspace's.
_TAKE = """
WITH rules AS MATERIALIZED (
    SELECT version FROM events_rulesversion WHERE workspace_id = %s FOR SHARE
), taken AS (
    DELETE FROM events_eventbatch WHERE workspace_id = %s AND ctid = ANY (ARRAY(
        SELECT counted.ctid FROM unnest(%s::int[]) AS taken (lane) CROSS JOIN LATERAL (
            SELECT oldest.ctid, sum(events) OVER (ORDER BY id) - events AS before FROM (
                SELECT ctid, id, cardinality(event_ids) AS events FROM events_eventbatch
                WHERE workspace_id = %s AND lane = taken.lane ORDER BY id LIMIT %s
            ) oldest
        ) counted WHERE counted.before < %s
    )) RETURNING event_ids::text, level, is_repeat
), due AS (
    DELETE FROM events_timer WHERE workspace_id = %s AND ctid = ANY (ARRAY(
        SELECT ctid FROM events_timer WHERE workspace_id = %s AND due_at <= %s AND lane = ANY(%s)
        ORDER BY due_at LIMIT %s
    )) RETURNING timer_key, contact_id, due_at
)
SELECT (SELECT version FROM rules), event_ids, level, is_repeat, NULL::uuid, NULL::uuid, NULL::timestamptz FROM taken
UNION ALL
SELECT (SELECT version FROM rules), NULL, NULL, NULL, timer_key, contact_id, due_at FROM due
"""


def lock_rules(workspace_id: UUID) -> int:
    """Lock the rules against edits until the transaction ends. Returns their version."""
    held = "SELECT version FROM events_rulesversion WHERE workspace_id = %s FOR SHARE"
    with connection.cursor() as cursor:
        cursor.execute(held, [workspace_id])
        if (row := cursor.fetchone()) is None:
            # Before its first rule a workspace has no version yet, and nothing cannot be held.
            cursor.execute(
                "INSERT INTO events_rulesversion (workspace_id, version) VALUES (%s, 0) ON CONFLICT DO NOTHING",
                [workspace_id],
            )
            cursor.execute(held, [workspace_id])
            row = cursor.fetchone()
    version: int = row[0]
    return version


def _load(workspace_id: UUID, taken: _ClaimedEvents) -> list[EffectEvent]:
    """Load the events; a merged contact's are its survivor's, a deleted contact's have none."""
    wanted = "{" + ",".join(taken) + "}"
    rows = fetch_all(_LOAD, [workspace_id, wanted, workspace_id, min(taken), max(taken), workspace_id])
    terms = list(taken.values())
    timestamps = TimestampCache()
    events = []
    for place, id_, contact_id, name, occurred_at, source, depth, received_at, is_late in rows:
        level, is_repeat = terms[place - 1]
        events.append(
            EffectEvent(
                id_,
                contact_id,
                name,
                timestamps[occurred_at],
                source,
                depth,
                level_of(level, is_late) if is_late else level,
                is_repeat,
                timestamps[received_at],
                is_late and level is EffectsLevel.ALL,
            )
        )
    return events


# OFFSET 0 and the laterals keep it to one look-up by key an event, whatever the statistics make the planner think.
# Times come as numbers, and ids go as they came, as text: the driver takes its time with both.
_LOAD = f"""
SELECT wanted.place, e.id, COALESCE(c.merged_into_id, c.id), e.name, {epoch_microseconds("e.occurred_at")}, e.source,
    e.depth, {epoch_microseconds("e.received_at")}, {IS_LATE}
FROM unnest(%s::uuid[]) WITH ORDINALITY AS wanted (id, place)
CROSS JOIN LATERAL (
    SELECT * FROM events_event
    WHERE workspace_id = %s AND id = wanted.id AND id BETWEEN %s AND %s OFFSET 0
) e
CROSS JOIN LATERAL (
    SELECT id, merged_into_id FROM contacts_contact WHERE workspace_id = %s AND id = e.contact_id OFFSET 0
) c
ORDER BY e.occurred_at, e.id
"""


def _moment_of(events: Sequence[EffectEvent]) -> datetime:
    """Return the time as of which effects decide: read after all locks, and never before an event of the batch.

    The clock of the process that recorded it may be ahead of this one's.
    """
    now = clock.now()
    return max(
        (event.occurred_at for event in events if now < event.occurred_at <= known_until(now)), default=now
    )


def _hand_over(
    workspace_id: UUID, lanes: Collection[int], events: Sequence[EffectEvent]
) -> list[EffectEvent]:
    """Return the events of these lanes; those of contacts merged or unmerged since are enqueued in their
    lane of now.
    """
    own, handed_over = [], defaultdict(list)
    for event in events:
        if lane_of(event.contact_id) in lanes:
            own.append(event)
        else:
            handed_over[event.level, event.is_repeat].append((event.id, event.contact_id))
    for (level, is_repeat), pairs in handed_over.items():
        enqueue_events(workspace_id, pairs, level=level, is_repeat=is_repeat)
    return own


def _run(path: str, batch: EffectBatch) -> None:
    effect: Effect = import_string(path)
    if effect in _concerns and not _concerns[effect](batch):
        return

    def run(items: Sequence[EffectEvent | DueTimer]) -> None:
        events = [item for item in items if isinstance(item, EffectEvent)]
        effect(replace(batch, events=events, due=[item for item in items if isinstance(item, DueTimer)]))

    def park_item(item: EffectEvent | DueTimer, error: Exception) -> None:
        if isinstance(item, EffectEvent):
            subject, levels = f"event:{item.id}", {item.id: item.level}
        else:
            subject, levels = f"due:{item.timer_key}:{item.contact_id}", {}
        park(batch.workspace_id, effect=path, subject=subject, levels=levels, error=error)

    items: list[EffectEvent | DueTimer] = [*batch.due, *batch.events]
    bisect_failures(items, run, park_item)
