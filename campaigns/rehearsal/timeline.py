"""The clock of a rehearsal: it jumps from one event, wait or message that is due to the next.

At each moment the code of a live campaign runs: the effect with the events of that moment, then the enrollments that
are due, then the messages that may leave. Only who sends them is another: nobody.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final, NamedTuple
from uuid import UUID

from campaigns.effects import apply_plan
from campaigns.journeys.date_triggers import CONTACT_CHANGE_EVENTS
from campaigns.journeys.plans import CampaignPlan
from campaigns.journeys.processor import process_batch
from campaigns.messaging.delivery import Attempt, Sent, claim_ready, record_attempts
from campaigns.models import Enrollment, Message
from campaigns.rehearsal.events import SELECT_EVENT, effect_event
from campaigns.rehearsal.history import History, Statement, advance
from campaigns.rehearsal.session import HISTORY, RECORDED, show_now
from campaigns.rehearsal.transactions import in_one_transaction
from config import clock
from config.db.statements import execute, fetch_all
from events.models import EffectsLevel, EventBatch, Timer
from events.processing.passes import DueTimer, EffectBatch, EffectEvent

FINE_UNTIL: Final = 50_000
"""Most events of which each has its own moment."""
COARSE: Final = timedelta(seconds=1)
"""Of more events, those within it are taken together, as a worker takes those that wait."""
_FETCHED: Final = 10_000
_CLAIMED: Final = 200
_TICK: Final = timedelta(microseconds=1)


class _Due(NamedTuple):
    """When the next enrollment, message and timer are due, and whether the campaign has recorded events.

    `channels`: of the messages that are due now, or next.
    """

    enrollment: datetime
    message: datetime
    timer: datetime
    channels: Sequence[str]
    has_recorded: bool


_NEVER: Final = datetime.max.replace(tzinfo=UTC)


@dataclass(slots=True)
class Timeline:
    """Runs the campaigns of `plan` over the events from `since` until `until`, within a session that hides tables."""

    workspace_id: UUID
    plan: CampaignPlan
    since: datetime
    until: datetime
    histories: Sequence[History] = ()
    resolution: timedelta = timedelta()
    # Called with the share that is done, 0 to 1.
    report_progress: Callable[[float], None] = lambda _: None
    # Other moments at which the campaign is started, in order, what starts it then, and for whom.
    start_moments: Sequence[datetime] = ()
    start: Callable[[datetime], None] = lambda _: None
    started_contacts: Collection[UUID] = ()
    events_seen: int = 0
    # Events of the history, with when each became known.
    _waiting: deque[tuple[datetime, EffectEvent]] = field(default_factory=deque)
    # Contacts for whom a trigger came: nobody else can have an enrollment.
    _entered: set[UUID] = field(default_factory=set)
    _starts: deque[datetime] = field(default_factory=deque)
    _position: int = 0
    # The moment as of which the session shows what was known.
    _shown: datetime | None = None
    _is_read: bool = False

    def run(self) -> None:
        """Let the time pass."""
        self._starts.extend(self.start_moments)
        self._entered.update(self.started_contacts)
        due = self._look(self.since)
        while (moment := self._next_moment(due)) is not None and moment < self.until:
            events, now = self._take_events(moment, due)
            self.events_seen += len(events)
            concerned = [event for event in events if self._may_concern(event)]
            is_started = bool(self._starts) and self._starts[0] <= now
            if is_started:
                self._starts.popleft()
            if concerned or is_started or now >= min(due.enrollment, due.message, due.timer):
                changes = advance(self.histories, now)
                with clock.virtual(now):
                    due = in_one_transaction(
                        partial(self._process, concerned, changes, now, due, is_started=is_started)
                    )
            self.report_progress((now - self.since) / (self.until - self.since))

    def _process(
        self,
        events: Sequence[EffectEvent],
        changes: Sequence[Statement],
        now: datetime,
        due: _Due,
        *,
        is_started: bool,
    ) -> _Due:
        """Do what the workers do until nothing is left to do at this moment. Returns what is due next."""
        self._show(now)
        for statement in changes:
            execute(*statement)
        if is_started:
            self.start(now)
            due = self._look(now)
            self._show(now)
        while True:
            timers = self._take_due_timers(now) if due.timer <= now else []
            if events or timers:
                self._entered.update(timer.contact_id for timer in timers)
                apply_plan(EffectBatch(self.workspace_id, events, now, timers), self.plan)
            elif due.enrollment <= now:
                if not process_batch(self.workspace_id):
                    raise RuntimeError("An enrollment is due, and is not processed.")
            elif due.message <= now:
                self._send_messages(due.channels)
            elif not due.has_recorded:
                return due
            due = self._look(now)
            events = self._take_recorded() if due.has_recorded else ()

    def _show(self, now: datetime) -> None:
        if self._shown != now:
            show_now(now)
            self._shown = now

    def _may_concern(self, event: EffectEvent) -> bool:
        """Return whether an event can do anything: what only listeners hear concerns those who have entered."""
        if event.name in self.plan.triggers or event.name in CONTACT_CHANGE_EVENTS:
            self._entered.add(event.contact_id)
        return event.contact_id in self._entered

    def _send_messages(self, channels: Sequence[str]) -> None:
        for channel in sorted(channels):
            claimed = claim_ready(self.workspace_id, channel, at_most=_CLAIMED)
            record_attempts(
                self.workspace_id, [Attempt(item, Sent("rehearsal"), clock.now()) for item in claimed]
            )

    def _look(self, now: datetime) -> _Due:
        """Look at what is due, and show what is known at the next moment; at this one, if something is left to do."""
        if not self._waiting and not self._is_read:
            self._fetch()
        known_at = self._next_known()
        ((_, enrollment, message, channels, timer, has_recorded),) = fetch_all(
            _NEXT_DUE, [now, now, known_at, *[self.workspace_id] * 3, now, *[self.workspace_id] * 3]
        )
        due = _Due(enrollment or _NEVER, message or _NEVER, timer or _NEVER, channels, has_recorded)
        next_at = min(known_at, due.enrollment, due.message, due.timer)
        self._shown = now if has_recorded else max(now, next_at)
        return due

    def _next_known(self) -> datetime:
        """Return when the next event of the history is known, or something else starts the campaign."""
        known_at = self._waiting[0][0] if self._waiting else _NEVER
        return min(known_at, self._starts[0]) if self._starts else known_at

    def _next_moment(self, due: _Due) -> datetime | None:
        moment = min(self._next_known(), due.enrollment, due.message, due.timer)
        return None if moment == _NEVER else moment

    def _take_events(self, moment: datetime, due: _Due) -> tuple[list[EffectEvent], datetime]:
        """Take the events within the resolution of a moment, but none after something else is due.

        Returns them with the time that it is now: when the last one became known.
        """
        starts = [at for at in self._starts if at > moment][:1]
        others = (max(at, moment + _TICK) for at in (due.enrollment, due.message, due.timer, *starts))
        end = min((moment + max(self.resolution, _TICK), self.until, *others))
        taken: list[EffectEvent] = []
        now = moment
        while self._waiting and self._waiting[0][0] < end:
            now, event = self._waiting.popleft()
            taken.append(event)
            if not self._waiting and not self._is_read:
                self._fetch()
        return sorted(taken, key=lambda event: (event.occurred_at, event.id)), now

    def _take_due_timers(self, now: datetime) -> list[DueTimer]:
        due = Timer.objects.in_workspace(self.workspace_id).filter(due_at__lte=now)
        found = [DueTimer(*row) for row in due.values_list("timer_key", "contact_id", "due_at")]
        if found:
            due.delete()
        return sorted(found, key=lambda timer: timer.due_at)

    def _take_recorded(self) -> list[EffectEvent]:
        """Take the events that the campaign itself has just recorded, as far as they concern it."""
        names = sorted(self.plan.triggers.keys() | self.plan.listeners.keys() | CONTACT_CHANGE_EVENTS)
        found = fetch_all(_TAKE_RECORDED, [self.workspace_id, self.workspace_id, names])
        return [effect_event(row, EffectsLevel(level)) for *row, level in found]

    def _fetch(self) -> None:
        """Read the next events of the history."""
        found = fetch_all(
            f"SELECT * FROM {HISTORY} WHERE place > %s ORDER BY place LIMIT %s", [self._position, _FETCHED]
        )
        self._waiting.extend((known_at, effect_event(row, EffectsLevel.ALL)) for _, *row, known_at in found)
        self._position += len(found)
        self._is_read = len(found) < _FETCHED


_TAKE_RECORDED: Final = f"""
WITH taken AS (DELETE FROM {EventBatch._meta.db_table} WHERE workspace_id = %s RETURNING event_ids, level)
{SELECT_EVENT}, taken.level FROM taken CROSS JOIN LATERAL unnest(taken.event_ids) AS entry (id)
JOIN {RECORDED} e ON e.id = entry.id
JOIN contacts_contact c ON c.workspace_id = %s AND c.id = e.contact_id
WHERE e.name = ANY(%s) ORDER BY e.occurred_at, e.id
"""
_NEXT_DUE: Final = f"""
SELECT
    set_config('headrace.now', CASE WHEN has_recorded THEN %s::timestamptz ELSE
        GREATEST(%s::timestamptz, LEAST(%s::timestamptz, enrollment, message, timer)) END::text, false),
    enrollment, message, channels, timer, has_recorded
FROM (
    SELECT
        (
            SELECT min(wake_at) FROM {Enrollment._meta.db_table} WHERE workspace_id = %s AND status = 'open'
        ) AS enrollment,
        (
            SELECT min(send_at) FROM {Message._meta.db_table} WHERE workspace_id = %s AND status = 'QUEUED'
        ) AS message,
        ARRAY(
            SELECT DISTINCT channel FROM {Message._meta.db_table}
            WHERE workspace_id = %s AND status = 'QUEUED' AND send_at <= GREATEST(%s, (
                SELECT min(send_at) FROM {Message._meta.db_table} WHERE workspace_id = %s AND status = 'QUEUED'
            ))
        ) AS channels,
        (SELECT min(due_at) FROM {Timer._meta.db_table} WHERE workspace_id = %s) AS timer,
        EXISTS (SELECT FROM {EventBatch._meta.db_table} WHERE workspace_id = %s) AS has_recorded
) due
"""
