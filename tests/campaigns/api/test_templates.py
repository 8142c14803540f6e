"""Templates in the native format."""

from uuid import uuid4

import pytest

from campaigns.models import Campaign, Form, Message, Template
from tests.campaigns.rows import a_campaign_row, a_form_row, a_template_row
from tests.native import NativeClient
from tests.workspaces.factories import WorkspaceFactory, a_key

pytestmark = pytest.mark.django_db

HELLO = {"name": "Hello", "subject": "Hello {{ contact.firstName }}", "body": "<p>{{ contact.email }}</p>"}


def sending(template):
    node = {"id": "mail", "type": "send", "data": {"channel": "email", "templateId": str(template.id)}}
    return {"workflow": {"nodes": [node], "edges": []}}


def test_a_template_is_written_shown_changed_and_deleted(api, workspace):
    answer = api.post("templates", HELLO)
    assert answer.status_code == 201
    made = answer.json()
    assert made["channel"] == "EMAIL"
    assert {name: made[name] for name in HELLO} == HELLO
    assert api.get("templates").json() == [made]
    assert api.get(f"templates/{made['id']}").json() == made

    changed = api.patch(f"templates/{made['id']}", {"name": "Bye", "text": "Bye", "channel": "EMAIL"})
    assert changed.status_code == 200
    assert (changed.json()["name"], changed.json()["text"]) == ("Bye", "Bye")
    assert (changed.json()["body"], changed.json()["channel"]) == (HELLO["body"], "EMAIL")
    assert api.delete(f"templates/{made['id']}").status_code == 204
    assert not Template.objects.filter(workspace=workspace).exists()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"body": "{% for %}"}, "body"),
        ({"subject": "{{ contact."}, "subject"),
        ({"text": "{% include 'x' %}"}, "text"),
        ({"name": ""}, "name"),
        ({"name": 5}, "name"),
        ({"channel": "PIGEON"}, "channel"),
        ({"body": None}, "body"),
    ],
)
def test_what_cannot_be_a_template_is_refused_at_its_part(api, workspace, changes, field):
    kept = a_template_row(workspace, "Kept")
    for answer in (
        api.post("templates", {**HELLO, **changes}),
        *([] if "channel" in changes else [api.patch(f"templates/{kept.id}", changes)]),
    ):
        assert answer.status_code == 400
        assert field in answer.json()["details"], answer.json()
    assert list(Template.objects.values_list("name", flat=True)) == ["Kept"]


def test_a_template_stays_of_its_channel(api):
    made = api.post("templates", {"name": "Hi", "body": "Hi"}).json()

    refused = api.patch(f"templates/{made['id']}", {"channel": "TELEGRAM"})

    assert refused.status_code == 400
    assert list(refused.json()["details"]) == ["channel"]
    assert api.patch(f"templates/{made['id']}", made).status_code == 200


def test_a_name_is_one_templates_only(api):
    api.post("templates", HELLO)
    other = api.post("templates", {**HELLO, "name": "Other"}).json()
    assert api.post("templates", HELLO).status_code == 409
    answer = api.patch(f"templates/{other['id']}", {"name": "Hello"})
    assert (answer.status_code, answer.json()) == (
        409,
        {"error": "A template with this name already exists"},
    )


def test_a_template_that_is_sent_stays(api, workspace):
    template = a_template_row(workspace)
    drafted = a_campaign_row(workspace, "Drafted", draft=sending(template))
    drafted.active_version.retired_at = drafted.created_at
    drafted.active_version.save()
    served = a_campaign_row(workspace, "Served", draft=sending(template))
    served.draft = {}
    served.save()
    a_form_row(workspace, "Sign up", confirmation_template=template)
    answer = api.delete(f"templates/{template.id}")
    assert answer.status_code == 409
    assert answer.json()["error"] == "This template is sent by: Drafted, Served, Sign up"
    Form.objects.all().delete()
    Campaign.objects.filter(id=drafted.id).update(draft={})
    served.active_version.retired_at = served.created_at
    served.active_version.save()
    assert api.delete(f"templates/{template.id}").status_code == 204


def test_the_list_is_narrowed(api, workspace):
    a_template_row(workspace, "Hello")
    a_template_row(workspace, "Bot", channel="telegram")

    def names(**parameters):
        return [row["name"] for row in api.get("templates", **parameters).json()]

    assert names() == ["Hello", "Bot"]
    assert names(name="ell") == ["Hello"]
    assert names(channel="TELEGRAM") == ["Bot"]
    assert api.get("templates", channel="x").status_code == 400


def test_a_preview_is_what_the_contact_would_get(api, workspace, jane):
    template = a_template_row(
        workspace, subject="Dear {{ contact.email }}", body="<p>{{ event.properties.item }}</p>"
    )
    event = api.post("events", {"type": "buy", "contactId": str(jane.id), "metadata": {"item": "a <b>"}})
    wanted = {"contactId": str(jane.id), "eventId": event.json()["id"]}
    shown = api.post(f"templates/{template.id}/preview", wanted)
    assert shown.status_code == 200
    assert shown.json()["subject"] == "Dear jane@example.test"
    assert "<p>a &lt;b&gt;</p>" in shown.json()["body"]
    tried = api.post("templates/preview", {**wanted, "body": template.body, "subject": template.subject})
    assert tried.json() == shown.json()
    assert not Message.objects.exists()
    assert Template.objects.count() == 1

    hole = api.post(f"templates/{template.id}/preview", {"contactId": str(jane.id)})
    assert hole.status_code == 422
    assert "event" in hole.json()["error"]
    broken = api.post("templates/preview", {**wanted, "body": "{% for %}"})
    assert (broken.status_code, list(broken.json()["details"])) == (400, ["body"])


def test_a_test_is_sent_and_marked(api, workspace, jane):
    template = a_template_row(workspace)
    answer = api.post(f"templates/{template.id}/test", {"contactId": str(jane.id), "to": "Me@Example.test"})
    assert answer.status_code == 200
    sent = answer.json()["message"]
    assert (sent["to"], sent["isTest"], sent["status"]) == ("me@example.test", True, "QUEUED")
    assert Message.objects.get().is_test


def test_whom_it_is_for_must_be_there(api, workspace, jane):
    template = a_template_row(workspace)
    for path in (f"templates/{template.id}/preview", f"templates/{template.id}/test"):
        for unknown in ("x", str(uuid4())):
            assert api.post(path, {"contactId": unknown}).status_code == 404
            answer = api.post(path, {"contactId": str(jane.id), "eventId": unknown})
            assert (answer.status_code, list(answer.json()["details"])) == (400, ["eventId"])


def test_what_is_not_there_is_a_404(api, jane):
    theirs = a_template_row(WorkspaceFactory())
    for unknown in ("x", uuid4(), theirs.id):
        for answer in (
            api.get(f"templates/{unknown}"),
            api.patch(f"templates/{unknown}", {}),
            api.delete(f"templates/{unknown}"),
            api.post(f"templates/{unknown}/preview", {"contactId": str(jane.id)}),
            api.post(f"templates/{unknown}/test", {"contactId": str(jane.id)}),
        ):
            assert (answer.status_code, answer.json()) == (404, {"error": "Template not found"})


def test_looking_needs_no_right_to_write(workspace, jane):
    template = a_template_row(workspace)
    reader = NativeClient(
        workspace, secret=a_key(workspace, scopes=["campaigns:read", "contacts:read"]).secret
    )
    whom = {"contactId": str(jane.id)}
    assert reader.get("templates").status_code == 200
    assert reader.post(f"templates/{template.id}/preview", whom).status_code == 200
    assert reader.post("templates/preview", {**whom, "body": "x"}).status_code == 200
    for answer in (
        reader.post("templates", HELLO),
        reader.patch(f"templates/{template.id}", {}),
        reader.delete(f"templates/{template.id}"),
        reader.post(f"templates/{template.id}/test", whom),
    ):
        assert answer.status_code == 403
