"""Merging in the admin: two chosen contacts become one person, a record parts them again."""

import pytest
from django.urls import reverse

from contacts.merging.merges import merge_contacts
from contacts.models import Contact, Merge
from tests.admin.confirming import post_and_confirm
from tests.contacts.factories import a_contact
from tests.workspaces.factories import WorkspaceFactory

LIST = reverse("admin:contacts_contact_changelist")
MERGES = reverse("admin:contacts_merge_changelist")


@pytest.fixture
def pair(workspace):
    return a_contact(workspace, "ada@example.com", first_name="Ada"), a_contact(
        workspace, "other@example.com", last_name="Lovelace"
    )


@pytest.fixture
def merge(workspace, pair):
    return merge_contacts(workspace.id, *pair)


def act(client, url, action, *rows):
    body = {"action": action, "_selected_action": [str(row.pk) for row in rows]}
    return post_and_confirm(client, url, body, follow=True).content.decode()


def page_of(contact):
    return reverse("admin:contacts_contact_change", args=[contact.pk])


def test_two_chosen_contacts_are_merged_into_the_older(staff, pair):
    text = act(staff, LIST, "merge_chosen", *reversed(pair))
    assert "is part of" in text
    merge = Merge.objects.get()
    assert (merge.survivor_id, merge.merged_id, merge.by) == (pair[0].id, pair[1].id, "staff")


def test_any_other_number_is_refused(staff, workspace, pair):
    third = a_contact(workspace)
    for chosen in ([pair[0]], [*pair, third]):
        assert "Choose two contacts" in act(staff, LIST, "merge_chosen", *chosen)
    assert not Merge.objects.exists()


def test_merged_contacts_are_listed_apart_and_only_shown(staff, pair, merge):
    survivor, merged = pair
    listed, apart = staff.get(LIST).content.decode(), staff.get(LIST, {"merged": "yes"}).content.decode()
    assert page_of(survivor) in listed
    assert page_of(merged) not in listed
    assert page_of(merged) in apart
    assert page_of(merged) in staff.get(page_of(survivor)).content.decode()
    page = staff.get(page_of(merged)).content.decode()
    assert page_of(survivor) in page
    assert 'name="_save"' not in page
    assert staff.post(page_of(merged), {"first_name": "Eve"}).status_code == 403
    assert staff.post(reverse("admin:contacts_contact_delete", args=[merged.pk])).status_code == 403


@pytest.mark.parametrize("text", ["other@example.com", "Other@Example。com", "other@", "Lovelace", "id"])
def test_a_search_finds_the_person_by_what_a_merged_contact_has(staff, pair, merge, text):
    survivor, merged = pair
    found = staff.get(LIST, {"q": str(merged.id) if text == "id" else text}).content.decode()
    assert page_of(survivor) in found
    record = reverse("admin:contacts_merge_change", args=[merge.pk])
    assert record in staff.get(MERGES, {"q": "other@example.com"}).content.decode()


def test_a_record_is_undone_by_an_action_and_twice_is_refused(staff, pair, merge):
    assert "1 merge undone" in act(staff, MERGES, "undo", merge)
    assert not Contact.objects.exclude(merged_into=None).exists()
    assert "The merge was undone already" in act(staff, MERGES, "undo", merge)
    assert staff.get(MERGES, {"state": "undone"}).content.decode().count(str(merge.pk)) > 0


def test_contacts_of_two_workspaces_are_not_merged(staff, pair):
    foreign = a_contact(WorkspaceFactory())
    act(staff, LIST, "merge_chosen", pair[0], foreign)
    assert not Merge.objects.exists()
