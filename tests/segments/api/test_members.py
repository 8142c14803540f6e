"""Who is in a segment, who was, who is put in by hand, and why."""

from datetime import timedelta
from uuid import uuid4

import pytest

from config.http.rendering import iso_millis
from contacts.models import Identifier
from events.processing.passes import apply_effects
from segments.definitions import create_segment
from tests.contacts.factories import a_contact
from tests.native import NativeClient
from tests.segments.factories import a_segment, did, every, in_segment, none_of, send, told, who_is_in
from tests.workspaces.factories import WorkspaceFactory

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def api(workspace):
    return NativeClient(workspace)


@pytest.fixture
def press(workspace):
    return create_segment(workspace.id, name="Press", evaluation="STATIC")


def upload(api, method, segment, text, content_type="text/csv"):
    send_ = getattr(api.client, method)
    url = f"{api.base}/segments/{segment.id}/members"
    return send_(url, text, content_type=content_type, **api.headers)


def remove(api, segment, body):
    return api._send("delete", f"segments/{segment.id}/members", body)


def test_members_are_listed_page_by_page(api, workspace):
    contacts = [a_contact(workspace, f"c{n}@example.test") for n in range(5)]
    everybody = a_segment(workspace, none_of(did("leave")))
    pages, after = [], {}
    while True:
        body = api.get(f"segments/{everybody.id}/members", limit=2, **after).json()
        pages.append([row["contact"]["email"] for row in body["data"]])
        if body["next"] is None:
            break
        after = {"after": body["next"]}
    assert [len(page) for page in pages] == [2, 2, 1]
    assert sorted(email for page in pages for email in page) == [f"c{n}@example.test" for n in range(5)]
    assert all(row["until"] is None and row["since"] for row in body["data"])
    assert len(contacts) == 5
    for wrong in ({"after": "x"}, {"limit": "x"}, {"at": "x"}, {"at": "now"}, {"at": "-7d"}, {"at": "\x00"}):
        answer = api.get(f"segments/{everybody.id}/members", **wrong)
        assert answer.status_code == 400, wrong
        assert set(answer.json()["details"]) == set(wrong)


def test_who_was_in_it_at_a_moment_is_a_question(api, workspace, jane, time):
    segment = a_segment(workspace, did("buy", timeWindow="1d"))
    moments = [time.now()]
    moments.append(time.go(hours=1))
    send(workspace, jane, "buy", at=time.now())
    moments.append(time.go(hours=30))
    send(workspace, jane, "look", at=time.now())

    def at(moment):
        rows = api.get(f"segments/{segment.id}/members", at=iso_millis(moment)).json()["data"]
        return [(row["contact"]["email"], row["since"], row["until"]) for row in rows]

    for spelled in ("2026-05-01T15:00:00+02:00", "2026-05-01T15:00:00 02:00", "2026-05-01 13:00"):
        assert len(api.get(f"segments/{segment.id}/members", at=spelled).json()["data"]) == 1, spelled
        assert api.get(f"contacts/{jane.id}/score", at=spelled).json()["at"] == "2026-05-01T13:00:00.000Z"
    inside = ("jane@example.test", iso_millis(moments[1]), iso_millis(moments[1] + timedelta(days=1)))
    assert at(moments[0]) == []
    assert at(moments[1]) == [inside]
    assert at(moments[1] + timedelta(hours=23)) == [inside]
    assert at(moments[1] + timedelta(days=1)) == []
    assert at(moments[2]) == []


def test_contacts_are_put_in_and_taken_out_by_hand(api, workspace, jane, press):
    john = a_contact(workspace, "john@example.test", identifiers=(("external_id", "crm-1"),))
    body = {
        "contactIds": [str(jane.id), str(unknown := uuid4()), "x"],
        "identifiers": [
            {"type": "email", "value": " John@Example.TEST "},
            {"type": "externalId", "value": "crm-2"},
        ],
    }
    answer = api.post(f"segments/{press.id}/members", body)
    assert answer.status_code == 200
    assert (answer.json()["changed"], answer.json()["unchanged"]) == (2, 0)
    assert set(answer.json()["unknown"]) == {str(unknown), "x", "crm-2"}
    assert who_is_in(press) == {jane.id, john.id}
    assert told(press, jane) == ["segment.entered"]
    again = api.post(
        f"segments/{press.id}/members", {"identifiers": [{"type": "externalId", "value": "crm-1"}]}
    )
    assert again.json() == {"changed": 0, "unchanged": 1, "unknown": []}

    gone = remove(api, press, {"contactIds": [str(jane.id)]})
    assert (gone.status_code, gone.json()) == (200, {"changed": 1, "unchanged": 0, "unknown": []})
    assert who_is_in(press) == {john.id}
    assert told(press, jane) == ["segment.entered", "segment.exited"]


def test_a_list_is_uploaded(api, workspace, jane, press):
    john = a_contact(workspace, "john@example.test")
    text = "email,name\r\nJOHN@example.test,John\r\nnobody@example.test,\r\n"
    answer = upload(api, "post", press, ("\ufeff" + text).encode())
    assert answer.json() == {"changed": 1, "unchanged": 0, "unknown": ["nobody@example.test"]}
    answer = upload(api, "post", press, f"{jane.id}\n".encode(), "text/csv; charset=utf-8")
    assert answer.json()["changed"] == 1
    assert who_is_in(press) == {jane.id, john.id}
    assert upload(api, "delete", press, b"john@example.test\n").json()["changed"] == 1
    assert who_is_in(press) == {jane.id}


@pytest.mark.parametrize("text", [b"id\nx\n", b"\xff\xfe", b"a\x00b", b'"never closed'])
def test_an_upload_that_is_no_list_is_refused(api, press, text):
    answer = upload(api, "post", press, text)
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_an_upload_is_bounded(api, press, settings):
    settings.MAX_BODY_BYTES = 10
    assert upload(api, "post", press, b"x" * 11).status_code == 413
    assert upload(api, "post", press, b"x", "text/plain").status_code == 415


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"contactIds": []},
        {"contactIds": "x"},
        {"contactIds": [5]},
        {"identifiers": [{"type": "email"}]},
        {"identifiers": ["x"]},
        {"contacts": ["x"]},
        {"contactIds": ["x"] * 10_001},
    ],
)
def test_a_list_of_another_shape_is_refused(api, press, body):
    for answer in (api.post(f"segments/{press.id}/members", body), remove(api, press, body)):
        assert answer.status_code == 400
        assert answer.json()["details"]


def test_members_of_a_dynamic_segment_are_not_set_by_hand(api, workspace, jane):
    segment = a_segment(workspace, did("buy"))
    body = {"contactIds": [str(jane.id)]}
    for answer in (api.post(f"segments/{segment.id}/members", body), remove(api, segment, body)):
        assert answer.status_code == 409
    assert who_is_in(segment) == set()


def test_contacts_of_another_workspace_are_unknown(api, workspace, press):
    theirs = a_contact(WorkspaceFactory(), "them@example.test")
    answer = api.post(
        f"segments/{press.id}/members",
        {
            "contactIds": [str(theirs.id)],
            "identifiers": [{"type": Identifier.EMAIL, "value": "them@example.test"}],
        },
    )
    assert answer.json() == {
        "changed": 0,
        "unchanged": 0,
        "unknown": [str(theirs.id), "them@example.test"],
    }


def test_an_explanation_tells_what_makes_it_so_and_until_when(api, workspace, jane, time):
    segment = a_segment(workspace, every(did("buy", timeWindow="7d"), none_of(did("leave"))))
    send(workspace, jane, "buy", at=time.now())
    bought = time.now()
    body = api.get(f"segments/{segment.id}/contacts/{jane.id}/explanation").json()
    assert body["contact"]["email"] == "jane@example.test"
    assert (body["isMember"], body["matches"], body["since"]) == (True, True, iso_millis(bought))
    assert body["changesAt"] == iso_millis(bought + timedelta(days=7))
    reasons = body["reasons"]
    assert reasons["operator"] == "AND"
    bought_leaf, never_left = reasons["conditions"]
    assert (bought_leaf["matches"], bought_leaf["actual"]) == (True, 1)
    assert [event["timestamp"] for event in bought_leaf["events"]] == [iso_millis(bought)]
    assert (never_left["operator"], never_left["matches"]) == ("NOT", True)
    assert never_left["conditions"][0]["matches"] is False


def test_an_explanation_tells_until_when_through_another_segment(api, workspace, jane, time):
    buyers = a_segment(workspace, did("buy", timeWindow="7d"))
    others = a_segment(workspace, every(in_segment(buyers)))
    send(workspace, jane, "buy", at=time.now())
    lapse = iso_millis(time.now() + timedelta(days=7))
    path = f"segments/{others.id}/contacts/{jane.id}/explanation"
    body = api.get(path).json()
    assert (body["isMember"], body["changesAt"]) == (True, lapse)
    assert body["reasons"]["conditions"][0]["changesAt"] == lapse
    time.go(days=7)
    apply_effects(workspace.id)
    body = api.get(path).json()
    assert (body["isMember"], body["changesAt"]) == (False, None)


def test_an_explanation_of_a_static_segment_has_no_reasons(api, workspace, jane, press):
    assert api.get(f"segments/{press.id}/contacts/{jane.id}/explanation").json()["isMember"] is False
    api.post(f"segments/{press.id}/members", {"contactIds": [str(jane.id)]})
    body = api.get(f"segments/{press.id}/contacts/{jane.id}/explanation").json()
    assert (body["isMember"], body["reasons"], body["changesAt"]) == (True, None, None)


def test_an_unknown_contact_has_no_explanation(api, workspace, press):
    theirs = a_contact(WorkspaceFactory())
    for unknown in ("x", uuid4(), theirs.id):
        answer = api.get(f"segments/{press.id}/contacts/{unknown}/explanation")
        assert (answer.status_code, answer.json()) == (404, {"error": "Contact not found"})
