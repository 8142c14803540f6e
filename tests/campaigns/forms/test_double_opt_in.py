"""Double opt-in: nothing but the one e-mail that asks, until its link was followed."""

import re

import pytest
from django.test import Client

from campaigns.forms.forms import FormValues, create_form, delete_form
from campaigns.forms.submissions import submit_form
from campaigns.messaging.queue import EnqueuedMessage
from campaigns.messaging.suppressions import preferences_of, set_preferences
from campaigns.models import FormSubmission, Message, PendingConsent, Template
from config import clock
from contacts.crud import get_contact
from contacts.merging.merges import merge_contacts
from contacts.models import Contact
from tests.campaigns.messages import a_template, reserve, use_channel
from tests.contacts.factories import a_contact
from tests.segments.test_races import at_once
from tests.workspaces.factories import WorkspaceFactory

FIELDS = [{"name": "mail", "type": "email", "required": True}, {"name": "word"}]


def news_form(workspace, name="News", **more):
    template = Template.objects.create(
        workspace=workspace,
        name=f"Confirm {name}",
        subject="Confirm",
        body='<a href="{{ event.properties.confirmUrl }}">Yes</a>',
    )
    values = {"consents": ["email"], "double_opt_in": True, "confirmation_template": str(template.id)}
    return create_form(workspace.id, FormValues(name=name, fields=FIELDS, **{**values, **more}))


def submit(form, mail="ada@example.test", **answers):
    submission = submit_form(form, {"mail": mail, **answers}, now=clock.now()).submission
    return get_contact(form.workspace_id, submission.contact_id)


def marketing(contact, **more):
    outcome = reserve(contact, a_template(contact.workspace, "<p>Buy"), **more)
    return "sent" if isinstance(outcome, EnqueuedMessage) else str(outcome.reason)


def link():
    asked = Message.objects.filter(key__startswith="form:").latest("id")
    return re.search(r"/forms/confirm/[^\"]+", asked.body).group()


def test_who_has_not_confirmed_gets_no_marketing_and_receipts_all_the_same(workspace):
    ada = submit(news_form(workspace))
    assert marketing(ada) == "no_consent"
    assert marketing(ada, is_transactional=True) == "sent"
    assert preferences_of(workspace.id, ada.pk)["email"] is False

    assert Client().post(link()).status_code == 200

    assert marketing(ada) == "sent"
    assert preferences_of(workspace.id, ada.pk)["email"] is True
    assert not PendingConsent.objects.exists()


def test_another_wish_of_the_person_counts(workspace):
    ada = submit(news_form(workspace))
    set_preferences(workspace.id, ada.pk, {"email": True})
    assert marketing(ada) == "sent"


def test_the_form_s_end_is_no_consent(workspace):
    form = news_form(workspace)
    ada = submit(form)
    delete_form(workspace.id, form)
    assert marketing(ada) == "no_consent"


def test_whom_we_knew_is_written_to_as_before(workspace, jane):
    assert submit(news_form(workspace), "jane@example.test").pk == jane.pk
    assert marketing(jane) == "sent"


def test_a_newcomer_who_is_merged_into_somebody_known_is_that_one(workspace, jane):
    ada = submit(news_form(workspace))
    merge_contacts(workspace.id, jane, ada)
    assert marketing(jane) == "sent"


def test_another_channel_is_another_consent(workspace):
    ada = submit(news_form(workspace, consents=["telegram"]))
    assert marketing(ada) == "sent"


def test_who_submits_without_double_opt_in_has_opted_in(workspace):
    ada = submit(news_form(workspace, double_opt_in=False))
    assert ada.consent("email") == "opted_in"
    assert marketing(ada) == "sent"


def test_a_channel_that_asks_for_consent_asks_as_ever(workspace, jane):
    use_channel(workspace, "email", requires_opt_in=True)
    assert marketing(jane) == "no_consent"


def test_three_quick_submissions_ask_once_and_are_confirmed_together(workspace, time):
    form = news_form(workspace)
    for word in "abc":
        submit(form, word=word)
        time.go(seconds=10)
    assert Message.objects.count() == 1
    assert FormSubmission.objects.count() == 3

    Client().post(link())

    assert not FormSubmission.objects.filter(confirmed_at=None).exists()
    submit(form, word="d")
    assert Message.objects.count() == 1


def test_the_same_address_is_the_same_however_it_is_typed(workspace):
    form = news_form(workspace)
    for mail in ("ada@example.test", "ADA@Example.test", " ada@EXAMPLE.test "):
        submit(form, mail)
    assert Message.objects.count() == 1


def test_after_a_time_it_is_asked_again(workspace, time, settings):
    settings.CONFIRMATION_SECONDS = 600
    form = news_form(workspace)
    submit(form)
    time.go(seconds=599)
    submit(form)
    assert Message.objects.count() == 1
    time.go(seconds=2)
    submit(form)
    assert Message.objects.count() == 2


def test_others_are_asked_for_themselves(workspace):
    form = news_form(workspace)
    for mail in ("ada@example.test", "bob@example.test"):
        submit(form, mail)
    assert Message.objects.count() == 2


def test_one_e_mail_asks_for_all_forms_that_are_for_no_more(workspace):
    ada = submit(news_form(workspace))
    submit(news_form(workspace, "Offers"))
    assert Message.objects.count() == 1
    submit(news_form(workspace, "Chat", consents=["telegram"]))
    assert Message.objects.count() == 2

    Message.objects.latest("id").delete()
    Client().post(link())

    unconfirmed = FormSubmission.objects.filter(confirmed_at=None)
    assert [consent.form.name for consent in unconfirmed] == ["Chat"]
    assert [consent.channel for consent in PendingConsent.objects.all()] == ["telegram"]
    assert preferences_of(workspace.id, ada.pk)["email"] is True


def test_a_form_that_is_for_no_channel_proves_the_mailbox(workspace):
    ada = submit(news_form(workspace, consents=[]))
    assert marketing(ada) == "no_consent"
    Client().post(link())
    assert marketing(ada) == "sent"
    assert get_contact(workspace.id, ada.pk).consent("email") is None


def test_who_opted_out_since_is_asked_again(workspace, time):
    form = news_form(workspace)
    ada = submit(form)
    Client().post(link())
    set_preferences(workspace.id, ada.pk, {"email": False})
    submit(form)
    assert Message.objects.count() == 2
    assert marketing(ada) == "opted_out"


def test_an_e_mail_that_could_not_be_made_is_none_that_is_open(workspace):
    form = news_form(workspace)
    Template.objects.update(body="<p>{{ contact.attributes.nick }}")
    form.confirmation_template.refresh_from_db()
    submit(form)
    assert not Message.objects.exists()
    Template.objects.update(body='<a href="{{ event.properties.confirmUrl }}">Yes</a>')
    form.confirmation_template.refresh_from_db()
    submit(form)
    assert Message.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_submissions_at_once_ask_once():
    form = news_form(WorkspaceFactory())

    at_once(*[lambda: submit(form)] * 4)

    assert Contact.objects.count() == 1
    assert FormSubmission.objects.count() == 4
    assert Message.objects.count() == 1
    assert FormSubmission.objects.exclude(asked_at=None).count() == 1
    assert PendingConsent.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_submissions_of_somebody_known_at_once_ask_once():
    workspace = WorkspaceFactory()
    a_contact(workspace, "ada@example.test")
    form = news_form(workspace)

    at_once(*[lambda: submit(form)] * 4)

    assert Message.objects.count() == 1
    assert not PendingConsent.objects.exists()
