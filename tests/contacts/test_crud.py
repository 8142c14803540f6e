import pytest

from contacts.crud import (
    clear_identifier,
    contact_exists_elsewhere,
    create_contact,
    delete_contact,
    find_contact,
    get_contact,
    remove_identifier,
    set_consent,
    untag_contact,
    update_contact,
    upsert_contact,
)
from contacts.errors import (
    ContactNotFound,
    IdentifierTaken,
    InvalidFieldValue,
    InvalidIdentifier,
    NoIdentity,
)
from contacts.merging.merges import merge_contacts, undo_merge
from contacts.models import Consent, Contact, ContactScore, ContactTag, Identifier, Tag
from contacts.profiles.fields import create_field
from contacts.queries import with_details
from contacts.references import ContactChanges
from tests.contacts.factories import (
    ContactFactory,
    IdentifierFactory,
    a_contact,
    identifier_values,
    set_identity_field,
    tag_contact,
)
from tests.workspaces.factories import WorkspaceFactory

pytestmark = pytest.mark.django_db


def test_found_by_id_or_identity_whatever_its_spelling(workspace):
    contact = a_contact(workspace, "jane@example.test")
    for text in (str(contact.id), str(contact.id).upper(), contact.id.hex, " JANE@example.test "):
        assert find_contact(workspace, text) == contact


@pytest.mark.parametrize(
    "text",
    ["", "nobody", "\x00", "nobody@example.test", "01234567-89ab-7def-8123-456789abcdef", "x" * 9999],
)
def test_not_found(workspace, text):
    a_contact(workspace, "jane@example.test")
    with pytest.raises(ContactNotFound):
        find_contact(workspace, text)


def test_an_identity_value_may_look_like_an_id(workspace):
    create_field(workspace.id, "ref", "text", {"text": "uuid"})
    set_identity_field(workspace, "ref")
    own = a_contact(workspace)
    foreign = a_contact()
    text = str(foreign.id)
    named = a_contact(workspace, attributes={"ref": text})
    assert find_contact(workspace, text) == named
    assert find_contact(workspace, str(own.id)) == own
    assert contact_exists_elsewhere(workspace.id, text)
    assert not contact_exists_elsewhere(workspace.id, str(own.id))
    assert not contact_exists_elsewhere(workspace.id, "nobody")


def test_a_taken_identifier_refuses_a_creation(workspace):
    a_contact(workspace, "jane@example.test")
    with pytest.raises(IdentifierTaken) as refused:
        a_contact(workspace, "Jane@example.test", first_name="Other")
    assert (refused.value.kind, refused.value.value) == ("email", "jane@example.test")
    assert Contact.objects.count() == 1
    a_contact(WorkspaceFactory.create(), "jane@example.test")


def test_a_malformed_identifier_refuses_a_creation(workspace):
    with pytest.raises(InvalidIdentifier):
        a_contact(workspace, "jane")


def test_identity_may_be_required(workspace):
    with pytest.raises(NoIdentity):
        create_contact(workspace, ContactChanges(first_name="Jane"), require_identity=True)
    create_field(workspace.id, "customer_no", "integer")
    set_identity_field(workspace, "customer_no")
    with pytest.raises(NoIdentity):
        create_contact(workspace, ContactChanges(attributes={"customer_no": None}), require_identity=True)
    made = create_contact(workspace, ContactChanges(attributes={"customer_no": 1}), require_identity=True)
    assert made.attributes == {"customer_no": 1}
    with pytest.raises(IdentifierTaken):
        create_contact(workspace, ContactChanges(attributes={"customer_no": "1"}))


def test_an_update_sets_what_is_given_and_nothing_else(workspace, announced):
    contact = a_contact(workspace, "jane@example.test", first_name="Jane", attributes={"a": 1, "b": 1})
    announced.clear()
    changes = ContactChanges(
        last_name="Doe", attributes={"a": 2, "b": None}, identifiers=(("email", "new@example.test"),)
    )
    updated = update_contact(workspace.id, contact, changes)
    assert (updated.first_name, updated.last_name, updated.attributes) == ("Jane", "Doe", {"a": 2})
    assert identifier_values(updated, "email") == ["new@example.test", "jane@example.test"]
    ((change,),) = announced
    assert change.kind == "updated"
    assert change.old == {"attributes": {"a": 1, "b": 1}, "email": "jane@example.test"}
    assert change.new == {
        "last_name": "Doe",
        "attributes": {"a": 2, "b": None},
        "email": "new@example.test",
        "identifiers": [{"kind": "email", "value": "new@example.test"}],
    }
    announced.clear()
    update_contact(workspace.id, contact, changes)
    assert announced == []


def test_an_old_address_can_become_primary_again(workspace):
    contact = a_contact(workspace, "jane@example.test", identifiers=(("email", "second@example.test"),))
    updated = update_contact(
        workspace.id, contact, ContactChanges(identifiers=(("email", "second@example.test"),))
    )
    assert updated.email == "second@example.test"
    removed = remove_identifier(workspace.id, updated, "email", "Second@example.test")
    assert identifier_values(removed, "email") == ["jane@example.test"]
    assert removed.email == "jane@example.test"


def test_an_address_that_is_taken_away_leaves_no_older_one_in_its_place(workspace, announced):
    contact = a_contact(workspace, "jane@example.test")
    update_contact(workspace.id, contact, ContactChanges(identifiers=(("email", "new@example.test"),)))
    announced.clear()
    cleared = clear_identifier(workspace.id, contact, "email")
    assert cleared.email is None
    assert identifier_values(cleared, "email") == ["jane@example.test"]
    ((change,),) = announced
    assert change.old == {
        "email": "new@example.test",
        "identifiers": [{"kind": "email", "value": "new@example.test"}],
    }
    assert change.new == {"email": None}
    announced.clear()
    assert clear_identifier(workspace.id, contact, "email").email is None
    assert announced == []


def test_nor_that_of_a_merged_contact_nor_after_the_undo(workspace):
    jane, other = a_contact(workspace, "jane@example.test"), a_contact(workspace, "other@example.test")
    merge = merge_contacts(workspace.id, jane, other)
    assert clear_identifier(workspace.id, jane, "email").email is None
    assert get_contact(workspace.id, jane.id).email is None
    undo_merge(workspace.id, merge)
    assert get_contact(workspace.id, jane.id).email is get_contact(workspace.id, other.id).email is None


def test_an_update_with_the_identifier_of_another_is_refused_or_ignored(workspace):
    a_contact(workspace, "joe@example.test")
    contact = a_contact(workspace, "jane@example.test")
    changes = ContactChanges(first_name="Jane", identifiers=(("email", "joe@example.test"),))
    with pytest.raises(IdentifierTaken):
        update_contact(workspace.id, contact, changes)
    assert get_contact(workspace.id, contact.id).first_name == ""
    updated = update_contact(workspace.id, contact, changes, taken_identifiers="ignore")
    assert (updated.first_name, updated.email) == ("Jane", "jane@example.test")


@pytest.mark.parametrize(
    "changes",
    [
        ContactChanges(first_name="x" * 256),
        ContactChanges(first_name="\x00"),
        ContactChanges(last_name=5),  # type: ignore[arg-type]  # what a client may send
        ContactChanges(attributes={"": 1}),
        ContactChanges(attributes={"x" * 256: 1}),
        ContactChanges(tags=("x" * 256,)),
        ContactChanges(tags=(5,)),  # type: ignore[arg-type]  # as above
        ContactChanges(consents={"pigeon": "opted_in"}),
        ContactChanges(consents={"email": "maybe"}),
    ],
)
def test_bad_values_are_refused(workspace, changes):
    with pytest.raises(InvalidFieldValue):
        create_contact(workspace, changes)
    with pytest.raises(InvalidFieldValue):
        update_contact(workspace.id, a_contact(workspace), changes)


def test_an_upsert_makes_and_then_changes(workspace):
    made, created = upsert_contact(
        workspace.id, "email", "Jane@example.test", ContactChanges(first_name="Jane")
    )
    assert created
    changes = ContactChanges(last_name="Doe", consents={"email": "opted_out"})
    changed, created = upsert_contact(workspace.id, "email", "jane@example.test", changes)
    assert not created
    assert changed == made
    assert (changed.first_name, changed.last_name, changed.subscribed) == ("Jane", "Doe", False)
    with pytest.raises(InvalidIdentifier):
        upsert_contact(workspace.id, "email", "jane", ContactChanges())


def test_consents_are_announced_when_they_change(workspace, announced):
    contact = a_contact(workspace, "jane@example.test")
    announced.clear()
    assert contact.subscribed
    assert not set_consent(workspace.id, contact, "email", "opted_out").subscribed
    set_consent(workspace.id, contact, "email", "opted_out")
    assert set_consent(workspace.id, contact, "email", "opted_in").subscribed
    kinds = [change.kind for changes in announced for change in changes]
    assert kinds == ["unsubscribed", "subscribed"]
    assert announced[1][0].old == {"channel": "email", "status": "opted_out"}
    assert announced[1][0].new == {"channel": "email", "status": "opted_in"}


def test_tags(workspace, announced):
    contact = a_contact(workspace)
    announced.clear()
    assert tag_contact(workspace.id, contact, "vip", " new ", "").tag_names == ["vip", "new"]
    tag_contact(workspace.id, contact, "vip")
    assert untag_contact(workspace.id, contact, "vip", "never").tag_names == ["new"]
    first, second = announced
    assert [(change.kind, change.new) for change in first] == [("tagged", {"tags": ["vip", "new"]})]
    assert [(change.kind, change.old) for change in second] == [("updated", {"tags": ["vip"]})]


def test_a_deletion_takes_all_that_hangs_on_it(workspace, announced):
    contact = a_contact(workspace, "jane@example.test", tags=("vip",), consents={"email": "opted_in"})
    ContactScore.objects.create(workspace=workspace, contact=contact, points=5)
    announced.clear()
    delete_contact(workspace.id, contact)
    for model in (Contact, Identifier, ContactTag, Consent, ContactScore):
        assert not model.objects.exists()
    assert Tag.objects.exists()
    ((change,),) = announced
    assert change.kind == "deleted"
    assert change.old["email"] == "jane@example.test"
    with pytest.raises(ContactNotFound):
        delete_contact(workspace.id, contact)
    with pytest.raises(ContactNotFound):
        update_contact(workspace.id, contact, ContactChanges(first_name="Late"))


def test_another_workspace_cannot_touch_a_contact(workspace):
    foreign = a_contact()
    for touch in (
        lambda: update_contact(workspace.id, foreign, ContactChanges(first_name="Mine")),
        lambda: delete_contact(workspace.id, foreign),
        lambda: tag_contact(workspace.id, foreign, "mine"),
        lambda: get_contact(workspace.id, foreign.id),
    ):
        with pytest.raises(ContactNotFound):
            touch()


def test_saving_a_model_announces_it_too(workspace, announced):
    contact = ContactFactory.create(workspace=workspace, first_name="Jane")
    contact.first_name = "Janet"
    contact.save(update_fields=["first_name"])
    contact.save()
    contact.delete()
    kinds = [(change.kind, change.old, change.new) for changes in announced for change in changes]
    assert kinds == [
        ("created", {}, {"first_name": "Jane"}),
        ("updated", {"first_name": "Jane"}, {"first_name": "Janet"}),
        ("deleted", {"first_name": "Janet"}, {}),
    ]


def test_details_cost_a_fixed_number_of_statements(workspace, django_assert_num_queries):
    for _ in range(3):
        contact = IdentifierFactory.create(contact__workspace=workspace).contact
        ContactScore.objects.create(workspace=workspace, contact=contact, points=5)
    tag_contact(workspace.id, contact, "vip")
    with django_assert_num_queries(6):
        for contact in with_details(Contact.objects.in_workspace(workspace.id)):
            assert contact.email
            assert contact.phone is None
            assert contact.subscribed
            assert contact.tag_names in ([], ["vip"])
            assert contact.score_points == 5
