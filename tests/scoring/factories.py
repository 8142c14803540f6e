"""Scoring rules with the least data."""

from scoring.models import ScoringRule
from scoring.rules import save_rule


def a_rule(workspace, event_name, points, condition=None, **values):
    """Return a saved rule."""
    rule = ScoringRule(workspace=workspace, name="rule", event_name=event_name, points=points)
    return save_rule(rule, condition=condition, **values)
