"""Segments in the native format."""

from uuid import uuid4

import pytest

from config import clock
from events.processing.passes import apply_effects
from segments.api.serializers import BUYERS, SLEEPERS
from segments.definitions import create_segment, rebuild_segment, update_segment
from segments.models import Segment
from segments.static_members import add_members
from tests.contacts.factories import a_contact
from tests.native import NativeClient
from tests.segments.factories import (
    a_segment,
    attribute,
    build_occupied_lanes,
    did,
    every,
    in_segment,
    send,
    who_is_in,
)
from tests.workspaces.factories import WorkspaceFactory, a_key

pytestmark = pytest.mark.django_db(transaction=True)

RULE = {"type": "event", "eventType": "buy", "operator": "gte", "value": 1}
UNKNOWN = "0199c0de-0000-7000-8000-000000000001"


@pytest.fixture
def api(workspace):
    return NativeClient(workspace)


def create(api, **changes):
    return api.post("segments", {"name": "Buyers", "evaluation": "DYNAMIC", "rules": RULE, **changes})


def built(workspace, answer):
    """Do what the workers do for a segment that was written."""
    build_occupied_lanes(Segment.objects.get(workspace=workspace, id=answer.json()["id"]))
    return answer.json()["id"]


def test_a_segment_is_created_built_and_shown(api, workspace, jane):
    send(workspace, jane, "buy")
    answer = create(api, description="Whoever paid")
    assert answer.status_code == 201
    made = answer.json()
    assert (made["name"], made["description"], made["evaluation"]) == ("Buyers", "Whoever paid", "DYNAMIC")
    assert made["rules"] == made["draftRules"] == RULE
    assert made["build"]["state"] == "RUNNING"
    assert (made["publishedAt"], made["_count"], made["error"]) == (None, {"memberships": 0}, None)
    assert made["warnings"] == []

    built(workspace, answer)
    shown = api.get(f"segments/{made['id']}").json()
    assert shown["segment"]["rules"] == RULE
    assert shown["segment"]["draftRules"] is None
    assert shown["segment"]["build"]["state"] == "NONE"
    assert shown["segment"]["publishedAt"]
    assert shown["totalMembers"] == 1
    assert [one["email"] for one in shown["sampleContacts"]] == ["jane@example.test"]
    (row,) = api.get("segments").json()
    assert row == shown["segment"]
    assert row["_count"] == {"memberships": 1}


def test_what_was_never_seen_is_allowed_and_flagged(api):
    warnings = create(api, rules=did("bye")).json()["warnings"]
    assert len(warnings) == 1
    assert "bye" in warnings[0]


@pytest.mark.parametrize("rule", [BUYERS, SLEEPERS])
def test_the_documents_examples_are_rules(api, rule):
    assert create(api, rules=rule).status_code == 201


@pytest.mark.parametrize(
    ("rules", "path"),
    [
        ({"type": "moon"}, "rules.type"),
        ({"operator": "XOR", "conditions": [RULE]}, "rules.operator"),
        (every(RULE, {**RULE, "value": "x"}), "rules.conditions[1].value"),
        (every(every({**RULE, "timeWindow": "7 days"})), "rules.conditions[0].conditions[0].timeWindow"),
        (every({"type": "segment", "segmentId": UNKNOWN}), "rules.conditions[0].segmentId"),
    ],
)
def test_a_rule_that_means_nothing_is_refused_with_the_path_of_the_fault(api, workspace, rules, path):
    kept = create(api).json()
    for answer in (
        create(api, name="Other", rules=rules),
        api.patch(f"segments/{kept['id']}", {"rules": rules}),
        api.post("segments/preview", {"rules": rules}),
        api.post(f"segments/{kept['id']}/impact", {"rules": rules}),
    ):
        assert answer.status_code == 400
        assert answer.json()["error"]
        assert set(answer.json()["details"]) == {path}, answer.json()
    assert Segment.objects.get(workspace=workspace).draft_rule == RULE


def test_a_cycle_is_refused(api, workspace):
    first = a_segment(workspace, did("buy"), "First")
    second = a_segment(workspace, in_segment(first), "Second")
    answer = api.patch(f"segments/{first.id}", {"rules": in_segment(second)})
    assert answer.status_code == 400
    assert "rules.segmentId" in answer.json()["details"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": 5}, "name"),
        ({"name": ""}, "name"),
        ({"name": "x" * 256}, "name"),
        ({"evaluation": "SOMETIMES"}, "evaluation"),
        ({"rules": None}, "rules"),
        ({"rules": []}, "rules"),
        ({"evaluation": "STATIC"}, "rules"),
        ({"startsCampaigns": "yes"}, "startsCampaigns"),
        ({"publish": 1}, "publish"),
        ({"description": {}}, "description"),
    ],
)
def test_a_body_of_another_shape_is_refused_by_name(api, workspace, changes, field):
    answer = create(api, **changes)
    assert answer.status_code == 400
    assert field in answer.json()["details"], answer.json()
    assert not Segment.objects.filter(workspace=workspace).exists()


def test_a_name_is_one_segments_only(api):
    create(api)
    other = create(api, name="Other").json()
    assert create(api).status_code == 409
    answer = api.patch(f"segments/{other['id']}", {"name": "Buyers"})
    assert (answer.status_code, answer.json()) == (
        409,
        {"error": "A segment with this name already exists"},
    )


def test_an_edit_serves_once_it_is_built(api, workspace, jane):
    send(workspace, jane, "look")
    segment = a_segment(workspace, RULE)
    answer = api.patch(
        f"segments/{segment.id}", {"name": "Lookers", "description": None, "rules": did("look")}
    )
    assert answer.status_code == 200
    assert (answer.json()["name"], answer.json()["description"]) == ("Lookers", "")
    assert (answer.json()["rules"], answer.json()["draftRules"]) == (RULE, did("look"))
    assert who_is_in(segment) == set()
    built(workspace, answer)
    assert who_is_in(segment) == {jane.id}
    # What the body does not name stays.
    answer = api.patch(f"segments/{segment.id}", {"startsCampaigns": True}).json()
    assert (answer["name"], answer["rules"], answer["startsCampaigns"]) == ("Lookers", did("look"), True)


def test_a_draft_is_looked_at_before_it_is_published(api, workspace, jane):
    john = a_contact(workspace, "john@example.test")
    send(workspace, jane, "buy")
    send(workspace, john, "look")
    segment = a_segment(workspace, RULE)
    assert api.get(f"segments/{segment.id}/impact").status_code == 409
    assert api.post(f"segments/{segment.id}/publish", {}).status_code == 409
    assert api.delete(f"segments/{segment.id}/draft").status_code == 409

    answer = api.patch(f"segments/{segment.id}", {"rules": did("look"), "publish": False})
    assert api.get(f"segments/{segment.id}/impact").status_code == 409
    assert api.post(f"segments/{segment.id}/publish", {}).status_code == 409
    built(workspace, answer)
    assert api.get(f"segments/{segment.id}").json()["segment"]["build"]["state"] == "DONE"
    impact = api.get(f"segments/{segment.id}/impact").json()
    assert (impact["enter"], impact["leave"], impact["stay"], impact["isEstimate"]) == (1, 1, 0, False)
    assert [one["contact"]["email"] for one in impact["entering"]] == ["john@example.test"]
    assert impact["entering"][0]["reasons"]["conditions"][0]["matches"] is True
    assert [one["contact"]["id"] for one in impact["leaving"]] == [str(jane.id)]
    assert who_is_in(segment) == {jane.id}

    published = api.post(f"segments/{segment.id}/publish", {})
    assert (published.status_code, published.json()["rules"]) == (200, did("look"))
    assert who_is_in(segment) == {john.id}


def test_a_draft_is_given_up(api, workspace, jane):
    segment = a_segment(workspace, RULE)
    api.patch(f"segments/{segment.id}", {"rules": did("look"), "publish": False})
    assert api.delete(f"segments/{segment.id}/draft").status_code == 204
    shown = api.get(f"segments/{segment.id}").json()["segment"]
    assert (shown["rules"], shown["draftRules"], shown["build"]["state"]) == (RULE, None, "NONE")


def test_a_rule_is_tried_out_without_being_saved(api, workspace, jane):
    john = a_contact(workspace, "john@example.test")
    send(workspace, jane, "buy")
    segment = a_segment(workspace, RULE)
    preview = api.post("segments/preview", {"rules": attribute("email", "exists")}).json()
    assert (preview["count"], preview["total"], preview["judged"]) == (2, 2, 2)
    assert (preview["isEstimate"], preview["margin"]) == (False, 0)
    assert {one["email"] for one in preview["sampleContacts"]} == {"jane@example.test", "john@example.test"}
    answer = api.post(f"segments/{segment.id}/impact", {"rules": attribute("email", "starts_with", "j")})
    assert (answer.json()["enter"], answer.json()["leave"], answer.json()["stay"]) == (1, 0, 1)
    assert [one["contact"]["id"] for one in answer.json()["entering"]] == [str(john.id)]
    assert Segment.objects.get(workspace=workspace).draft_rule is None


def test_a_preview_needs_no_write_scope(workspace):
    segment = a_segment(workspace, RULE)
    reader = NativeClient(
        workspace, secret=a_key(workspace, scopes=["segments:read", "contacts:read", "events:read"]).secret
    )
    assert reader.post("segments/preview", {"rules": RULE}).status_code == 200
    assert reader.post(f"segments/{segment.id}/impact", {"rules": RULE}).status_code == 200
    for answer in (
        reader.post("segments", {}),
        reader.patch(f"segments/{segment.id}", {}),
        reader.delete(f"segments/{segment.id}"),
        reader.post(f"segments/{segment.id}/rebuild", {}),
        reader.post(f"segments/{segment.id}/publish", {}),
        reader.delete(f"segments/{segment.id}/draft"),
        reader.post(f"segments/{segment.id}/members", {}),
        reader.delete(f"segments/{segment.id}/members"),
    ):
        assert answer.status_code == 403
    blind = NativeClient(workspace, secret=a_key(workspace, scopes=["contacts:read"]).secret)
    assert blind.get("segments").status_code == 403
    assert blind.get(f"segments/{segment.id}/members").status_code == 403


def test_a_build_is_started_anew_and_its_progress_shown(api, workspace, jane):
    segment = a_segment(workspace, RULE)
    answer = api.post(f"segments/{segment.id}/rebuild", {})
    assert answer.status_code == 202
    progress = api.get(f"segments/{segment.id}/rebuild").json()
    assert progress == answer.json()
    assert (progress["state"], progress["judged"], progress["total"]) == ("RUNNING", 0, 1)
    assert (progress["fraction"], progress["publishes"]) == (0, True)
    build_occupied_lanes(segment)
    assert api.get(f"segments/{segment.id}/rebuild").json()["state"] == "NONE"


def test_a_parked_segment_shows_its_error(api, workspace):
    segment = a_segment(workspace, RULE)
    Segment.objects.filter(id=segment.id).update(parked_at=clock.now(), error="too slow")
    assert api.get(f"segments/{segment.id}").json()["segment"]["error"] == "too slow"
    assert [row["id"] for row in api.get("segments", parked="true").json()] == [str(segment.id)]
    assert api.get("segments", parked="False").json() == []
    assert api.get("segments", parked="").json()
    for wrong in ("x", "1", "yes"):
        for path, name in (
            ("segments", "parked"),
            ("scoring-rules", "active"),
            ("event-definitions", "declared"),
        ):
            answer = api.get(path, **{name: wrong})
            assert (answer.status_code, list(answer.json()["details"])) == (400, [name])


def test_the_list_is_narrowed(api, workspace):
    a_segment(workspace, RULE, "Buyers")
    rebuild_segment(workspace.id, a_segment(workspace, RULE, "Big buyers"))
    create_segment(workspace.id, name="Press", evaluation="STATIC")

    def names(**parameters):
        return {row["name"] for row in api.get("segments", **parameters).json()}

    assert names() == {"Buyers", "Big buyers", "Press"}
    assert names(name="buyers") == {"Buyers", "Big buyers"}
    assert names(evaluation="STATIC") == {"Press"}
    assert names(build="RUNNING") == {"Big buyers"}
    assert names(build="NONE") == {"Buyers", "Press"}
    for wrong in ({"evaluation": "x"}, {"build": "x"}, {"name": "\x00"}):
        assert api.get("segments", **wrong).status_code == 400


def test_the_list_takes_the_same_statements_for_any_number(
    api, workspace, jane, django_assert_max_num_queries
):
    for number in range(3):
        a_segment(workspace, RULE, f"S{number}")
    create_segment(workspace.id, name="Press", evaluation="STATIC")
    with django_assert_max_num_queries(5):
        assert len(api.get("segments").json()) == 4


def test_a_segment_that_others_build_on_stays(api, workspace):
    first = a_segment(workspace, RULE, "First")
    second = a_segment(workspace, in_segment(first), "Second")
    answer = api.delete(f"segments/{first.id}")
    assert answer.status_code == 409
    assert "Second" in answer.json()["error"]
    assert api.delete(f"segments/{second.id}").status_code == 204
    assert api.delete(f"segments/{first.id}").status_code == 204
    assert api.get("segments").json() == []


def test_what_is_not_there_is_a_404(api, workspace):
    theirs = a_segment(WorkspaceFactory(), RULE)
    for unknown in ("x", uuid4(), theirs.id):
        for answer in (
            api.get(f"segments/{unknown}"),
            api.patch(f"segments/{unknown}", {}),
            api.delete(f"segments/{unknown}"),
            api.get(f"segments/{unknown}/impact"),
            api.post(f"segments/{unknown}/impact", {"rules": RULE}),
            api.post(f"segments/{unknown}/publish", {}),
            api.delete(f"segments/{unknown}/draft"),
            api.post(f"segments/{unknown}/rebuild", {}),
            api.get(f"segments/{unknown}/rebuild"),
            api.get(f"segments/{unknown}/members"),
            api.post(f"segments/{unknown}/members", {"contactIds": [UNKNOWN]}),
            api.get(f"segments/{unknown}/contacts/{UNKNOWN}/explanation"),
        ):
            assert (answer.status_code, answer.json()) == (404, {"error": "Segment not found"})


def test_a_static_segment_has_nothing_to_build(api, workspace):
    press = create_segment(workspace.id, name="Press", evaluation="STATIC")
    shown = api.get(f"segments/{press.id}").json()
    assert (shown["segment"]["rules"], shown["segment"]["evaluation"]) == (None, "STATIC")
    for answer in (
        api.patch(f"segments/{press.id}", {"rules": RULE}),
        api.post(f"segments/{press.id}/rebuild", {}),
        api.post(f"segments/{press.id}/impact", {"rules": RULE}),
        api.post(f"segments/{press.id}/publish", {}),
    ):
        assert answer.status_code == 409


def test_a_contacts_answer_has_its_segments(api, workspace, jane):
    buyers = a_segment(workspace, RULE, "Buyers")
    update_segment(
        workspace.id, a_segment(workspace, did("look"), "Lookers"), raw=attribute("email", "exists")
    )
    press = create_segment(workspace.id, name="Press", evaluation="STATIC")
    add_members(workspace.id, press, contact_ids=[jane.id])
    send(workspace, jane, "buy")
    apply_effects(workspace.id)
    segments = api.get(f"contacts/{jane.id}").json()["segments"]
    assert [(one["id"], one["name"]) for one in segments] == [
        (str(buyers.id), "Buyers"),
        (str(press.id), "Press"),
    ]
    assert all(one["since"].endswith("Z") for one in segments)
