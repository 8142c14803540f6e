"""A marketing e-mail without a link to unsubscribe is told of, wherever it is saved."""

import time as real_time

import pytest
from django.contrib.messages import get_messages
from django.urls import reverse

from campaigns.journeys.warnings import campaign_warnings, template_warnings
from campaigns.models import Campaign, Template
from tests.campaigns.factories import a_campaign, definition, node
from tests.campaigns.messages import a_template
from tests.campaigns.rows import a_form_row
from tests.native import NativeClient


def test_a_draft_that_cannot_be_read_any_more_is_told_of(workspace):
    campaign = a_campaign(workspace)
    raw = definition(trigger={"type": "EVENT", "eventType": "go", "condition": {"type": "horoscope"}})
    Campaign.objects.filter(id=campaign.id).update(draft=raw)
    (warning,) = NativeClient(workspace).get(f"campaigns/{campaign.id}").json()["warnings"]
    assert warning.startswith("This definition cannot be read any more: triggers[0].condition.type: ")


def warned(template):
    found = template_warnings(template.workspace_id, [template])[template.pk]
    assert all("unsubscribe" in warning for warning in found)
    return [warning.partition(":")[0] for warning in found]


def a_sender(workspace, template, **data):
    data = {"channel": "email", "templateId": str(template.pk), **data}
    return a_campaign(workspace, definition(node("send", "send", **data)))


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({"body": "<p>Hi"}, ["body"]),
        ({"body": "<p>unsubscribeUrl"}, ["body"]),
        ({"body": "<a href='{{ unsubscribeUrl }}'>"}, []),
        ({"body": "<a href='{{ preferencesUrl | escape }}'>"}, []),
        ({"body": "{%- assign leave = unsubscribeUrl %}<a href='{{ leave }}'>"}, []),
        ({"body": "{{-unsubscribeUrl\n-}}"}, []),
        ({"body": "{% liquid\necho unsubscribeUrl\n%}"}, []),
        (
            {"body": "{% comment %}\n{% endcomment %}{{ unsubscribeUrl }}{%- comment -%}{%- endcomment -%}"},
            [],
        ),
        ({"body": "<!-- a --><!--[if !mso]><!-->{{ unsubscribeUrl }}<!--<![endif]-->"}, []),
        ({"body": "<!-- {{ unsubscribeUrl }}\n-->"}, ["body"]),
        ({"body": "{%- comment -%}{{ unsubscribeUrl }}{%- endcomment -%}"}, ["body"]),
        ({"body": "{% raw %}{{ unsubscribeUrl }}{% endraw %}"}, ["body"]),
        ({"body": "{{ contact.unsubscribeUrl }}{{ unsubscribeUrls }}{{ 'unsubscribeUrl' }}"}, ["body"]),
        ({"body": "{{ contact.attributes.myunsubscribeUrl }}"}, ["body"]),
        ({"body": "{{ unsubscribeUrl }}", "text": "Hi"}, ["text"]),
        ({"body": "Hi", "text": "{{ unsubscribeUrl }}"}, ["body"]),
        ({"body": "Hi", "channel": "telegram"}, []),
        ({"body": "{}", "channel": "webhook"}, []),
    ],
)
def test_an_e_mail_without_the_link_is_told_of(workspace, parts, expected):
    template = a_template(workspace, **parts)
    assert warned(template) == expected
    if template.channel == "email":
        campaign = a_sender(workspace, template)
        assert bool(campaign_warnings(workspace.id, [campaign])[campaign.pk]) is ("body" in expected)


@pytest.mark.parametrize("part", ["<!--", "{% comment %}", "{% ", "{%", "endcomment", "{{ unsubscribeUrl"])
def test_any_text_is_looked_through_at_once(workspace, part):
    template = a_template(workspace, part * (200_000 // len(part)))
    campaign = Campaign.objects.create(
        workspace=workspace,
        name="Long",
        draft={
            "workflow": {
                "nodes": [{"type": "send", "data": {"channel": "email", "templateId": str(template.pk)}}]
            }
        },
    )
    begun = real_time.monotonic()

    warned(template)
    campaign_warnings(workspace.id, [campaign])

    assert real_time.monotonic() - begun < 5


def test_what_is_only_ever_transactional_needs_none(workspace):
    template = a_template(workspace, "<p>Hi")
    assert warned(template) == ["body"]

    receipt = a_sender(workspace, template, transactional=True)
    assert warned(template) == []
    assert campaign_warnings(workspace.id, [receipt])[receipt.pk] == []

    news = a_sender(workspace, template)
    assert warned(template) == ["body"]
    (warning,) = campaign_warnings(workspace.id, [news])[news.pk]
    assert warning.startswith(f"workflow.nodes[0]: {template.name}: there is no link to unsubscribe")


def test_a_confirmation_needs_none(workspace):
    template = a_template(workspace, "{{ event.properties.confirmUrl }}")
    a_form_row(workspace, confirmation_template=template)

    assert warned(template) == []


@pytest.mark.parametrize("workflow", [None, {}, {"nodes": 5}, {"nodes": [5, {}]}])
def test_a_draft_may_be_anything(workspace, workflow):
    template = a_template(workspace, "<p>Hi")
    campaign = Campaign.objects.create(workspace=workspace, name="Odd", draft={"workflow": workflow})

    assert campaign_warnings(workspace.id, [campaign]) == {campaign.pk: []}
    assert warned(template) == ["body"]


def test_the_api_tells_in_every_answer(workspace):
    api = NativeClient(workspace)
    made = api.post("templates", {"name": "Hi", "body": "<p>Hi"}).json()
    steps = [node("send", "send", channel="email", templateId=made["id"])]
    # Of an event that was never seen, an answer for one campaign tells besides.
    written = definition(*steps)
    api.post("events", {"type": written["triggers"][0]["eventType"]})
    campaign = api.post("campaigns", {"name": "Hi", "type": "AUTOMATED", **written}).json()

    assert (len(made["warnings"]), len(campaign["warnings"])) == (1, 1)
    assert api.get("templates").json() == [made]
    assert api.get("campaigns").json() == [campaign]
    assert len(api.post(f"campaigns/{campaign['id']}/activate", {}).json()["warnings"]) == 1
    mended = api.patch(f"templates/{made['id']}", {"body": "{{ unsubscribeUrl }}"}).json()
    assert mended["warnings"] == api.get(f"campaigns/{campaign['id']}").json()["warnings"] == []


def test_the_admin_tells(admin_client, workspace):
    data = {"workspace": str(workspace.pk), "name": "Hi", "channel": "email", "subject": "", "text": ""}
    answer = admin_client.post(reverse("admin:campaigns_template_add"), {**data, "body": "<p>Hi"})
    assert answer.status_code == 302
    assert any("unsubscribe" in str(shown) for shown in get_messages(answer.wsgi_request))

    page = reverse("admin:campaigns_template_change", args=[Template.objects.get().pk])
    assert "no link to unsubscribe" in admin_client.get(page).content.decode()
