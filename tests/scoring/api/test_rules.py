import uuid

import pytest

from config import clock
from scoring.models import ScoreEntry, ScoringRule
from tests.contacts.factories import a_contact
from tests.native import NativeClient
from tests.workspaces.factories import WorkspaceFactory

pytestmark = pytest.mark.django_db

RULE = {
    "name": "Big purchase",
    "description": "",
    "active": True,
    "eventType": "purchase",
    "condition": {"field": "metadata.amount", "operator": "gte", "value": 50},
    "delta": 10.5,
    "decayPoints": 1,
    "decayDays": 7,
    "maxScore": 100,
    "minScore": -10,
}


@pytest.fixture
def workspace():
    return WorkspaceFactory()


@pytest.fixture
def api(workspace):
    return NativeClient(workspace)


def test_a_rule_is_created_shown_changed_and_deleted(api):
    answer = api.post("scoring-rules", RULE)

    assert answer.status_code == 201
    rule = answer.json()
    assert rule == {**RULE, "id": rule["id"], "createdAt": rule["createdAt"]}
    assert api.get("scoring-rules").json() == [rule]
    assert api.get(f"scoring-rules/{rule['id']}").json() == rule

    changed = api.patch(f"scoring-rules/{rule['id']}", {"active": False, "condition": None, "delta": -3})
    assert changed.status_code == 200
    assert changed.json() == {**rule, "active": False, "condition": None, "delta": -3}

    assert api.delete(f"scoring-rules/{rule['id']}").status_code == 204
    assert api.get(f"scoring-rules/{rule['id']}").status_code == 404
    assert api.get("scoring-rules").json() == []


def test_a_rule_needs_a_name_an_event_type_and_points(api):
    rule = api.post("scoring-rules", {"name": "x", "eventType": "y", "delta": 1}).json()

    assert rule["active"] is True
    assert rule["description"] == ""
    for name in ("condition", "decayPoints", "decayDays", "maxScore", "minScore"):
        assert rule[name] is None
    details = api.post("scoring-rules", {}).json()["details"]
    assert set(details) == {"name", "eventType", "delta"}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": 5}, "name"),
        ({"name": ""}, "name"),
        ({"name": "x" * 256}, "name"),
        ({"active": "true"}, "active"),
        ({"active": 1}, "active"),
        ({"active": None}, "active"),
        ({"eventType": []}, "eventType"),
        ({"delta": "5"}, "delta"),
        ({"delta": True}, "delta"),
        ({"delta": None}, "delta"),
        ({"delta": 1e300}, "delta"),
        ({"delta": 0.1234567}, "delta"),
        ({"decayPoints": -1}, "decayPoints"),
        ({"decayDays": 0}, "decayDays"),
        ({"decayDays": 1.5}, "decayDays"),
        ({"decayDays": 2**63 - 1}, "decayDays"),
        ({"decayDays": None}, "decayDays"),
        ({"maxScore": -11}, "maxScore"),
        ({"condition": []}, "condition"),
        ({"condition": "x"}, "condition"),
        ({"condition": {}}, "condition.field"),
        ({"condition": {"field": "metadata.a", "operator": "like", "value": 1}}, "condition.operator"),
        ({"condition": {"field": "metadata.a", "operator": "gt", "value": {}}}, "condition.value"),
    ],
)
def test_what_a_rule_cannot_be_is_refused_by_name(api, workspace, change, field):
    rule = ScoringRule.objects.get(id=api.post("scoring-rules", RULE).json()["id"])
    for answer in (
        api.post("scoring-rules", {**RULE, **change}),
        api.patch(f"scoring-rules/{rule.id}", change),
    ):
        assert answer.status_code == 400
        assert field in answer.json()["details"], answer.json()
    assert ScoringRule.objects.filter(workspace=workspace).count() == 1


def test_the_list_is_narrowed(api):
    api.post("scoring-rules", RULE)
    api.post("scoring-rules", {**RULE, "eventType": "signup", "active": False})

    assert len(api.get("scoring-rules", eventType="signup").json()) == 1
    assert len(api.get("scoring-rules", active="true").json()) == 1
    assert api.get("scoring-rules", eventType="\x00").status_code == 400


def test_a_score_shows_its_lines(api, workspace):
    contact = a_contact(workspace)
    rule = ScoringRule.objects.create(workspace=workspace, name="R", event_name="x", points=2)
    for n in range(3):
        ScoreEntry.objects.create(
            workspace=workspace,
            contact=contact,
            rule=rule,
            event_id=uuid.uuid4(),
            points=n + 0.5,
            occurred_at=clock.now(),
        )

    body = api.get(f"contacts/{contact.id}/score", limit=2).json()
    rest = api.get(f"contacts/{contact.id}/score", limit=2, before=body["next"]).json()

    assert (body["contactId"], body["score"]) == (str(contact.id), 4.5)
    assert [line["points"] for line in body["entries"] + rest["entries"]] == [2.5, 1.5, 0.5]
    assert body["entries"][0]["rule"] == {"id": str(rule.id), "name": "R"}
    assert rest["next"] is None
    rule.delete()
    assert api.get(f"contacts/{contact.id}/score").json()["entries"][0]["rule"]["name"] is None
    assert api.get(f"contacts/{contact.id}/score", before="x").status_code == 400
    assert api.get("contacts/x/score").status_code == 404


def test_a_contact_without_lines_has_no_points(api, workspace):
    body = api.get(f"contacts/{a_contact(workspace).id}/score").json()

    assert body["score"] == 0
    assert body["entries"] == []
