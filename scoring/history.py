"""Scores as of past moments, calculated from the ledger, for evaluations that come late."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import accumulate
from uuid import UUID

from django.db import connection

from scoring.calculation import calculate
from scoring.models import ScoringRule
from scoring.rule_scores import entries_of


@dataclass(frozen=True, slots=True)
class ScoreHistory:
    """A contact's score from a moment on: what it was after each change, and which of these were decay."""

    moments: list[datetime]
    scores: list[Decimal]
    decays: list[datetime]

    def at(self, moment: datetime) -> Decimal:
        """Return the score at a moment."""
        place = bisect_right(self.moments, moment)
        return self.scores[place - 1] if place else Decimal(0)


def score_histories(
    workspace_id: UUID, contact_ids: Collection[UUID], *, since: datetime, until: datetime
) -> dict[UUID, ScoreHistory]:
    """Return the history of contacts' scores from `since` until `until`, by what is known now."""
    changes: dict[UUID, dict[datetime, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    decays: dict[UUID, set[datetime]] = defaultdict(set)
    rules = {
        rule.id: rule
        for rule in ScoringRule.with_deleted.in_workspace(workspace_id)
        if not rule.terms.are_plain
    }
    for (contact_id, rule_id), entries in entries_of(workspace_id, contact_ids, rules).items():
        awards = [entry.award for entry in entries if entry.award.occurred_at <= until]
        for line in calculate(rules[rule_id].terms, awards, until).lines():
            changes[contact_id][line.at] += line.points
            if line.kind == "decay" and line.at >= since:
                decays[contact_id].add(line.at)
    with connection.cursor() as cursor:
        cursor.execute(_PLAIN, [since, list(contact_ids), workspace_id, list(rules), until])
        for contact_id, at, points in cursor.fetchall():
            changes[contact_id][at] += points
    return {contact_id: _history(changes[contact_id], decays[contact_id]) for contact_id in contact_ids}


@contextmanager
def scores_shown_as(workspace_id: UUID, scores: Mapping[UUID, Decimal]) -> Iterator[None]:
    """Replace stored scores while the block evaluates rules, then restore them; the contacts' lanes must be held.

    It is the caller's transaction that sees them, and one that fails within the block is not to go on.
    """
    if not scores:
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT contact_id, points FROM contacts_contactscore WHERE workspace_id = %s AND contact_id = ANY(%s)",
            [workspace_id, list(scores)],
        )
        stored = {
            contact_id: points for contact_id, points in cursor.fetchall() if points != scores[contact_id]
        }
    _show(workspace_id, {contact_id: scores[contact_id] for contact_id in stored})
    yield
    _show(workspace_id, stored)


def _history(changes: Mapping[datetime, Decimal], decays: Collection[datetime]) -> ScoreHistory:
    moments = sorted(changes)
    return ScoreHistory(moments, list(accumulate(changes[at] for at in moments)), sorted(decays))


def _show(workspace_id: UUID, scores: Mapping[UUID, Decimal]) -> None:
    if not scores:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE contacts_contactscore s SET points = shown.points"
            " FROM unnest(%s::uuid[], %s::numeric[]) AS shown (contact_id, points)"
            " WHERE s.workspace_id = %s AND s.contact_id = shown.contact_id",
            [list(scores), list(scores.values()), workspace_id],
        )


# What came before is one line.
_PLAIN = """
SELECT s.contact_id, GREATEST(s.occurred_at, %s::timestamptz) AS at, sum(s.points)
FROM unnest(%s::uuid[]) AS wanted (contact_id) CROSS JOIN LATERAL (
    SELECT * FROM scoring_scoreentry WHERE workspace_id = %s AND contact_id = wanted.contact_id
        AND NOT is_superseded AND rule_id <> ALL (%s) AND occurred_at <= %s OFFSET 0
) s GROUP BY 1, 2
"""
