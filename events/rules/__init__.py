"""The language of rules: trees of conditions, parsed, compiled to SQL and explained; docs/rules.md is its reference.

A rule is read once, when it is saved (`parse_rule`), and compiled to SQL wherever it decides (`compile_rules`).
"""

from events.rules.compiler import AggregateSpec, CompiledRules, aggregates_of_rule, compile_rules
from events.rules.explanation import explain_contact
from events.rules.nodes import Rule
from events.rules.parser import (
    CONTACT_EVENT_PREFIXES,
    parse_rule,
    scopes_required_by_event,
    scopes_required_by_rule,
)
from events.rules.warnings import find_rule_warnings

__all__ = [
    "CONTACT_EVENT_PREFIXES",
    "AggregateSpec",
    "CompiledRules",
    "Rule",
    "aggregates_of_rule",
    "compile_rules",
    "explain_contact",
    "find_rule_warnings",
    "parse_rule",
    "scopes_required_by_event",
    "scopes_required_by_rule",
]
