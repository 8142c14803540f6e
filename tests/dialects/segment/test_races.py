"""Calls about one person that come at the same moment."""

import json
from functools import partial

import pytest
from django.test import Client

from contacts.models import Contact, Identifier, Merge
from events.models import Event
from tests.contacts.test_races import at_once
from tests.dialects.segment.conftest import basic
from workspaces.services import create_workspace, issue_api_key

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def post():
    secret = issue_api_key(create_workspace("Shop").id, "server").secret

    def post(kind, body):
        answer = Client().post(
            f"/v1/{kind}",
            json.dumps(body),
            content_type="application/json",
            headers={"Authorization": basic(secret)},
        )
        return answer.status_code

    return post


def test_one_merge_of_many_calls(post):
    post("track", {"anonymousId": "a1", "event": "Seen"})
    post("identify", {"userId": "u1"})
    calls = [
        partial(post, "identify", {"userId": "u1", "anonymousId": "a1", "messageId": f"m{n}"})
        for n in range(6)
    ]
    statuses = at_once(*calls)
    # Who comes amid the merge may be told to come again.
    assert set(statuses) <= {200, 503}
    assert 200 in statuses
    assert Merge.objects.count() == 1
    assert Contact.objects.filter(merged_into=None).count() == 1
    assert Event.objects.filter(name="identify").count() == 7


def test_one_person_of_many_first_calls(post):
    calls = [
        partial(post, "track", {"userId": "u1", "anonymousId": f"a{n}", "event": "Paid"}) for n in range(6)
    ]
    assert set(at_once(*calls)) == {200}
    assert Contact.objects.count() == 1
    assert Identifier.objects.filter(kind="anonymous_id").count() == 6


def test_one_company_of_many_groups(post):
    calls = [
        partial(post, "group", {"userId": f"u{n}", "groupId": "g1", "traits": {"name": "Acme", f"k{n}": n}})
        for n in range(6)
    ]
    assert set(at_once(*calls)) == {200}
    memberships = Contact.objects.filter(company_memberships__company__external_id="g1")
    assert memberships.count() == 6
    company = memberships.first().company_memberships.get().company
    assert company.attributes == {f"k{n}": n for n in range(6)}
