"""A static segment is filled by hand: from a search, or by a list that is pasted."""

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from contacts.merging.merges import merge_contacts
from events.models import Event
from segments.definitions import create_segment
from segments.models import Membership
from segments.static_members import add_members
from tests.contacts.factories import a_contact
from tests.segments.factories import a_segment, attribute
from tests.workspaces.factories import WorkspaceFactory
from workspaces.models import Membership as WorkspaceMembership
from workspaces.models import User


@pytest.fixture
def press(workspace):
    return create_segment(workspace.id, name="Press", evaluation="STATIC")


@pytest.fixture
def people(workspace):
    return [
        a_contact(workspace, f"p{n}@example.com", first_name=f"Person {n}", last_name="Miller")
        for n in range(3)
    ]


def page_of(segment):
    return reverse("admin:segments_segment_members", args=[segment.pk])


def members(segment):
    return set(
        Membership.objects.filter(segment=segment, version=segment.version).values_list(
            "contact_id", flat=True
        )
    )


def paste(client, segment, text, change="add"):
    return client.post(page_of(segment), {"pasted": text, "change": change}, follow=True).text


def test_a_pasted_list_is_put_in_and_what_nobody_goes_by_is_told(staff, press, people):
    stranger = a_contact(WorkspaceFactory(), "stranger@example.com")
    text = f" P0@Example.com \n{people[1].id}\nnobody@example.com\nstranger@example.com\n{stranger.id}\n"
    told = paste(staff, press, text)
    assert "2 put in, 0 were in it already, 3 not found" in told
    assert "nobody@example.com" in told
    assert str(stranger.id) in told
    assert members(press) == {people[0].id, people[1].id}
    assert Event.objects.filter(name="segment.entered").count() == 2
    assert "1 put in, 2 were in it already, 0 not found" in paste(
        staff, press, "email\np0@example.com\np1@example.com\np2@example.com"
    )


def test_a_pasted_list_is_taken_out(staff, workspace, press, people):
    add_members(workspace.id, press, contact_ids=[contact.id for contact in people[:2]])
    told = paste(staff, press, "p1@example.com\np2@example.com\nx@example.com", "remove")
    assert "1 taken out, 1 were not in it, 1 not found" in told
    assert members(press) == {people[0].id}


@pytest.mark.parametrize("text", ["", "id\nno-id", '"', "x" * 5_000_001])
def test_what_is_no_list_is_refused_at_the_field(staff, press, text):
    response = staff.post(page_of(press), {"pasted": text, "change": "add"})
    assert response.status_code == 200
    assert "pasted" in response.context["pasted"].errors
    assert not members(press)


def test_contacts_are_found_chosen_and_put_in(staff, press, people):
    page = staff.get(page_of(press), {"q": "mill"}).text
    for one in people:
        assert f'value="{one.id}"' in page
        assert f"{one.first_name} Miller, {one.email}" in page
    chosen = [str(contact.id) for contact in people[:2]]
    told = staff.post(page_of(press) + "?q=mill", {"chosen": chosen, "change": "add"}, follow=True).text
    assert "2 put in" in told
    assert members(press) == {people[0].id, people[1].id}
    told = staff.post(page_of(press), {"chosen": chosen[:1], "change": "remove"}, follow=True).text
    assert "1 taken out" in told
    assert members(press) == {people[1].id}
    assert "Nobody is found" in staff.get(page_of(press), {"q": "nobody"}).text


def test_a_search_finds_the_segments_workspace_alone_and_who_a_merged_one_is_now(
    staff, workspace, press, people
):
    a_contact(WorkspaceFactory(), "p0@elsewhere.example", first_name="Stranger", last_name="Miller")
    merge_contacts(workspace.id, people[0], people[1])
    page = staff.get(page_of(press), {"q": "p"}).text
    assert "Stranger" not in page
    assert "Stranger" not in staff.get(page_of(press), {"q": "Miller"}).text
    assert f'value="{people[1].id}"' not in page
    paste(staff, press, "p1@example.com")
    assert members(press) == {people[0].id}


def test_the_way_there_is_on_a_static_segments_page_alone(staff, workspace, press):
    rule = a_segment(workspace, attribute("email", "exists"), "Rule")
    assert page_of(press) in staff.get(reverse("admin:segments_segment_change", args=[press.pk])).text
    assert page_of(rule) not in staff.get(reverse("admin:segments_segment_change", args=[rule.pk])).text
    assert staff.get(page_of(rule)).status_code == 404
    assert staff.get(reverse("admin:segments_segment_members", args=["x"])).status_code == 404


def test_who_may_not_change_segments_or_see_contacts_fills_none(staff, press, people):
    for missing in ("change_segment", "view_contact"):
        names = {"view_segment", "change_segment", "view_contact"} - {missing}
        user = User.objects.create(username=missing, is_staff=True)
        WorkspaceMembership.objects.create(workspace=press.workspace, user=user, role="editor")
        user.user_permissions.set(Permission.objects.filter(codename__in=names))
        client = Client()
        client.force_login(user)
        assert client.get(page_of(press)).status_code == 403
        assert client.post(page_of(press), {"pasted": "p0@example.com", "change": "add"}).status_code == 403
        change = client.get(reverse("admin:segments_segment_change", args=[press.pk]))
        assert change.status_code == 200
        assert page_of(press) not in change.text
    assert not members(press)
