"""Scoring rules, and the scores that follow from them."""

from scoring.services.rescoring import rescore_contacts, rescore_lane, standing_contacts
from scoring.services.rules import (
    delete_rule,
    rescore_rule,
    rule_warnings,
    save_rule,
    validate_rule,
)

__all__ = [
    "delete_rule",
    "rescore_contacts",
    "rescore_lane",
    "rescore_rule",
    "rule_warnings",
    "save_rule",
    "standing_contacts",
    "validate_rule",
]
