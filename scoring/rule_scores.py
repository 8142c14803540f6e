"""Rule scores: the values of rules with limit, bounds or decay.

A contact's score is the sum over rules: of `RuleScore.included` where there is such a row, else of the rule's
entries that count. Whatever changes a rule's value changes `included` and the score by the same amount.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from config.db.statements import execute, fetch_all
from events.processing.timers import schedule_timers
from scoring.calculation import Award, State, calculate, next_decay
from scoring.models import ScoringRule

SCORE_TIMER_KEY = UUID("5c04e000-0000-4000-8000-000000000000")
"""The timer key of a contact's score."""

Pair = tuple[UUID, UUID]
"""A contact and a rule."""


@dataclass(frozen=True, slots=True)
class Entered:
    """A new ledger entry."""

    contact_id: UUID
    rule_id: UUID
    award: Award


@dataclass(frozen=True, slots=True)
class Entry:
    """A stored ledger entry."""

    id: UUID
    contact_id: UUID
    rule_id: UUID
    award: Award
    is_superseded: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Value:
    """A contact's value under a rule, and the part of it that its score includes."""

    state: State
    included: Decimal


@dataclass(slots=True)
class RuleScoreChange:
    """A contact's new value under a rule, and the part of the old one that its score includes."""

    rule: ScoringRule
    contact_id: UUID
    state: State
    included: Decimal
    was_included: Decimal
    # Entries whose mark is to change: by event, whether the limit leaves it out.
    marks: dict[UUID, bool] = field(default_factory=dict)


def apply_entries(
    workspace_id: UUID, rules: Mapping[UUID, ScoringRule], entered: Sequence[Entered], now: datetime
) -> set[UUID]:
    """Add new entries to rule scores and scores. Returns the contacts whose score changed.

    Entries in the order of time cost the same however long the ledger is; a late one recalculates it.
    """
    awards: dict[Pair, list[Award]] = defaultdict(list)
    for entry in entered:
        awards[entry.contact_id, entry.rule_id].append(entry.award)
    values = _values(workspace_id, {contact for contact, _ in awards}, rules)
    settled, late = [], []
    for pair, new in awards.items():
        value, rule = values.get(pair), rules[pair[1]]
        new.sort()
        if value is None or rule.is_rescoring or not value.state.precedes(new[0]):
            late.append(pair)
        else:
            settled.append(_onto(rule, pair[0], value, new, now))
    settled += _anew(workspace_id, rules, late, values, awards, now)
    return _store(workspace_id, settled, now)


def refresh(workspace_id: UUID, contact_ids: Sequence[UUID], now: datetime) -> set[UUID]:
    """Apply decay to contacts' scores until now. Returns those whose score changed."""
    rules = {
        rule.id: rule
        for rule in ScoringRule.with_deleted.in_workspace(workspace_id).filter(decay_points__gt=0)
    }
    values = _values(workspace_id, contact_ids, rules)
    settled = [_onto(rules[rule_id], contact, value, (), now) for (contact, rule_id), value in values.items()]
    return _store(workspace_id, settled, now)


def _store(workspace_id: UUID, settled: Sequence[RuleScoreChange], now: datetime) -> set[UUID]:
    """Store rule scores, scores and timers of the next decay. Returns the contacts whose score changed."""
    if not settled:
        return set()
    mark_entries(workspace_id, ((change.rule.id, change.marks) for change in settled))
    write_rule_scores(workspace_id, settled)
    schedule_decay(workspace_id, settled, now)
    return _add_to_scores(workspace_id, settled, now)


def recalculate_entries(rule: ScoringRule, entries: Sequence[Entry], now: datetime) -> RuleScoreChange:
    """Calculate a rule's value from all its entries, in (time, event) order."""
    outcome = calculate(rule.terms, (entry.award for entry in entries), now)
    if outcome.state is None:
        raise ValueError("An entry always counts if no other does.")
    superseded = outcome.superseded
    marks = {
        entry.award.event_id: not entry.is_superseded
        for entry in entries
        if (entry.award.event_id in superseded) is not entry.is_superseded
    }
    return RuleScoreChange(rule, entries[0].contact_id, outcome.state, outcome.value, Decimal(0), marks)


def entries_of(
    workspace_id: UUID, contact_ids: Collection[UUID], rule_ids: Collection[UUID]
) -> dict[Pair, list[Entry]]:
    """Return the ledger by (contact, rule), in (time, event) order."""
    ledger: dict[Pair, list[Entry]] = defaultdict(list)
    if not contact_ids or not rule_ids:
        return ledger
    rows = fetch_all(
        "SELECT s.id, s.contact_id, s.rule_id, s.occurred_at, s.event_id, s.points, s.is_superseded,"
        " s.created_at FROM unnest(%s::uuid[]) AS wanted (contact_id) CROSS JOIN LATERAL ("
        " SELECT * FROM scoring_scoreentry WHERE workspace_id = %s AND contact_id = wanted.contact_id"
        " AND rule_id = ANY(%s) OFFSET 0) s ORDER BY s.occurred_at, s.event_id",
        [list(contact_ids), workspace_id, list(rule_ids)],
    )
    for id_, contact_id, rule_id, occurred_at, event_id, points, mark, created_at in rows:
        award = Award(occurred_at, event_id, points)
        ledger[contact_id, rule_id].append(Entry(id_, contact_id, rule_id, award, mark, created_at))
    return ledger


def mark_entries(workspace_id: UUID, marks: Iterable[tuple[UUID, Mapping[UUID, bool]]]) -> None:
    """Store which entries are past their rule's limit: rule id, then {event id: is superseded}."""
    rows = [(rule_id, event_id, mark) for rule_id, of in marks for event_id, mark in of.items()]
    if not rows:
        return
    execute(
        "UPDATE scoring_scoreentry s SET is_superseded = marked.mark"
        " FROM unnest(%s::uuid[], %s::uuid[], %s::boolean[]) AS marked (rule_id, event_id, mark)"
        " WHERE s.workspace_id = %s AND s.event_id = marked.event_id AND s.rule_id = marked.rule_id",
        [*(list(column) for column in zip(*rows, strict=True)), workspace_id],
    )


def write_rule_scores(workspace_id: UUID, settled: Sequence[RuleScoreChange]) -> None:
    """Store rule scores; delete those of rules whose points merely add up."""
    plain = [change for change in settled if change.rule.terms.are_plain]
    if plain:
        execute(
            "DELETE FROM scoring_rulescore r USING unnest(%s::uuid[], %s::uuid[]) AS plain (contact_id, rule_id)"
            " WHERE r.workspace_id = %s AND r.contact_id = plain.contact_id AND r.rule_id = plain.rule_id",
            [[change.contact_id for change in plain], [change.rule.id for change in plain], workspace_id],
        )
    kept = [change for change in settled if not change.rule.terms.are_plain]
    execute(
        "INSERT INTO scoring_rulescore (id, workspace_id, contact_id, rule_id, value, last_at, last_event_id,"
        " counted, included)"
        " SELECT gen_random_uuid(), %s, contact_id, rule_id, value, last_at, last_event_id, counted, included"
        " FROM unnest(%s::uuid[], %s::uuid[], %s::numeric[], %s::timestamptz[], %s::uuid[], %s::int[],"
        " %s::numeric[]) AS v (contact_id, rule_id, value, last_at, last_event_id, counted, included)"
        " ORDER BY contact_id, rule_id"
        " ON CONFLICT (workspace_id, contact_id, rule_id) DO UPDATE SET value = excluded.value,"
        " last_at = excluded.last_at, last_event_id = excluded.last_event_id, counted = excluded.counted,"
        " included = excluded.included",
        [
            workspace_id,
            [change.contact_id for change in kept],
            [change.rule.id for change in kept],
            [change.state.value for change in kept],
            [change.state.last_at for change in kept],
            [change.state.last_event_id for change in kept],
            [change.state.counted for change in kept],
            [change.included for change in kept],
        ],
    )


def schedule_decay(workspace_id: UUID, settled: Iterable[RuleScoreChange], now: datetime) -> None:
    """Set a timer for each contact at the first decay of its rules."""
    first: dict[UUID, datetime] = {}
    for change in settled:
        moment = next_decay(change.rule.terms, change.state, now)
        if moment is not None:
            first[change.contact_id] = min(moment, first.get(change.contact_id, moment))
    schedule_timers(
        workspace_id, [(SCORE_TIMER_KEY, contact_id, moment) for contact_id, moment in first.items()]
    )


def _values(
    workspace_id: UUID, contact_ids: Collection[UUID], rule_ids: Collection[UUID]
) -> dict[Pair, Value]:
    rows = fetch_all(
        "SELECT contact_id, rule_id, value, last_at, last_event_id, counted, included FROM scoring_rulescore"
        " WHERE workspace_id = %s AND contact_id = ANY(%s) AND rule_id = ANY(%s)",
        [workspace_id, list(contact_ids), list(rule_ids)],
    )
    return {
        (contact_id, rule_id): Value(State(value, last_at, last_event_id, counted), included)
        for contact_id, rule_id, value, last_at, last_event_id, counted, included in rows
    }


def _onto(
    rule: ScoringRule, contact_id: UUID, value: Value, new: Sequence[Award], now: datetime
) -> RuleScoreChange:
    outcome = calculate(rule.terms, new, now, value.state)
    marks = dict.fromkeys(outcome.superseded, True)
    return RuleScoreChange(
        rule, contact_id, outcome.state or value.state, outcome.value, value.included, marks
    )


def _anew(
    workspace_id: UUID,
    rules: Mapping[UUID, ScoringRule],
    pairs: Sequence[Pair],
    values: Mapping[Pair, Value],
    new: Mapping[Pair, Sequence[Award]],
    now: datetime,
) -> list[RuleScoreChange]:
    ledger = entries_of(workspace_id, {contact for contact, _ in pairs}, {rule for _, rule in pairs})
    settled = []
    for pair in pairs:
        change = recalculate_entries(rules[pair[1]], ledger[pair], now)
        change.was_included = (
            values[pair].included
            if pair in values
            else _added_up(ledger[pair], {a.event_id for a in new[pair]})
        )
        settled.append(change)
    return settled


def _added_up(entries: Iterable[Entry], but: Collection[UUID]) -> Decimal:
    counting = (entry for entry in entries if not entry.is_superseded and entry.award.event_id not in but)
    return sum((entry.award.points for entry in counting), Decimal(0))


def _add_to_scores(workspace_id: UUID, settled: Sequence[RuleScoreChange], now: datetime) -> set[UUID]:
    changes: dict[UUID, Decimal] = defaultdict(Decimal)
    for change in settled:
        changes[change.contact_id] += change.included - change.was_included
    contacts = sorted(changes)
    rows = fetch_all(
        "INSERT INTO contacts_contactscore AS s (id, workspace_id, contact_id, points, updated_at)"
        " SELECT gen_random_uuid(), %s, contact_id, points, %s"
        " FROM unnest(%s::uuid[], %s::numeric[]) AS changed (contact_id, points)"
        " ON CONFLICT (workspace_id, contact_id) DO UPDATE"
        " SET points = s.points + excluded.points, updated_at = excluded.updated_at"
        " WHERE excluded.points <> 0 RETURNING contact_id",
        [workspace_id, now, contacts, [changes[contact_id] for contact_id in contacts]],
    )
    return {contact_id for (contact_id,) in rows}
