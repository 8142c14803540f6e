"""Scoring rules parsed into event rules: for the effect, re-scoring and preview."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from events.rules.event_matching import ALWAYS, EventRule, parse_serialized_rule, serialize_rule
from scoring.models import ScoringRule


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleEvaluator(EventRule):
    """A scoring rule with its parsed condition."""

    rule: ScoringRule


def read(rule: ScoringRule, evaluates_from: datetime | None = None) -> RuleEvaluator:
    """Read a stored rule. Raises InvalidCondition."""
    spelled = serialize_rule(rule.event_name, rule.condition)
    return RuleEvaluator(parse_serialized_rule(spelled), evaluates_from or ALWAYS, spelled, rule=rule)
