"""Every request that clients of Omnisend's API were recorded with, sent again, is answered as the client expects."""

import json
from collections import Counter
from pathlib import Path

import pytest
from django.test import Client

from contacts.models import Contact
from events.models import Event, EventDefinition
from tests.segments.factories import a_segment, attribute
from workspaces.services import create_workspace, issue_api_key

RECORDINGS = Path(__file__).parent / "recordings"
CLIENTS = [
    "omnisend-mcp",
    "omnisend-n8n-node",
    "omnisend-node-sdk",
    "omnisend-php-sdk",
    "omnisend-python",
    "omnisend-replays-from-source",
]
# What names contacts or events, or checks a key, and is refused nevertheless.
REFUSED = {
    ("GET", "/v3/campaigns/ID1/contacts/ID1"): (404, "campaigns have no routes here"),
    ("GET", "/v3/campaigns/ID1/contacts?limit=10"): (404, "campaigns have no routes here"),
    ("POST", "/v3/batches", "orders"): (404, "a batch of orders"),
    ("POST", "/woocommerce/events/track"): (
        404,
        "no credential: anybody who knows the brand's id could send it",
    ),
    ("POST", "/v3/events", None): (
        400,
        "it names no event: the recorded body has neither name nor systemName",
    ),
}
# The paths of contacts and events, with what they need; all others are of what Headrace has not.
SERVED = ("contacts", "events", "batches", "brands", "accounts")
# Ids that the recorded clients were given, by the resource in whose path they stand.
GIVEN = ("ID1", "E1", "60d5ec49f1b2c72d9c8b8888", "BRAND", "s1")


def recorded(client):
    return json.loads((RECORDINGS / f"{client}.json").read_text())["requests"]


def is_ours(request):
    words = request["path"].partition("?")[0].split("/")
    return "contacts" in words or words[2] in SERVED


def expected_refusal(request):
    """Return status and reason of a request that names contacts or events and is refused; else None."""
    body, key = request["body"] or {}, (request["method"], request["path"])
    if key == ("POST", "/v3/batches"):
        return REFUSED.get((*key, body["endpoint"]))
    if key == ("POST", "/v3/events"):
        return None if body.get("name") or body.get("systemName") else REFUSED[(*key, None)]
    return REFUSED.get(key)


@pytest.fixture
def workspace(db):
    return create_workspace("Conformance")


@pytest.fixture
def send_again(workspace):
    """Send a recorded request with ids and a key of the workspace in the place of those that it was recorded with."""
    secret = issue_api_key(workspace.id, "key").secret
    headers = {"X-API-KEY": secret}

    def post(path, body):
        return Client().post(path, json.dumps(body), content_type="application/json", headers=headers)

    def ids():
        address = {"type": "email", "id": "ada@example.com"}
        contact = post("/v5/contacts", {"identifiers": [address], "firstName": "Ada"}).json()
        assert post("/v3/events", {"systemName": "known", "email": "ada@example.com"}).status_code == 204
        batch = {"method": "POST", "endpoint": "contacts", "items": [{"identifiers": [address]}]}
        return {
            "contacts": contact["contactID"],
            "events": str(EventDefinition.objects.get(workspace=workspace, name="known").id),
            "batches": post("/v3/batches", batch).json()["batchID"],
            "items": "0",
            "accounts": str(workspace.id),
            "segments": str(a_segment(workspace, attribute("firstName", "eq", "Ada")).id),
        }

    def send(request):
        words = request["path"].split("/")
        is_asked = request["method"] != "POST" or not {*words}.isdisjoint(GIVEN)
        given = ids() if is_asked and is_ours(request) else {}
        path = "/".join(
            given.get(before, word) if word in GIVEN else word
            for before, word in zip(["", *words], words, strict=False)
        )
        sent = {name: value.replace("API_KEY", secret) for name, value in request["headers"].items()}
        return Client().generic(
            request["method"],
            path,
            "" if request["body"] is None else json.dumps(request["body"]),
            content_type=sent.pop("Content-Type", "application/json"),
            headers=sent,
        )

    return send


@pytest.mark.parametrize("client", CLIENTS)
def test_requests_about_contacts_and_events(send_again, workspace, client):
    requests = [request for request in recorded(client) if is_ours(request)]
    for request in requests:
        refusal = expected_refusal(request)
        answer = send_again(request)
        told = request["call"], request["method"], request["path"], answer.status_code, answer.content
        if refusal is not None:
            assert answer.status_code == refusal[0], told
            continue
        assert 200 <= answer.status_code < 300, told
        if answer.content:
            _assert_expected(request, answer.json(), told)
    _assert_recorded(workspace, requests)


def _assert_expected(request, body, told):
    """Assert that an answer has what the clients read of it."""
    resource, *rest = request["path"].partition("?")[0].split("/")[2:]
    match request["method"], resource, len(rest):
        case "GET", "segments", 2:
            (member,) = body["contacts"]
            assert "ada@example.com" in [identifier["id"] for identifier in member["identifiers"]], told
        case "GET", "contacts", 0:
            assert [contact["email"] for contact in body["contacts"]] == ["ada@example.com"], told
            assert body["contacts"][0]["contactID"] == body["contacts"][0]["id"], told
            assert body["paging"]["limit"] in (1, 10, 100), told
        case "GET", "contacts", 1:
            assert "ada@example.com" in [identifier["id"] for identifier in body["identifiers"]], told
            assert body["identifiers"][0]["channels"]["email"]["status"] in ("subscribed", "nonSubscribed"), (
                told
            )
        case "POST" | "PATCH", "contacts", _:
            assert Contact.objects.filter(id=body["contactID"]).exists(), told
            if "/v3/" not in request["path"]:
                assert body["id"] == body["contactID"], told
        case "GET", "events", 0:
            assert "known" in [event["systemName"] for event in body], told
        case "GET", "events", 1:
            assert body["name"] == "known", told
        case "POST", "batches", 0:
            assert body["totalCount"] == len(request["body"]["items"]), told
            assert body["batchID"], told
        case "GET", "batches", 0:
            assert body["batches"][0]["errorsCount"] == 0, told
        case "GET", "batches", 1 | 2:
            assert (body["status"], body["totalCount"], body["errorsCount"]) == ("finished", 1, 0), told
        case "GET", "batches", 3:
            assert (body["itemID"], body["responseCode"]) == ("0", 200), told
        case _, "brands" | "accounts", _:
            assert (body["brandID"], body["verified"]) != ("", False), told
        case _:
            raise AssertionError(told)


def _assert_recorded(workspace, requests):
    """Assert that each event that was taken is in the stream, with all its properties."""
    sent = Counter()
    for request in requests:
        body = request["body"] or {}
        is_event = request["path"].partition("?")[0].split("/")[2] == "events" and request["method"] == "POST"
        if is_event and expected_refusal(request) is None:
            name = body.get("eventName") or body.get("name") or "known"
            sent[name, json.dumps(body.get("properties") or body.get("fields"), sort_keys=True)] += 1
    # Those of `send_again` itself have no properties.
    events = Event.objects.filter(workspace=workspace, source="api").exclude(properties={})
    kept = Counter((event.name, json.dumps(event.properties, sort_keys=True)) for event in events)
    assert kept == sent
    assert all(event.contact is not None for event in events)


def test_59_of_the_64_requests_are_served():
    requests = [request for client in CLIENTS for request in recorded(client) if is_ours(request)]
    refused = [request for request in requests if expected_refusal(request) is not None]
    assert (len(requests), len(refused)) == (64, 5)


@pytest.mark.parametrize("client", CLIENTS)
def test_requests_about_anything_else_are_told_what_there_is(send_again, client):
    for request in recorded(client):
        if is_ours(request):
            continue
        answer = send_again(request)
        body = answer.json()
        assert answer.status_code == 404, (request["path"], body)
        assert "contacts and events only" in (body.get("error") or body["detail"])
