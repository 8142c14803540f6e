"""Parse scoring rules into event rules, for the effect, re-scoring and preview."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from events.errors import InvalidCondition
from events.rules.event_matching import ALWAYS, EventRule, parse_serialized_rule, serialize_rule
from scoring.models import ScoringRule


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleEvaluator(EventRule):
    """A scoring rule with its parsed condition."""

    rule: ScoringRule


def read(rule: ScoringRule, evaluates_from: datetime | None = None) -> RuleEvaluator:
    """Parse a stored rule. Raises InvalidCondition."""
    spelled = serialize_rule(rule.event_name, rule.condition)
    return RuleEvaluator(parse_serialized_rule(spelled), evaluates_from or ALWAYS, spelled, rule=rule)


def unreadable_rules(workspace_id: UUID) -> list[str]:
    """Return a sentence for each rule that can't be read: nobody evaluates it, and what it gave stays."""
    sentences = []
    for rule in ScoringRule.objects.in_workspace(workspace_id).order_by("id"):
        try:
            read(rule)
        except InvalidCondition as error:
            sentences.append(f'The rule "{rule.name}" ({rule.id}) cannot be read: {error.sentence}')
    return sentences


def read_where_event_decides(rules: Iterable[ScoringRule]) -> list[RuleEvaluator]:
    """Read the rules that the event alone decides, to evaluate history anew.

    A rule that can't be read is left out: the effect parks it, with the reason, when an event comes for it.
    """
    evaluators = []
    for rule in rules:
        try:
            evaluator = read(rule, rule.effective_from)
        except InvalidCondition:
            continue
        if not evaluator.needs_contact:
            evaluators.append(evaluator)
    return evaluators
