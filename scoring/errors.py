"""Errors of scoring rules."""

from config.errors import InvalidValue, NotFoundError


class ScoringRuleNotFound(NotFoundError):
    code = "scoring_rule_not_found"
    message = "Scoring rule not found"


class InvalidScoringRule(InvalidValue):
    """Values that do not go together; `field` of the rule is the one to change."""

    code = "invalid_scoring_rule"
