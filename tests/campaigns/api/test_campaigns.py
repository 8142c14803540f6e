"""Campaigns in the native format."""

from uuid import uuid4

import pytest

from campaigns.api.serializers.campaigns import ORDERS, WELCOME
from campaigns.models import Campaign, Enrollment
from config import clock
from segments.definitions import create_segment
from segments.models import Segment
from tests.campaigns.rows import a_campaign_row, a_decision, a_message, a_template_row, an_enrollment
from tests.native import NativeClient
from tests.workspaces.factories import WorkspaceFactory, a_key

pytestmark = pytest.mark.django_db

UNKNOWN = "0199c0de-0000-7000-8000-000000000001"


def wait(identifier="a-day"):
    return {"nodes": [{"id": identifier, "type": "wait", "data": {"duration": "1d"}}], "edges": []}


def create(api, **changes):
    return api.post("campaigns", {**WELCOME, **changes})


@pytest.fixture
def made(api):
    answer = create(api)
    assert answer.status_code == 201, answer.json()
    return answer.json()


@pytest.fixture
def active(api, made):
    answer = api.post(f"campaigns/{made['id']}/activate", {})
    assert answer.status_code == 200, answer.json()
    return answer.json()


def test_a_campaign_is_written_and_shown(api, made):
    assert {name: made[name] for name in WELCOME} == WELCOME
    assert (made["status"], made["version"], made["hasChanges"], made["error"]) == ("DRAFT", None, True, None)
    assert (made["exits"], made["includesHistory"]) == ([], False)
    assert made["_count"] == {"enrollments": 0, "messages": 0}
    assert api.get("campaigns").json() == [made]
    assert api.get(f"campaigns/{made['id']}").json() == made


@pytest.mark.parametrize("body", [WELCOME, ORDERS])
def test_the_documents_examples_can_be_activated(api, body):
    made = api.post("campaigns", body).json()
    assert api.post(f"campaigns/{made['id']}/activate", {}).json()["status"] == "ACTIVE"


def test_the_versions_are_listed(api, workspace, active, jane):
    path = f"campaigns/{active['id']}"
    api.post(f"{path}/execute", {"contactId": str(jane.id)})
    api.patch(path, {"workflow": wait("two")})
    api.post(f"{path}/execute", {"contactId": str(jane.id), "isTest": True})
    tried, first = api.get(f"{path}/versions").json()["data"]
    assert (tried["version"], tried["serves"], tried["openRuns"]) == (None, False, 1)
    assert (first["version"], first["serves"], first["openRuns"]) == (1, True, 1)
    assert first["definition"] == {name: active[name] for name in first["definition"]}
    assert first["by"]
    assert first["by"] == tried["by"]
    assert (first["retiredAt"], bool(first["createdAt"])) == (None, True)
    api.post(f"{path}/activate", {})
    page = api.get(f"{path}/versions", limit=1).json()
    assert (page["data"][0]["version"], page["data"][0]["serves"]) == (2, True)
    following = api.get(f"{path}/versions", limit=5, before=page["next"]).json()
    assert [row["version"] for row in following["data"]] == [None, 1]
    assert api.get(f"{path}/versions", limit="x").status_code == 400


def test_a_draft_may_be_incomplete_but_not_activated(api):
    made = api.post("campaigns", {"name": "Empty", "type": "AUTOMATED"}).json()
    assert (made["triggers"], made["workflow"]) == ([], {"nodes": [], "edges": []})
    answer = api.post(f"campaigns/{made['id']}/activate", {})
    assert answer.status_code == 400
    assert answer.json()["details"]
    assert api.get(f"campaigns/{made['id']}").json()["status"] == "DRAFT"


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"triggers": [{"type": "MOON"}]}, "triggers[0].type"),
        ({"triggers": [{"type": "SEGMENT_ENTER", "segmentId": UNKNOWN}]}, "triggers[0].segmentId"),
        ({"workflow": {"nodes": [{"id": "a", "type": "dance"}], "edges": []}}, "workflow.nodes[0].type"),
        ({"goal": {"eventType": "x", "within": "soon"}}, "goal.within"),
        ({"triggers": {}}, "triggers"),
        ({"workflow": []}, "workflow"),
        ({"includesHistory": "yes"}, "includesHistory"),
        ({"name": ""}, "name"),
        ({"name": 5}, "name"),
        ({"priority": 1.5}, "priority"),
        ({"startAt": "tomorrow"}, "startAt"),
        ({"startAt": "2026-05-02T00:00:00Z", "endAt": "2026-05-01T00:00:00Z"}, "endAt"),
        ({"settings": {"frequencyCap": 3}}, "settings.frequencyCap"),
        ({"settings": {"quietHours": {"start": "22:00", "end": "08:00"}}}, "settings.quietHours"),
    ],
)
def test_what_cannot_be_is_refused_with_its_path(api, workspace, made, changes, path):
    for answer in (
        create(api, **{"name": "Other", **changes}),
        api.patch(f"campaigns/{made['id']}", changes),
    ):
        assert answer.status_code == 400
        assert list(answer.json()["details"]) == [path], answer.json()
    assert api.get("campaigns").json() == [made]


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"reentry": {"mode": ["once"]}}, "reentry.mode"),
        ({"workflow": {"nodes": [None], "edges": []}}, "workflow.nodes[0]"),
        ({"workflow": {"nodes": [], "edges": [{"source": [], "target": {}}]}}, "workflow.edges[0].source"),
        ({"workflow": {"nodes": [{"id": "a", "type": "exit"}] * 2_000, "edges": []}}, "workflow.nodes"),
        ({"goal": {"eventType": "x", "within": 7}}, "goal.within"),
        ({"triggers": [{"type": {"a": 1}}]}, "triggers[0].type"),
        ({"description": "x" * 10_001}, "description"),
    ],
)
def test_what_makes_no_sense_at_all_is_refused_with_its_path_too(api, made, changes, path):
    answer = api.patch(f"campaigns/{made['id']}", changes)
    assert (answer.status_code, list(answer.json()["details"])) == (400, [path])


def test_a_key_of_any_length_is_one(api, jane):
    body = {"name": "Keys", "type": "AUTOMATED", "triggers": [{"type": "MANUAL"}], "workflow": wait()}
    made = api.post("campaigns", {**body, "reentry": {"mode": "key", "property": "order_id"}}).json()
    api.post(f"campaigns/{made['id']}/activate", {})
    for key, entered in (("k" * 255, True), ("k" * 255, False), ("k" * 254, True)):
        answer = api.post(f"campaigns/{made['id']}/execute", {"contactId": str(jane.id), "key": key})
        assert (answer.status_code, answer.json()["entered"]) == (200, entered)


def test_a_type_is_needed_and_known(api):
    for wrong in ("SOMETIMES", None, 5):
        assert list(create(api, type=wrong).json()["details"]) == ["type"]


def test_a_name_is_one_campaigns_only(api, made):
    other = create(api, name="Other").json()
    assert create(api).status_code == 409
    answer = api.patch(f"campaigns/{other['id']}", {"name": "Welcome"})
    assert (answer.status_code, answer.json()) == (
        409,
        {"error": "A campaign with this name already exists"},
    )


def test_an_edit_serves_once_it_is_activated(api, active):
    path = f"campaigns/{active['id']}"
    assert (active["version"], active["hasChanges"]) == (1, False)
    assert active["activatedAt"]
    changed = api.patch(path, {"workflow": wait("two"), "description": None, "goal": None}).json()
    assert (changed["version"], changed["hasChanges"], changed["status"]) == (1, True, "ACTIVE")
    assert (changed["workflow"], changed["goal"]) == (wait("two"), None)
    # What the body does not name stays.
    assert changed["triggers"] == active["triggers"]
    again = api.post(f"{path}/activate", {}).json()
    assert (again["version"], again["hasChanges"]) == (2, False)


def test_a_campaign_is_stopped_and_goes_on(api, active):
    path = f"campaigns/{active['id']}"
    for action, status in (
        ("pause", "PAUSED"),
        ("resume", "ACTIVE"),
        ("finish", "COMPLETED"),
        ("archive", "ARCHIVED"),
    ):
        answer = api.post(f"{path}/{action}", {})
        assert (answer.status_code, answer.json()["status"]) == (200, status)
    for action in ("activate", "pause", "resume", "finish"):
        assert api.post(f"{path}/{action}", {}).status_code == 409
    assert api.patch(path, {"name": "Other"}).status_code == 409


@pytest.mark.parametrize("action", ["activate", "pause", "resume", "finish", "archive"])
def test_what_takes_no_body_drops_none_in_silence(api, active, action):
    refused = api.post(f"campaigns/{active['id']}/{action}", {"startAt": "2030-01-01T00:00:00Z"})
    assert refused.status_code == 400
    assert refused.json()["details"] == {"startAt": ["This key is not known."]}
    assert api.get(f"campaigns/{active['id']}").json()["status"] == "ACTIVE"


def test_what_has_served_is_not_deleted(api, made):
    assert api.delete(f"campaigns/{made['id']}").status_code == 204
    served = create(api).json()
    api.post(f"campaigns/{served['id']}/activate", {})
    assert api.delete(f"campaigns/{served['id']}").status_code == 409


def test_a_contact_is_let_in_by_hand_as_the_reentry_says(api, workspace, active, jane):
    path = f"campaigns/{active['id']}/execute"
    first = api.post(path, {"contactId": str(jane.id)})
    assert first.status_code == 200
    assert (first.json()["entered"], first.json()["reason"]) == (True, None)
    assert first.json()["run"]["contact"]["id"] == str(jane.id)
    again = api.post(path, {"contactId": str(jane.id)}).json()
    assert (again["entered"], again["reason"], again["run"]) == (False, "already_entered", None)
    trial = api.post(path, {"contactId": str(jane.id), "isTest": True}).json()
    assert trial["run"]["isTest"] is True
    assert api.get(f"campaigns/{active['id']}").json()["_count"]["enrollments"] == 1
    for wrong in ({"contactId": "x"}, {"contactId": UNKNOWN}):
        assert api.post(path, wrong).status_code == 404
    assert api.post(path, {}).status_code == 400
    assert api.post(path, {"contactId": str(jane.id), "eventId": UNKNOWN}).status_code == 400
    assert Enrollment.objects.count() == 2


def test_a_draft_is_tried_out(api, made, jane):
    path = f"campaigns/{made['id']}/execute"
    tried = api.post(path, {"contactId": str(jane.id), "isTest": True, "skipWaits": True})
    assert tried.status_code == 200, tried.json()
    assert (tried.json()["run"]["isTest"], tried.json()["run"]["version"]) == (True, None)
    assert Enrollment.objects.get().skips_waits
    assert api.get(f"campaigns/{made['id']}").json() == made
    for wrong, field in (
        ({"skipWaits": True}, "skipWaits"),
        ({"isTest": True, "skipWaits": "yes"}, "skipWaits"),
        ({"isTest": True, "key": "1"}, "key"),
    ):
        answer = api.post(path, {"contactId": str(jane.id), **wrong})
        assert (answer.status_code, list(answer.json()["details"])) == (400, [field])
    empty = api.post("campaigns", {"name": "Empty", "type": "AUTOMATED"}).json()
    answer = api.post(f"campaigns/{empty['id']}/execute", {"contactId": str(jane.id), "isTest": True})
    assert (answer.status_code, list(answer.json()["details"])) == (400, ["triggers"])


def test_a_draft_is_not_executed(api, made, jane):
    assert api.post(f"campaigns/{made['id']}/execute", {"contactId": str(jane.id)}).status_code == 409
    assert api.post(f"campaigns/{made['id']}/broadcasts", {"contactIds": []}).status_code == 409


def test_a_broadcast_is_planned(api, workspace, active, jane):
    path = f"campaigns/{active['id']}/broadcasts"
    press = create_segment(workspace.id, name="Press", evaluation=Segment.Evaluation.STATIC)
    listed = api.post(path, {"contactIds": [str(jane.id), UNKNOWN, "x"]})
    assert listed.status_code == 202
    assert (listed.json()["contacts"], listed.json()["taken"], listed.json()["finishedAt"]) == (1, 0, None)
    later = api.post(path, {"segmentId": str(press.id), "at": "2030-01-01T09:00:00Z"}).json()
    assert (later["segmentId"], later["at"]) == (str(press.id), "2030-01-01T09:00:00.000Z")
    assert [row["id"] for row in api.get(path).json()["data"]] == [later["id"], listed.json()["id"]]
    for wrong in (
        {},
        {"segmentId": UNKNOWN},
        {"segmentId": "x"},
        {"segmentId": str(press.id), "contactIds": []},
        {"contactIds": "x"},
        {"contactIds": [], "at": "soon"},
    ):
        assert api.post(path, wrong).status_code == 400


def test_a_report_counts(api, workspace, jane):
    campaign = a_campaign_row(workspace)
    enrollment = an_enrollment(campaign, jane, status="exited", end_reason="exit_rule")
    a_decision(campaign, jane, "entered", enrollment_id=enrollment.id)
    a_decision(campaign, jane, "step", step="split", detail={"handle": "a"})
    a_message(jane, campaign, status="OPENED", opened_at=clock.now())
    report = api.get(f"campaigns/{campaign.id}/report").json()
    assert (report["entered"], report["runs"]["EXITED"], report["ended"]) == (1, 1, {"exit_rule": 1})
    counts = {"total": 1, "byStatus": {"OPENED": 1}, "opened": 1, "clicked": 0}
    assert report["messages"] == {"EMAIL": counts}
    assert report["steps"] == [{"step": "split", "kind": "STEP", "reason": None, "handle": "a", "count": 1}]
    assert api.get(f"campaigns/{campaign.id}/report", since="2999-01-01").json()["entered"] == 0
    assert api.get(f"campaigns/{campaign.id}/report", until="soon").status_code == 400
    assert api.get(f"campaigns/{campaign.id}").json()["_count"] == {"enrollments": 1, "messages": 1}


def test_the_list_is_narrowed(api, workspace):
    a_campaign_row(workspace, "Welcome", status="ACTIVE")
    a_campaign_row(workspace, "News", type="BROADCAST", parked_at=clock.now(), error="no template")

    def names(**parameters):
        return [row["name"] for row in api.get("campaigns", **parameters).json()]

    assert names() == ["Welcome", "News"]
    assert names(status="ACTIVE") == names(name="well") + names(name="elc") == ["Welcome"]
    assert names(type="BROADCAST") == names(parked="true") == ["News"]
    for wrong in ({"status": "x"}, {"type": "x"}, {"parked": "x"}):
        assert api.get("campaigns", **wrong).status_code == 400
    assert api.get("campaigns", parked="true").json()[0]["error"] == "no template"


def test_the_list_takes_the_same_statements_for_any_number(api, workspace, django_assert_max_num_queries):
    for number in range(4):
        a_campaign_row(workspace, f"C{number}")
    with django_assert_max_num_queries(5):
        assert len(api.get("campaigns").json()) == 4


def test_a_template_of_another_channel_or_workspace_is_refused(api, workspace, made):
    theirs = a_template_row(WorkspaceFactory())
    chat = a_template_row(workspace, "Chat", channel="telegram")
    for template in (theirs, chat):
        node = {"id": "m", "type": "send", "data": {"channel": "email", "templateId": str(template.id)}}
        answer = api.patch(f"campaigns/{made['id']}", {"workflow": {"nodes": [node], "edges": []}})
        assert list(answer.json()["details"]) == ["workflow.nodes[0].data.templateId"], answer.json()


@pytest.mark.parametrize("channel", ["EMAIL", "email"])
def test_a_channel_is_spelled_as_elsewhere_or_small(api, workspace, made, channel):
    template = a_template_row(workspace)
    node = {"id": "m", "type": "send", "data": {"channel": channel, "templateId": str(template.id)}}
    path = f"campaigns/{made['id']}"
    assert api.patch(path, {"workflow": {"nodes": [node], "edges": []}}).status_code == 200
    assert api.post(f"{path}/activate", {}).status_code == 200


def test_what_is_not_there_is_a_404(api, jane):
    theirs = a_campaign_row(WorkspaceFactory())
    for unknown in ("x", uuid4(), theirs.id):
        answers = [
            api.get(f"campaigns/{unknown}"),
            api.patch(f"campaigns/{unknown}", {}),
            api.delete(f"campaigns/{unknown}"),
            api.get(f"campaigns/{unknown}/report"),
            api.get(f"campaigns/{unknown}/broadcasts"),
            api.get(f"campaigns/{unknown}/versions"),
            api.post(f"campaigns/{unknown}/execute", {"contactId": str(jane.id)}),
            api.post(f"campaigns/{unknown}/broadcasts", {"contactIds": []}),
        ]
        answers += [
            api.post(f"campaigns/{unknown}/{action}", {})
            for action in ("activate", "pause", "resume", "finish", "archive")
        ]
        for answer in answers:
            assert (answer.status_code, answer.json()) == (404, {"error": "Campaign not found"})
    assert Campaign.objects.get().status == "DRAFT"


def test_the_scopes(workspace, jane):
    campaign = a_campaign_row(workspace)
    reader = NativeClient(workspace, secret=a_key(workspace, scopes=["campaigns:read"]).secret)
    assert reader.get(f"campaigns/{campaign.id}/report").status_code == 200
    answers = [
        reader.post("campaigns", {}),
        reader.patch(f"campaigns/{campaign.id}", {}),
        reader.delete(f"campaigns/{campaign.id}"),
    ]
    answers += [
        reader.post(f"campaigns/{campaign.id}/{action}", {})
        for action in ("activate", "pause", "resume", "finish", "archive", "execute", "broadcasts")
    ]
    assert {answer.status_code for answer in answers} == {403}
