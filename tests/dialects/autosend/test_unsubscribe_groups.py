"""Unsubscribe groups of a contact: why its address is sent nothing any more."""

import pytest

from campaigns.messaging.suppressions import suppress, unsuppress
from campaigns.models import Suppression
from contacts.crud import create_contact, set_consent
from contacts.erasure.erasures import erase_person
from contacts.merging.merges import merge_contacts
from contacts.references import ContactChanges
from tests.workspaces.factories import WorkspaceFactory, a_key

EMAIL = "jane@example.com"


def groups_of(project, contact):
    answer = project.get(f"/contacts/{contact.id}/unsubscribe-groups")
    assert answer.status_code == 200
    return [group["id"] for group in answer.json()["data"]]


@pytest.mark.parametrize(
    ("reason", "group"),
    [
        (Suppression.Reason.MANUAL, ("UNSUBSCRIBED", "Global Unsubscribes")),
        (Suppression.Reason.BOUNCE, ("BOUNCED", "Bounced Addresses")),
        (Suppression.Reason.COMPLAINT, ("SPAM_REPORTED", "Reported Spam")),
    ],
)
def test_a_suppressed_address_is_in_a_group_until_it_is_released(project, jane, reason, group):
    assert groups_of(project, jane) == []
    for _ in range(2):
        suppress(project.workspace.id, "email", EMAIL.upper(), reason=reason)
        (told,) = project.get(f"/contacts/{jane.id}/unsubscribe-groups").json()["data"]
        assert (told["id"], told["name"]) == group
        assert list(told) == ["id", "name", "description", "isActive", "isGlobal"]
        assert told["isActive"] is told["isGlobal"] is True
    unsuppress(project.workspace.id, "email", EMAIL)
    assert groups_of(project, jane) == []


def test_whoever_unsubscribed_is_in_the_group_of_that_once(project, jane):
    set_consent(project.workspace.id, jane, "email", "opted_out")
    assert groups_of(project, jane) == ["UNSUBSCRIBED"]
    suppress(project.workspace.id, "email", EMAIL)
    assert groups_of(project, jane) == ["UNSUBSCRIBED"]
    unsuppress(project.workspace.id, "email", EMAIL)
    set_consent(project.workspace.id, jane, "email", "opted_in")
    assert groups_of(project, jane) == []


def test_other_addresses_channels_and_projects_are_nothing_to_a_contact(project, jane):
    other = WorkspaceFactory()
    suppress(other.id, "email", EMAIL)
    suppress(project.workspace.id, "email", "other@example.com")
    suppress(project.workspace.id, "telegram", EMAIL)
    assert groups_of(project, jane) == []
    elsewhere = type(project)(other, a_key(other).secret)
    assert elsewhere.get(f"/contacts/{jane.id}/unsubscribe-groups").status_code == 404


def test_a_contact_without_an_address_is_in_no_group(project):
    nobody = create_contact(project.workspace, ContactChanges(identifiers=(("external_id", "1"),)))
    assert groups_of(project, nobody) == []


def test_a_merged_contact_is_in_the_groups_of_its_survivors_address(project, jane):
    other = create_contact(project.workspace, ContactChanges(identifiers=(("email", "other@example.com"),)))
    suppress(project.workspace.id, "email", EMAIL, reason=Suppression.Reason.BOUNCE)
    suppress(project.workspace.id, "email", "other@example.com", reason=Suppression.Reason.COMPLAINT)
    merge_contacts(project.workspace.id, jane, other)
    assert groups_of(project, jane) == groups_of(project, other) == ["BOUNCED"]


def test_whoever_was_erased_is_a_contact_no_more(project, jane):
    suppress(project.workspace.id, "email", EMAIL)
    erase_person(project.workspace.id, jane)
    answer = project.get(f"/contacts/{jane.id}/unsubscribe-groups")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "CONTACT_NOT_FOUND")


@pytest.mark.parametrize("scopes", [["events:write"], ["contacts:read"], ["messages:read"]])
def test_groups_are_for_keys_that_may_read_contacts_and_suppressions(project, jane, scopes):
    key = type(project)(project.workspace, a_key(project.workspace, scopes=scopes).secret)
    assert key.get(f"/contacts/{jane.id}/unsubscribe-groups").status_code == 403
