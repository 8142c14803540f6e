import pytest

from contacts.references import ContactReference
from events.errors import InvalidCondition
from events.processing.passes import apply_effects
from events.rules.conditions import validate_condition
from events.stream.types import IncomingEvent, SchemaPolicy
from scoring.errors import ScoringRuleNotFound
from scoring.models import ScoreEntry, ScoringRule
from scoring.rules import delete_rule, save_rule
from tests.scoring.factories import a_rule
from tests.stream import record_event
from tests.workspaces.factories import WorkspaceFactory

JANE = ContactReference(identifiers=(("email", "jane@example.test"),), if_missing="create")
PROPERTIES = {
    "amount": 50,
    "ratio": 1.0,
    "plan": "pro",
    "tags": ["a", 1, True],
    "nested": {"deep": {"er": "x"}},
    "nothing": None,
    "flag": True,
    "text": "50",
}


def test_a_rule_that_was_deleted_meanwhile_does_not_come_back(db):
    rule = a_rule(WorkspaceFactory(), "buy", 1)
    stale = ScoringRule.objects.get(id=rule.id)
    delete_rule(rule)
    with pytest.raises(ScoringRuleNotFound):
        save_rule(stale, points=2)
    assert not ScoringRule.objects.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("field", "operator", "value", "holds"),
    [
        ("metadata.amount", "gte", 50, True),
        ("metadata.amount", "gt", 50, False),
        ("metadata.amount", "eq", 50.0, True),
        ("metadata.amount", "eq", "50", False),
        ("metadata.text", "gte", 1, False),
        ("metadata.text", "eq", 50, False),
        ("metadata.amount", "between", [50, 60], True),
        ("metadata.amount", "between", [51, 60], False),
        ("metadata.amount", "in", [1, 50], True),
        ("metadata.amount", "not_in", [1, 2], True),
        ("metadata.ratio", "eq", 1, True),
        ("metadata.plan", "neq", "free", True),
        ("metadata.plan", "starts_with", "pr", True),
        ("metadata.plan", "ends_with", "ro", True),
        ("metadata.plan", "contains", "r", True),
        ("metadata.plan", "not_contains", "z", True),
        ("metadata.plan", "gt", "Zebra", True),
        ("metadata.plan", "lt", 5, False),
        ("metadata.tags", "contains", "a", True),
        ("metadata.tags", "contains", 1, True),
        ("metadata.tags", "contains", "1", False),
        ("metadata.nested.deep.er", "eq", "x", True),
        ("properties.plan", "eq", "pro", True),
        ("metadata.flag", "eq", True, True),
        ("metadata.flag", "eq", 1, False),
        ("pageUrl", "ends_with", "/pricing", True),
        ("utmSource", "exists", None, False),
        ("metadata.nothing", "exists", None, False),
        ("metadata.nothing", "not_exists", None, True),
        # A missing value never matches a comparison, be it a denial.
        ("metadata.gone", "neq", "x", False),
        ("metadata.gone", "not_in", ["x"], False),
        ("metadata.gone", "not_contains", "x", False),
        ("metadata.nothing", "neq", 1, False),
        ("metadata.plan.deeper", "eq", "x", False),
    ],
)
def test_what_a_condition_means(field, operator, value, holds):
    workspace = WorkspaceFactory()
    condition = {"field": field, "operator": operator}
    a_rule(workspace, "buy", 1, condition if value is None else {**condition, "value": value})
    context = {"pageUrl": "https://example.com/pricing"}
    record_event(workspace, IncomingEvent("buy", JANE, PROPERTIES, context), schema_policy=SchemaPolicy.OPEN)
    apply_effects(workspace.id)
    assert ScoreEntry.objects.exists() is holds


@pytest.mark.parametrize(
    ("condition", "path"),
    [
        ([], "condition"),
        ("x", "condition"),
        ({}, "condition.field"),
        ({"field": 1, "operator": "eq", "value": 1}, "condition.field"),
        ({"field": "amount", "operator": "eq", "value": 1}, "condition.field"),
        ({"field": "metadata.", "operator": "eq", "value": 1}, "condition.field"),
        ({"field": "metadata.a..b", "operator": "eq", "value": 1}, "condition.field"),
        ({"field": "metadata.a", "operator": "like", "value": 1}, "condition.operator"),
        ({"field": "metadata.a", "operator": ["eq"], "value": 1}, "condition.operator"),
        ({"field": "metadata.a", "operator": "eq"}, "condition.value"),
        ({"field": "metadata.a", "operator": "gt", "value": True}, "condition.value"),
        ({"field": "metadata.a", "operator": "in", "value": []}, "condition.value"),
        ({"field": "metadata.a", "operator": "between", "value": [1, "2"]}, "condition.value"),
        ({"field": "metadata.a", "operator": "exists", "value": 1}, "condition.value"),
        ({"field": "metadata.a", "operator": "eq", "value": 1, "more": 1}, "condition.more"),
    ],
)
def test_a_condition_that_cannot_mean_anything_is_refused_with_its_fault(condition, path):
    with pytest.raises(InvalidCondition) as caught:
        validate_condition(condition)
    assert caught.value.path == path
