"""Two contacts are one person, until they are parted again."""

import random
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contacts.crud import (
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
    AlreadyMerged,
    ContactNotFound,
    IdentifierTaken,
    MergeCycle,
    MergeNotFound,
    MergeUndone,
    SelfMerge,
)
from contacts.identity.lookup import ids_of
from contacts.merging.merges import find_merge, merge_contacts, merges_of, undo_merge
from contacts.models import Contact, Identifier, Merge
from contacts.profiles.fields import create_field
from contacts.references import ContactChanges
from events.processing.passes import bump_rules_version
from tests.contacts.factories import a_contact, by_email, identifier_values, resolved, set_identity_field
from tests.scale import scaled
from tests.workspaces.factories import WorkspaceFactory


@pytest.fixture
def jane(workspace):
    return a_contact(workspace, "jane@example.test", first_name="Jane", attributes={"plan": "pro"})


@pytest.fixture
def other(workspace):
    """Jane again, under another address."""
    return a_contact(
        workspace,
        "other@example.test",
        first_name="J.",
        last_name="Doe",
        attributes={"plan": "free", "city": "Bonn"},
        tags=("vip",),
        consents={"email": "opted_out"},
    )


def row_of(contact):
    """Return all that a contact's own rows hold, but when it was written."""
    fresh = Contact.objects.get(id=contact.id)
    return (
        fresh.first_name,
        fresh.last_name,
        fresh.attributes,
        fresh.merged_into_id,
        sorted(fresh.identifiers.values_list("kind", "value", "is_primary")),
        sorted(fresh.contact_tags.values_list("tag__name", flat=True)),
        sorted(fresh.consents.values_list("channel", "status")),
    )


def test_a_merged_contact_reads_as_its_survivor(workspace, jane, other):
    merge_contacts(workspace.id, jane, other, by="staff")
    for text in (str(other.id), str(jane.id), "other@example.test", "jane@example.test"):
        found = find_contact(workspace, text)
        assert found.id == jane.id
        assert found.email == "jane@example.test"
        assert identifier_values(found, "email") == ["jane@example.test", "other@example.test"]
        assert (found.tag_names, found.subscribed) == (["vip"], False)
    assert ids_of(workspace.id, other.id) == ids_of(workspace.id, jane.id) == [jane.id, other.id]
    assert list(Contact.objects.canonical()) == [jane]


def test_the_survivor_takes_over_what_it_lacks_and_the_undo_takes_it_back(workspace, jane, other):
    before = [row_of(jane), row_of(other)]
    merge = merge_contacts(workspace.id, jane, other)
    survivor = get_contact(workspace.id, jane.id)
    assert (survivor.first_name, survivor.last_name) == ("Jane", "Doe")
    assert survivor.attributes == {"plan": "pro", "city": "Bonn"}
    assert Merge.objects.get().restores == {"last_name": "Doe", "attributes": {"city": "Bonn"}}
    undo_merge(workspace.id, merge)
    assert [row_of(jane), row_of(other)] == before
    assert Merge.objects.get().undone_at is not None


def test_what_was_changed_since_is_not_taken_back(workspace, jane, other):
    merge = merge_contacts(workspace.id, jane, other)
    changes = ContactChanges(last_name="Roe", attributes={"city": None, "age": 30})
    update_contact(workspace.id, other, changes)
    undo_merge(workspace.id, merge)
    assert row_of(jane)[:3] == ("Jane", "Roe", {"plan": "pro", "age": 30})
    assert row_of(other)[:3] == ("J.", "Doe", {"plan": "free", "city": "Bonn"})


def test_a_json_true_is_not_the_one_that_was_taken_over(workspace, jane):
    merge = merge_contacts(workspace.id, jane, a_contact(workspace, attributes={"n": 1}))
    update_contact(workspace.id, jane, ContactChanges(attributes={"n": True}))
    undo_merge(workspace.id, merge)
    assert get_contact(workspace.id, jane.id).attributes["n"] is True


def test_both_hear_of_it(workspace, jane, other, announced):
    announced.clear()
    merge = merge_contacts(workspace.id, jane, other)
    undo_merge(workspace.id, merge)
    ids = {"merge_id": str(merge.id), "survivor_id": str(jane.id), "merged_id": str(other.id)}
    ((told,), parted) = announced
    assert (told.contact_id, told.kind, told.old) == (jane.id, "merged", {})
    assert told.new == {"last_name": "Doe", "attributes": {"city": "Bonn"}, **ids}
    assert [(one.contact_id, one.kind) for one in parted] == [(jane.id, "unmerged"), (other.id, "unmerged")]
    assert parted[0].old == {"last_name": "Doe", "attributes": {"city": "Bonn"}}
    assert [one.new for one in parted] == [ids, ids]


def test_what_cannot_be_merged_is_refused_by_name(workspace, jane, other):
    third = a_contact(workspace)
    with pytest.raises(SelfMerge):
        merge_contacts(workspace.id, jane, jane)
    merge_contacts(workspace.id, jane, other)
    with pytest.raises(AlreadyMerged) as refusal:
        merge_contacts(workspace.id, third, other)
    assert refusal.value.survivor_id == jane.id
    with pytest.raises(AlreadyMerged):
        merge_contacts(workspace.id, jane, other)
    with pytest.raises(MergeCycle):
        merge_contacts(workspace.id, other, jane)
    foreign = a_contact(WorkspaceFactory.create())
    for pair in ((jane, foreign), (foreign, jane)):
        with pytest.raises(ContactNotFound):
            merge_contacts(workspace.id, *pair)
    assert Merge.objects.count() == 1


def test_what_cannot_be_undone_is_refused_by_name(workspace, jane, other):
    merge = merge_contacts(workspace.id, jane, other)
    undo_merge(workspace.id, merge)
    with pytest.raises(MergeUndone):
        undo_merge(workspace.id, merge)
    with pytest.raises(MergeNotFound):
        undo_merge(WorkspaceFactory.create().id, merge)
    with pytest.raises(MergeNotFound):
        find_merge(workspace.id, uuid4())
    again = merge_contacts(workspace.id, jane, other)
    assert merges_of(workspace.id, jane) == merges_of(workspace.id, other) == [again, merge]


def test_who_is_merged_brings_its_own_along_and_takes_them_back(workspace, jane, other):
    third = a_contact(workspace, "third@example.test", attributes={"age": 3})
    first = merge_contacts(workspace.id, jane, other)
    second = merge_contacts(workspace.id, third, jane)
    assert second.followers == [other.id]
    assert ids_of(workspace.id, other.id) == [third.id, *sorted([jane.id, other.id])]
    assert get_contact(workspace.id, third.id).attributes == {"age": 3, "plan": "pro", "city": "Bonn"}
    assert {one.id for one in merges_of(workspace.id, other)} == {first.id, second.id}
    undo_merge(workspace.id, second)
    assert ids_of(workspace.id, other.id) == [jane.id, other.id]
    assert ids_of(workspace.id, third.id) == [third.id]
    assert get_contact(workspace.id, third.id).attributes == {"age": 3}


def test_a_merge_below_another_is_undone_by_itself(workspace, jane, other):
    third = a_contact(workspace, "third@example.test")
    first = merge_contacts(workspace.id, jane, other)
    second = merge_contacts(workspace.id, third, jane)
    undo_merge(workspace.id, first)
    assert ids_of(workspace.id, other.id) == [other.id]
    assert ids_of(workspace.id, jane.id) == [third.id, jane.id]
    # What came from below went all the way up, and is gone all the way down.
    assert get_contact(workspace.id, third.id).attributes == {"plan": "pro"}
    assert get_contact(workspace.id, third.id).last_name == ""
    undo_merge(workspace.id, second)
    assert row_of(third)[:4] == ("", "", {}, None)
    assert row_of(jane)[:4] == ("Jane", "", {"plan": "pro"}, None)


def test_a_gap_that_opens_is_filled_by_the_other_merges(workspace, jane, other):
    third = a_contact(workspace, attributes={"city": "Rome"})
    first = merge_contacts(workspace.id, jane, other)
    second = merge_contacts(workspace.id, jane, third)
    undo_merge(workspace.id, first)
    assert get_contact(workspace.id, jane.id).attributes == {"plan": "pro", "city": "Rome"}
    undo_merge(workspace.id, second)
    assert get_contact(workspace.id, jane.id).attributes == {"plan": "pro"}


def test_merging_into_a_merged_contact_merges_into_its_survivor(workspace, jane, other):
    third = a_contact(workspace)
    merge_contacts(workspace.id, jane, other)
    assert merge_contacts(workspace.id, other, third).survivor_id == jane.id


def test_new_identifiers_told_by_a_merged_contact_go_to_the_survivor(workspace, jane, other):
    merge = merge_contacts(workspace.id, jane, other)
    changes = ContactChanges(identifiers=(("phone", "+12025550100"),), tags=("new",))
    upsert_contact(workspace.id, "email", "other@example.test", changes)
    undo_merge(workspace.id, merge)
    assert get_contact(workspace.id, jane.id).phone == "+12025550100"
    assert get_contact(workspace.id, jane.id).tag_names == ["new"]
    assert get_contact(workspace.id, other.id).tag_names == ["vip"]


def test_an_identifier_of_the_merged_contact_is_known_of_the_survivor(workspace, jane, other):
    merge_contacts(workspace.id, jane, other)
    update_contact(workspace.id, jane, ContactChanges(identifiers=(("email", "OTHER@example.test"),)))
    assert get_contact(workspace.id, jane.id).email == "other@example.test"
    assert Identifier.objects.get(value="other@example.test").contact_id == other.id
    with pytest.raises(IdentifierTaken):
        create_contact(workspace, ContactChanges(identifiers=(("email", "other@example.test"),)))
    (found,) = resolved(workspace.id, by_email("other@example.test"))
    assert found.contact_id == jane.id


def test_the_primary_identifier_can_be_the_merged_contacts_and_both_have_one_after_the_undo(
    workspace, jane, other
):
    merge = merge_contacts(workspace.id, jane, other)
    update_contact(workspace.id, jane, ContactChanges(identifiers=(("email", "other@example.test"),)))
    update_contact(workspace.id, jane, ContactChanges(identifiers=(("email", "new@example.test"),)))
    assert get_contact(workspace.id, jane.id).email == "new@example.test"
    update_contact(workspace.id, jane, ContactChanges(identifiers=(("email", "other@example.test"),)))
    undo_merge(workspace.id, merge)
    assert get_contact(workspace.id, jane.id).email == "jane@example.test"
    assert get_contact(workspace.id, other.id).email == "other@example.test"


def test_a_new_primary_identifier_of_the_survivor_leaves_the_merged_contacts_alone(workspace, other):
    survivor = a_contact(workspace)
    merge = merge_contacts(workspace.id, survivor, other)
    assert get_contact(workspace.id, survivor.id).email == "other@example.test"
    update_contact(workspace.id, survivor, ContactChanges(identifiers=(("email", "new@example.test"),)))
    assert get_contact(workspace.id, survivor.id).email == "new@example.test"
    before = row_of(other)[4]
    undo_merge(workspace.id, merge)
    assert row_of(other)[4] == before == [("email", "other@example.test", True)]


def test_what_is_taken_away_from_the_person_is_taken_away_from_all_that_it_is(workspace, jane, other):
    merge_contacts(workspace.id, jane, other)
    untag_contact(workspace.id, jane, "vip")
    set_consent(workspace.id, jane, "email", "opted_in")
    remove_identifier(workspace.id, jane, "email", "other@example.test")
    person = get_contact(workspace.id, jane.id)
    assert (person.tag_names, person.subscribed) == ([], True)
    assert identifier_values(person, "email") == ["jane@example.test"]
    assert not Identifier.objects.filter(value="other@example.test").exists()


def test_names_in_the_workspaces_own_field_stay_with_whom_they_name(workspace):
    create_field(workspace.id, "customer_no", "integer")
    set_identity_field(workspace, "customer_no")
    one, two = (a_contact(workspace, attributes={"customer_no": number}) for number in (1, 2))
    merge = merge_contacts(workspace.id, one, two)
    update_contact(workspace.id, one, ContactChanges(attributes={"customer_no": 2, "plan": "pro"}))
    upsert_contact(workspace.id, "customer_no", 2, ContactChanges(identifiers=(("customer_no", "1"),)))
    assert get_contact(workspace.id, one.id).attributes == {"customer_no": 1, "plan": "pro"}
    assert find_contact(workspace, "2").id == one.id
    undo_merge(workspace.id, merge)
    assert (find_contact(workspace, "1").id, find_contact(workspace, "2").id) == (one.id, two.id)


def test_deleting_a_person_deletes_all_that_it_is(workspace, jane, other):
    merge_contacts(workspace.id, jane, other)
    delete_contact(workspace.id, other)
    assert not Contact.objects.exists()
    assert not Merge.objects.exists()


def test_a_merge_and_its_undo_cost_the_same_whatever_the_person_is_already(workspace):
    survivor, costs = a_contact(workspace), []
    # Whoever comes first in a workspace makes its row.
    bump_rules_version(workspace.id)
    for number in range(10):
        other = a_contact(workspace, f"p{number}@example.test", attributes={f"k{number}": 1}, tags=("t",))
        with CaptureQueriesContext(connection) as merging:
            merge = merge_contacts(workspace.id, survivor, other)
        with CaptureQueriesContext(connection) as parting:
            undo_merge(workspace.id, merge)
        merge_contacts(workspace.id, survivor, other)
        costs.append((len(merging), len(parting)))
    # A statement or two less where both are in one lane.
    for numbers in zip(*costs, strict=True):
        assert max(numbers) - min(numbers) <= 2, costs


FACTS = st.dictionaries(st.sampled_from(["a", "b", "c"]), st.integers(0, 3), max_size=3)


@settings(
    max_examples=scaled(20, 60),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    facts=st.lists(FACTS, min_size=4, max_size=6),
    seed=st.randoms(use_true_random=False),
    steps=st.integers(1, 10),
)
def test_merges_undone_in_any_order_leave_the_others_as_if_they_had_been_alone(
    db, facts, seed: random.Random, steps
):
    """The same merges, without those that were undone, lead to the same contacts."""
    workspace, twin = WorkspaceFactory.create(), WorkspaceFactory.create()
    contacts, twins = (
        [create_contact(space, ContactChanges(attributes=own)) for own in facts]
        for space in (workspace, twin)
    )
    made: list[tuple[Merge, int, int]] = []
    for _ in range(steps):
        if made and seed.random() < 0.4:
            undo_merge(workspace.id, made.pop(seed.randrange(len(made)))[0])
            continue
        survivor, merged = seed.sample(range(len(facts)), 2)
        try:
            merge = merge_contacts(workspace.id, contacts[survivor], contacts[merged])
        except (AlreadyMerged, MergeCycle):
            continue
        by_id = {contact.id: place for place, contact in enumerate(contacts)}
        made.append((merge, by_id[merge.survivor_id], merged))
    for _, survivor, merged in made:
        merge_contacts(twin.id, twins[survivor], twins[merged])
    assert persons(contacts) == persons(twins)


def persons(contacts):
    """Return whom each contact reads as, by place, and its own attributes."""
    rows = Contact.objects.in_bulk([contact.id for contact in contacts])
    places = {contact.id: place for place, contact in enumerate(contacts)}
    return [
        (places.get(rows[contact.id].merged_into_id), rows[contact.id].attributes) for contact in contacts
    ]
