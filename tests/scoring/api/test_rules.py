import uuid
from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from config import clock
from contacts.models import Contact, ContactScore, Tag
from events.processing.passes import apply_effects
from events.stream.definitions import PropertySpec, create_definition
from events.stream.outbox import LANE_COUNT
from scoring.models import ScoreEntry, ScoringRule
from scoring.rescoring import rescore_contacts, rescore_lane
from tests.contacts.factories import a_contact
from tests.native import NativeClient
from tests.scoring.factories import a_rule
from tests.scoring.histories import expected_scores, score_of, send

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
    "limit": {"count": 2, "period": "week"},
}


@pytest.fixture
def api(workspace):
    return NativeClient(workspace)


def test_a_rule_is_created_shown_changed_and_deleted(api):
    answer = api.post("scoring-rules", RULE)

    assert answer.status_code == 201
    rule = answer.json()
    assert rule.pop("warnings") == ['The event "purchase" has never been seen.']
    made = {name: rule[name] for name in ("id", "createdAt", "effectiveFrom")}
    assert rule == {**RULE, **made, "rescoring": None}
    assert made["effectiveFrom"] == made["createdAt"]
    assert api.get("scoring-rules").json() == [rule]
    assert api.get(f"scoring-rules/{rule['id']}").json() == rule

    changed = api.patch(f"scoring-rules/{rule['id']}", {"active": False, "condition": None, "delta": -3})
    assert changed.status_code == 200
    body = changed.json()
    assert body.pop("warnings")
    since = {"effectiveFrom": body["effectiveFrom"]}
    assert body == {**rule, **since, "active": False, "condition": None, "delta": -3}
    assert since["effectiveFrom"] >= rule["effectiveFrom"]

    assert api.delete(f"scoring-rules/{rule['id']}").status_code == 204
    assert api.get(f"scoring-rules/{rule['id']}").status_code == 404
    assert api.get("scoring-rules").json() == []


def test_a_rule_needs_a_name_an_event_type_and_points(api):
    rule = api.post("scoring-rules", {"name": "x", "eventType": "y", "delta": 1}).json()

    assert rule["active"] is True
    assert rule["description"] == ""
    for name in ("condition", "decayPoints", "decayDays", "maxScore", "minScore", "limit", "rescoring"):
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
        ({"decayDays": 36_501}, "decayDays"),
        ({"limit": 1}, "limit"),
        ({"limit": {"count": 1}}, "limit.period"),
        ({"limit": {"count": 0, "period": "day"}}, "limit.count"),
        ({"limit": {"count": 1.5, "period": "day"}}, "limit.count"),
        ({"limit": {"count": 1, "period": "hour"}}, "limit.period"),
        ({"rescore": "yes"}, "rescore"),
        ({"condition": []}, "condition"),
        ({"condition": "x"}, "condition"),
        ({"condition": {}}, "condition.field"),
        ({"condition": {"field": "metadata.a", "operator": "like", "value": 1}}, "condition.operator"),
        ({"condition": {"field": "metadata.a", "operator": "gt", "value": {}}}, "condition.value"),
        ({"condition": {"operator": "AND", "conditions": []}}, "condition.conditions"),
        (
            {"condition": {"operator": "OR", "conditions": [{"type": "tag", "value": ""}]}},
            "condition.conditions[0].value",
        ),
        ({"condition": {"type": "event", "eventType": "x", "timeWindow": "7y"}}, "condition.timeWindow"),
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
    assert [line["score"] for line in body["entries"] + rest["entries"]] == [4.5, 2, 0.5]
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


@pytest.fixture
def scores_only(settings):
    settings.EVENT_EFFECTS = ["scoring.effects.apply_scoring_rules"]


def test_the_condition_may_ask_for_whatever_a_segment_may(api):
    condition = {
        "operator": "AND",
        "conditions": [
            {"field": "metadata.amount", "operator": "gte", "value": 50},
            {"operator": "NOT", "conditions": [{"type": "tag", "value": "vip"}]},
            {"type": "event", "eventType": "login", "timeWindow": "7d", "operator": "gte", "value": 3},
        ],
    }
    answer = api.post("scoring-rules", {**RULE, "condition": condition})
    assert answer.status_code == 201
    assert answer.json()["condition"] == condition
    assert answer.json()["warnings"] == [
        'The event "login" has never been seen.',
        'The event "purchase" has never been seen.',
        'The tag "vip" has never been seen.',
    ]


def test_a_property_that_was_never_seen_is_told_of(api, workspace):
    send(workspace, ("ada", None, {"price": 1}), name="purchase")
    answer = api.post("scoring-rules", RULE)
    assert answer.json()["warnings"] == ['The property "amount" of the event "purchase" has never been seen.']


def test_a_change_of_the_event_type_is_held_against_the_declared_types(api, workspace):
    create_definition(workspace.id, "paid", properties=[PropertySpec("amount", "boolean")])
    rule = api.post("scoring-rules", RULE).json()
    refused = api.patch(f"scoring-rules/{rule['id']}", {"eventType": "paid"})
    assert refused.status_code == 400
    assert "condition.operator" in refused.json()["details"]


def test_a_limit_is_taken_away_by_null(api):
    rule = api.post("scoring-rules", RULE).json()
    assert api.patch(f"scoring-rules/{rule['id']}", {"limit": None}).json()["limit"] is None


def test_the_user_chooses_whether_history_is_evaluated_again(api, workspace, scores_only, time):
    rule = api.post("scoring-rules", {"name": "x", "eventType": "buy", "delta": 1}).json()
    send(workspace, ("ada", None, {}))
    apply_effects(workspace.id)
    path = f"scoring-rules/{rule['id']}"

    from_now_on = api.patch(path, {"delta": 2}).json()
    assert from_now_on["rescoring"] is None
    for_all = api.patch(path, {"delta": 3, "rescore": True}).json()
    assert for_all["effectiveFrom"] is None
    assert for_all["rescoring"]["finishedAt"] is None
    assert for_all["rescoring"]["fraction"] == 0
    for lane in range(LANE_COUNT):
        rescore_lane(workspace.id, uuid.UUID(rule["id"]), lane)
    done = api.get(path).json()["rescoring"]
    assert done["fraction"] == 1
    assert done["finishedAt"] is not None
    assert score_of(workspace, "ada") == 3

    again = api.post(f"{path}/rescore", {})
    assert again.status_code == 202
    assert again.json()["rescoring"]["fraction"] == 0
    assert api.post(f"scoring-rules/{uuid.uuid4()}/rescore", {}).status_code == 404


def test_a_rule_is_tried_out_before_it_is_saved(api, workspace, time):
    send(
        workspace,
        *((who, None, {"amount": n}) for who, n in (("ada", 1), ("ada", 9), ("bob", 9), ("bob", 1))),
    )
    body = {"eventType": "buy", "condition": {"field": "metadata.amount", "operator": "gte", "value": 5}}
    found = api.post("scoring-rules/preview", body).json()
    assert (found["events"], found["matches"], found["contacts"]) == (4, 2, 2)
    assert {one["contact"]["email"] for one in found["samples"]} == {"ada@example.test", "bob@example.test"}
    assert found["warnings"] == []

    Contact.objects.get(identifiers__value="ada@example.test").contact_tags.create(
        workspace=workspace, tag=Tag.objects.create(workspace=workspace, name="vip")
    )
    both = {"operator": "AND", "conditions": [body["condition"], {"type": "tag", "value": "vip"}]}
    found = api.post("scoring-rules/preview", {**body, "condition": both}).json()
    assert [one["contact"]["email"] for one in found["samples"]] == ["ada@example.test"]
    assert (found["events"], found["matches"]) == (4, 1)
    refused = api.post("scoring-rules/preview", {**body, "condition": {"field": "x"}})
    assert "condition.field" in refused.json()["details"]
    assert not ScoringRule.objects.exists()


@pytest.mark.parametrize("size", [1, 2, 3, 200])
def test_the_lines_add_up_to_the_score_at_any_moment(api, workspace, scores_only, time, size):
    a_rule(workspace, "buy", 10, max_score=Decimal(25), decay_points=Decimal(2), decay_days=2)
    a_rule(workspace, "buy", Decimal("0.5"))
    a_rule(workspace, "buy", 3, limit_count=1, limit_period="week")
    start = time()
    time.pass_(days=20)
    for day in (0, 0, 1, 3, 9, 9, 18):
        send(workspace, ("ada", start + timedelta(days=day), {}))
    apply_effects(workspace.id)
    ada = Contact.objects.get()

    def pages(**parameters):
        lines, following = [], None
        while True:
            more = {"before": following} if following else {}
            body = api.get(f"contacts/{ada.id}/score", limit=size, **parameters, **more).json()
            lines += body["entries"]
            following = body["next"]
            assert len(body["entries"]) == size or following is None
            if following is None:
                return body["score"], lines

    score, lines = pages()
    assert score == float(ContactScore.objects.get().points)
    assert {line["kind"] for line in lines} == {"award", "superseded", "clamp", "decay"}
    assert len({line["id"] for line in lines}) == len(lines)
    assert lines == sorted(lines, key=lambda line: line["timestamp"], reverse=True)
    rules = list(ScoringRule.objects.all())
    for place, line in enumerate(lines):
        assert line["score"] == pytest.approx(sum(line["points"] for line in lines[place:]))
        if place == 0 or lines[place - 1]["timestamp"] != line["timestamp"]:
            moment = datetime.fromisoformat(line["timestamp"])
            known = expected_scores(workspace, rules, moment)
            assert line["score"] == float(known[ada.id])
            if size == 200:
                then, earlier = pages(at=line["timestamp"])
                assert then == line["score"]
                assert earlier == lines[place:]
    future = expected_scores(workspace, rules, time() + timedelta(days=9))
    assert pages(at=(time() + timedelta(days=9)).isoformat())[0] == float(future[ada.id])
    assert pages(at=(start - timedelta(days=1)).isoformat()) == (0, [])
    assert api.get(f"contacts/{ada.id}/score", at="yesterday").status_code == 400
    assert api.get(f"contacts/{ada.id}/score", before=f"{uuid.uuid4()}:decay:1").status_code == 400


def test_the_score_of_a_merged_contact_is_its_survivors(api, workspace, scores_only, time):
    a_rule(workspace, "buy", 10)
    send(workspace, ("ada", None, {}), ("bob", None, {}))
    apply_effects(workspace.id)
    ada, bob = (Contact.objects.get(identifiers__value=f"{name}@example.test") for name in ("ada", "bob"))
    Contact.objects.filter(id=bob.id).update(merged_into=ada)
    rescore_contacts(workspace.id, [ada.id])
    body = api.get(f"contacts/{bob.id}/score").json()
    assert (body["contactId"], body["score"], len(body["entries"])) == (str(ada.id), 20, 2)
