"""Messages in the native format."""

from uuid import uuid4

import pytest

from campaigns.models import Decision, Message, Suppression
from config import clock
from contacts.merging.merges import merge_contacts
from tests.campaigns.rows import a_campaign_row, a_message, a_template_row
from tests.contacts.factories import a_contact
from tests.native import NativeClient
from tests.workspaces.factories import WorkspaceFactory, a_key

pytestmark = pytest.mark.django_db


def body(contact, **more):
    return {"contactId": str(contact.id), "channel": "EMAIL", "subject": "Hi", "body": "<p>Hi</p>", **more}


def test_a_message_is_sent_and_shown(api, workspace, jane):
    answer = api.post("messages", body(jane, transactional=True, priority=3))
    assert answer.status_code == 200
    sent = answer.json()["message"]
    assert answer.json()["deferredUntil"] is None
    assert (sent["channel"], sent["status"], sent["to"]) == ("EMAIL", "QUEUED", "jane@example.test")
    assert (sent["isTransactional"], sent["priority"], sent["templateId"]) == (True, 3, None)
    assert sent["contact"]["email"] == "jane@example.test"
    assert api.get(f"messages/{sent['id']}").json() == sent
    (row,) = api.get("messages").json()["data"]
    assert row == {name: sent[name] for name in row}
    assert "body" not in row


def test_a_templates_message_names_it(api, workspace, jane):
    template = a_template_row(workspace)
    wanted = {"contactId": str(jane.id), "channel": "EMAIL", "templateId": str(template.id)}
    assert api.post("messages", wanted).json()["message"]["templateId"] == str(template.id)
    wrong = api.post("messages", {**wanted, "channel": "TELEGRAM"})
    assert wrong.status_code == 422


def test_a_senders_key_has_one_message(api, jane):
    first = api.post("messages", body(jane, key="order 1"))
    again = api.post("messages", body(jane, key="order 1", subject="Other"))
    assert again.json()["message"]["id"] == first.json()["message"]["id"]
    assert Message.objects.count() == 1
    api.post("messages", body(jane))
    assert Message.objects.count() == 2


def test_a_refusal_says_why_and_is_on_record(api, workspace, jane):
    Suppression.objects.create(workspace=workspace, address="jane@example.test")
    answer = api.post("messages", body(jane))
    assert answer.status_code == 422
    assert answer.json()["error"] == "Not sent: suppressed"
    assert answer.json()["details"]["reason"] == ["suppressed"]
    assert Decision.objects.get().reason == "suppressed"
    assert not Message.objects.exists()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"channel": "PIGEON"}, "channel"),
        ({"contactId": 5}, "contactId"),
        ({"body": "{% for %}"}, "body"),
        ({"body": None}, "body"),
        ({"templateId": str(uuid4())}, "templateId"),
        ({"transactional": "yes"}, "transactional"),
        ({"priority": 40_000}, "priority"),
        ({"key": 5}, "key"),
        ({"eventId": "x"}, "eventId"),
    ],
)
def test_a_body_of_another_shape_is_refused_by_name(api, jane, changes, field):
    answer = api.post("messages", body(jane, **changes))
    assert answer.status_code == 400
    assert list(answer.json()["details"]) == [field], answer.json()
    assert not Message.objects.exists()


def test_the_list_is_narrowed_and_paged(api, workspace, jane):
    john = a_contact(workspace, "john@example.test")
    campaign = a_campaign_row(workspace)
    event_id, enrollment_id = uuid4(), uuid4()
    older = a_message(jane, campaign, status="SENT", event_id=event_id)
    newer = a_message(john, channel="webhook", enrollment_id=enrollment_id)
    a_message(a_contact(WorkspaceFactory()))

    def found(**parameters):
        return [row["id"] for row in api.get("messages", **parameters).json()["data"]]

    assert found() == [str(newer.id), str(older.id)]
    assert found(contactId=str(jane.id)) == found(status="SENT") == found(eventId=str(event_id))
    assert found(campaignId=str(campaign.id)) == [str(older.id)]
    assert found(runId=str(enrollment_id)) == found(channel="WEBHOOK") == [str(newer.id)]
    assert found(contactId="x") == found(campaignId=str(uuid4())) == []
    merge_contacts(workspace.id, jane, john)
    assert found(contactId=str(jane.id)) == found(contactId=str(john.id)) == found()

    first = api.get("messages", limit=1).json()
    assert first["next"] == str(newer.id)
    assert api.get("messages", limit=1, before=first["next"]).json()["data"][0]["id"] == str(older.id)
    assert api.get("messages", limit=2).json()["next"] is None
    for wrong in ({"before": "x"}, {"status": "x"}, {"channel": "email?"}, {"limit": "x"}):
        assert api.get("messages", **wrong).status_code == 400


def test_a_page_takes_the_same_statements_for_any_number(api, jane, django_assert_max_num_queries):
    for _ in range(5):
        a_message(jane)
    with django_assert_max_num_queries(4):
        assert len(api.get("messages").json()["data"]) == 5


def test_an_unknown_message_is_settled(api, workspace, jane):
    message = a_message(jane, status="UNKNOWN", claimed_at=clock.now())
    assert api.post(f"messages/{message.id}/settle", {"wasSent": 1}).status_code == 400
    answer = api.post(f"messages/{message.id}/settle", {"wasSent": False})
    assert (answer.status_code, answer.json()["status"]) == (200, "QUEUED")
    assert api.post(f"messages/{message.id}/settle", {"wasSent": True}).status_code == 409
    other = a_message(jane, status="UNKNOWN", claimed_at=clock.now())
    answer = api.post(f"messages/{other.id}/settle", {"wasSent": True, "providerId": "p1"})
    assert (answer.json()["status"], answer.json()["providerId"]) == ("SENT", "p1")


def test_what_is_not_there_is_a_404(api, workspace, jane):
    theirs = a_message(a_contact(WorkspaceFactory()))
    for unknown in ("x", uuid4(), theirs.id):
        for answer in (
            api.get(f"messages/{unknown}"),
            api.post(f"messages/{unknown}/settle", {"wasSent": True}),
        ):
            assert (answer.status_code, answer.json()) == (404, {"error": "Message not found"})
    for unknown in ("x", str(uuid4())):
        wanted = {"contactId": unknown, "channel": "EMAIL", "body": "x"}
        assert api.post("messages", wanted).status_code == 404
        wanted = {"contactId": str(jane.id), "channel": "EMAIL", "templateId": unknown}
        assert api.post("messages", wanted).status_code == 404


def test_the_scopes(workspace, jane):
    message = a_message(jane)
    reader = NativeClient(
        workspace, secret=a_key(workspace, scopes=["messages:read", "contacts:read"]).secret
    )
    assert reader.get(f"messages/{message.id}").status_code == 200
    assert reader.post("messages", body(jane)).status_code == 403
    assert reader.post(f"messages/{message.id}/settle", {"wasSent": True}).status_code == 403
    blind = NativeClient(workspace, secret=a_key(workspace, scopes=["campaigns:read"]).secret)
    assert blind.get("messages").status_code == 403


def test_a_contacts_answer_has_its_messages(api, workspace, jane):
    message = a_message(jane)
    (row,) = api.get(f"contacts/{jane.id}").json()["messages"]
    assert (row["id"], row["subject"], row["status"]) == (str(message.id), "Hello", "QUEUED")
