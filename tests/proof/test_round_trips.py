"""How often each form of a send asks the database when it is alone: a whole group of them asks as often.

BEGIN and COMMIT aside, but with savepoints.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from events.stream.definitions import PropertySpec, create_definition
from tests.contacts.factories import a_contact, resolve_company
from tests.workspaces.factories import WorkspaceFactory, a_key, bearer

PROMISED = 7
NATIVE = "/api/workspaces/{workspace}/events"
LEADPUSH = "/v1/workspaces/{workspace}/contacts/{contact}/events"
LEADPUSH_BY_IDENTITY = "/v1/workspaces/{workspace}/contacts/jane@example.test/events"
AUTOSEND = "/v1/events/send"
SURESEND = "/api/partner/events"
OMNISEND = "/v4/track"
NOW, LONG_AGO = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", "2024-01-15T10:00:00Z"
JANE: dict[str, Any] = {"emails": ["jane@example.test"]}
NEW: dict[str, Any] = {"emails": ["new{turn}@example.test"]}
NEW_WITH_MUCH: dict[str, Any] = {
    "emails": ["a{turn}@example.test", "b{turn}@example.test"],
    "phones": ["+1202555{turn}"],
    "name": "Jo Doe",
    "stage": "Lead",
    "tags": ["known", "new {turn}"],
}
NEW_CONTACT: dict[str, Any] = {
    "email": "new{turn}@example.test",
    "phoneNumber": "+1202555{turn}",
    "firstName": "Jo",
    "city": "Brno",
    "tags": ["known", "new {turn}"],
    "customProperties": {"colour": "red"},
}


@dataclass(frozen=True)
class Form:
    """A send; `{turn}` is another number each time. `most` says where the promise is broken, and how far."""

    name: str
    url: str
    body: dict[str, Any]
    most: int = PROMISED

    def __str__(self) -> str:
        return self.name


def _suresend(name: str, body: dict[str, Any], most: int = PROMISED) -> Form:
    return Form(f"suresend, {name}", SURESEND, {"type": "x", **body}, most)


def _omnisend(name: str, contact: dict[str, Any], most: int = PROMISED, **more: Any) -> Form:
    body = {"eventName": "x", "contact": contact, "properties": {"a": 1}, **more}
    return Form(f"omnisend, {name}", OMNISEND, body, most)


def _segment(name: str, body: dict[str, Any], most: int = PROMISED, kind: str = "track") -> Form:
    return Form(f"segment, {name}", f"/v1/{kind}", {"event": "x", "messageId": "m{turn}", **body}, most)


FORMS = [
    Form("native, nobody's", NATIVE, {"type": "x", "metadata": {"a": 1}}),
    Form("native, a contact's", NATIVE, {"type": "x", "contactId": "{contact}", "metadata": {"a": 1}}),
    Form("leadpush, by id", LEADPUSH, {"event_name": "x", "attributes": {"a": 1}}),
    Form("leadpush, by identity", LEADPUSH_BY_IDENTITY, {"event_name": "x", "attributes": {"a": 1}}),
    Form("autosend, by id", AUTOSEND, {"eventName": "declared", "contactId": "{contact}"}),
    Form(
        "autosend, by e-mail",
        AUTOSEND,
        {"eventName": "declared", "email": "jane@example.test", "eventProperties": {"word": "a"}},
    ),
    _suresend("by id", {"personId": "{contact}"}),
    _suresend("known", {"person": JANE}),
    _suresend("known, told more of", {"person": {**NEW_WITH_MUCH, **JANE}}),
    _suresend("new", {"person": NEW}),
    _suresend("new, a name only", {"person": {"firstName": "Jo"}}),
    _suresend("new, two addresses and a phone", {"person": {**NEW, "phones": ["+1202555{turn}"]}}),
    _suresend("new, with much", {"person": NEW_WITH_MUCH}),
    _suresend("a company's id", {"personId": "{contact}", "company": {"id": "{company}"}}),
    # A company takes two more, to find it and to link it; a new one a third.
    _suresend("known, known company", {"person": JANE, "company": {"name": "Acme"}}),
    _suresend("known, new company", {"person": JANE, "company": {"name": "New {turn}"}}, 8),
    _suresend("new, new company", {"person": NEW_WITH_MUCH, "company": {"name": "New {turn}"}}, 10),
    _omnisend("by id", {"id": "{contact}"}),
    _omnisend("known", {"email": "jane@example.test"}),
    _omnisend("known, nothing new", {"email": "jane@example.test", "firstName": "Jane"}),
    _omnisend("changed", {"email": "jane@example.test", "firstName": "Jane {turn}"}, 10),
    _omnisend("changed property", {"email": "jane@example.test", "customProperties": {"p": "{turn}"}}, 10),
    _omnisend("new", {"email": "new{turn}@example.test"}),
    _omnisend("new, e-mail and phone", {"email": "new{turn}@example.test", "phoneNumber": "+1202555{turn}"}),
    _omnisend("new, with much", NEW_CONTACT),
    # Other rows of a contact that exists are changed under its lock, inside a savepoint.
    _omnisend("another phone", {"email": "jane@example.test", "phoneNumber": "+1202555{turn}"}, 13),
    _omnisend("new tag", {"email": "jane@example.test", "tags": ["new {turn}"]}, 12),
    _omnisend("no tags", {"email": "jane@example.test", "tags": None}, 13),
    _segment("known", {"userId": "u1", "timestamp": NOW}),
    _segment("known, long ago", {"userId": "u1", "timestamp": LONG_AGO}),
    _segment("known, by two ids", {"userId": "u1", "anonymousId": "a1", "timestamp": NOW}),
    # Without a time its key has a row.
    _segment("known, now", {"userId": "u1"}, 9),
    # To make a contact takes a savepoint: who is too late lets go of its identifiers. Of history the level of its
    # name is asked, and the month is looked up and held.
    _segment("new", {"userId": "new{turn}", "anonymousId": "a{turn}", "timestamp": NOW}, 8),
    _segment("new, long ago", {"userId": "new{turn}", "anonymousId": "a{turn}", "timestamp": LONG_AGO}, 10),
    # The first time a name or a property is seen it is listed, or learned.
    Form("native, new name", NATIVE, {"type": "new {turn}", "contactId": "{contact}"}, 8),
    Form("native, new property", NATIVE, {"type": "x", "metadata": {"new {turn}": 1}}, 7),
    Form("leadpush, new name", LEADPUSH, {"event_name": "new {turn}"}, 7),
    _suresend("new name", {"type": "new {turn}", "person": JANE}, 8),
    _omnisend("new name", {"email": "jane@example.test"}, 9, eventName="new {turn}"),
    _omnisend("new property", {"email": "jane@example.test"}, 9, properties={"new_{turn}": 1}),
]
# A key claims its row, and keeps the answer there.
KEY_COSTS = 2


@pytest.fixture(autouse=True)
def _no_wake_ups(monkeypatch):
    """Publish nothing: it would not be counted."""
    monkeypatch.setattr("events.receivers.wake_ups.request", lambda workspace_id: None)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("with_key", [False, True], ids=["", "with a key"])
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_a_single_send_takes_few_round_trips(form, with_key):
    workspace = WorkspaceFactory()
    jane = a_contact(workspace, "jane@example.test", first_name="Jane", tags=["known"])
    company, _ = resolve_company(workspace.id, name="Acme")
    create_definition(workspace.id, "declared", properties=[PropertySpec("word", "string")])
    headers = bearer(a_key(workspace).secret)

    def filled(text, turn):
        values = {"workspace": workspace.id, "contact": jane.id, "company": company.id, "turn": turn}
        for name, value in values.items():
            text = text.replace(f"{{{name}}}", str(value))
        return text

    def send(turn):
        body = filled(json.dumps(form.body), turn)
        key = {"HTTP_IDEMPOTENCY_KEY": f"key {turn}"} if with_key else {}
        answer = Client().post(
            filled(form.url, turn), body, content_type="application/json", **headers, **key
        )
        assert answer.status_code in (200, 201, 202, 204), answer.content

    # The first ones make the known things, and warm what a process remembers.
    for turn in (1001, 1002):
        send(turn)
    with CaptureQueriesContext(connection) as captured:
        send(1003)
    statements = [query["sql"] for query in captured if query["sql"] not in ("BEGIN", "COMMIT")]
    most = form.most + (KEY_COSTS if with_key else 0)
    assert len(statements) <= most, f"{len(statements)}\n" + "\n".join(statements)
