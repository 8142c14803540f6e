"""Keys that nobody knows, and options that nobody can have: refused at their path, in every body of campaigns."""

from copy import deepcopy

import pytest

from campaigns.models import Campaign, Form, Message, Template
from tests.campaigns.factories import a_campaign, definition
from tests.campaigns.messages import a_template

pytestmark = pytest.mark.django_db

UNKNOWN = ["This key is not known."]
TEMPLATE = {"name": "t", "subject": "Hello", "body": "<p>Hello"}
FIELDS = [{"name": "mail", "type": "email", "required": True}]
FORM = {"name": "f", "fields": FIELDS}
CAMPAIGN = {
    "name": "c",
    "type": "AUTOMATED",
    "triggers": [{"type": "EVENT", "eventType": "go"}],
    "reentry": {"mode": "interval", "days": 3},
    "workflow": {
        "nodes": [
            {"id": "start", "type": "trigger"},
            {"id": "wait", "type": "wait", "data": {"duration": "1d"}},
            {"id": "end", "type": "exit"},
        ],
        "edges": [{"source": "start", "target": "wait"}, {"source": "wait", "target": "end"}],
    },
    "goal": {"eventType": "buy", "within": "7d"},
    "exits": [{"eventType": "stop"}],
}


def details(answer):
    assert answer.status_code == 400, answer.content
    return answer.json()["details"]


def with_key(body, place, value=1):
    """Return a body with a key that nobody knows at a place."""
    changed = at = deepcopy(body)
    for step in place:
        at = at[step]
    at["nobodys"] = value
    return changed


@pytest.mark.parametrize(
    ("place", "path"),
    [
        ((), "nobodys"),
        (("triggers", 0), "triggers[0].nobodys"),
        (("reentry",), "reentry.nobodys"),
        (("workflow",), "workflow.nobodys"),
        (("workflow", "nodes", 0), "workflow.nodes[0].nobodys"),
        (("workflow", "nodes", 1, "data"), "workflow.nodes[1].data.nobodys"),
        (("workflow", "edges", 0), "workflow.edges[0].nobodys"),
        (("goal",), "goal.nobodys"),
        (("exits", 0), "exits[0].nobodys"),
    ],
)
def test_a_campaign_s_keys_are_known_at_every_place(api, place, path):
    assert details(api.post("campaigns", with_key(CAMPAIGN, place))) == {path: UNKNOWN}
    assert not Campaign.objects.exists()
    made = api.post("campaigns", CAMPAIGN).json()
    body = with_key({key: value for key, value in CAMPAIGN.items() if key not in ("name", "type")}, place)
    assert details(api.patch(f"campaigns/{made['id']}", body)) == {path: UNKNOWN}


@pytest.mark.parametrize("key", ["definition", "attachments", "channel", "status", "trackOpens"])
def test_what_other_products_campaigns_have_is_not_dropped_in_silence(api, key):
    assert details(api.post("campaigns", {**CAMPAIGN, key: {}})) == {key: UNKNOWN}


def test_a_campaign_s_settings_have_nothing_that_it_cannot_have(api):
    body = {**CAMPAIGN, "settings": {"frequencyCap": {"count": 1}, "trackOpens": False}}
    errors = details(api.post("campaigns", body))
    assert set(errors) == {"settings.frequencyCap", "settings.trackOpens"}
    assert errors["settings.trackOpens"] == UNKNOWN
    assert api.post("campaigns", {**CAMPAIGN, "settings": {"frequencyCap": None}}).status_code == 201


def test_a_trigger_step_has_no_data(api):
    body = deepcopy(CAMPAIGN)
    body["workflow"]["nodes"][0]["data"] = {"eventType": "go"}
    assert details(api.post("campaigns", body)) == {"workflow.nodes[0].data.eventType": UNKNOWN}


def test_what_an_editor_keeps_of_its_drawing_is_taken(api):
    body = deepcopy(CAMPAIGN)
    body["workflow"]["nodes"][0]["position"] = {"x": 1, "y": 2}
    body["workflow"]["edges"][0] |= {"id": "e1", "label": "next"}
    assert api.post("campaigns", body).status_code == 201


def test_all_that_is_wrong_is_told_at_once(api):
    errors = details(api.post("templates", {"subject": 5, "attachments": [], "trackOpens": False}))
    assert {"name", "subject", "body", "attachments", "trackOpens"} <= set(errors)


def test_a_template_s_keys_are_known(api, workspace):
    assert details(api.post("templates", {**TEMPLATE, "attachments": []})) == {"attachments": UNKNOWN}
    assert not Template.objects.exists()
    path = f"templates/{a_template(workspace).id}"
    assert details(api.patch(path, {"trackOpens": False})) == {"trackOpens": UNKNOWN}


def test_messages_tests_and_previews_know_their_keys(api, workspace, jane):
    contact = {"contactId": str(jane.id)}
    path = f"templates/{a_template(workspace).id}"
    bodies = {
        "messages": {**contact, "channel": "EMAIL", "subject": "Hello", "body": "<p>Hello"},
        f"{path}/test": contact,
        f"{path}/preview": contact,
        "templates/preview": {**contact, **TEMPLATE},
    }
    for where, body in bodies.items():
        assert details(api.post(where, {**body, "attachments": []})) == {"attachments": UNKNOWN}
    assert not Message.objects.exists()


def test_starts_know_their_keys(api, workspace, jane):
    path = f"campaigns/{a_campaign(workspace, definition()).id}"
    contacts = {"contactIds": [str(jane.id)]}
    assert details(api.post(f"{path}/broadcasts", {**contacts, "sendAt": "2099-01-01T00:00:00Z"})) == {
        "sendAt": UNKNOWN
    }
    assert details(api.post(f"{path}/execute", {"contactId": str(jane.id), "test": True})) == {
        "test": UNKNOWN
    }
    made = api.post(f"{path}/broadcasts", {**contacts, "at": "2099-01-01T00:00:00Z"}).json()
    errors = details(api.patch(f"{path}/broadcasts/{made['id']}", {"at": None, "segmentId": None}))
    assert errors == {"segmentId": UNKNOWN}


def test_a_form_and_its_fields_know_their_keys(api):
    assert details(api.post("forms", {**FORM, "captcha": True})) == {"captcha": UNKNOWN}
    errors = details(api.post("forms", {**FORM, "fields": [{**FIELDS[0], "placeholder": "you@…"}]}))
    assert list(errors) == ["fields.0.placeholder"]
    errors = details(api.post("forms", {**FORM, "fields": [{**FIELDS[0], "required": "no"}]}))
    assert list(errors) == ["fields.0.required"]
    assert not Form.objects.exists()


def test_suppressions_and_settling_know_their_keys(api):
    assert details(api.post("suppressions", {"address": "a@b.test", "reason": "bounce"})) == {
        "reason": UNKNOWN
    }


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"from": "a@b.test"}, "from"),
        ({"options": {"trackOpen": False}}, "options.trackOpen"),
        ({"options": {"trackOpens": "false"}}, "options.trackOpens"),
        ({"options": {"trackOpens": None}}, "options.trackOpens"),
        ({"options": {"trackClicks": 0}}, "options.trackClicks"),
        ({"options": {"url": "https://hook.test"}}, "options.url"),
        ({"frequencyCap": {"count": 1, "hours": 1, "days": 1}}, "frequencyCap.days"),
        ({"quietHours": {"start": "22:00", "end": "07:00", "zone": "UTC"}}, "quietHours.zone"),
    ],
)
def test_a_channel_s_keys_and_options_are_known(api, body, path):
    assert list(details(api.patch("channels/EMAIL", body))) == [path]


def test_a_channel_s_options_hold(api):
    options = {"trackOpens": False, "trackClicks": True}
    assert api.patch("channels/EMAIL", {"options": options}).json()["options"] == options
    assert api.patch("channels/WEBHOOK", {"options": {"url": "https://hook.test"}}).status_code == 200
    assert list(details(api.patch("channels/WEBHOOK", {"options": {"trackOpens": False}}))) == [
        "options.trackOpens"
    ]
