"""Scores as of past moments, calculated from the ledger, for segment evaluations that were missed."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import accumulate
from uuid import UUID

from config.db.statements import fetch_all
from scoring.calculation import calculate
from scoring.models import ScoringRule
from scoring.rule_scores import entries_of


@dataclass(frozen=True, slots=True)
class ScoreHistory:
    """A contact's score since a moment: after each change, and which changes were decay."""

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
    """Return the score histories of contacts between `since` and `until`, from the ledger as it is now."""
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
    rows = fetch_all(_PLAIN, [since, list(contact_ids), workspace_id, list(rules), until])
    for contact_id, at, points in rows:
        changes[contact_id][at] += points
    return {contact_id: _history(changes[contact_id], decays[contact_id]) for contact_id in contact_ids}


def _history(changes: Mapping[datetime, Decimal], decays: Collection[datetime]) -> ScoreHistory:
    moments = sorted(changes)
    return ScoreHistory(moments, list(accumulate(changes[at] for at in moments)), sorted(decays))


# What came before is one line.
_PLAIN = """
SELECT s.contact_id, GREATEST(s.occurred_at, %s::timestamptz) AS at, sum(s.points)
FROM unnest(%s::uuid[]) AS wanted (contact_id) CROSS JOIN LATERAL (
    SELECT * FROM scoring_scoreentry WHERE workspace_id = %s AND contact_id = wanted.contact_id
        AND NOT is_superseded AND rule_id <> ALL (%s) AND occurred_at <= %s OFFSET 0
) s GROUP BY 1, 2
"""
