"""Scoring rules in the admin are checked as the API checks them."""

import pytest
from django.urls import reverse

from scoring.models import ScoringRule


def form(workspace, **values):
    return {
        "workspace": str(workspace.pk),
        "name": "Pays",
        "event_name": "paid",
        "points": "5",
        "active": "on",
        "condition": "",
        **values,
    }


def test_a_rule_is_made(staff, workspace):
    condition = '{"field": "metadata.amount", "operator": "gte", "value": 50}'
    response = staff.post(reverse("admin:scoring_scoringrule_add"), form(workspace, condition=condition))
    assert response.status_code == 302
    rule = ScoringRule.objects.get()
    assert rule.condition == {"field": "metadata.amount", "operator": "gte", "value": 50}


@pytest.mark.parametrize("condition", ["[]", "5", '{"field": "x", "operator": "no such", "value": 1}', "{"])
def test_a_condition_that_decides_nothing_is_refused(staff, workspace, condition):
    response = staff.post(reverse("admin:scoring_scoringrule_add"), form(workspace, condition=condition))
    assert response.status_code == 200
    assert not ScoringRule.objects.exists()
