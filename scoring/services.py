"""Scoring rules, edited so that no event falls between the old rule and the new."""

from typing import Any

from django.db import transaction

from config import clock
from events.conditions import validate_condition
from events.services import bump_rules_version
from scoring.errors import ScoringRuleNotFound
from scoring.models import ScoringRule


@transaction.atomic
def save_rule(rule: ScoringRule, **values: Any) -> ScoringRule:
    """Set the values on a rule, new or not, and save it. Raises InvalidCondition or ScoringRuleNotFound.

    Runs of effects that began under the old rule are waited for; later ones see the new one.
    """
    for name, value in values.items():
        setattr(rule, name, value)
    validate_condition(rule.condition)
    # Edits of one workspace's rules wait for one another here, so what stands now stands until the commit.
    bump_rules_version(rule.workspace_id)
    is_new = rule._state.adding
    if not is_new and not ScoringRule.objects.filter(workspace_id=rule.workspace_id, id=rule.id).exists():
        raise ScoringRuleNotFound
    rule.updated_at = clock.now()
    rule.save(force_insert=is_new, force_update=not is_new)
    return rule


@transaction.atomic
def delete_rule(rule: ScoringRule) -> None:
    """Delete a rule; what it has given stays in the ledger and in the scores."""
    bump_rules_version(rule.workspace_id)
    rule.delete()
