"""Keys: what one event, contact or campaign may have is bounded, told in each format's own shape, soon decided."""

import json
import time

import pytest
from django.test import Client
from django.urls import reverse

from campaigns.models import Campaign
from config.http.json import parse_json
from config.values.json_size import has_too_many_keys
from contacts.models import Contact
from contacts.profiles.fields import create_field
from events.models import Event, EventProperty
from events.stream import schemas
from events.stream.definitions import PropertySpec, create_definition
from tests.contacts.factories import a_contact
from tests.native import NativeClient
from tests.workspaces.factories import UserFactory, WorkspaceFactory, a_key, bearer

pytestmark = pytest.mark.django_db

HUGE = 240_000
JANE = {"email": "jane@example.test"}


def keys(count):
    return {f"k{number}": number % 7 for number in range(count)}


def nested(count):
    """As many keys, deep down in lists and objects."""
    inner = keys(count - 2)
    for _ in range(20):
        inner = [inner]
    return {"a": {"b": inner}}


@pytest.fixture
def workspace():
    return WorkspaceFactory(identity_field="email")


@pytest.fixture
def send(workspace):
    secret = a_key(workspace).secret

    def send_body(path, body):
        return Client().post(
            path.format(workspace.id), json.dumps(body), content_type="application/json", **bearer(secret)
        )

    return send_body


NATIVE = "/api/workspaces/{}/events"
# Where an event goes, how it looks with properties, and how a refusal names them.
FORMATS = {
    "native": (
        NATIVE,
        lambda p: {"type": "x", "metadata": p},
        400,
        lambda told: "properties" in told["error"],
    ),
    "autosend": (
        "/autosend/v1/events/send",
        lambda p: {"eventName": "x", **JANE, "eventProperties": p},
        400,
        lambda told: [one["field"] for one in told["error"]["details"]] == ["eventProperties"],
    ),
    "leadpush": (
        "/leadpush/v1/contacts/jane@example.test/events",
        lambda p: {"event_name": "x", "attributes": p},
        422,
        lambda told: list(told["errors"]) == ["attributes"],
    ),
    "suresend": (
        "/suresend/api/partner/events",
        lambda p: {"type": "x", "person": {"emails": [{"value": JANE["email"]}]}, "metadata": p},
        422,
        lambda told: list(told["errors"]) == ["metadata"],
    ),
    "omnisend": (
        "/v4/track",
        lambda p: {"eventName": "x", "contact": JANE, "properties": p},
        400,
        lambda told: [(one["field"], one["code"]) for one in told["errors"]] == [("properties", "too_many")],
    ),
}


@pytest.fixture(params=FORMATS)
def vendor(request, workspace):
    a_contact(workspace, JANE["email"])
    create_definition(workspace.id, "x", properties=[PropertySpec("k0", "number")])
    return FORMATS[request.param]


def cpu(act):
    begun = time.process_time()
    found = act()
    return found, time.process_time() - begun


@pytest.mark.parametrize("shape", [keys, nested])
def test_each_format_refuses_an_event_of_too_many_keys_as_its_own(send, workspace, settings, vendor, shape):
    settings.MAX_KEYS = 50
    path, body, status, is_told = vendor
    answer = send(path, body(shape(51)))
    assert answer.status_code == status, answer.content[:300]
    # One format takes nothing nested, however little.
    assert is_told(answer.json()) or (shape is nested and path == "/v4/track"), answer.content[:300]
    assert not Event.objects.filter(workspace=workspace, source="api").exists()


def test_what_is_refused_costs_little_more_than_to_read_it(send, workspace, vendor):
    path, body, status, is_told = vendor
    send(path, body({}))
    whole = json.dumps(body(keys(HUGE))).encode()
    _, reading = cpu(lambda: parse_json(whole))
    answer, taken = cpu(lambda: send(path, body(keys(HUGE))))
    assert answer.status_code == status
    assert is_told(answer.json())
    # Writing the body is a part of it, here.
    assert taken < 12 * reading + 0.2, (taken, reading)


def test_the_longest_key_is_accepted_and_a_batch_checks_each(send, workspace, settings):
    settings.MAX_KEYS = 50
    events = [{"type": "x", "metadata": keys(count)} for count in (50, 51, 1)]
    results = send(NATIVE + "/batch", {"events": events}).json()["results"]
    assert [outcome["status"] for outcome in results] == ["recorded", "refused", "recorded"]
    assert results[1]["error"]["code"] == "too_many_properties"


@pytest.mark.parametrize("name", ["native", "leadpush", "suresend"])
def test_the_largest_event_costs_in_proportion(send, workspace, name):
    path, body, *_ = FORMATS[name]
    a_contact(workspace, JANE["email"])
    send(path, body({}))
    taken = {}
    for count in (1_800, 9_000):
        answer, taken[count] = cpu(lambda count=count: send(path, body(keys(count))))
        assert answer.status_code < 300, answer.content[:300]
    assert taken[9_000] < 20 * taken[1_800] + 0.2, taken


def test_what_a_name_s_properties_teach_is_bounded(send, workspace, monkeypatch):
    monkeypatch.setattr(schemas, "MAX_LEARNED_PROPERTIES", 150)
    path, body, *_ = FORMATS["omnisend"]
    for start in range(0, 400, 100):
        properties = {f"k{start + number}": 1 for number in range(100)}
        assert send(path, body(properties)).status_code == 202
    assert EventProperty.objects.filter(workspace=workspace).count() == 150
    assert "k399" in Event.objects.filter(workspace=workspace, source="api").latest("id").properties
    # What was learned still holds.
    assert send(path, body({"k0": "text"})).status_code == 400


def test_a_contact_has_no_more_attributes_than_that(workspace, settings):
    settings.MAX_KEYS = 50
    api = NativeClient(workspace)
    made = api.post("contacts", {**JANE, "attributes": keys(50)})
    assert made.status_code == 201
    path = f"contacts/{made.json()['id']}"
    for attributes in ({"more": 1}, {"k0": {"a": 1}}, nested(51)):
        answer = api.patch(path, {"attributes": attributes})
        assert answer.status_code == 400, attributes
        assert "attributes" in answer.json()["error"]
    assert api.patch(path, {"attributes": {"k0": None, "more": 1}}).status_code == 200
    assert api.post("contacts", {"email": "a@b.test", "attributes": keys(51)}).status_code == 400
    assert Contact.objects.count() == 1


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v4/track", {"eventName": "x", "contact": {**JANE, "customProperties": keys(51)}}, 400),
        ("/autosend/v1/contacts", {**JANE, "customFields": keys(51)}, 400),
        ("/leadpush/v1/contacts", {"attributes": {**JANE, **keys(51)}}, 422),
    ],
)
def test_each_format_refuses_a_contact_of_too_many_keys(send, workspace, settings, path, body, status):
    settings.MAX_KEYS = 50
    if "leadpush" in path:
        for name in keys(51):
            create_field(workspace.id, name, "integer")
    answer = send(path, body)
    assert answer.status_code == status, answer.content[:300]
    assert b"50" in answer.content
    assert not Contact.objects.exists()


def test_a_campaign_has_no_more_keys_than_that(workspace, settings):
    settings.MAX_KEYS = 50
    node = {"id": "a", "type": "update", "data": {"attributes": keys(51)}}
    body = {"name": "C", "type": "AUTOMATED", "workflow": {"nodes": [node], "edges": []}}
    answer = NativeClient(workspace).post("campaigns", body)
    assert (answer.status_code, list(answer.json()["details"])) == (400, ["workflow"])
    assert not Campaign.objects.exists()


def test_the_admin_s_forms_refuse_it_too(workspace, settings):
    settings.MAX_KEYS = 50
    jane = a_contact(workspace, JANE["email"])
    browser = Client()
    browser.force_login(UserFactory.create(is_staff=True, is_superuser=True))
    page = reverse("admin:contacts_contact_change", args=[jane.pk])
    form = {"first_name": "J", "last_name": "", "attributes": json.dumps(keys(51))}
    answer = browser.post(page, form)
    assert answer.status_code == 200
    assert b"at most 50 keys" in answer.content
    assert Contact.objects.get().attributes == {}


def test_of_keys_that_are_not_known_a_hundred_are_told(workspace):
    answer = NativeClient(workspace).post("templates", {"name": "T", "body": "x", **keys(5_000)})
    assert answer.status_code == 400
    assert len(answer.json()["details"]) <= 102


def test_keys_are_counted_at_all_levels(settings):
    settings.MAX_KEYS = 3
    assert not has_too_many_keys({"a": [{"b": 1}, {"c": [1, 2, 3, 4]}]})
    assert has_too_many_keys({"a": [{"b": 1}, {"c": {"d": 1}}]})
    assert not has_too_many_keys([1] * 10)
    assert not has_too_many_keys("abcd")
