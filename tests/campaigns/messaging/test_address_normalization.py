"""Rows from before each address had one form: brought into it once, whoever is one person merged."""

import pytest
from django.core.management import CommandError, call_command

from campaigns.models import Suppression
from contacts.crud import get_contact, set_consent
from contacts.merging.normalization import normalized_value_of
from contacts.models import Contact, ErasedIdentifier, Identifier, Merge
from contacts.tombstones import add_tombstones, delete_tombstones, erased_among
from tests.campaigns.messages import reserve
from tests.contacts.factories import ContactFactory, IdentifierFactory
from tests.workspaces.factories import WorkspaceFactory
from workspaces.models import User

pytestmark = pytest.mark.django_db


@pytest.fixture
def workspace():
    return WorkspaceFactory()


def stored(workspace, value, kind="email", contact=None, *, is_primary=True):
    """Store an identifier as it is, as a version before did, and return its contact."""
    contact = contact or ContactFactory(workspace=workspace)
    IdentifierFactory(workspace=workspace, contact=contact, kind=kind, value=value, is_primary=is_primary)
    return contact


def respell(capsys, *arguments):
    call_command("respell_addresses", *arguments)
    return capsys.readouterr().out


def values(workspace):
    rows = Identifier.objects.filter(workspace=workspace)
    return sorted(rows.values_list("kind", "value", "is_primary"))


def test_identifiers_get_their_form_and_a_second_enrollment_finds_nothing(workspace, capsys):
    stored(workspace, "ann@straße.test")
    stored(workspace, "004930901820", "phone")
    stored(workspace, "bob@example.test")
    before = values(workspace)

    assert "2 identifiers respelled" in respell(capsys, "--dry-run")
    assert values(workspace) == before

    assert "2 identifiers respelled" in respell(capsys)
    assert values(workspace) == [
        ("email", "ann@xn--strae-oqa.test", True),
        ("email", "bob@example.test", True),
        ("phone", "+4930901820", True),
    ]
    again = respell(capsys)
    assert "0 identifiers respelled, 0 second spellings dropped, 0 contacts merged" in again


@pytest.mark.parametrize(
    "odd", ['"v"@example.com', "v(1)@example.com", "<v@example.com>", "v\u00ad@example.com"]
)
def test_who_is_one_person_is_merged_and_one_who_opted_out_speaks_for_both(workspace, capsys, odd):
    other = stored(workspace, odd)
    holder = stored(workspace, "v@example.com")
    set_consent(workspace.id, other, "email", "opted_out")

    assert "1 contacts merged" in respell(capsys, "--dry-run")
    assert not Merge.objects.exists()
    assert "0 identifiers respelled, 0 second spellings dropped, 1 contacts merged" in respell(capsys)

    merge = Merge.objects.get()
    assert (merge.survivor_id, merge.merged_id, merge.by) == (holder.id, other.id, "respell_addresses")
    assert values(workspace) == [("email", "v@example.com", True)]
    assert get_contact(workspace.id, holder.id).email == "v@example.com"
    assert reserve(holder).reason == "opted_out"
    assert "0 contacts merged" in respell(capsys)


def test_of_several_spellings_the_oldest_contact_survives(workspace, capsys):
    first, second = stored(workspace, "v\u200b@example.com"), stored(workspace, "v@example.com.")

    assert "1 identifiers respelled, 0 second spellings dropped, 1 contacts merged" in respell(
        capsys, "--dry-run"
    )
    assert "1 identifiers respelled, 0 second spellings dropped, 1 contacts merged" in respell(capsys)

    second.refresh_from_db()
    assert second.merged_into_id == first.id
    assert values(workspace) == [("email", "v@example.com", True)]


def test_a_second_spelling_of_a_contacts_identifier_is_dropped(workspace, capsys):
    contact = stored(workspace, '"v"@example.com')
    stored(workspace, "v@example.com", contact=contact, is_primary=False)

    assert "1 second spellings dropped" in respell(capsys)
    assert values(workspace) == [("email", "v@example.com", True)]
    assert not Merge.objects.exists()


def test_another_workspace_is_left_alone(workspace, capsys):
    elsewhere = stored(WorkspaceFactory(), "v@example.com")
    stored(workspace, '"v"@example.com')
    respell(capsys, "--workspace", str(workspace.id))
    assert not Merge.objects.exists()
    assert Contact.objects.get(pk=elsewhere.pk).merged_into_id is None


def test_what_is_left_to_decide_is_listed(workspace, capsys):
    unreadable = stored(workspace, "a@b@c")
    add_tombstones(workspace.id, [("email", "gone@example.com")])
    returned = stored(workspace, '"gone"@example.com')

    with pytest.raises(CommandError, match="by hand"):
        call_command("respell_addresses")

    output = capsys.readouterr().err
    assert f"{unreadable.id} email 'a@b@c': no address" in output
    assert f"{returned.id} email '\"gone\"@example.com': of an erased person" in output


def test_of_several_addresses_none_is_meant():
    assert normalized_value_of("email", "v@example.com,w@example.com") is None
    assert (
        normalized_value_of("email", "v(1)@example.com")
        == normalized_value_of("email", "<V@example.com>")
        == "v@example.com"
    )


def test_suppressions_hold_for_the_form(workspace, capsys):
    for address in ("ann@straße.test", '"ann"@straße.test', "<bob@example.test>"):
        Suppression.objects.create(workspace=workspace, address=address)
    assert "2 suppressions respelled, 1 dropped" in respell(capsys, "--dry-run")
    assert "2 suppressions respelled, 1 dropped" in respell(capsys)
    assert set(Suppression.objects.values_list("address", flat=True)) == {
        "ann@xn--strae-oqa.test",
        "bob@example.test",
    }
    assert "0 suppressions respelled, 0 dropped" in respell(capsys)


def test_an_unnormalized_row_is_found_by_its_normalized_form(workspace):
    contact = stored(workspace, '"v"@Example.com')
    Suppression.objects.create(workspace=workspace, address="v@example.com")
    assert reserve(contact).reason == "suppressed"


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (("email", "ann@straße.test"), ("email", "ann@xn--strae-oqa.test")),
        (("phone", "004930901820"), ("phone", "+4930901820")),
    ],
)
def test_a_tombstone_from_before_holds(workspace, before, now):
    add_tombstones(workspace.id, [before])
    assert erased_among(workspace.id, [now, ("email", "bob@straße.test")]) == {now}
    assert delete_tombstones(workspace.id, [now]) == 1
    assert not ErasedIdentifier.objects.exists()


def test_users_sign_in_by_the_form(capsys):
    User.objects.create_user("ann", "ann@straße.test")
    assert "1 users respelled" in respell(capsys)
    assert User.objects.get().email == "ann@xn--strae-oqa.test"
    User.objects.create_user("bob", '"ann"@straße.test')
    with pytest.raises(CommandError, match="by hand"):
        call_command("respell_addresses")
    assert "user bob: another has the address" in capsys.readouterr().err
