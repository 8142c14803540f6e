"""Scoring rules, and the scores that follow from them."""

from scoring.services.explaining import Explanation, ScoreLine, UnknownLine, explain_score
from scoring.services.previewing import Preview, preview_rule
from scoring.services.rescoring import rescore_contacts, rescore_lane, standing_contacts
from scoring.services.rules import (
    delete_rule,
    rescore_rule,
    rule_warnings,
    save_rule,
    validate_rule,
)
from scoring.services.verification import Difference, repair_contacts, verify_contacts

__all__ = [
    "Difference",
    "Explanation",
    "Preview",
    "ScoreLine",
    "UnknownLine",
    "delete_rule",
    "explain_score",
    "preview_rule",
    "repair_contacts",
    "rescore_contacts",
    "rescore_lane",
    "rescore_rule",
    "rule_warnings",
    "save_rule",
    "standing_contacts",
    "validate_rule",
    "verify_contacts",
]
