"""The one language of rules: segments, scoring rules and campaign triggers are trees of conditions.

A rule is read once, when it is saved (`read_rule`), and compiled to SQL wherever it decides (`compile_rules`).
"""

from events.rules.compiling import CompiledRules, Earliest, MeasureSpec, compile_rules, measures_of
from events.rules.explaining import explain_contact
from events.rules.nodes import Rule
from events.rules.reading import OF_CONTACTS, read_rule, scopes_asked_by, scopes_told_by
from events.rules.warnings import warnings_of

__all__ = [
    "OF_CONTACTS",
    "CompiledRules",
    "Earliest",
    "MeasureSpec",
    "Rule",
    "compile_rules",
    "explain_contact",
    "measures_of",
    "read_rule",
    "scopes_asked_by",
    "scopes_told_by",
    "warnings_of",
]
