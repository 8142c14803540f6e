"""Explain a contact's score: the lines that add up to it, at any moment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import islice
from typing import NamedTuple
from uuid import UUID

from django.db.models import Q, QuerySet, Sum

from config import clock
from config.ids import parse_uuid
from scoring.calculation import Decay, Line, calculate
from scoring.models import ScoreEntry, ScoringRule
from scoring.rule_scores import Entry, Pair, entries_of

_DIGITS = 12
"""Of a decay's step: no score has more."""


class Place(NamedTuple):
    """Sort key of a line: at the same moment a decay comes before an award."""

    at: datetime
    is_earned: bool
    event_id: UUID
    rule_id: UUID
    is_clamp: bool


@dataclass(frozen=True, slots=True)
class ScoreLine:
    """A change of the score; `score` is the score after it. `id` is stable."""

    id: str
    kind: str
    place: Place
    points: Decimal
    nominal: Decimal
    created_at: datetime
    score: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class Explanation:
    """A contact's score at a moment, and a page of its lines, latest first."""

    at: datetime
    score: Decimal
    lines: list[ScoreLine]
    has_more: bool


class UnknownLine(Exception):
    """`before` is no line of this score."""


def explain_score(
    workspace_id: UUID,
    contact_id: UUID,
    *,
    at: datetime | None = None,
    before: str | None = None,
    limit: int = 50,
) -> Explanation:
    """Return a contact's score at a moment (default: now) and a page of its lines before the line `before`.

    Reads rules whose points merely add up by the page, and calculates the others as a whole. Raises UnknownLine.
    """
    moment = at or clock.now()
    rules = {
        rule.id: rule
        for rule in ScoringRule.with_deleted.in_workspace(workspace_id)
        if not rule.terms.are_plain
    }
    # Without a moment all that is known counts, also from a sender whose clock is ahead.
    by_rule = _calculate(rules, entries_of(workspace_id, [contact_id], rules), moment, at)
    plain = _plain_entries(workspace_id, contact_id, rules, at)
    score = left = _sum(by_rule) + _total(plain)
    rest = plain
    if before is not None:
        place = _place_of(before, by_rule, plain)
        by_rule = [rule.before(place) for rule in by_rule]
        rest = plain.filter(_comes_before(place))
        left = _sum(by_rule) + _total(rest)
    latest = rest.order_by("-occurred_at", "-event_id", "-rule_id")[: limit + 1]
    lines = [line for rule in by_rule for line in rule.latest(limit + 1)]
    lines += [_plain_line(entry) for entry in latest]
    lines.sort(key=lambda line: line.place, reverse=True)
    return Explanation(moment, score, _with_scores(lines[:limit], left), len(lines) > limit)


@dataclass(frozen=True, slots=True)
class _RuleLines:
    """Lines of a rule. A decay is one object, because it may have millions of lines."""

    steps: list[Line | Decay]
    # By the event.
    entries: Mapping[UUID, Entry]

    @property
    def total(self) -> Decimal:
        """Sum of all lines."""
        return sum(
            (step.points if isinstance(step, Line) else step.before - step.after for step in self.steps),
            Decimal(0),
        )

    def before(self, place: Place) -> _RuleLines:
        """Drop the lines from a place on."""
        cut = (self._cut(step, place) for step in self.steps)
        return _RuleLines([step for step in cut if step is not None], self.entries)

    def latest(self, count: int) -> list[ScoreLine]:
        """Return the latest lines, at most so many."""
        lines = (line for step in reversed(self.steps) for line in _latest_first(step))
        return [self.score_line(line) for line in islice(lines, count)]

    def find(self, line_id: str) -> ScoreLine | None:
        """Return the line with an id."""
        name, _, number = line_id.rpartition(":decay:")
        is_step = bool(name) and number.isascii() and number.isdecimal() and len(number) <= _DIGITS
        step_number = int(number) if is_step else 0
        for step in self.steps:
            if isinstance(step, Line):
                line = step
            elif step.first <= step_number <= step.last:
                line = step.line(step_number)
            else:
                continue
            if (score_line := self.score_line(line)).id == line_id:
                return score_line
        return None

    def score_line(self, line: Line) -> ScoreLine:
        """Convert a line of the calculation to one of the score."""
        entry = self.entries[line.event_id]
        suffix = {"decay": f":decay:{line.step}", "clamp": ":clamp"}.get(line.kind, "")
        place = Place(line.at, line.kind != "decay", line.event_id, entry.rule_id, line.kind == "clamp")
        nominal = line.points if suffix else entry.award.points
        return ScoreLine(f"{entry.id}{suffix}", line.kind, place, line.points, nominal, entry.created_at)

    def _cut(self, step: Line | Decay, place: Place) -> Line | Decay | None:
        if isinstance(step, Line):
            return step if self.score_line(step).place < place else None
        last = min((place.at - step.state.last_at) // step.every, step.last)
        if last >= step.first and self.score_line(step.line(last)).place >= place:
            last -= 1
        return step.up_to(last)


def _calculate(
    rules: Mapping[UUID, ScoringRule],
    ledger: Mapping[Pair, Sequence[Entry]],
    moment: datetime,
    at: datetime | None,
) -> list[_RuleLines]:
    """Calculate the rules with limit, bounds or decay."""
    by_rule = []
    for (_, rule_id), entries in ledger.items():
        known = {
            entry.award.event_id: entry for entry in entries if at is None or entry.award.occurred_at <= at
        }
        outcome = calculate(rules[rule_id].terms, (entry.award for entry in known.values()), moment)
        by_rule.append(_RuleLines(outcome.steps, known))
    return by_rule


def _latest_first(step: Line | Decay) -> Iterator[Line]:
    return iter([step]) if isinstance(step, Line) else map(step.line, range(step.last, step.first - 1, -1))


def _plain_line(entry: ScoreEntry) -> ScoreLine:
    return ScoreLine(
        str(entry.id), "award", _place_of_entry(entry), entry.points, entry.points, entry.created_at
    )


def _plain_entries(
    workspace_id: UUID, contact_id: UUID, by_rule: Iterable[UUID], at: datetime | None
) -> QuerySet[ScoreEntry]:
    entries = (
        ScoreEntry.objects.in_workspace(workspace_id)
        .filter(contact_id=contact_id, is_superseded=False)
        .exclude(rule_id__in=list(by_rule))
    )
    return entries if at is None else entries.filter(occurred_at__lte=at)


def _place_of(line_id: str, by_rule: Iterable[_RuleLines], plain: QuerySet[ScoreEntry]) -> Place:
    for rule in by_rule:
        if (line := rule.find(line_id)) is not None:
            return line.place
    entry_id = parse_uuid(line_id)
    entry = plain.filter(id=entry_id).first() if entry_id else None
    if entry is None:
        raise UnknownLine
    return _place_of_entry(entry)


def _place_of_entry(entry: ScoreEntry) -> Place:
    return Place(entry.occurred_at, True, entry.event_id, entry.rule_id, False)


def _comes_before(place: Place) -> Q:
    earlier = Q(occurred_at__lt=place.at)
    if not place.is_earned:
        return earlier
    tied = Q(event_id__lt=place.event_id) | Q(event_id=place.event_id, rule_id__lt=place.rule_id)
    return earlier | (Q(occurred_at=place.at) & tied)


def _with_scores(lines: Iterable[ScoreLine], latest: Decimal) -> list[ScoreLine]:
    """Add to each line the score after it, counting back from the latest."""
    scored = []
    for line in lines:
        scored.append(
            ScoreLine(line.id, line.kind, line.place, line.points, line.nominal, line.created_at, latest)
        )
        latest -= line.points
    return scored


def _sum(by_rule: Iterable[_RuleLines]) -> Decimal:
    return sum((rule.total for rule in by_rule), Decimal(0))


def _total(entries: QuerySet[ScoreEntry]) -> Decimal:
    return entries.aggregate(total=Sum("points"))["total"] or Decimal(0)
