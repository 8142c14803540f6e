"""Mails: transactional e-mails to addresses, with what cannot be done refused by name."""

import pytest

from campaigns.models import ChannelSettings, Decision, Message, Suppression
from contacts.crud import set_consent
from contacts.erasure.erasures import erase_person
from contacts.merging.merges import merge_contacts
from contacts.models import Consent, Contact
from tests.campaigns.rows import a_template_row
from tests.contacts.factories import a_contact
from tests.workspaces.factories import WorkspaceFactory, a_key

MAIL = {
    "from": {"email": "shop@acme.example", "name": "Acme, Inc."},
    "to": {"email": "Jane@Example.com", "name": "Jane Smith"},
    "subject": "Order {{ number }}",
    "html": "<p>Hello {{ name }}, {{ item }}</p>",
    "dynamicData": {"number": 7, "item": "<b>tea</b>"},
}
BULK = {name: value for name, value in MAIL.items() if name != "to"} | {
    "recipients": [
        {"email": "jane@example.com", "name": "Jane"},
        {"email": "john@example.com", "name": "John", "dynamicData": {"item": "milk"}},
    ]
}
NEWS = {"success": True, "data": {"message": "Email queued successfully.", "totalRecipients": 1}}


def details(answer):
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "VALIDATION_FAILED"), answer.json()
    return {each["field"]: each["message"] for each in answer.json()["error"]["details"]}


def test_a_mail_goes_to_a_known_contact(project, jane):
    answer = project.post("/mails/send", {**MAIL, "replyTo": {"email": "help@acme.example"}})

    assert answer.status_code == 200
    message = Message.objects.get()
    email_id = answer.json()["data"].pop("emailId")
    assert (answer.json(), email_id) == (NEWS, str(message.id))
    assert (message.contact_id, message.address) == (jane.id, "jane@example.com")
    assert (message.subject, message.body) == ("Order 7", "<p>Hello Jane Smith, &lt;b&gt;tea&lt;/b&gt;</p>")
    assert message.text == "Hello Jane Smith, <b>tea</b>"
    assert message.headers == {"From": '"Acme, Inc." <shop@acme.example>', "Reply-To": "help@acme.example"}
    assert (message.is_transactional, message.channel) == (True, "email")


def test_who_is_unknown_becomes_a_contact_without_consent(project):
    project.post("/mails/send", {**MAIL, "to": [MAIL["to"]]})

    contact = Contact.objects.get()
    assert (contact.email, contact.first_name, contact.last_name) == ("jane@example.com", "", "")
    assert not Consent.objects.exists()
    assert Message.objects.get().contact_id == contact.id


def test_text_alone_will_do(project):
    project.post("/mails/send", {**MAIL, "html": None, "text": "Hello {{ email }} & co"})
    message = Message.objects.get()
    assert (message.body, message.text) == ("", "Hello Jane@Example.com & co")


def test_a_template_of_the_workspace_is_sent(project, jane):
    template = a_template_row(
        project.workspace, subject="Own {{ number }}", body="<p>{{ item }} {{ contact.email }}</p>"
    )
    body = {name: MAIL[name] for name in ("from", "to", "dynamicData")} | {"templateId": str(template.id)}

    for more, subject in [({}, "Own 7"), ({"subject": "Other"}, "Other")]:
        assert project.post("/mails/send", {**body, **more}).status_code == 200
        message = Message.objects.order_by("-id").first()
        assert (message.template_id, message.subject) == (template.id, subject)
        assert "jane@example.com" in message.body
        assert message.headers["From"] == '"Acme, Inc." <shop@acme.example>'
    template.refresh_from_db()
    assert (template.subject, template.sender) == ("Own {{ number }}", "")


@pytest.mark.parametrize("foreign", [False, True])
def test_an_unknown_template(project, foreign):
    other = a_template_row(WorkspaceFactory())
    body = {name: MAIL[name] for name in ("from", "to")}
    answer = project.post("/mails/send", {**body, "templateId": str(other.id) if foreign else "A-abc123"})
    assert answer.status_code == 404
    assert answer.json()["error"] == {"message": "Template not found", "code": "TEMPLATE_NOT_FOUND"}
    assert not Contact.objects.exists()


def test_consent_is_not_asked_for_and_suppressions_are(project, jane):
    set_consent(project.workspace.id, jane, "email", Consent.Status.OPTED_OUT)
    assert project.post("/mails/send", MAIL).status_code == 200
    Suppression.objects.create(workspace=project.workspace, address="jane@example.com")
    answer = project.post("/mails/send", MAIL)
    assert answer.status_code == 400
    assert answer.json()["error"] == {"message": "Not sent: suppressed", "code": "MESSAGE_REFUSED"}
    assert Message.objects.count() == 1
    assert Decision.objects.get().reason == "suppressed"


def test_a_value_that_is_missing_is_named(project):
    answer = project.post("/mails/send", {**MAIL, "dynamicData": {"number": 7}})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, "MESSAGE_REFUSED")
    assert error["message"].startswith("Not sent: value_missing (item")


def test_a_merged_contact_gets_it_where_its_survivor_is_written_to(project, jane):
    other = a_contact(project.workspace, "j.smith@example.com")
    merge_contacts(project.workspace.id, other, jane)
    project.post("/mails/send", MAIL)
    assert Message.objects.get().address == "j.smith@example.com"


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"from": None}, "from", "from must be an object"),
        ({"from": {"name": "Acme"}}, "from.email", "from.email is required"),
        ({"from": {"email": "nobody"}}, "from.email", "Invalid email format"),
        ({"from": {"email": "a@b.example", "name": "A\nB: c"}}, None, None),
        ({"from": {"email": "a@b.example", "name": "A\x07"}}, "from.email", "cannot be used"),
        ({"to": None}, "to", "to must be an object"),
        ({"to": {"email": ""}}, "to.email", "Invalid email format"),
        ({"to": [MAIL["to"], MAIL["to"]]}, "to", "to must be one recipient"),
        ({"to": []}, "to", "to must be one recipient"),
        ({"subject": " "}, "subject", "subject is required"),
        ({"subject": "x" * 999}, "subject", "subject must have at most 998 characters"),
        ({"html": "x" * 200_001}, "html", "html must have at most 200000 characters"),
        ({"html": None}, "html", "html or text or templateId is required"),
        ({"templateId": "x"}, "html", "html cannot be given with templateId"),
        ({"html": "{{#if x}}a{{/if}}"}, "html", "html is no Liquid template: unexpected '#'"),
        ({"subject": "{% if %}"}, "subject", "subject is no Liquid template"),
        ({"dynamicData": []}, "dynamicData", "dynamicData must be an object"),
        ({"cc": [{"email": "a@b.example"}]}, "cc", "cc cannot be set"),
        ({"bcc": [{"email": "a@b.example"}]}, "bcc", "bcc cannot be set"),
        ({"attachments": [{"fileName": "a.pdf"}]}, "attachments", "attachments cannot be sent"),
        ({"unsubscribeGroupId": "g"}, "unsubscribeGroupId", "unsubscribeGroupId cannot be chosen"),
        ({"bypassSuppressions": True}, "bypassSuppressions", "bypassSuppressions cannot be true"),
        ({"scheduledAt": "2030-01-01T00:00:00Z"}, "scheduledAt", "scheduledAt cannot be set"),
        ({"trackingOpen": False}, "trackingOpen", "trackingOpen cannot differ from the e-mail channel's"),
        ({"headers": {"Bcc": "a@b.example"}}, "headers.Bcc", "headers.Bcc cannot be set"),
        ({"headers": {"List-Unsubscribe": "x"}}, "headers.List-Unsubscribe", "cannot be set"),
        ({"headers": {"X-A": "b\r\nBcc: c@d.example"}}, "headers.X-A", "must be a line"),
        ({"headers": {"X A": "b"}}, "headers.X A", "letters, digits and hyphens"),
        ({"headers": {"X-A": 5}}, "headers.X-A", "must be a string"),
    ],
)
def test_what_cannot_be_sent_is_refused_by_name(project, changes, field, message):
    answer = project.post("/mails/send", {**MAIL, **changes})
    if field is None:
        # A name is one line, however it came.
        assert Message.objects.get().headers["From"] == '"A B: c" <a@b.example>'
        return
    assert message in details(answer)[field]
    assert not Message.objects.exists()
    assert not Contact.objects.exists()


@pytest.mark.parametrize("route", ["send", "bulk"])
def test_what_is_missing_is_said_as_the_vendor_says_it(project, route):
    said = details(project.post(f"/mails/{route}", {}))
    assert said == {name: f"{name} is required" for name in said}
    assert "from" in said


def test_what_asks_for_nothing_is_no_refusal(project):
    ChannelSettings.objects.create(
        workspace=project.workspace, channel="email", options={"trackOpens": False, "trackClicks": True}
    )
    harmless = {
        "cc": [],
        "bcc": None,
        "attachments": [],
        "unsubscribeGroupId": "",
        "bypassSuppressions": False,
        "trackingOpen": False,
        "trackingClick": True,
        "headers": {"X-Order": "7"},
        "unheardOf": 1,
    }
    assert project.post("/mails/send", {**MAIL, **harmless}).status_code == 200
    assert Message.objects.get().headers["X-Order"] == "7"


def test_each_of_a_bulk_gets_its_own(project, jane):
    answer = project.post("/mails/bulk", BULK)
    assert answer.status_code == 200
    data = answer.json()["data"]
    first, second = Message.objects.order_by("address")
    assert data == {
        "batchId": data["batchId"],
        "totalRecipients": 2,
        "successCount": 2,
        "failedCount": 0,
        "emailIds": [str(first.id), str(second.id)],
    }
    assert (first.contact_id, first.text) == (jane.id, "Hello Jane, <b>tea</b>")
    assert (second.address, second.text) == ("john@example.com", "Hello John, milk")
    assert first.key == f"api:{data['batchId']}:0"


def test_a_bulk_names_those_who_were_refused(project):
    Suppression.objects.create(workspace=project.workspace, address="jane@example.com")
    erase_person(project.workspace.id, a_contact(project.workspace, "zaphod@example.com"))
    recipients = [*BULK["recipients"], {"email": "zaphod@example.com", "name": "Z"}]
    data = project.post("/mails/bulk", {**BULK, "recipients": recipients}).json()["data"]
    assert (data["totalRecipients"], data["successCount"], data["failedCount"]) == (3, 1, 2)
    message = Message.objects.get()
    assert data["emailIds"] == [None, str(message.id), None]
    assert [error["index"] for error in data["errors"]] == [0, 2]
    assert data["errors"][0] == {"index": 0, "message": "Not sent: suppressed", "code": "MESSAGE_REFUSED"}


@pytest.mark.parametrize(
    ("recipients", "field"),
    [
        ([], "recipients"),
        (None, "recipients"),
        ([{"email": "a@b.example"}] * 101, "recipients"),
        ([{"email": "a@b.example"}, {"email": "nobody"}], "recipients[1].email"),
        ([{"email": "a@b.example", "bcc": [{"email": "c@d.example"}]}], "recipients[0].bcc"),
        ([{"email": "a@b.example", "dynamicData": 5}], "recipients[0].dynamicData"),
    ],
)
def test_a_bulk_of_another_shape_is_refused_as_a_whole(project, recipients, field):
    assert field in details(project.post("/mails/bulk", {**BULK, "recipients": recipients}))
    assert not Contact.objects.exists()


def test_a_bulk_of_a_hundred_costs_a_fixed_number_of_statements(project, django_assert_max_num_queries):
    recipients = [{"email": f"p{n}@example.com", "name": "P"} for n in range(100)]
    with django_assert_max_num_queries(40):
        assert project.post("/mails/bulk", {**BULK, "recipients": recipients}).status_code == 200
    assert Message.objects.count() == 100


@pytest.mark.parametrize(("path", "body"), [("/mails/send", MAIL), ("/mails/bulk", BULK)])
def test_a_repetition_under_its_key_is_answered_once(project, path, body):
    first, second = (project.post(path, body, **{"Idempotency-Key": "k"}) for _ in range(2))
    assert first.json() == second.json()
    assert Message.objects.count() == (1 if path == "/mails/send" else 2)
    other = project.post(path, {**body, "subject": "Other"}, **{"Idempotency-Key": "k"})
    assert (other.status_code, other.json()["error"]["code"]) == (409, "IDEMPOTENCY_CONFLICT")


def test_the_scopes(project):
    template = a_template_row(project.workspace)
    body = {name: MAIL[name] for name in ("from", "to")} | {"templateId": str(template.id)}
    for scopes, plain, by_template in [
        (["messages:write"], 403, 403),
        (["contacts:write"], 403, 403),
        (["messages:write", "contacts:write"], 200, 403),
        (["messages:write", "contacts:write", "campaigns:read"], 200, 200),
    ]:
        caller = type(project)(project.workspace, a_key(project.workspace, scopes=scopes).secret)
        assert caller.post("/mails/send", MAIL).status_code == plain
        assert caller.post("/mails/send", body).status_code == by_template
