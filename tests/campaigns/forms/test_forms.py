"""Forms: what a visitor sends becomes a contact and an event, and what a machine sends does not."""

import json
import re

import pytest
from django.test import Client

from campaigns.errors import FormExists, InvalidForm
from campaigns.forms.fields import TRAP
from campaigns.forms.forms import FormValues, create_form, update_form
from campaigns.models import Form, FormSubmission, Message, Template
from contacts.crud import delete_contact, get_contact
from contacts.erasure.erasures import erase_person
from contacts.models import Contact
from events.models import Event
from tests.contacts.factories import a_contact
from tests.workspaces.factories import WorkspaceFactory
from workspaces.throttles import reset_limits

FIELDS = [
    {"name": "mail", "type": "email", "required": True, "label": "Your e-mail"},
    {"name": "first", "mapsTo": "firstName"},
    {"name": "tel", "type": "phone"},
    {"name": "plan", "type": "select", "options": ["free", "pro"], "mapsTo": "attributes.plan"},
    {"name": "seats", "type": "number", "mapsTo": "attributes.seats"},
    {"name": "terms", "type": "checkbox"},
]


@pytest.fixture(autouse=True)
def _no_limits_left():
    reset_limits()


@pytest.fixture
def form(workspace):
    return create_form(workspace.id, FormValues(name="Sign-up", fields=FIELDS, consents=["email"]))


def submit(form, answers, **headers):
    return Client().post(f"/api/forms/{form.id}/submit", answers, content_type="application/json", **headers)


def test_answers_make_a_contact_and_an_event(workspace, form):
    answers = {
        "mail": "Ada@Example.test",
        "first": " Ada ",
        "plan": "pro",
        "seats": "3",
        "terms": True,
        "more": 1,
    }

    answer = submit(form, answers, HTTP_REFERER="https://page.test/pricing")

    assert answer.status_code == 201
    submission = FormSubmission.objects.get()
    assert answer.json() == {"success": True, "submissionId": str(submission.id)}
    contact = get_contact(workspace.id, submission.contact_id)
    assert (contact.email, contact.first_name) == ("ada@example.test", "Ada")
    assert contact.attributes == {"plan": "pro", "seats": 3}
    assert contact.consent("email") == "opted_in"
    event = Event.objects.get(name="form.submitted")
    assert (event.id, event.source, event.contact_id) == (submission.event_id, "system", contact.id)
    assert event.properties["formId"] == str(form.id)
    assert event.properties["plan"] == "pro"
    assert "more" not in event.properties
    assert event.context == {"pageUrl": "https://page.test/pricing"}


def test_whom_the_address_finds_gets_what_it_lacks_but_no_other_identity(workspace, form):
    ada = a_contact(workspace, "ada@example.test", first_name="")

    submit(form, {"mail": "ada@example.test", "first": "Ada", "tel": "+12025550143"})
    submit(form, {"mail": "new@example.test", "tel": "+12025550144"})

    ada = get_contact(workspace.id, ada.id)
    assert (ada.first_name, ada.phone) == ("Ada", None)
    new = Contact.objects.get(identifiers__value="new@example.test")
    assert get_contact(workspace.id, new.id).phone == "+12025550144"


def test_what_cannot_be_is_told_field_by_field(form):
    answer = submit(form, {"mail": "no address", "plan": "gold", "seats": "many", "tel": "?", "first": 7})

    assert answer.status_code == 400
    assert set(answer.json()["details"]) == {"mail", "plan", "seats", "tel", "first"}
    assert submit(form, {}).json()["details"] == {"mail": ["This field is required."]}
    assert submit(form, []).status_code == 400
    assert not Contact.objects.exists()


def test_a_submission_with_the_trap_filled_in_is_dropped(form):
    answer = submit(form, {"mail": "bot@example.test", TRAP: "https://spam.test"})

    assert answer.status_code == 201
    assert answer.json()["success"] is True
    assert not Contact.objects.exists()
    assert not FormSubmission.objects.exists()


def test_an_erased_persons_submission_is_dropped_silently(workspace, form):
    erase_person(workspace.id, a_contact(workspace, "ada@example.test"))

    assert submit(form, {"mail": "ada@example.test"}).status_code == 201
    assert not Contact.objects.exists()


SPELLINGS = [
    "ADA@Straße.test", '"ada"@straße.test', "a\u00adda@straße。test", "ada\u200b@xn--strae-oqa.test.",
    "ａｄａ＠straße.test",
]  # fmt: skip


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_nor_by_another_spelling_of_the_address(workspace, form, spelling):
    erase_person(workspace.id, a_contact(workspace, "ada@straße.test"))

    assert submit(form, {"mail": spelling}).status_code == 201
    assert not Contact.objects.exists()


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_of_an_address_is_the_same_contact(workspace, form, spelling):
    ada = a_contact(workspace, "ada@straße.test")

    assert submit(form, {"mail": spelling}).status_code == 201
    assert Contact.objects.get() == ada


@pytest.mark.parametrize(
    "text", ["<ada@example.test>", "ada(1)@example.test", "Ada <ada@example.test>", "a@b@c"]
)
def test_what_is_no_address_is_refused(form, text):
    answer = submit(form, {"mail": text})
    assert (answer.status_code, list(answer.json()["details"])) == (400, ["mail"])
    assert not Contact.objects.exists()


def test_the_eleventh_submission_in_a_minute_is_429(form):
    codes = [submit(form, {"mail": f"p{n}@example.test"}).status_code for n in range(11)]

    assert codes == [201] * 10 + [429]
    assert submit(form, {"mail": "p@example.test"}, REMOTE_ADDR="10.9.8.7").status_code == 201


def test_visitors_behind_our_proxy_are_told_apart(form, settings):
    def send(number, forwarded):
        return submit(form, {"mail": f"p{number}@example.test"}, HTTP_X_FORWARDED_FOR=forwarded).status_code

    assert [send(n, f"10.0.0.{n}") for n in range(11)][-1] == 429  # nobody's word, without a proxy
    reset_limits()
    settings.PROXY_COUNT = 1
    assert {send(n, f"10.0.0.{n}") for n in range(11)} == {201}
    assert [send(n, f"6.6.6.{n}, 10.1.1.1") for n in range(11)] == [201] * 10 + [429]


@pytest.mark.parametrize(
    ("address", "is_one"),
    [
        ("2001:db8:1:2::{}", True),
        ("2001:db8:1:2:{0}:{0}:{0}:{0}%eth0", True),
        ("2001:db8:1:{}::1", False),
        ("::ffff:192.0.2.{}", False),
    ],
)
def test_who_has_a_network_is_one_visitor(form, address, is_one):
    answers = [
        submit(form, {"mail": "jane@example.test"}, REMOTE_ADDR=address.format(number)).status_code
        for number in range(1, 13)
    ]

    assert (answers[-1] == 429) is is_one


def test_any_page_may_use_it_unless_some_are_named(workspace, form):
    answer = submit(form, {"mail": "a@example.test"}, HTTP_ORIGIN="https://any.test")
    assert answer["Access-Control-Allow-Origin"] == "*"
    update_form(workspace.id, form, FormValues(allowed_origins=["https://Ours.test"]))

    refused = submit(form, {"mail": "b@example.test"}, HTTP_ORIGIN="https://theirs.test")
    taken = submit(form, {"mail": "c@example.test"}, HTTP_ORIGIN="https://ours.test")

    assert refused.status_code == 403
    assert "Access-Control-Allow-Origin" not in refused
    assert taken["Access-Control-Allow-Origin"] == "https://ours.test"
    asked = Client().options(f"/api/forms/{form.id}/submit", HTTP_ORIGIN="https://ours.test")
    assert (asked.status_code, asked["Access-Control-Allow-Headers"]) == (204, "Content-Type")
    with_key = {"HTTP_ORIGIN": "https://ours.test", "HTTP_ACCESS_CONTROL_REQUEST_HEADERS": "idempotency-key"}
    keyed = Client().options(f"/api/forms/{form.id}/submit", **with_key)
    assert keyed["Access-Control-Allow-Headers"] == "Content-Type, Idempotency-Key"
    assert FormSubmission.objects.count() == 2


def test_a_form_without_a_script_leads_on(workspace, form):
    url = f"/api/forms/{form.id}/submit"
    assert b"Thank you" in Client().post(url, "mail=a%40example.test", **URLENCODED).content
    update_form(workspace.id, form, FormValues(redirect_url="https://ours.test/thanks"))

    answer = Client().post(url, "mail=b%40example.test&terms=on", **URLENCODED)

    assert (answer.status_code, answer["Location"]) == (303, "https://ours.test/thanks")
    assert FormSubmission.objects.get(answers__mail="b@example.test").answers["terms"] is True


URLENCODED = {"content_type": "application/x-www-form-urlencoded"}


def test_double_opt_in_is_a_post_after_the_link(workspace):
    template = Template.objects.create(
        workspace=workspace,
        name="Confirm",
        subject="Confirm",
        body='<a href="{{ event.properties.confirmUrl }}">Yes</a>',
    )
    form = create_form(
        workspace.id,
        FormValues(
            name="News",
            fields=FIELDS,
            consents=["email"],
            double_opt_in=True,
            confirmation_template=str(template.id),
        ),
    )
    submit(form, {"mail": "ada@example.test"})
    message = Message.objects.get()
    submission = FormSubmission.objects.get()
    contact_id = submission.contact_id
    assert message.is_transactional
    assert message.event_id == submission.event_id
    assert "confirmUrl" not in Event.objects.get(name="form.submitted").properties
    path = re.search(r"/forms/confirm/[^\"]+", message.body).group()

    assert b"Confirm" in Client().get(path).content
    assert get_contact(workspace.id, contact_id).consent("email") is None
    assert Client().post(path).status_code == 200
    assert Client().post(path).status_code == 200

    assert get_contact(workspace.id, contact_id).consent("email") == "opted_in"
    assert Event.objects.filter(name="contact.subscribed").count() == 1
    assert Client().post(path[:-3]).status_code == 404
    submit(form, {"mail": "joe@example.test"})
    other = Message.objects.latest("id")
    delete_contact(workspace.id, get_contact(workspace.id, other.contact_id))
    assert Client().post(re.search(r"/forms/confirm/[^\"]+", other.body).group()).status_code == 404
    erase_person(workspace.id, get_contact(workspace.id, contact_id))
    assert Client().get(path).status_code == 404


def test_the_script_has_the_form_and_no_text_breaks_out_of_it(workspace):
    evil = "</script><script>alert(1)//"
    form = create_form(workspace.id, FormValues(name="Evil", fields=[{**FIELDS[0], "label": evil}]))

    script = Client().get(f"/api/forms/{form.id}/embed.js")

    text = script.content.decode()
    assert script["Content-Type"].startswith("text/javascript")
    assert "<" not in re.search(r"var form = (.*);", text).group(1)
    assert json.loads(re.search(r"var form = (.*);", text).group(1))["fields"][0]["label"] == evil


@pytest.mark.django_db
def test_a_form_that_is_not_there_or_not_active_takes_nothing(workspace, form):
    update_form(workspace.id, form, FormValues(active=False))

    for form_id in (form.id, "01234567-89ab-7def-8123-456789abcdef", "x"):
        assert (
            Client().post(f"/api/forms/{form_id}/submit", {}, content_type="application/json").status_code
            == 404
        )
        assert Client().get(f"/api/forms/{form_id}/embed.js").status_code == 404


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"fields": []}, "fields"),
        ({"fields": [{"name": "first"}]}, "fields"),
        ({"fields": [FIELDS[0], FIELDS[0]]}, "fields"),
        ({"fields": [{"name": "1x"}]}, "fields.0.name"),
        ({"fields": [{"name": "x", "type": "file"}]}, "fields.0.type"),
        ({"fields": [{"name": "x", "type": "select"}]}, "fields.0.options"),
        ({"fields": [{"name": "x", "mapsTo": "score"}]}, "fields.0.mapsTo"),
        ({"allowed_origins": ["example.com"]}, "allowedOrigins"),
        ({"consents": ["fax"]}, "consents"),
        ({"redirect_url": "javascript:alert(1)"}, "redirectUrl"),
        ({"redirect_url": "https://ours.test/\r\nSet-Cookie: a=b"}, "redirectUrl"),
        ({"redirect_url": "https://[ours"}, "redirectUrl"),
        ({"redirect_url": "https://ours.test:x/"}, "redirectUrl"),
        ({"redirect_url": "https://:80/"}, "redirectUrl"),
        ({"allowed_origins": ["https://[ours"]}, "allowedOrigins"),
        ({"allowed_origins": ["https://ours.test@theirs.test"]}, "allowedOrigins"),
        ({"allowed_origins": ["https://ours.test#x"]}, "allowedOrigins"),
        ({"double_opt_in": True}, "confirmationTemplateId"),
        ({"name": " "}, "name"),
    ],
)
def test_a_form_that_cannot_be_is_refused(workspace, values, field):
    with pytest.raises(InvalidForm) as refused:
        create_form(workspace.id, FormValues(**{"name": "X", "fields": FIELDS, **values}))

    assert refused.value.field == field
    assert not Form.objects.exists()


def test_a_name_is_a_forms_own_in_its_workspace(workspace, form):
    with pytest.raises(FormExists):
        create_form(workspace.id, FormValues(name="Sign-up", fields=FIELDS))
    create_form(WorkspaceFactory().id, FormValues(name="Sign-up", fields=FIELDS))
