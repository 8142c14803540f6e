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
        "limit_period": "ever",
        **values,
    }


def test_a_rule_is_made(staff, workspace):
    condition = '{"field": "metadata.amount", "operator": "gte", "value": 50}'
    response = staff.post(reverse("admin:scoring_scoringrule_add"), form(workspace, condition=condition))
    assert response.status_code == 302
    rule = ScoringRule.objects.get()
    assert rule.condition == {"field": "metadata.amount", "operator": "gte", "value": 50}


@pytest.mark.parametrize(
    "condition", ["[]", "5", '{"field": "x", "operator": "no such", "value": 1}', "{", '{"type": "tag"}']
)
def test_a_condition_that_decides_nothing_is_refused(staff, workspace, condition):
    response = staff.post(reverse("admin:scoring_scoringrule_add"), form(workspace, condition=condition))
    assert response.status_code == 200
    assert not ScoringRule.objects.exists()


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"decay_points": "1"}, "decay_days"),
        ({"decay_points": "-1", "decay_days": "1"}, "decay_points"),
        ({"max_score": "1", "min_score": "2"}, "max_score"),
        ({"limit_count": "0"}, "limit_count"),
    ],
)
def test_values_that_do_not_go_together_are_refused_at_their_field(staff, workspace, values, field):
    response = staff.post(reverse("admin:scoring_scoringrule_add"), form(workspace, **values))
    assert response.status_code == 200
    assert field in response.context["adminform"].form.errors
    assert not ScoringRule.objects.exists()


def test_a_rule_is_saved_for_all_history_where_that_is_chosen(staff, workspace):
    staff.post(reverse("admin:scoring_scoringrule_add"), form(workspace, limit_count="2", limit_period="day"))
    rule = ScoringRule.objects.get()
    assert (rule.limit, rule.is_rescoring) == ({"count": 2, "period": "day"}, False)
    page = reverse("admin:scoring_scoringrule_change", args=[rule.pk])
    same = form(workspace, limit_count="2", limit_period="day")
    assert staff.post(page, same).status_code == 302
    rule.refresh_from_db()
    assert not rule.is_rescoring
    assert staff.post(page, {**same, "rescore": "on"}).status_code == 302
    rule.refresh_from_db()
    assert rule.is_rescoring
    assert "0% done" in staff.get(page).content.decode()


def test_chosen_rules_are_re_scored(staff, workspace):
    staff.post(reverse("admin:scoring_scoringrule_add"), form(workspace))
    rule = ScoringRule.objects.get()
    response = staff.post(
        reverse("admin:scoring_scoringrule_changelist"),
        {"action": "rescore", "_selected_action": [str(rule.pk)]},
        follow=True,
    )
    assert "1 rule will be re-scored" in response.content.decode()
    rule.refresh_from_db()
    assert rule.is_rescoring
    assert rule.effective_from is None


def test_a_deleted_rule_is_gone_from_the_list_and_its_row_stays(staff, workspace):
    staff.post(reverse("admin:scoring_scoringrule_add"), form(workspace))
    rule = ScoringRule.objects.get()
    staff.post(reverse("admin:scoring_scoringrule_delete", args=[rule.pk]), {"post": "yes"})
    assert not ScoringRule.objects.exists()
    assert ScoringRule.with_deleted.get().deleted_at is not None
