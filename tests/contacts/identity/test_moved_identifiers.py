"""What one contact of a batch gives up, another one of it can take."""

import pytest

from contacts.identity.resolution import resolve_contacts
from contacts.models import Contact, Identifier
from contacts.references import ContactChanges, ContactReference
from tests.contacts.factories import a_contact
from tests.workspaces.factories import WorkspaceFactory

pytestmark = pytest.mark.django_db


def called(email, number):
    """Return a reference to whoever has an address, who gets a number."""
    return ContactReference(
        identifiers=(("email", email),),
        if_missing="create",
        update_matched=True,
        changes=ContactChanges(identifiers=(("crm", number),)),
    )


def numbers(workspace):
    """Return who has which number."""
    return {
        contact.identifiers.get(kind="email").value: [
            (row.value, row.is_primary) for row in contact.identifiers.filter(kind="crm")
        ]
        for contact in Contact.objects.in_workspace(workspace.id)
    }


def test_another_takes_a_number_that_was_given_up():
    workspace = WorkspaceFactory()
    a_contact(workspace, "a@x.test", identifiers=(("crm", "1"),))
    resolve_contacts(workspace.id, [called("a@x.test", "2"), called("b@x.test", "1")])
    assert numbers(workspace) == {"a@x.test": [("2", True)], "b@x.test": [("1", True)]}


def test_numbers_move_in_a_row():
    workspace = WorkspaceFactory()
    for name, number in (("a", "1"), ("b", "2"), ("c", "3")):
        a_contact(workspace, f"{name}@x.test", identifiers=(("crm", number),))
    resolve_contacts(
        workspace.id, [called("a@x.test", "4"), called("b@x.test", "1"), called("c@x.test", "2")]
    )
    assert numbers(workspace) == {
        "a@x.test": [("4", True)],
        "b@x.test": [("1", True)],
        "c@x.test": [("2", True)],
    }
    assert Identifier.objects.in_workspace(workspace.id).filter(kind="crm").count() == 3
