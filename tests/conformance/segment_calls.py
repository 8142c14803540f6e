"""Calls that every client of Segment's API makes, and what they are to leave behind."""

import threading

from config.errors import Overloaded
from contacts.models import Company, Contact, Identifier
from events.api import ingest
from events.models import Event

CALLS = [
    ["track", {"anonymousId": "anon-1", "event": "Visited"}],
    [
        "identify",
        {"userId": "user-1", "traits": {"email": "ada@example.com", "firstName": "Ada", "plan": "pro"}},
    ],
    [
        "track",
        {
            "userId": "user-1",
            "event": "Order Completed",
            "properties": {"order_id": "o-1", "revenue": 99.9},
            "timestamp": "2026-01-15T10:00:00.000Z",
        },
    ],
    ["page", {"userId": "user-1", "name": "Pricing", "properties": {"url": "https://example.com"}}],
    ["screen", {"userId": "user-1", "name": "Home"}],
    ["group", {"userId": "user-1", "groupId": "acct-1", "traits": {"name": "Acme", "employees": 10}}],
    ["alias", {"userId": "user-1", "previousId": "anon-1"}],
]


def assert_recorded(workspace):
    """Each call once, all of one person, who is put into the company."""
    events = Event.objects.filter(workspace=workspace, source="api")
    assert sorted(events.values_list("name", flat=True)) == sorted(
        [
            "Visited",
            "identify",
            "Order Completed",
            "Viewed Pricing Page",
            "Viewed Home Screen",
            "group",
            "alias",
        ]
    )
    order = events.get(name="Order Completed")
    assert order.properties == {"order_id": "o-1", "revenue": 99.9}
    assert order.occurred_at.isoformat() == "2026-01-15T10:00:00+00:00"
    person = Contact.objects.get(workspace=workspace, merged_into=None)
    assert (person.first_name, person.attributes) == ("Ada", {"plan": "pro"})
    known = set(Identifier.objects.filter(workspace=workspace).values_list("kind", "value"))
    assert known == {("external_id", "user-1"), ("anonymous_id", "anon-1"), ("email", "ada@example.com")}
    company = Company.objects.get(workspace=workspace)
    assert (company.external_id, company.name, company.size) == ("acct-1", "Acme", "10")


def fail_once(monkeypatch):
    """Let the first request find the server too busy; return what counts the requests."""
    submit, lock, requests = ingest.submit, threading.Lock(), []

    def busy_at_first(submission):
        with lock:
            requests.append(submission)
            is_first = len(requests) == 1
        if is_first:
            raise Overloaded
        return submit(submission)

    monkeypatch.setattr(ingest, "submit", busy_at_first)
    return lambda: len(requests)
