"""The list of contacts, narrowed by segment and by score."""

import uuid

import pytest

from config import clock
from contacts.models import Contact, ContactScore
from segments.models import Membership, Segment
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


def test_a_segment_narrows_the_list(api, workspace):
    ada, joe = a_contact(workspace, first_name="Ada"), a_contact(workspace, first_name="Joe")
    a_contact(workspace)
    press = Segment.objects.create(workspace=workspace, name="Press", evaluation="STATIC")
    for contact, version in ((ada, press.version), (joe, uuid.uuid4())):
        Membership.objects.create(
            workspace=workspace, segment=press, version=version, contact=contact, since=clock.now()
        )

    found = api.get("contacts", segmentId=str(press.id)).json()

    assert [row["firstName"] for row in found["data"]] == ["Ada"]
    Contact.objects.filter(id=ada.id).update(merged_into=joe)
    found = api.get("contacts", segmentId=str(press.id)).json()
    assert [row["firstName"] for row in found["data"]] == ["Joe"]
    for unknown in ("x", str(uuid.uuid4())):
        assert api.get("contacts", segmentId=unknown).json()["pagination"]["total"] == 0


def test_a_segment_of_another_workspace_is_none(api):
    other = Segment.objects.create(workspace=WorkspaceFactory(), name="Theirs", evaluation="STATIC")

    assert api.get("contacts", segmentId=str(other.id)).json()["data"] == []


@pytest.mark.parametrize(
    ("least", "names"),
    [
        ("5", {"five"}),
        ("5.000001", set()),
        ("0.5", {"five"}),
        ("0", {"five", "none"}),
        ("-2", {"five", "none", "debt"}),
    ],
)
def test_a_score_narrows_the_list(api, workspace, least, names):
    for name, points in (("five", 5), ("debt", -2), ("none", None)):
        contact = a_contact(workspace, first_name=name)
        if points is not None:
            ContactScore.objects.create(workspace=workspace, contact=contact, points=points)

    found = api.get("contacts", minScore=least).json()

    assert {row["firstName"] for row in found["data"]} == names
