"""How far a sender is believed that two contacts are one person."""

import pytest

from contacts.crud import update_contact
from contacts.identity.lookup import find
from contacts.merging.merges import merge_contacts, undo_merge
from contacts.merging.same_person import merge_same_person
from contacts.models import Merge
from contacts.references import ContactChanges, MergeScope
from tests.contacts.factories import a_contact

pytestmark = pytest.mark.django_db
DEVICE, MAILBOX, NAME = ("anonymous_id", "a"), ("email", "a@example.test"), ("external_id", "1")


@pytest.mark.parametrize(
    ("other", "scopes"),
    [
        ((DEVICE,), {MergeScope.ANONYMOUS, MergeScope.UNNAMED, MergeScope.ANYBODY}),
        ((DEVICE, MAILBOX), {MergeScope.UNNAMED, MergeScope.ANYBODY}),
        ((MAILBOX,), {MergeScope.UNNAMED, MergeScope.ANYBODY}),
        ((DEVICE, NAME), {MergeScope.ANYBODY}),
        ((), {MergeScope.UNNAMED, MergeScope.ANYBODY}),
    ],
)
@pytest.mark.parametrize("scope", MergeScope)
def test_who_is_merged(workspace, other, scopes, scope):
    survivor = a_contact(workspace, identifiers=(("external_id", "0"),))
    merged = a_contact(workspace, first_name="Jo", identifiers=other)
    assert merge_same_person(workspace.id, survivor.id, merged.id, scope=scope, by="key") is (scope in scopes)
    assert Merge.objects.filter(survivor=survivor, merged=merged, by="key").exists() is (scope in scopes)


def test_into_somebody_without_a_name_the_least_scope_merges_nobody(workspace):
    survivor = a_contact(workspace, "jane@example.test")
    merged = a_contact(workspace, identifiers=(DEVICE,))
    assert not merge_same_person(workspace.id, survivor.id, merged.id, scope=MergeScope.ANONYMOUS)
    assert merge_same_person(workspace.id, survivor.id, merged.id, scope=MergeScope.UNNAMED)


def test_identifiers_that_came_by_merges_count(workspace):
    survivor = a_contact(workspace, identifiers=(("external_id", "0"),))
    merged = a_contact(workspace, identifiers=(DEVICE,))
    merge_contacts(workspace.id, merged, a_contact(workspace, identifiers=(MAILBOX,)))
    assert not merge_same_person(workspace.id, survivor.id, merged.id, scope=MergeScope.ANONYMOUS)


def test_who_is_merged_or_gone_already_is_left(workspace):
    survivor, merged = a_contact(workspace), a_contact(workspace)
    merge_contacts(workspace.id, survivor, merged)
    assert not merge_same_person(workspace.id, survivor.id, merged.id, scope=MergeScope.ANYBODY)
    assert not merge_same_person(workspace.id, merged.id, survivor.id, scope=MergeScope.ANYBODY)
    gone = a_contact(workspace)
    gone_id = gone.id
    gone.delete()
    assert not merge_same_person(workspace.id, survivor.id, gone_id, scope=MergeScope.ANYBODY)


@pytest.mark.parametrize("scope", MergeScope)
def test_those_who_were_parted_stay_apart(workspace, scope):
    survivor = a_contact(workspace, identifiers=(("external_id", "0"),))
    merged = a_contact(workspace, identifiers=(DEVICE,))
    assert merge_same_person(workspace.id, survivor.id, merged.id, scope=scope)
    undo_merge(workspace.id, Merge.objects.get())
    merge_contacts(workspace.id, survivor, a_contact(workspace, first_name="Jo"))
    for first, second in ((survivor, merged), (merged, survivor)):
        assert not merge_same_person(workspace.id, first.id, second.id, scope=scope)


def test_who_gets_an_address_before_the_two_are_locked_is_not_merged_for_a_device(workspace, monkeypatch):
    survivor = a_contact(workspace, identifiers=(("external_id", "0"),))
    visitor = a_contact(workspace, identifiers=(DEVICE,))

    def find_after_a_change(*args, **options):
        update_contact(workspace.id, visitor, ContactChanges(identifiers=(MAILBOX,)))
        return find(*args, **options)

    monkeypatch.setattr("contacts.merging.merges.find", find_after_a_change)
    assert not merge_same_person(workspace.id, survivor.id, visitor.id, scope=MergeScope.ANONYMOUS)
    assert not Merge.objects.exists()
