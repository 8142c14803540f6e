import json
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.db import connections
from django.test import Client

from contacts.models import Contact
from events.models import Event, EventDefinition, EventProperty
from workspaces.services import create_workspace, issue_api_key

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _no_wake_ups(monkeypatch):
    """Publish nothing: what is raced for here is settled before the commit."""
    monkeypatch.setattr("events.receivers.wake_ups.request", lambda workspace_id: None)


def at_once(bodies, secret):
    barrier = Barrier(len(bodies))

    def post(body):
        try:
            barrier.wait()
            return Client().post(
                "/v4/track",
                json.dumps(body),
                content_type="application/json",
                headers={"Authorization": f"Bearer {secret}"},
            )
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(bodies)) as pool:
        return list(pool.map(post, bodies))


def test_a_schema_learned_at_once_has_one_type():
    workspace = create_workspace("Shop")
    secret = issue_api_key(workspace.id, "shop").secret
    for turn in range(5):
        bodies = [
            {
                "eventName": f"e{turn}",
                "contact": {"email": f"jane{n}@example.com"},
                "properties": {"p": value},
            }
            for n, value in enumerate([1, "text", True, "2021-09-01"])
        ]
        answers = at_once(bodies, secret)
        assert sorted({answer.status_code for answer in answers}) == [202, 400]
        assert EventDefinition.objects.filter(workspace=workspace, name=f"e{turn}").count() == 1
        (learned,) = EventProperty.objects.filter(workspace=workspace, definition__name=f"e{turn}")
        stored = [
            event.properties["p"] for event in Event.objects.filter(workspace=workspace, name=f"e{turn}")
        ]
        kinds = {"integer": int, "string": str, "boolean": bool, "date": str}
        assert {type(value) for value in stored} == {kinds[learned.type]}
        assert len(stored) == sum(answer.status_code == 202 for answer in answers)


def test_events_that_make_one_contact_at_once_make_one():
    workspace = create_workspace("Shop")
    secret = issue_api_key(workspace.id, "shop").secret
    bodies = [
        {"eventName": "x", "contact": {"email": "jane@example.com", "customProperties": {f"p{n}": n}}}
        for n in range(4)
    ]
    answers = at_once(bodies, secret)
    assert [answer.status_code for answer in answers] == [202] * 4
    contact = Contact.objects.get(workspace=workspace)
    assert contact.attributes == {f"p{n}": n for n in range(4)}
    assert Event.objects.filter(workspace=workspace, source="api", contact_id=contact.id).count() == 4
