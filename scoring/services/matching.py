"""Scoring rules as rules about events: the same for the wheel, the re-scoring and the preview."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from events.rules import read_rule
from events.rules.matching import ALWAYS, EventRule
from scoring.models import ScoringRule


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge(EventRule):
    """A scoring rule that has been read."""

    rule: ScoringRule


def read(rule: ScoringRule, judges_from: datetime | None = None) -> Judge:
    """Read a stored rule. Raises InvalidCondition."""
    tree = read_rule(rule.condition, about_event=rule.event_name)
    return Judge(tree, judges_from or ALWAYS, rule=rule)
