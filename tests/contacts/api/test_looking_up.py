"""A contact is looked up by what it is known by, exactly."""

import pytest

from contacts.merging.merges import merge_contacts
from tests.contacts.factories import a_contact
from tests.native import NativeClient
from tests.workspaces.factories import WorkspaceFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def workspace():
    return WorkspaceFactory()


@pytest.fixture
def api(workspace):
    return NativeClient(workspace)


@pytest.fixture
def ann(workspace):
    known_by = (("phone", "+4930123456"), ("external_id", "A-1"))
    return a_contact(workspace, "ann@example.test", identifiers=known_by)


def found(api, **parameters):
    answer = api.get("contacts", **parameters)
    assert answer.status_code == 200, answer.json()
    body = answer.json()
    assert body["pagination"]["total"] == len(body["data"])
    return [row["id"] for row in body["data"]]


@pytest.mark.parametrize(
    "parameters",
    [
        {"email": "Ann@Example.test"},
        {"phone": "+49 30 123456"},
        {"phone": " 49 30 123456"},
        {"externalId": "A-1"},
        {"email": "ann@example.test", "externalId": "A-1"},
        {"email": "ann@example.test", "sortBy": "score", "limit": 1},
    ],
)
def test_by_any_exact_identifier(api, workspace, ann, parameters):
    a_contact(workspace, "joann@example.test")
    a_contact(WorkspaceFactory(), "ann@example.test")
    assert found(api, **parameters) == [str(ann.id)]


@pytest.mark.parametrize(
    "parameters",
    [
        {"email": "nn@example.test"},
        {"email": "no address"},
        {"email": ""},
        {"phone": ""},
        {"externalId": "a-1"},
        {"email": "ann@example.test", "externalId": "B"},
    ],
)
def test_nobody_is_found_by_what_nobody_has(api, ann, parameters):
    assert found(api, **parameters) == []


def test_whoever_was_merged_is_found_as_the_survivor(api, workspace, ann):
    bob = a_contact(workspace, "bob@example.test")
    merge_contacts(workspace.id, bob, ann)
    assert found(api, email="ann@example.test") == [str(bob.id)]
    assert found(api, phone="+4930123456") == [str(bob.id)]
