"""Why a scoring rule cannot be taken."""

from config.errors import DomainError


class ScoringRuleNotFound(DomainError):
    code = "scoring_rule_not_found"

    def __init__(self) -> None:
        super().__init__("Scoring rule not found")
