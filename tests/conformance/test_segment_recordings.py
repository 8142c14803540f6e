"""Every request that clients of Segment's API were recorded with, sent again, is answered as the client expects."""

import gzip
import json
import re
from base64 import b64encode
from datetime import timedelta
from pathlib import Path

import pytest
from django.test import Client

from config import clock
from config.http.rendering import iso_millis
from config.values.datetimes import parse_timestamp
from contacts.models import Contact, Identifier
from events.models import Event
from workspaces.services import create_workspace, issue_api_key

RECORDINGS = Path(__file__).parent / "recordings"
CLIENTS = [
    "segment-analytics-python",
    "segment-analytics-node",
    "segment-analytics-next-browser",
    "rudder-sdk-python",
    "rudder-sdk-node",
    "customerio-cdp-analytics-python",
    "customerio-cdp-analytics-node",
]
PAGES = ("segment-analytics-next-browser",)
SITE = "http://site.example"
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[.\d]*(?:Z|\+00:00)")


@pytest.fixture
def workspace(db):
    workspace = create_workspace("Conformance")
    workspace.allowed_origins = [SITE]
    workspace.save(update_fields=["allowed_origins"])
    return workspace


def recorded(client):
    return json.loads((RECORDINGS / f"{client}.json").read_text())["calls"]


def fresh(body):
    """Return a body with its times moved so that it is sent now; what was stated as long ago stays so."""
    times = [moment for text in _MOMENT.findall(body) if (moment := parse_timestamp(text)) is not None]
    if not times:
        return body
    moved = clock.now() - max(times)

    def move(match):
        moment = parse_timestamp(match[0])
        return match[0] if moment < max(times) - timedelta(days=1) else iso_millis(moment + moved)

    return _MOMENT.sub(move, body)


def send_again(request, key):
    headers = dict(request["headers"])
    if "Authorization" in headers:
        headers["Authorization"] = "Basic " + b64encode(f"{key}:".encode()).decode()
    body = b""
    if request["body"] is not None:
        body = fresh(json.dumps(request["body"]).replace("WRITE_KEY", key)).encode()
    return Client().generic(
        request["method"],
        request["path"].replace("WRITE_KEY", key),
        gzip.compress(body) if request["isGzip"] else body,
        content_type=headers.pop("Content-Type", "application/octet-stream"),
        headers=headers,
    )


def messages_of(requests):
    """Return the sent calls by their ids: a retry is the same call again."""
    bodies = [request["body"] for request in requests if request["body"] is not None]
    calls = [call for body in bodies for call in body.get("batch", [body])]
    return {call["messageId"]: call for call in calls}


@pytest.mark.parametrize("client", CLIENTS)
def test_each_request_is_taken_and_each_call_recorded_once(workspace, client):
    requests = [request for call in recorded(client) for request in call["requests"]]
    is_page = client in PAGES
    scopes = {"scopes": ["events:write"]} if is_page else {}
    key = issue_api_key(workspace.id, "key", **scopes).secret
    for request in requests:
        answer = send_again(request, key)
        assert answer.status_code == (204 if request["method"] == "OPTIONS" else 200), answer.content
        if request["method"] == "POST":
            assert answer.json() == {"success": True}
        assert answer.headers.get("Access-Control-Allow-Origin") == (SITE if is_page else None)
    sent = messages_of(requests)
    events = {event.message_id: event for event in Event.objects.filter(workspace=workspace, source="api")}
    assert events.keys() == sent.keys()
    for message_id, call in sent.items():
        _assert_recorded(events[message_id], call)
    _assert_one_person()


def _assert_recorded(event, call):
    if call["type"] == "track":
        assert (event.name, event.properties) == (call["event"], call.get("properties") or {})
    else:
        assert event.name in ("identify", "group", "alias", "Viewed Pricing Page", "Viewed Home Screen")
    assert event.contact is not None
    if (call.get("timestamp") or "").startswith("2026-01-15"):
        assert iso_millis(event.occurred_at) == "2026-01-15T10:00:00.000Z"
    else:
        assert abs(event.occurred_at - clock.now()) < timedelta(minutes=5)


def _assert_one_person():
    """Whoever is called user-1 has the address that was sent, and the devices of the alias."""
    user = Identifier.objects.get(kind="external_id", value="user-1").contact
    user = user.merged_into or user
    person = [user, *Contact.objects.filter(merged_into=user)]
    known = set(Identifier.objects.filter(contact__in=person).values_list("kind", "value"))
    assert ("email", "ada@example.com") in known
