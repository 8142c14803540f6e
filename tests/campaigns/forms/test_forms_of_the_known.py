"""Forms about somebody known: nobody has checked who the visitor is, and the visitor learns nothing."""

import re
from itertools import product

import pytest
from django.test import Client
from django.urls import reverse

from campaigns.errors import InvalidForm
from campaigns.forms.forms import FormValues, create_form, update_form
from campaigns.messaging.suppressions import set_preferences, suppress
from campaigns.models import Form, FormSubmission, Message, PendingConsent, Suppression, Template
from contacts.crud import get_contact
from contacts.merging.merges import merge_contacts
from contacts.models import Consent, Contact, Identifier
from contacts.profiles.fields import create_field
from segments.models import Membership
from tests.campaigns.messages import a_template, reserve
from tests.contacts.factories import a_contact
from tests.native import NativeClient
from tests.segments.factories import a_segment
from tests.segments.test_races import at_once
from tests.workspaces.factories import UserFactory, WorkspaceFactory
from workspaces.throttles import reset_limits

FIELDS = [
    {"name": "mail", "type": "email", "required": True},
    {"name": "first", "mapsTo": "firstName"},
    {"name": "last", "mapsTo": "lastName"},
    {"name": "tel", "type": "phone"},
    {"name": "plan", "mapsTo": "attributes.plan"},
    {"name": "member", "mapsTo": "attributes.member"},
]
ALL = {"mail": "ada@example.test", "first": "Eve", "last": "Evil", "plan": "free", "tel": "+12025550199"}


@pytest.fixture(autouse=True)
def _no_limits_left():
    reset_limits()


@pytest.fixture
def ada(workspace):
    return a_contact(
        workspace,
        "ada@example.test",
        first_name="Ada",
        attributes={"plan": "pro", "town": "Paris"},
        tags=("vip",),
    )


def a_form(workspace, name="Form", **more):
    template = Template.objects.create(
        workspace=workspace,
        name=f"Confirm {name}",
        subject="Confirm",
        body='<a href="{{ event.properties.confirmUrl }}">Yes</a>',
    )
    values = {"fields": FIELDS, "consents": ["email"], "confirmation_template": str(template.id), **more}
    return create_form(workspace.id, FormValues(name=name, **values))


def submit(form, **answers):
    return Client().post(f"/api/forms/{form.id}/submit", {**ALL, **answers}, content_type="application/json")


def follow(number=-1):
    asked = list(Message.objects.filter(key__startswith="form:").order_by("id"))
    path = re.search(r"/forms/confirm/[^\"]+", asked[number].body).group()
    return Client().post(path)


def again(contact):
    return get_contact(contact.workspace_id, contact.pk)


def facts(contact):
    contact = again(contact)
    return {
        "names": (contact.first_name, contact.last_name),
        "attributes": contact.attributes,
        "identifiers": sorted(
            (identifier.kind, identifier.value) for identifier in contact.known_identifiers
        ),
        "tags": contact.tag_names,
        "consent": contact.consent("email"),
    }


KINDS = [
    {"on_known": known, "double_opt_in": double, "confirmation_template": template}
    for known, double, template in product(("fill_in", "confirm"), (False, True), (None, ""))
    if template is None or (known == "fill_in" and not double)
]


def of_kind(workspace, kind):
    more = {name: value for name, value in kind.items() if value is not None}
    return a_form(workspace, **more)


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_the_form_an_opt_out_stays_and_nothing_known_is_overwritten(workspace, ada, kind):
    set_preferences(workspace.id, ada.pk, {"email": False})
    before = facts(ada)

    form = of_kind(workspace, kind)
    for _ in range(3):
        assert submit(form).status_code == 201

    assert facts(ada) == {**before, "names": ("Ada", "Evil")}
    assert reserve(again(ada), a_template(workspace, "<p>Buy")).reason == "opted_out"


def test_what_is_not_known_is_filled_in(workspace, ada):
    submit(a_form(workspace, fields=[*FIELDS, {"name": "size", "mapsTo": "attributes.size"}]), size="10")
    now = again(ada)
    assert (now.first_name, now.last_name) == ("Ada", "Evil")
    assert now.attributes == {"plan": "pro", "town": "Paris", "size": "10"}
    assert now.consent("email") == "opted_in"
    assert now.phone is None
    assert not FormSubmission.objects.get().held


def test_an_opt_out_is_lifted_by_following_the_e_mail(workspace, ada):
    form = a_form(workspace)
    set_preferences(workspace.id, ada.pk, {"email": False})
    submit(form)
    submit(form)
    assert Message.objects.filter(is_transactional=True).count() == 1
    assert follow().status_code == 200
    assert again(ada).consent("email") == "opted_in"
    assert again(ada).first_name == "Ada"


def test_a_form_without_an_e_mail_lifts_nothing(workspace, ada):
    form = a_form(workspace, confirmation_template="")
    set_preferences(workspace.id, ada.pk, {"email": False})
    submit(form)
    assert again(ada).consent("email") == "opted_out"
    assert not Message.objects.exists()


def test_who_is_merged_into_somebody_opted_out_stays_out(workspace, ada):
    part = a_contact(workspace, "old@example.test")
    merge_contacts(workspace.id, ada, part)
    set_preferences(workspace.id, ada.pk, {"email": False})
    submit(a_form(workspace), mail="old@example.test")
    assert again(ada).consent("email") == "opted_out"
    assert again(ada).first_name == "Ada"


def test_a_part_s_opt_out_is_its_survivor_s(workspace, ada):
    part = a_contact(workspace, "old@example.test")
    set_preferences(workspace.id, part.pk, {"email": False})
    merge_contacts(workspace.id, ada, part)
    before = facts(ada)["consent"]
    submit(a_form(workspace))
    assert facts(ada)["consent"] == before == "opted_out"


def test_values_are_overwritten_once_the_person_confirms(workspace, ada):
    form = a_form(workspace, on_known="confirm")
    submit(form, first="Augusta", plan="team")
    assert FormSubmission.objects.get().held == {"firstName": "Augusta", "attributes": {"plan": "team"}}
    assert again(ada).first_name == "Ada"

    assert follow().status_code == 200

    now = again(ada)
    assert (now.first_name, now.attributes["plan"], now.attributes["town"]) == ("Augusta", "team", "Paris")
    assert now.phone is None
    assert follow().status_code == 200
    assert FormSubmission.objects.get().confirmed_at


def test_who_reads_an_old_address_confirms_nothing_for_the_new_one(workspace, ada):
    set_preferences(workspace.id, ada.pk, {"email": False})
    submit(a_form(workspace, on_known="confirm"))
    NativeClient(workspace).patch(f"contacts/{ada.pk}", {"email": "new@example.test"})
    before = facts(ada)

    assert follow().status_code == 404

    assert facts(ada) == before
    assert not FormSubmission.objects.exclude(confirmed_at=None).exists()


def test_only_the_e_mail_s_own_values_are_overwritten(workspace, ada):
    form = a_form(workspace, on_known="confirm", double_opt_in=True)
    submit(form, first="Augusta")
    submit(form, first="Mallory")
    assert Message.objects.count() == 1
    follow()
    assert again(ada).first_name == "Augusta"
    assert follow().status_code == 200
    assert again(ada).first_name == "Augusta"


def test_a_newsletter_s_e_mail_overwrites_nothing_of_another_form(workspace, ada):
    news = a_form(workspace, "News", double_opt_in=True, on_known="fill_in")
    profile = a_form(workspace, "Profile", on_known="confirm", double_opt_in=True)
    submit(news)
    submit(profile, first="Augusta")
    assert Message.objects.count() == 2
    follow(0)
    assert again(ada).first_name == "Ada"
    follow(1)
    assert again(ada).first_name == "Augusta"


def test_values_that_are_known_already_ask_nobody(workspace, ada):
    form = a_form(workspace, on_known="confirm", consents=[])
    submit(form, first="Ada", last="", plan="pro", tel="")
    assert not Message.objects.exists()


def test_a_newcomer_s_values_are_the_first(workspace):
    submit(a_form(workspace, on_known="confirm"))
    new = Contact.objects.get()
    assert (new.first_name, again(new).phone, new.attributes["plan"]) == ("Eve", "+12025550199", "free")
    assert not FormSubmission.objects.get().held


def test_another_s_number_is_attached_to_nobody(workspace, ada):
    bob = a_contact(workspace, "bob@example.test", identifiers=(("phone", "+12025550199"),))
    answer = submit(a_form(workspace), mail="new@example.test")
    assert answer.status_code == 201
    assert again(bob).phone == "+12025550199"
    new = Contact.objects.get(identifiers__value="new@example.test")
    assert again(new).phone is None
    submit(Form.objects.get())
    assert again(ada).phone is None
    assert Identifier.objects.filter(kind="phone").count() == 1


def test_an_attribute_that_names_contacts_is_an_identity(workspace, ada):
    create_field(workspace.id, "member", "text")
    workspace.identity_field = "member"
    workspace.save()
    bob = a_contact(workspace, "bob@example.test", attributes={"member": "7"})
    form = a_form(workspace, on_known="confirm")
    for member in ("7", "8"):
        assert submit(form, member=member).status_code == 201
    assert submit(form, mail="new@example.test", member="7").status_code == 201
    for message in Message.objects.filter(key__startswith="form:").order_by("id"):
        Client().post(re.search(r"/forms/confirm/[^\"]+", message.body).group())
    assert "member" not in again(ada).attributes
    assert [identifier.contact_id for identifier in Identifier.objects.filter(kind="member")] == [bob.pk]


def test_neither_tags_nor_lists_nor_suppressions_change(workspace, ada):
    static = a_segment(workspace, None, evaluation="STATIC", name="List")
    suppress(workspace.id, "email", "ada@example.test")
    form = a_form(workspace, double_opt_in=True)
    submit(form)
    assert again(ada).tag_names == ["vip"]
    assert not Membership.objects.filter(segment=static).exists()
    assert Suppression.objects.count() == 1
    # Nor is anything sent to such an address: nobody can be bombarded by a form who said no.
    assert not Message.objects.filter(status="QUEUED").exists()


def test_the_visitor_is_told_the_same_whoever_is_meant(workspace, ada):
    out, taken = a_contact(workspace, "out@example.test"), a_contact(workspace, "taken@example.test")
    set_preferences(workspace.id, out.pk, {"email": False})
    suppress(workspace.id, "email", "taken@example.test")
    form = a_form(workspace, on_known="confirm", double_opt_in=True)
    shapes = set()
    for mail in ("ada@example.test", "out@example.test", "taken@example.test", "nobody@example.test"):
        answer = submit(form, mail=mail)
        types = {name: type(value).__name__ for name, value in answer.json().items()}
        shapes.add((answer.status_code, tuple(types.items()), tuple(sorted(answer.headers))))
    assert len(shapes) == 1
    assert again(taken).pk == taken.pk


@pytest.mark.django_db(transaction=True)
def test_visitors_at_once_overwrite_nothing_of_each_other():
    workspace = WorkspaceFactory()
    form = a_form(workspace)
    names = [f"N{number}" for number in range(4)]

    at_once(*[lambda name=name: submit(form, first=name, tel="") for name in names])

    assert Contact.objects.count() == 1
    stored = FormSubmission.objects.order_by("id").values_list("answers__first", flat=True)
    assert sorted(stored) == names
    first = again(Contact.objects.get()).first_name
    submit(form, first="Late", tel="")
    assert again(Contact.objects.get()).first_name == first


def test_to_overwrite_needs_an_e_mail_that_asks(workspace):
    with pytest.raises(InvalidForm) as refused:
        a_form(workspace, on_known="confirm", confirmation_template="")
    assert refused.value.field == "confirmationTemplateId"
    with pytest.raises(InvalidForm) as refused:
        a_form(workspace, "Other", on_known="always")
    assert refused.value.field == "onKnown"
    form = a_form(workspace, "Third", on_known="confirm")
    with pytest.raises(InvalidForm):
        update_form(workspace.id, form, FormValues(confirmation_template=""))


def test_the_choice_is_the_api_s(workspace):
    api = NativeClient(workspace)
    template = Template.objects.create(workspace=workspace, name="Confirm", subject="x", body="x")
    body = {"name": "F", "fields": FIELDS}
    made = api.post("forms", body).json()
    assert made["onKnown"] == "FILL_IN"
    path = f"forms/{made['id']}"
    assert list(api.patch(path, {"onKnown": "CONFIRM"}).json()["details"]) == ["confirmationTemplateId"]
    changed = api.patch(path, {"onKnown": "CONFIRM", "confirmationTemplateId": str(template.id)})
    assert changed.json()["onKnown"] == api.get(path).json()["onKnown"] == "CONFIRM"
    assert list(api.patch(path, {"onKnown": "ALWAYS"}).json()["details"]) == ["onKnown"]


def test_the_choice_is_the_admin_s(workspace):
    form = a_form(workspace)
    browser = Client()
    browser.force_login(UserFactory.create(is_staff=True, is_superuser=True))
    page = reverse("admin:campaigns_form_change", args=[form.pk])
    assert b"Overwrite once the e-mail is confirmed" in browser.get(page).content
    values = {
        "name": "Form",
        "active": "on",
        "fields": '[{"name": "mail", "type": "email", "required": true}]',
        "allowed_origins": "[]",
        "consents": "[]",
        "on_known": "confirm",
        "redirect_url": "",
    }
    assert b"needs a template" in browser.post(page, values).content
    assert (
        browser.post(
            page, {**values, "confirmation_template": str(form.confirmation_template_id)}
        ).status_code
        == 302
    )
    assert Form.objects.get().on_known == "confirm"


def test_a_pending_consent_is_not_lifted_by_another_submission(workspace):
    double = a_form(workspace, "Double", double_opt_in=True)
    submit(double)
    submit(double)
    new = Contact.objects.get()
    assert again(new).consent("email") is None
    assert PendingConsent.objects.count() == 1
    assert Consent.objects.count() == 0
