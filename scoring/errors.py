"""Errors of scoring rules."""

from config.errors import InvalidValue, NotFoundError


class ScoringRuleNotFound(NotFoundError):
    code = "scoring_rule_not_found"
    message = "Scoring rule not found"


class InvalidScoringRule(InvalidValue):
    """Values of a rule contradict each other; `field` is the one to change."""

    code = "invalid_scoring_rule"
