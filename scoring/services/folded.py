"""The values of rules whose entries depend on one another, and what of them the scores have in them.

A contact's score is the sum, over rules, of what it includes of each: `RuleScore.included` where there is such a row,
else the sum of the rule's entries that count. Whatever changes a rule's value changes both by the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from django.db import connection

from events.services import schedule
from scoring.folding import Award, State, fold, next_decay
from scoring.models import RuleScore, ScoreEntry, ScoringRule

SCORE_SUBJECT = UUID("5c04e000-0000-4000-8000-000000000000")
"""What the timetable calls a contact's score."""

Pair = tuple[UUID, UUID]
"""A contact and a rule."""


@dataclass(frozen=True, slots=True)
class Entered:
    """An entry that is new in the ledger."""

    contact_id: UUID
    rule_id: UUID
    award: Award


@dataclass(slots=True)
class Settled:
    """What a rule gives a contact after a change, and what the score has in it of that until now."""

    rule: ScoringRule
    contact_id: UUID
    state: State
    included: Decimal
    was_included: Decimal
    # Entries whose mark is to change: by event, whether the limit leaves it out.
    marks: dict[UUID, bool] = field(default_factory=dict)


def settle(
    workspace_id: UUID, rules: Mapping[UUID, ScoringRule], entered: Sequence[Entered], now: datetime
) -> set[UUID]:
    """Fold new entries into their rules' values and the scores. Returns the contacts whose score has changed.

    What comes in the order of time costs the same however long the ledger is; what comes late folds it anew.
    """
    awards: dict[Pair, list[Award]] = defaultdict(list)
    for one in entered:
        awards[one.contact_id, one.rule_id].append(one.award)
    scores = _rule_scores(workspace_id, awards)
    settled, late = [], []
    for pair, new in awards.items():
        score = scores.get(pair)
        new.sort()
        if score is None or rules[pair[1]].is_rescoring or not score.state.precedes(new[0]):
            late.append(pair)
        else:
            settled.append(_onto(rules[pair[1]], score, new, now))
    settled += _anew(workspace_id, rules, late, scores, awards, now)
    return store(workspace_id, settled, now)


def refresh(workspace_id: UUID, contact_ids: Sequence[UUID], now: datetime) -> set[UUID]:
    """Let the contacts' scores decay until now. Returns those whose score has changed."""
    rules = {
        rule.id: rule
        for rule in ScoringRule.with_deleted.in_workspace(workspace_id).filter(decay_points__gt=0)
    }
    scores = RuleScore.objects.filter(
        workspace_id=workspace_id, contact_id__in=contact_ids, rule_id__in=rules
    ).order_by("contact_id", "rule_id")
    return store(workspace_id, [_onto(rules[score.rule_id], score, [], now) for score in scores], now)


def store(workspace_id: UUID, settled: Sequence[Settled], now: datetime) -> set[UUID]:
    """Write what rules give, the scores, and when they will be less. Returns the contacts whose score changes."""
    if not settled:
        return set()
    mark_entries(workspace_id, ((one.rule.id, one.marks) for one in settled))
    write_rule_scores(workspace_id, settled)
    schedule_decay(workspace_id, settled, now)
    return _add_to_scores(workspace_id, settled, now)


def fold_entries(rule: ScoringRule, entries: Sequence[ScoreEntry], now: datetime) -> Settled:
    """Fold a contact's entries under a rule, given in (time, event) order, from the first one on."""
    outcome = fold(rule.terms, (entry.award for entry in entries), now)
    if outcome.state is None:
        raise ValueError("An entry always counts if no other does.")
    superseded = outcome.superseded
    marks = {
        entry.event_id: entry.event_id in superseded
        for entry in entries
        if (entry.event_id in superseded) is not entry.is_superseded
    }
    return Settled(rule, entries[0].contact_id, outcome.state, outcome.value, Decimal(0), marks)


def entries_of(
    workspace_id: UUID, contact_ids: Collection[UUID], rule_ids: Collection[UUID]
) -> dict[Pair, list[ScoreEntry]]:
    """Return the ledger of contacts under rules, each pair's in (time, event) order."""
    ledger: dict[Pair, list[ScoreEntry]] = defaultdict(list)
    if contact_ids and rule_ids:
        rows = ScoreEntry.objects.filter(
            workspace_id=workspace_id, contact_id__in=contact_ids, rule_id__in=rule_ids
        )
        for entry in rows.order_by("occurred_at", "event_id"):
            ledger[entry.contact_id, entry.rule_id].append(entry)
    return ledger


def mark_entries(workspace_id: UUID, marks: Iterable[tuple[UUID, Mapping[UUID, bool]]]) -> None:
    """Write which entries the limits leave out: by rule, then by event."""
    rows = [(rule_id, event_id, mark) for rule_id, of in marks for event_id, mark in of.items()]
    if not rows:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE scoring_scoreentry s SET is_superseded = marked.mark"
            " FROM unnest(%s::uuid[], %s::uuid[], %s::boolean[]) AS marked (rule_id, event_id, mark)"
            " WHERE s.workspace_id = %s AND s.event_id = marked.event_id AND s.rule_id = marked.rule_id",
            [*(list(column) for column in zip(*rows, strict=True)), workspace_id],
        )


def write_rule_scores(workspace_id: UUID, settled: Sequence[Settled]) -> None:
    """Keep where the folds stand; a rule whose points merely add up needs no row."""
    plain = [one for one in settled if one.rule.terms.are_plain]
    if plain:
        with connection.cursor() as cursor:
            cursor.execute(
                "DELETE FROM scoring_rulescore r USING unnest(%s::uuid[], %s::uuid[]) AS plain (contact_id, rule_id)"
                " WHERE r.workspace_id = %s AND r.contact_id = plain.contact_id AND r.rule_id = plain.rule_id",
                [[one.contact_id for one in plain], [one.rule.id for one in plain], workspace_id],
            )
    RuleScore.objects.bulk_create(
        [
            RuleScore(
                workspace_id=workspace_id,
                contact_id=one.contact_id,
                rule=one.rule,
                folded=one.state.value,
                last_at=one.state.last_at,
                last_event_id=one.state.last_event_id,
                counted=one.state.counted,
                included=one.included,
            )
            for one in settled
            if not one.rule.terms.are_plain
        ],
        update_conflicts=True,
        unique_fields=["workspace", "contact", "rule"],
        update_fields=["folded", "last_at", "last_event_id", "counted", "included"],
    )


def schedule_decay(workspace_id: UUID, settled: Iterable[Settled], now: datetime) -> None:
    """Have the scores looked at again when the first of their rules decays."""
    first: dict[UUID, datetime] = {}
    for one in settled:
        moment = next_decay(one.rule.terms, one.state, now)
        if moment is not None:
            first[one.contact_id] = min(moment, first.get(one.contact_id, moment))
    schedule(workspace_id, [(SCORE_SUBJECT, contact_id, moment) for contact_id, moment in first.items()])


def _rule_scores(workspace_id: UUID, pairs: Collection[Pair]) -> dict[Pair, RuleScore]:
    rows = RuleScore.objects.filter(
        workspace_id=workspace_id,
        contact_id__in={contact_id for contact_id, _ in pairs},
        rule_id__in={rule_id for _, rule_id in pairs},
    )
    return {(row.contact_id, row.rule_id): row for row in rows}


def _onto(rule: ScoringRule, score: RuleScore, new: Sequence[Award], now: datetime) -> Settled:
    outcome = fold(rule.terms, new, now, score.state)
    state = outcome.state or score.state
    marks = dict.fromkeys(outcome.superseded, True)
    return Settled(rule, score.contact_id, state, outcome.value, score.included, marks)


def _anew(
    workspace_id: UUID,
    rules: Mapping[UUID, ScoringRule],
    pairs: Sequence[Pair],
    scores: Mapping[Pair, RuleScore],
    new: Mapping[Pair, Sequence[Award]],
    now: datetime,
) -> list[Settled]:
    ledger = entries_of(workspace_id, {contact for contact, _ in pairs}, {rule for _, rule in pairs})
    settled = []
    for pair in pairs:
        one = fold_entries(rules[pair[1]], ledger[pair], now)
        if pair in scores:
            one.was_included = scores[pair].included
        else:
            fresh = {award.event_id for award in new[pair]}
            one.was_included = sum(
                (
                    entry.points
                    for entry in ledger[pair]
                    if entry.event_id not in fresh and not entry.is_superseded
                ),
                Decimal(0),
            )
        settled.append(one)
    return settled


def _add_to_scores(workspace_id: UUID, settled: Sequence[Settled], now: datetime) -> set[UUID]:
    changes: dict[UUID, Decimal] = defaultdict(Decimal)
    for one in settled:
        changes[one.contact_id] += one.included - one.was_included
    contacts = sorted(changes)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO contacts_contactscore AS s (id, workspace_id, contact_id, points, updated_at)"
            " SELECT gen_random_uuid(), %s, contact_id, points, %s"
            " FROM unnest(%s::uuid[], %s::numeric[]) AS changed (contact_id, points)"
            " ON CONFLICT (workspace_id, contact_id) DO UPDATE"
            " SET points = s.points + excluded.points, updated_at = excluded.updated_at"
            " WHERE excluded.points <> 0 RETURNING contact_id",
            [workspace_id, now, contacts, [changes[contact_id] for contact_id in contacts]],
        )
        return {contact_id for (contact_id,) in cursor.fetchall()}
