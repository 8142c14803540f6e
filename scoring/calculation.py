"""Calculate a rule's value from its awards, with limit, cap, floor and decay.

Awards are taken in (time, id) order; those past the limit do not count. Every full `decay_every` since the last
award that counts takes `decay_points`, never past `lowest` where set, never past zero otherwise; a value already
there does not decay. After each award the value is kept within [`lowest`, `highest`].
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Literal, NamedTuple
from uuid import UUID

_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Terms:
    """A rule's terms: decay, bounds, limit. None: it has none."""

    decay_points: Decimal | None = None
    decay_every: timedelta | None = None
    lowest: Decimal | None = None
    highest: Decimal | None = None
    limit_count: int | None = None
    limit_period: str = "ever"

    @property
    def are_plain(self) -> bool:
        """Whether the value is the plain sum of the awards, in any order."""
        return (
            self.decay_points is None
            and self.lowest is None
            and self.highest is None
            and self.limit_count is None
        )

    @property
    def resting_point(self) -> Decimal:
        """The value at which decay ends."""
        return self.lowest if self.lowest is not None else _ZERO


class Award(NamedTuple):
    """An entry of the ledger, with the rule's full points."""

    occurred_at: datetime
    event_id: UUID
    points: Decimal


@dataclass(frozen=True, slots=True)
class State:
    """The value right after the last award that counts. `counted`: awards that count in its period."""

    value: Decimal
    last_at: datetime
    last_event_id: UUID
    counted: int

    def precedes(self, award: Award) -> bool:
        """Whether the award comes after the state's last one."""
        return (self.last_at, self.last_event_id) < (award.occurred_at, award.event_id)


@dataclass(frozen=True, slots=True)
class Line:
    """A step of the calculation: `points` is the change, `value` the rule's value after it.

    A decay is the `steps`-th since the award `event_id`; a superseded award has no points.
    """

    kind: Literal["award", "superseded", "decay", "clamp"]
    at: datetime
    event_id: UUID
    points: Decimal
    value: Decimal
    step: int = 0


@dataclass(frozen=True, slots=True)
class Decay:
    """Consecutive decay steps between two lines, from value `before` to `after`, counted from the last award.

    Each step takes `points`, the last one perhaps less.
    """

    state: State
    every: timedelta
    points: Decimal
    before: Decimal
    after: Decimal

    @property
    def first(self) -> int:
        """Number of the first step since the award."""
        return int(self.before // self.points) + 1

    @property
    def last(self) -> int:
        """Number of the last step since the award."""
        return int(self.after // self.points) + bool(self.after % self.points)

    def up_to(self, step: int) -> Decay | None:
        """Return the part up to a step; None if it is empty."""
        return replace(self, after=self._lost_by(step)) if step >= self.first else None

    def line(self, step: int) -> Line:
        """Return the line of a step."""
        lost = self._lost_by(step)
        piece = lost - max((step - 1) * self.points, self.before)
        at = self.state.last_at + step * self.every
        return Line("decay", at, self.state.last_event_id, -piece, self.state.value - lost, step)

    def lines(self) -> Iterator[Line]:
        """Return a line per step."""
        return map(self.line, range(self.first, self.last + 1))

    def _lost_by(self, step: int) -> Decimal:
        return min(step * self.points, self.after)


@dataclass(slots=True)
class Calculation:
    """The result: the state after the last award, the value at the requested moment, and the steps."""

    state: State | None
    value: Decimal
    steps: list[Line | Decay] = field(default_factory=list)

    def lines(self) -> Iterator[Line]:
        """Yield the steps in order; without an opening their points add up to the value."""
        for step in self.steps:
            if isinstance(step, Decay):
                yield from step.lines()
            else:
                yield step

    @property
    def superseded(self) -> set[UUID]:
        """Event ids of the awards past the limit."""
        return {step.event_id for step in self.steps if isinstance(step, Line) and step.kind == "superseded"}


def calculate(
    terms: Terms, awards: Iterable[Award], until: datetime, opening: State | None = None
) -> Calculation:
    """Calculate a rule's value at `until` from awards in (time, id) order, on top of `opening`.

    A moment before the last award counts as that award's time.
    """
    steps: list[Line | Decay] = []
    state, value = opening, opening.value if opening else _ZERO
    for award in awards:
        value = _decay(terms, state, value, award.occurred_at, steps)
        if not _counts(terms, state, award):
            steps.append(Line("superseded", award.occurred_at, award.event_id, _ZERO, value))
            continue
        raw = value + award.points
        steps.append(Line("award", award.occurred_at, award.event_id, award.points, raw))
        value = _within(terms, raw)
        if value != raw:
            steps.append(Line("clamp", award.occurred_at, award.event_id, value - raw, value))
        counted = state.counted + 1 if state is not None and _share_period(terms, state, award) else 1
        state = State(value, award.occurred_at, award.event_id, counted)
    return Calculation(state, _decay(terms, state, value, until, steps), steps)


def next_decay(terms: Terms, state: State, after: datetime) -> datetime | None:
    """Return the next moment after `after` at which the value decays; None: never."""
    if terms.decay_every is None or state.value - _lost(terms, state, after) <= terms.resting_point:
        return None
    return state.last_at + (_periods(terms.decay_every, state, after) + 1) * terms.decay_every


def _decay(
    terms: Terms, state: State | None, value: Decimal, until: datetime, steps: list[Line | Decay]
) -> Decimal:
    """Return the value at a moment, decayed since the line before."""
    if state is None or terms.decay_every is None or terms.decay_points is None:
        return value
    before, after = state.value - value, _lost(terms, state, until)
    if after <= before:
        return value
    steps.append(Decay(state, terms.decay_every, terms.decay_points, before, after))
    return state.value - after


def _lost(terms: Terms, state: State, until: datetime) -> Decimal:
    if terms.decay_every is None or terms.decay_points is None or state.value <= terms.resting_point:
        return _ZERO
    periods = _periods(terms.decay_every, state, until)
    return min(periods * terms.decay_points, state.value - terms.resting_point)


def _periods(every: timedelta, state: State, until: datetime) -> int:
    return max((until - state.last_at) // every, 0)


def _within(terms: Terms, value: Decimal) -> Decimal:
    if terms.lowest is not None and value < terms.lowest:
        return terms.lowest
    if terms.highest is not None and value > terms.highest:
        return terms.highest
    return value


def _counts(terms: Terms, state: State | None, award: Award) -> bool:
    if terms.limit_count is None or state is None or not _share_period(terms, state, award):
        return True
    return state.counted < terms.limit_count


def _share_period(terms: Terms, state: State, award: Award) -> bool:
    return period_of(terms.limit_period, state.last_at) == period_of(terms.limit_period, award.occurred_at)


def period_of(period: str, moment: datetime) -> tuple[int, ...]:
    """Return a key of the calendar period of a moment: UTC, weeks from Monday."""
    day = moment.astimezone(UTC).date()
    match period:
        case "day":
            return (day.year, day.month, day.day)
        case "week":
            return day.isocalendar()[:2]
        case "month":
            return (day.year, day.month)
        case "year":
            return (day.year,)
        case _:
            return ()
