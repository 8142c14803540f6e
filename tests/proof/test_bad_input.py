"""Whatever is thrown at an ingest endpoint, it is refused in the endpoint's own format and changes nothing."""

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import pytest
from django.conf import settings
from django.test import Client

from contacts.models import Contact
from events.models import Event
from events.stream.definitions import PropertySpec, create_definition
from tests.contacts.factories import a_contact
from tests.workspaces.factories import WorkspaceFactory, a_key, bearer

pytestmark = pytest.mark.django_db


def _has(*keys: str) -> Callable[[Any], bool]:
    return lambda body: isinstance(body, dict) and set(keys) <= set(body)


@dataclass(frozen=True)
class Endpoint:
    """An ingest endpoint; `{workspace}` and `{contact}` are filled in, in the body too."""

    name: str
    url: str
    body: dict[str, Any]
    is_error: Callable[[Any], bool]
    # What a body that is no object, or no JSON, is answered with.
    malformed: int = 400
    # Paths into the body of what has a type of its own: no other type may pass.
    typed: tuple[tuple[str | int, ...], ...] = ()
    ids: tuple[tuple[str | int, ...], ...] = ()
    # Its clients send JSON as anything.
    takes_any_type: bool = False

    def __str__(self) -> str:
        return self.name


_AUTOSEND = Endpoint(
    "autosend",
    "/v1/events/send",
    {"eventName": "purchase", "contactId": "{contact}", "eventProperties": {"word": "x"}},
    lambda body: body.get("success") is False and "code" in body["error"],
    typed=(("eventName",), ("contactId",), ("eventProperties",)),
    ids=(("contactId",),),
)
_LEADPUSH = Endpoint(
    "leadpush",
    "/v1/workspaces/{workspace}/contacts/{contact}/events",
    {"event_name": "purchase", "attributes": {"word": "x"}},
    _has("message"),
    malformed=422,
    typed=(("event_name",), ("attributes",)),
)
_SURESEND = Endpoint(
    "suresend",
    "/api/partner/events",
    {
        "type": "Registration",
        "person": {"firstName": "A", "emails": [{"value": "a@example.test"}]},
        "metadata": {"word": "x"},
    },
    _has("error"),
    malformed=422,
    typed=(("type",), ("person",), ("person", "emails"), ("person", "emails", 0, "value"), ("metadata",)),
)
_OMNISEND = Endpoint(
    "omnisend",
    "/v4/track",
    {
        "eventName": "purchase",
        "contact": {"email": "a@example.test"},
        "properties": {"word": "x"},
    },
    _has("title", "status"),
    typed=(("eventName",), ("contact",), ("contact", "email"), ("properties",)),
)
_OMNISEND_V5 = Endpoint(
    "omnisend, v5",
    "/v5/events",
    _OMNISEND.body,
    _has("title", "status"),
    typed=_OMNISEND.typed,
)
_OMNISEND_V3 = Endpoint(
    "omnisend, v3",
    "/v3/events",
    {"systemName": "purchase", "email": "a@example.test", "fields": {"word": "x"}},
    _has("error"),
    typed=(("systemName",), ("email",), ("fields",)),
)
_SEGMENT = Endpoint(
    "segment",
    "/v1/track",
    {"userId": "u1", "event": "purchase", "properties": {"word": "x"}, "messageId": "m"},
    _has("success", "code", "message"),
    typed=(("event",), ("properties",)),
    takes_any_type=True,
)
_NATIVE = Endpoint(
    "native",
    "/api/workspaces/{workspace}/events",
    {"type": "purchase", "contactId": "{contact}", "metadata": {"word": "x"}, "sessionId": "s"},
    _has("error"),
    typed=(("type",), ("contactId",), ("metadata",), ("sessionId",)),
    ids=(("contactId",),),
)
_BATCH = Endpoint(
    "batch",
    "/api/workspaces/{workspace}/events/batch",
    {"events": [{"type": "purchase", "metadata": {"word": "x"}}]},
    _has("error"),
    typed=(("events",),),
)
ENDPOINTS = [
    _AUTOSEND,
    _LEADPUSH,
    _SURESEND,
    _OMNISEND,
    _OMNISEND_V5,
    _OMNISEND_V3,
    _SEGMENT,
    _NATIVE,
    _BATCH,
]

NOT_JSON = {
    "cut off": b'{"type": "x"',
    "nothing of the kind": b"type=x",
    "single quotes": b"{'type': 'x'}",
    "not UTF-8": b'{"type": "\xff\xfe"}',
    "NaN": b'{"type": "x", "metadata": {"n": NaN}}',
    "Infinity": b'{"type": "x", "metadata": {"n": -Infinity}}',
    "past doubles": b'{"type": "x", "metadata": {"n": 1e999}}',
    "past 64 bits": b'{"type": "x", "metadata": {"n": 9223372036854775808}}',
    "past all bits": b'{"type": "x", "metadata": {"n": ' + b"9" * 5000 + b"}}",
    "NUL": b'{"type": "x", "metadata": {"n": "a\\u0000b"}}',
    "NUL in a key": b'{"type": "x", "metadata": {"a\\u0000b": 1}}',
    "a lone surrogate": b'{"type": "x", "metadata": {"n": "\\ud800"}}',
    "a lone surrogate in a key": b'{"type": "x", "metadata": {"\\udfff": 1}}',
    "a surrogate in UTF-8": b'{"type": "x", "metadata": {"n": "\xed\xa0\x80"}}',
    "a key twice": b'{"type": "x", "type": "y"}',
    "a key twice, deeper": b'{"type": "x", "metadata": {"a": 1, "a": 2}}',
    "10,000 arrays deep": b'{"metadata": ' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    "10,000 objects deep": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "10,000 never closed": b"[" * 10_000,
    "a million arrays": b'{"type": "x", "metadata": {"a": [' + b",".join([b"[]"] * 1_000_000) + b"]}}",
    "a million arrays, 90 deep": b'{"a": [' + b",".join([b"[" * 90 + b"]" * 90] * 12_000) + b"]}",
    "a million numbers": b'{"type": "x", "metadata": {"a": [' + b",".join([b"1"] * 1_000_000) + b"]}}",
}
NO_OBJECT = [b"[]", b'[{"type": "x"}]', b'"x"', b"5", b"null", b"true"]
WRONG = [None, True, 5, 1.5, "text", [], ["x"], {}, {"a": 1}, [[]], [{}]]
BAD_IDS = ["", " ", "x", "0" * 36, "../../etc", "' OR 1=1 --", "\u0661" * 36, "9" * 400, "ct_1", "{contact}x"]


@dataclass
class Target:
    """An endpoint of a workspace that has one contact and one declared event."""

    endpoint: Endpoint
    workspace: Any
    contact: Any
    headers: dict[str, str]

    def send(self, raw: bytes, content_type: str = "application/json") -> Any:
        url = self._fill(self.endpoint.url)
        return Client().post(url, raw, content_type=content_type, **self.headers)

    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self._fill(json.dumps(self.endpoint.body)))
        return body

    def state(self) -> tuple[int, list[Any]]:
        events = Event.objects.filter(workspace=self.workspace).count()
        return events, list(Contact.objects.filter(workspace=self.workspace).values())

    def assert_refused(self, answer: Any, *statuses: int) -> None:
        assert 400 <= answer.status_code < 500, answer.content[:500]
        if statuses:
            assert answer.status_code in statuses, answer.content[:500]
        assert self.endpoint.is_error(answer.json()), answer.content[:500]
        assert "detail" not in answer.json() or "title" in answer.json()

    def _fill(self, text: str) -> str:
        filled = text.replace("{workspace}", str(self.workspace.id))
        return filled.replace("{contact}", str(self.contact.id))


@pytest.fixture(params=ENDPOINTS, ids=str)
def target(request):
    workspace = WorkspaceFactory()
    contact = a_contact(workspace, "jane@example.test")
    create_definition(workspace.id, "purchase", properties=[PropertySpec("word", "string")])
    return Target(request.param, workspace, contact, bearer(a_key(workspace).secret))


@pytest.fixture
def unchanged(target):
    before = target.state()
    yield
    assert target.state() == before


def test_the_sound_body_is_taken(target):
    before, _ = target.state()

    assert 200 <= target.send(json.dumps(target.body()).encode()).status_code < 300
    assert target.state()[0] > before


@pytest.mark.usefixtures("unchanged")
def test_what_cannot_be_stored_is_malformed(target):
    for what, raw in NOT_JSON.items():
        answer = target.send(raw)
        assert answer.status_code == target.endpoint.malformed, what
        target.assert_refused(answer)


@pytest.mark.usefixtures("unchanged")
def test_a_body_that_is_no_object_is_malformed(target):
    for raw in NO_OBJECT:
        target.assert_refused(target.send(raw), target.endpoint.malformed)


@pytest.mark.usefixtures("unchanged")
def test_an_empty_body_is_refused(target):
    target.assert_refused(target.send(b""))
    target.assert_refused(target.send(b"{}"))


@pytest.mark.usefixtures("unchanged")
def test_ten_megabytes_are_too_many(target):
    body = target.body()
    body["pad"] = "x" * (10 * 1024 * 1024)
    assert len(body["pad"]) > settings.MAX_BODY_BYTES

    target.assert_refused(target.send(json.dumps(body).encode()), 413)


@pytest.mark.parametrize("content_type", ["application/xml", "text/html", "multipart/form-data"])
@pytest.mark.usefixtures("unchanged")
def test_another_media_type_is_a_415(target, content_type):
    raw = b"<a/>" if target.endpoint.takes_any_type else json.dumps(target.body()).encode()
    target.assert_refused(target.send(raw, content_type), 400 if target.endpoint.takes_any_type else 415)


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded"])
@pytest.mark.usefixtures("unchanged")
def test_what_may_hold_json_and_does_not_is_a_415(target, content_type):
    for raw in (b"type=purchase", b"<a>{}</a>", b"\x00{}", b'"{}"'):
        target.assert_refused(target.send(raw, content_type), 400 if target.endpoint.takes_any_type else 415)


@pytest.mark.usefixtures("unchanged")
def test_another_method_is_a_405(target):
    url = target._fill(target.endpoint.url)
    target.assert_refused(Client().put(url, b"{}", content_type="application/json", **target.headers), 405)


@pytest.mark.usefixtures("unchanged")
def test_nobody_is_a_401(target):
    for headers in (
        {},
        bearer("hr_wrong"),
        bearer("\u00e9"),
        bearer("eyJ.e30.x"),
        {"HTTP_AUTHORIZATION": "Bearer"},
    ):
        raw = json.dumps(target.body()).encode()
        answer = Client().post(
            target._fill(target.endpoint.url), raw, content_type="application/json", **headers
        )
        target.assert_refused(answer, 401)


@pytest.mark.usefixtures("unchanged")
def test_wrong_types_are_refused_at_every_level(target):
    for path in target.endpoint.typed:
        for value in WRONG:
            body = target.body()
            own = _at(body, path)
            # null may mean absent, and an empty text or list nothing at all: only another type is wrong.
            if value is None or isinstance(value, type(own)):
                continue
            _put(body, path, value)
            target.assert_refused(target.send(json.dumps(body).encode()))


@pytest.mark.usefixtures("unchanged")
def test_ids_that_are_none_are_refused(target):
    for path in target.endpoint.ids:
        for value in BAD_IDS:
            body = target.body()
            _put(body, path, value)
            target.assert_refused(target.send(json.dumps(body).encode()), 400, 404)


@pytest.mark.usefixtures("unchanged")
def test_anothers_contact_is_not_there(target):
    stranger = a_contact(WorkspaceFactory(), "other@example.test")
    for path in target.endpoint.ids:
        body = target.body()
        _put(body, path, str(stranger.id))
        target.assert_refused(target.send(json.dumps(body).encode()), 404)


@pytest.mark.parametrize("key", ["\x00", "", "x" * 256, "\u00e9\u00e9"])
def test_an_idempotency_key_that_is_none_makes_no_error(target, key):
    raw = json.dumps(target.body()).encode()
    url = target._fill(target.endpoint.url)
    answer = Client().post(
        url, raw, content_type="application/json", HTTP_IDEMPOTENCY_KEY=key, **target.headers
    )

    assert answer.status_code < 500


@pytest.mark.parametrize(
    "moment",
    ["2026-02-30T00:00:00Z", "2026-13-01", "yesterday", "", "9999-12-31T23:59:59-14:00", "0001-01-01", "1e9"],
)
def test_a_date_that_does_not_exist_refuses_its_item_only(moment):
    workspace = WorkspaceFactory()
    body = {
        "events": [{"type": "x", "timestamp": moment}, {"type": "y", "timestamp": "2026-01-01T00:00:00Z"}]
    }

    answer = Client().post(
        f"/api/workspaces/{workspace.id}/events/batch",
        body,
        content_type="application/json",
        **bearer(a_key(workspace).secret),
    )

    results = answer.json()["results"]
    assert [result["status"] for result in results] == ["refused", "recorded"]
    assert results[0]["error"]["code"] == "invalid_event_time"
    assert Event.objects.filter(workspace=workspace).count() == 1


def _at(body: Any, path: tuple[str | int, ...]) -> Any:
    for step in path:
        body = body[step]
    return body


def _put(body: Any, path: tuple[str | int, ...], value: Any) -> None:
    _at(body, path[:-1])[path[-1]] = deepcopy(value)
