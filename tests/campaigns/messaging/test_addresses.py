"""Whom something is sent to or from is checked as contacts are, in the API as in the admin, and refused by name."""

import json

import pytest
from django.test import Client
from django.urls import reverse

from campaigns.messaging.suppressions import suppress
from campaigns.models import ChannelSettings, Message, Suppression
from contacts.crud import update_contact
from contacts.references import ContactChanges
from tests.campaigns.messages import a_template, reserve, use_channel
from tests.campaigns.rows import a_template_row
from tests.native import NativeClient
from tests.workspaces.factories import UserFactory

NONE = {
    "EMAIL": ["nobody", "a@b@c", "Ann <a@b.test>", "a@b.test\nBcc: c@d.test", ""],
    "TELEGRAM": ["jane", "0", "12 3", "@x", ""],
    "WEBHOOK": ["hook", "ftp://hook.test/", "https://", "https://hook.test/a b", "javascript:x", ""],
}
FORMS = [
    ("EMAIL", " Jane@Straße.TEST ", "jane@xn--strae-oqa.test"),
    ("TELEGRAM", " 4711 ", "4711"),
    ("TELEGRAM", "@Shop_News", "@shop_news"),
    ("WEBHOOK", "HTTPS://Hook.test:443/A#b", "https://hook.test/A"),
]
WRONG = [(channel, text) for channel, texts in NONE.items() for text in texts]
BODIES = {"EMAIL": "<p>x", "TELEGRAM": "x", "WEBHOOK": "{}"}


@pytest.fixture
def api(workspace):
    return NativeClient(workspace)


@pytest.fixture
def browser(db):
    browser = Client()
    browser.force_login(UserFactory.create(is_staff=True, is_superuser=True))
    return browser


@pytest.mark.parametrize(("channel", "text"), WRONG)
def test_what_is_no_address_is_suppressed_nowhere(api, browser, workspace, channel, text):
    answer = api.post("suppressions", {"channel": channel, "address": text})
    assert (answer.status_code, list(answer.json()["details"])) == (400, ["address"])
    values = {"workspace": workspace.pk, "channel": channel.lower(), "address": text}
    assert browser.post(reverse("admin:campaigns_suppression_add"), values).status_code == 200
    assert not Suppression.objects.exists()


@pytest.mark.parametrize(("channel", "text", "form"), FORMS)
def test_an_address_is_suppressed_in_its_one_form(api, browser, workspace, channel, text, form):
    assert api.post("suppressions", {"channel": channel, "address": text}).json()["address"] == form
    assert api.post("suppressions", {"channel": channel, "address": form}).status_code == 200
    assert [row["address"] for row in api.get("suppressions", address=text).json()["data"]] == [form]
    Suppression.objects.all().delete()
    values = {"workspace": workspace.pk, "channel": channel.lower(), "address": text}
    assert browser.post(reverse("admin:campaigns_suppression_add"), values).status_code == 302
    assert Suppression.objects.get().address == form


@pytest.mark.parametrize(("channel", "text"), [case for case in WRONG if case[1]])
def test_a_test_goes_to_no_such_address(api, browser, workspace, jane, channel, text):
    template = a_template_row(workspace, channel=channel.lower(), subject="x", body=BODIES[channel])
    answer = api.post(f"templates/{template.id}/test", {"contactId": str(jane.id), "to": text})
    assert (answer.status_code, list(answer.json()["details"])) == (400, ["to"])
    page = reverse("admin:campaigns_template_preview", args=[template.pk])
    shown = browser.post(page, {"contact": jane.pk, "to": text, "send": "1"})
    assert b"cannot be an address" in shown.content
    assert not Message.objects.exists()


@pytest.mark.parametrize(("channel", "text", "form"), FORMS)
def test_a_test_goes_to_the_one_form(api, workspace, jane, channel, text, form):
    use_channel(workspace, channel.lower(), secret="1:x" if channel == "TELEGRAM" else "")
    template = a_template_row(workspace, channel=channel.lower(), subject="x", body=BODIES[channel])
    answer = api.post(f"templates/{template.id}/test", {"contactId": str(jane.id), "to": text})
    assert answer.json()["message"]["to"] == form


@pytest.mark.parametrize(
    ("channel", "body", "path"),
    [
        ("EMAIL", {"sender": "nobody"}, "sender"),
        ("EMAIL", {"options": {"replyTo": "nobody"}}, "options.replyTo"),
        ("EMAIL", {"options": {"replyTo": 5}}, "options.replyTo"),
        ("EMAIL", {"options": {"locale": "xx-nowhere"}}, "options.locale"),
        ("TELEGRAM", {"sender": "Acme <a@acme.test>"}, "sender"),
        ("TELEGRAM", {"secret": "no/token"}, "secret"),
        ("TELEGRAM", {"secret": "1:x/../../other"}, "secret"),
        ("WEBHOOK", {"sender": "Acme <a@acme.test>"}, "sender"),
        ("WEBHOOK", {"options": {"url": "ftp://hook.test"}}, "options.url"),
        ("WEBHOOK", {"options": {"url": "https://hook.test/a b"}}, "options.url"),
    ],
)
def test_a_channel_s_addresses_are_refused_at_their_path(api, browser, workspace, channel, body, path):
    answer = api.patch(f"channels/{channel}", body)
    assert (answer.status_code, list(answer.json()["details"])) == (400, [path])
    values = {
        "workspace": workspace.pk,
        "channel": channel.lower(),
        "sender": body.get("sender", ""),
        "new_secret": body.get("secret", ""),
        "options": json.dumps(body.get("options", {})),
        "cap_hours": "24",
        "time_zone": "UTC",
        "on_unknown": "hold",
        "max_attempts": "4",
    }
    page = browser.post(reverse("admin:campaigns_channelsettings_add"), values)
    assert page.status_code == 200
    name = path.partition(".")[0].replace("secret", "new_secret")
    assert list(page.context["adminform"].form.errors) == [name]
    assert not ChannelSettings.objects.exists()


SENDERS = ["nobody", "a@b.test, c@d.test", "a@b.test\nBcc: c@d.test", "x <a@straße.test>"]


@pytest.mark.parametrize("field", ["sender", "replyTo"])
@pytest.mark.parametrize("text", SENDERS)
def test_senders_are_mailboxes_wherever_they_are_said(api, field, text):
    template = {"name": "T", "subject": "x", "body": "x", field: text}
    campaign = {"name": "C", "type": "AUTOMATED", field: text}
    for path, body in (("templates", template), ("campaigns", campaign)):
        answer = api.post(path, body)
        assert (answer.status_code, list(answer.json()["details"])) == (400, [field]), path


@pytest.mark.parametrize("url", [text for text in NONE["WEBHOOK"] if text])
def test_a_step_calls_an_address_that_can_be_called(api, url):
    node = {"id": "a", "type": "webhook", "data": {"url": url, "body": "{}"}}
    body = {"name": "C", "type": "AUTOMATED", "workflow": {"nodes": [node], "edges": []}}
    answer = api.post("campaigns", body)
    assert list(answer.json()["details"]) == ["workflow.nodes[0].data.url"]


def test_a_call_s_address_is_suppressed_however_the_channel_spells_it(workspace, jane):
    use_channel(workspace, "webhook", options={"url": "HTTPS://Hook.test:443"})
    suppress(workspace.id, "webhook", "https://hook.test/")
    template = a_template(workspace, "{}", channel="webhook")
    assert reserve(jane, template, channel="webhook").reason == "suppressed"


def test_a_chat_is_one_for_contacts_too(workspace, jane):
    jane = update_contact(workspace.id, jane, ContactChanges(identifiers=(("telegram", " @Shop_News "),)))
    assert jane.identifier("telegram") == "@shop_news"
    suppress(workspace.id, "telegram", "@SHOP_news")
    use_channel(workspace, "telegram", secret="1:x")
    refused = reserve(jane, a_template(workspace, "x", channel="telegram"), channel="telegram")
    assert refused.reason == "suppressed"
