"""Templates: Liquid that is strict about what is missing, bounded, and with no way to Python."""

import json
import time as real_time
from datetime import UTC, datetime

import pytest

from campaigns.errors import TemplateFault, ValueMissing
from campaigns.messaging import liquid
from campaigns.messaging.queue import WebhookRequest
from campaigns.messaging.rendering import render_request
from campaigns.messaging.templates import check_template
from campaigns.models import Template
from contacts.crud import set_consent, update_contact
from contacts.references import ContactChanges
from events.models import Event
from tests.campaigns.messages import a_message, a_template, reserve
from tests.campaigns.rows import a_campaign_row
from tests.contacts.factories import tag_contact

VALUES = {
    "contact": {"firstName": "<Jane>", "lastName": "", "attributes": {"plan": None, "sizes": [1, 2]}},
    "quoted": 'a "b" \\ c',
}


def test_values_are_filled_in():
    assert liquid.render("Hi {{ contact.firstName }}", VALUES, "text") == "Hi <Jane>"


def test_values_are_escaped():
    assert liquid.render("Hi {{ contact.firstName }}", VALUES, "html") == "Hi &lt;Jane&gt;"


@pytest.mark.parametrize(
    "source",
    [
        "{{ contact.lastName }}",
        "{{ contact.attributes.plan }}",
        "{{ contact.attributes.other | upcase }}",
        "{{ nobody.name }}",
        "{{ contact.firstName | append: contact.lastName }}",
        "{% for one in contact.orders %}{{ one }}{% endfor %}",
        "{% assign name = contact.lastName %}Hi {{ name }}",
    ],
)
def test_a_missing_value_refuses_the_message(source):
    with pytest.raises(ValueMissing):
        liquid.render(source, VALUES, "text")


def test_a_missing_value_is_named():
    with pytest.raises(ValueMissing) as caught:
        liquid.render("Dear\n{{ contact.lastName }}", VALUES, "text")

    assert caught.value.message == "contact.lastName is undefined, line 2"


def test_a_missing_value_may_have_a_default_and_be_asked_about():
    source = "{{ contact.lastName | default: 'you' }} {% if contact.lastName %}a{% else %}b{% endif %}"

    assert liquid.render(source, VALUES, "text") == "you b"


@pytest.mark.parametrize(
    "source",
    [
        "{{ contact.firstName",
        "{% if %}",
        "{% nothing %}",
        "{{ contact | nothing }}",
        "{% include 'x' %}",
        "{% render 'x' %}",
        "{{ contact.firstName | safe }}",
        "{{ 1 | divided_by: 0 }}",
    ],
)
def test_what_cannot_be_read_says_so(source):
    with pytest.raises(TemplateFault):
        liquid.render(source, VALUES, "text")


@pytest.mark.parametrize(
    "path",
    [
        "contact.__class__",
        "contact.keys",
        "contact['__class__']",
        "contact.attributes.sizes.append",
        "contact.firstName.__class__.__mro__",
        "contact.items",
        "forloop",
        "self",
    ],
)
def test_there_is_no_way_to_python(path):
    with pytest.raises(ValueMissing):
        liquid.render(f"{{{{ {path} }}}}", VALUES, "text")


_TALL = "{% if true %}{% endif %}" * 8_000
_DOUBLED = "{% for i in (1..60) %}{% assign s = s | append: s %}{% endfor %}"


@pytest.mark.parametrize(
    "source",
    [
        "{% for i in (1..100000000) %}x{% endfor %}",
        "{% for i in (1..1000) %}{% for j in (1..1000) %}{% endfor %}{% endfor %}",
        "{% for i in (1..1000) %}" + _TALL + "{% endfor %}",
        "{% assign s = 'x' %}" + _DOUBLED,
        "{% assign n = 9 %}{% for i in (1..60) %}{% assign n = n | times: n %}{% endfor %}",
        "{{ (1..100000000) | join: 'x' }}",
        "{% assign s = 'aaaaaaaaaaaaaaaa' %}{% for i in (1..13) %}{% assign s = s | append: s %}{% endfor %}"
        "{{ s | replace: 'a', s | size }}",
        "{% for i in (1..1000) %}" + "x" * 2_000 + "{% endfor %}",
        "x" * (liquid.MAX_SOURCE + 1),
    ],
)
def test_time_and_size_are_bounded(source):
    begun = real_time.thread_time()

    with pytest.raises(TemplateFault):
        liquid.render(source, VALUES, "text")

    assert real_time.thread_time() - begun < 5


def test_a_busy_machine_fails_no_template(monkeypatch):
    class Slow:
        def __str__(self):
            real_time.sleep(0.2)
            return "late"

    monkeypatch.setattr(liquid, "MAX_SECONDS", 0.1)

    assert liquid.render("{{ a }} {{ a | append: '' }}", {"a": Slow()}, "text") == "late late"


def test_now_is_the_clock_s(time):
    assert liquid.render("{{ 'now' | date: '%Y-%m-%d' }}", {}, "text") == "2026-05-01"


def test_what_is_left_of_html_is_text():
    values = {"words": "<b>Fish</b> & <i>chips</i><script>alert(1)</script>"}

    assert liquid.render("{{ words | strip_html }}", values, "text") == "Fish & chips"
    assert liquid.render("{{ words | strip_html }}", values, "html") == "Fish &amp; chips"


def test_values_in_json_stay_in_their_strings():
    source = '{"a": "{{ quoted }}", "b": {{ quoted | json }}, "c": {{ contact.attributes.sizes | json }}}'

    assert json.loads(liquid.render(source, VALUES, "json")) == {
        "a": VALUES["quoted"],
        "b": VALUES["quoted"],
        "c": [1, 2],
    }


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ('{% capture one %}Say {{ quoted }}{% endcapture %}"{{ one }}"', 'Say a "b" \\ c'),
        ('{% capture one %}{{ quoted }}{% endcapture %}"{{ one | upcase }}"', 'A "B" \\ C'),
        ("{% capture one %}{{ quoted }}{% endcapture %}{{ one | json }}", 'a "b" \\ c'),
        (
            '{% capture one %}{% capture two %}{{ quoted }}{% endcapture %}{{ two }}{% endcapture %}"{{ one }}"',
            'a "b" \\ c',
        ),
        (
            '{% capture one %}{"a": "{{ quoted }}"}{% endcapture %}[{{ one }}, {{ one }}]',
            [{"a": 'a "b" \\ c'}] * 2,
        ),
        ('{% capture one %}two\nlines{% endcapture %}"{{ one | strip_newlines }}"', "twolines"),
        ('"{% cycle quoted, "x" %}"', 'a "b" \\ c'),
        ('"{% liquid echo quoted %}"', 'a "b" \\ c'),
    ],
)
def test_captured_text_is_escaped_once(source, said):
    assert json.loads(liquid.render(source, VALUES, "json")) == said


@pytest.mark.parametrize(
    "source",
    [
        "{% raw %}" * 20_000,
        "{% doc %}" * 20_000,
        "{{" * 90_000,
        "{%" * 90_000,
        "{{ x }} {{ '" * 15_000,
        "{{" + " " * 150_000 + "}}",
        "{% if" + " " * 150_000 + "%}",
        "{{ " + "(" * 150_000 + " }}",
        "{{ x" + "['a' " * 30_000 + " }}",
        "{% liquid\necho " + "(" * 150_000 + "%}",
    ],
)
def test_unclosed_tags_are_refused_quickly(source):
    begun = real_time.thread_time()

    with pytest.raises(TemplateFault):
        liquid.parse(source, "text")

    assert real_time.thread_time() - begun < 5


def test_raw_blocks_may_contain_anything():
    source = "{% raw %}{{ {%" + " " * 1_000 + "{% endraw %}{% doc %} {{ {% enddoc %}{{ 1 }}"

    assert liquid.render(source, {}, "text") == "{{ {%" + " " * 1_000 + "1"


# Of contacts ---------------------------------------------------------------------------------------------------


def test_a_template_knows_the_contact_the_event_and_the_campaign(workspace, jane):
    jane = update_contact(
        workspace.id, jane, ContactChanges(first_name="Jane", attributes={"plan": "pro", "empty": ""})
    )
    tag_contact(workspace.id, jane, "vip")
    moment = datetime(2026, 5, 1, 9, tzinfo=UTC)
    event = Event.objects.create(
        workspace=workspace,
        contact=jane,
        name="purchase",
        properties={"total": 9.5, "items": [{"title": "Shoes"}]},
        occurred_at=moment,
    )
    body = (
        "{{ contact.firstName }} {{ contact.attributes.plan }} {{ contact.tags | join: ',' }} {{ contact.score }}"
        " {{ event.type }} {{ event.properties.total }} {{ event.properties.items[0].title }}"
        " {{ event.timestamp | date: '%H:%M' }} {{ campaign.name }}"
    )

    message = a_message(
        jane, a_template(workspace, body), event=event, campaign=a_campaign_row(workspace, "Welcome")
    )

    assert message.body == "Jane pro vip 0.0 purchase 9.5 Shoes 09:00 Welcome"


def test_a_template_leads_to_the_person_s_own_pages(workspace, jane):
    message = a_message(jane, a_template(workspace, "{{ unsubscribeUrl }} {{ preferencesUrl }}"))

    unsubscribe, preferences = message.body.split()
    assert message.headers["List-Unsubscribe"] == f"<{unsubscribe}>"
    assert preferences.startswith("http://localhost:8000/preferences/")


def test_a_template_broken_after_activation_is_refused_with_its_fault(workspace, jane):
    template = a_template(workspace)
    Template.objects.update(body="{{ contact.email | nothing }}")
    template.refresh_from_db()

    refused = reserve(jane, template)

    assert refused.reason == "template_broken"
    assert "nothing" in refused.detail["message"]


def test_a_subject_is_one_line(workspace, jane):
    update_contact(workspace.id, jane, ContactChanges(first_name="Jane\r\nBcc: all@example.test"))

    message = a_message(jane, a_template(workspace, subject="Hi {{ contact.firstName }}"))

    assert message.subject == "Hi Jane Bcc: all@example.test"


@pytest.mark.parametrize(
    "body",
    [
        "{% for i in (1..1000) %}" + "<div>" * 100 + "{% endfor %}",
        "<style>" + "p ~ p { color: red }" * 5_000 + "</style>" + "<p>" * 4_000,
        "<table><tr>" + "<td>x" * 30_000,
    ],
)
def test_an_e_mail_is_not_more_than_can_be_laid_out(workspace, jane, body):
    begun = real_time.thread_time()

    refused = reserve(jane, a_template(workspace, body))

    assert refused.reason == "template_broken"
    assert "tags" in refused.detail["message"]
    assert real_time.thread_time() - begun < 5


def test_transactional_e_mail_has_no_list_unsubscribe_header(workspace, jane):
    assert a_message(jane, is_transactional=True).headers == {}


def test_a_template_is_checked_part_by_part(workspace):
    with pytest.raises(TemplateFault) as caught:
        check_template(Template(channel="email", subject="{{ x", body=""))

    assert caught.value.message.startswith("subject: ")


def test_a_template_of_another_channel_is_refused(workspace, jane):
    refused = reserve(jane, a_template(workspace, channel="email"), channel="telegram", address="4711")

    assert refused.reason == "template_broken"


# Calls ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url", ["ftp://shop.test", "file:///etc/passwd", "shop.test", "http://", "http://[", "https://a\nb", ""]
)
def test_a_call_goes_to_an_address_that_can_be_called(url):
    with pytest.raises(TemplateFault):
        render_request(WebhookRequest(url), {})


@pytest.mark.parametrize("name", ["webhook-signature", "Host", "Content-Length", "Connection"])
def test_a_call_sets_no_header_of_ours(name):
    with pytest.raises(TemplateFault):
        render_request(WebhookRequest("https://shop.test", headers={name: "x"}), {})


def test_a_header_has_one_line():
    with pytest.raises(TemplateFault):
        render_request(WebhookRequest("https://shop.test", headers={"X-A": "{{ a }}"}), {"a": "b\r\nX-B: c"})


def test_a_body_that_is_no_json_is_refused():
    with pytest.raises(TemplateFault):
        render_request(WebhookRequest("https://shop.test", "{a: 1}"), {})


def test_strings_of_a_body_are_filled_in_wherever_they_are():
    request = WebhookRequest("https://shop.test", {"a": ["{{ quoted }}", 1, None]})

    assert json.loads(render_request(request, VALUES).body) == {"a": [VALUES["quoted"], 1, None]}


def test_consent_is_unknown_to_templates(workspace, jane):
    set_consent(workspace.id, jane, "email", "opted_in")

    assert reserve(jane, a_template(workspace, "{{ contact.consents }}")).reason == "value_missing"
