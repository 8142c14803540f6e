"""Scoring rules as rules about events: the same for the wheel, the re-scoring and the preview."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from events.rules.matching import ALWAYS, EventRule, read_spelled, spell_rule
from scoring.models import ScoringRule


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge(EventRule):
    """A scoring rule that has been read."""

    rule: ScoringRule


def read(rule: ScoringRule, judges_from: datetime | None = None) -> Judge:
    """Read a stored rule. Raises InvalidCondition."""
    spelled = spell_rule(rule.event_name, rule.condition)
    return Judge(read_spelled(spelled), judges_from or ALWAYS, spelled, rule=rule)
