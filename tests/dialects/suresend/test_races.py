import json
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.db import connections
from django.test import Client

from contacts.models import Company, CompanyMembership, Contact
from events.models import Event
from workspaces.services import create_workspace, issue_api_key

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _no_wake_ups(monkeypatch):
    """Publish nothing: what is raced for here is settled before the commit."""
    monkeypatch.setattr("events.receivers.wake_ups.request", lambda workspace_id: None)


SENDERS = 4


def at_once(bodies, secret):
    barrier = Barrier(len(bodies))

    def post(body):
        try:
            barrier.wait()
            return Client().post(
                "/api/partner/events",
                json.dumps(body),
                content_type="application/json",
                headers={"Authorization": f"Bearer {secret}"},
            )
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(bodies)) as pool:
        return list(pool.map(post, bodies))


def test_of_events_that_make_one_person_at_once_exactly_one_did():
    workspace = create_workspace("Realtors")
    secret = issue_api_key(workspace.id, "partner").secret
    for turn in range(5):
        person = {"emails": [f"jane{turn}@example.com"], "phones": [f"+1555000{turn}"]}
        answers = at_once([{"type": "x", "person": person}] * SENDERS, secret)
        assert sorted(answer.status_code for answer in answers) == [200] * (SENDERS - 1) + [201]
        assert sum(answer.json()["wasPersonCreated"] for answer in answers) == 1
        assert len({answer.json()["person"]["id"] for answer in answers}) == 1
    assert Contact.objects.filter(workspace=workspace).count() == 5
    assert Event.objects.filter(workspace=workspace, source="api").count() == 5 * SENDERS


def test_of_events_that_make_one_company_at_once_exactly_one_did():
    workspace = create_workspace("Realtors")
    secret = issue_api_key(workspace.id, "partner").secret
    bodies = [
        {"type": "x", "person": {"emails": [f"jane{n}@example.com"]}, "company": {"name": name}}
        for n, name in enumerate(["Acme", "ACME", "acme ", "Acme"])
    ]
    answers = at_once(bodies, secret)
    assert [answer.status_code for answer in answers] == [201] * 4
    assert sum(answer.json()["wasCompanyCreated"] for answer in answers) == 1
    assert Company.objects.filter(workspace=workspace).count() == 1
    assert CompanyMembership.objects.filter(workspace=workspace).count() == 4


def test_one_person_and_one_company_at_once():
    workspace = create_workspace("Realtors")
    secret = issue_api_key(workspace.id, "partner").secret
    body = {"type": "x", "person": {"emails": ["jane@example.com"]}, "company": {"name": "Acme"}}
    answers = at_once([body] * SENDERS, secret)
    assert sum(answer.json()["wasPersonCreated"] for answer in answers) == 1
    assert sum(answer.json()["wasCompanyCreated"] for answer in answers) == 1
    assert CompanyMembership.objects.filter(workspace=workspace).count() == 1
