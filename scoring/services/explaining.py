"""Why a contact has its score: every line that adds up to it, at any moment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from django.db.models import Q, QuerySet, Sum

from config import clock
from config.ids import parse_uuid
from scoring.folding import Line, fold
from scoring.models import ScoreEntry, ScoringRule
from scoring.services.folded import Entry, Pair, entries_of


class Place(NamedTuple):
    """Where a line stands among a contact's lines: what decays at a moment does so before it earns."""

    at: datetime
    is_earned: bool
    event_id: UUID
    rule_id: UUID
    is_clamp: bool


@dataclass(frozen=True, slots=True)
class ScoreLine:
    """A change of the score; `score` is what it is after this line. `id` names the line for ever."""

    id: str
    kind: str
    place: Place
    points: Decimal
    nominal: Decimal
    created_at: datetime
    score: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class Explanation:
    """A contact's score at a moment, and a page of the lines that add up to it, the latest first."""

    at: datetime
    score: Decimal
    lines: list[ScoreLine]
    has_more: bool


class UnknownLine(Exception):
    """The page is to begin after a line that this score does not have."""


def explain_score(
    workspace_id: UUID,
    contact_id: UUID,
    *,
    at: datetime | None = None,
    before: str | None = None,
    limit: int = 50,
) -> Explanation:
    """Return a contact's score at a moment, by default now, and its lines from `before`, a line's id, on.

    Raises UnknownLine. Rules whose points merely add up are read a page at a time, the others folded as a whole.
    """
    moment = at or clock.now()
    rules = {
        rule.id: rule
        for rule in ScoringRule.with_deleted.in_workspace(workspace_id)
        if not rule.terms.are_plain
    }
    # Without a moment all that is known counts, also from a sender whose clock is ahead.
    derived = _derived_lines(rules, entries_of(workspace_id, [contact_id], rules), moment, at)
    plain = _plain_entries(workspace_id, contact_id, rules, at)
    score = _sum(derived) + _total(plain)
    rest, left = plain, score
    if before is not None:
        place = _place_of(before, derived, plain)
        derived = [line for line in derived if line.place < place]
        rest = plain.filter(_comes_before(place))
        left = _sum(derived) + _total(rest)
    latest = rest.order_by("-occurred_at", "-event_id", "-rule_id")[: limit + 1]
    lines = sorted(
        [*derived, *(_plain_line(entry) for entry in latest)], key=lambda line: line.place, reverse=True
    )
    return Explanation(moment, score, _with_scores(lines[:limit], left), len(lines) > limit)


def _derived_lines(
    rules: Mapping[UUID, ScoringRule],
    ledger: Mapping[Pair, Sequence[Entry]],
    moment: datetime,
    at: datetime | None,
) -> list[ScoreLine]:
    """Return the lines of the rules whose entries depend on one another."""
    lines: list[ScoreLine] = []
    for (_, rule_id), entries in ledger.items():
        known = {
            entry.award.event_id: entry for entry in entries if at is None or entry.award.occurred_at <= at
        }
        outcome = fold(rules[rule_id].terms, (entry.award for entry in known.values()), moment)
        lines += [_derived_line(line, known[line.event_id]) for line in outcome.lines()]
    return lines


def _derived_line(line: Line, entry: Entry) -> ScoreLine:
    suffix = {"decay": f":decay:{line.step}", "clamp": ":clamp"}.get(line.kind, "")
    place = Place(line.at, line.kind != "decay", line.event_id, entry.rule_id, line.kind == "clamp")
    nominal = line.points if suffix else entry.award.points
    return ScoreLine(f"{entry.id}{suffix}", line.kind, place, line.points, nominal, entry.created_at)


def _plain_line(entry: ScoreEntry) -> ScoreLine:
    return ScoreLine(
        str(entry.id), "award", _place_of_entry(entry), entry.points, entry.points, entry.created_at
    )


def _plain_entries(
    workspace_id: UUID, contact_id: UUID, folded: Iterable[UUID], at: datetime | None
) -> QuerySet[ScoreEntry]:
    entries = ScoreEntry.objects.filter(
        workspace_id=workspace_id, contact_id=contact_id, is_superseded=False
    ).exclude(rule_id__in=list(folded))
    return entries if at is None else entries.filter(occurred_at__lte=at)


def _place_of(line_id: str, derived: Iterable[ScoreLine], plain: QuerySet[ScoreEntry]) -> Place:
    for line in derived:
        if line.id == line_id:
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
    """Give each line the score after it, from the latest one down."""
    told = []
    for line in lines:
        told.append(
            ScoreLine(line.id, line.kind, line.place, line.points, line.nominal, line.created_at, latest)
        )
        latest -= line.points
    return told


def _sum(lines: Iterable[ScoreLine]) -> Decimal:
    return sum((line.points for line in lines), Decimal(0))


def _total(entries: QuerySet[ScoreEntry]) -> Decimal:
    return entries.aggregate(total=Sum("points"))["total"] or Decimal(0)
