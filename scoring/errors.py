"""Errors of scoring rules."""

from config.errors import DomainError


class ScoringRuleNotFound(DomainError):
    code = "scoring_rule_not_found"

    def __init__(self) -> None:
        super().__init__("Scoring rule not found")


class InvalidScoringRule(DomainError):
    """Values that do not go together; `field` of the rule is the one to change."""

    code = "invalid_scoring_rule"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
