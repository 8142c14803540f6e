import json

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from workspaces.services import create_workspace, issue_api_key


@pytest.fixture(autouse=True)
def _no_wake_ups(monkeypatch):
    """Publish nothing: it would not be counted."""
    monkeypatch.setattr("events.receivers.wake_ups.request", lambda workspace_id: None)


@pytest.mark.django_db(transaction=True)
def test_a_send_for_a_known_contact_takes_few_round_trips():
    headers = {"Authorization": f"Bearer {issue_api_key(create_workspace('Mill'), 'key').secret}"}

    def send():
        return Client().post(
            "/v4/track",
            json.dumps({"eventName": "x", "contact": {"email": "jane@example.com"}, "properties": {"p": 1}}),
            content_type="application/json",
            headers=headers,
        )

    # The first make the contact and warm what a process remembers.
    assert [send().status_code for _ in range(2)] == [202, 202]
    with CaptureQueriesContext(connection) as captured:
        send()
    statements = [query["sql"] for query in captured if query["sql"] not in ("BEGIN", "COMMIT")]
    assert len(statements) <= 5, statements
