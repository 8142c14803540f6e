"""Segments in the admin: a wrong rule shows its fault, members and reasons are read, actions call the services."""

import json
import re
from uuid import uuid4

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from config import clock
from segments.definitions import create_segment, update_segment
from segments.models import Membership, Segment
from segments.static_members import add_members
from tests.admin.confirming import post_and_confirm
from tests.contacts.factories import a_contact
from tests.segments.factories import (
    a_segment,
    attribute,
    build_occupied_lanes,
    did,
    every,
    in_segment,
    none_of,
    send,
    who_is_in,
)
from tests.workspaces.factories import WorkspaceFactory
from workspaces.models import User

pytestmark = pytest.mark.django_db(transaction=True)

LIST = "admin:segments_segment_changelist"


@pytest.fixture
def staff(db):
    client = Client()
    client.force_login(User.objects.create(username="staff", is_staff=True, is_superuser=True))
    return client


@pytest.fixture
def buyers(workspace, jane):
    segment = a_segment(workspace, every(did("buy", timeWindow="7d"), attribute("email", "exists")), "Buyers")
    send(workspace, jane, "buy", amount=5)
    assert who_is_in(segment) == {jane.id}
    return segment


def change_page(segment):
    return reverse("admin:segments_segment_change", args=[segment.pk])


def explanation_page(segment, contact):
    return reverse("admin:segments_segment_explanation", args=[segment.pk, contact.pk])


def text_of(response):
    assert response.status_code == 200
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


def form(**values):
    values = {"name": "Buyers", "description": "", "publishes": "on", **values}
    return {
        name: json.dumps(value) if name == "rule" else value
        for name, value in values.items()
        if value is not None
    }


def act(staff, action, *segments):
    data = {"action": action, "_selected_action": [str(segment.pk) for segment in segments]}
    return post_and_confirm(staff, reverse(LIST), data, follow=True)


def test_a_segment_is_made_by_the_service(staff, workspace, jane):
    send(workspace, jane, "buy")
    data = form(workspace=str(workspace.pk), evaluation="DYNAMIC", rule=did("buy"))
    assert staff.post(reverse("admin:segments_segment_add"), data).status_code == 302
    segment = Segment.objects.get()
    assert (segment.build, segment.draft_rule, segment.rule) == ("running", did("buy"), None)
    build_occupied_lanes(segment)
    assert who_is_in(segment) == {jane.id}


def test_a_static_segment_is_made_without_a_rule(staff, workspace):
    data = form(workspace=str(workspace.pk), evaluation="STATIC", rule=None)
    assert staff.post(reverse("admin:segments_segment_add"), data).status_code == 302
    segment = Segment.objects.get()
    assert "filled by hand" in text_of(staff.get(change_page(segment)))
    assert staff.post(change_page(segment), form(name="Press")).status_code == 302
    segment.refresh_from_db()
    assert (segment.name, segment.rule) == ("Press", None)


@pytest.mark.parametrize(
    ("evaluation", "rule", "fault"),
    [
        ("DYNAMIC", every(did("buy", value="x")), "conditions[0].value:"),
        ("DYNAMIC", {"type": "moon"}, "type:"),
        ("DYNAMIC", None, "rule is needed"),
        ("STATIC", did("buy"), "A static segment has no rule."),
    ],
)
def test_a_rule_that_is_wrong_shows_its_fault_at_the_field(staff, workspace, evaluation, rule, fault):
    data = form(workspace=str(workspace.pk), evaluation=evaluation, rule=rule)
    response = staff.post(reverse("admin:segments_segment_add"), data)
    assert response.status_code == 200
    assert fault in str(response.context["adminform"].form.errors["rule"])
    assert not Segment.objects.exists()


def test_a_name_that_is_taken_is_refused_in_the_form(staff, workspace, buyers):
    data = form(workspace=str(workspace.pk), evaluation="DYNAMIC", rule=did("buy"))
    response = staff.post(reverse("admin:segments_segment_add"), data)
    assert response.status_code == 200
    assert Segment.objects.count() == 1


def test_an_edit_of_the_rule_becomes_a_draft_and_one_of_the_name_does_not(staff, workspace, jane, buyers):
    version = buyers.version
    assert staff.post(change_page(buyers), form(name="Payers", rule=buyers.rule)).status_code == 302
    buyers.refresh_from_db()
    assert (buyers.name, buyers.version, buyers.draft_version) == ("Payers", version, None)

    data = form(rule=did("look"), publishes=None)
    assert staff.post(change_page(buyers), data).status_code == 302
    buyers.refresh_from_db()
    assert (buyers.draft_rule, buyers.build_publishes) == (did("look"), False)
    page = text_of(staff.get(change_page(buyers)))
    assert "0% built (0 of 1)" in page
    # The form shows the rule that is to serve.
    assert "number of “look” is at least 1" in page
    assert who_is_in(buyers) == {jane.id}


def test_a_segment_cannot_be_made_to_build_on_itself(staff, workspace, buyers):
    other = a_segment(workspace, in_segment(buyers), "Other")
    response = staff.post(change_page(buyers), form(rule=in_segment(other)))
    assert "build on itself" in str(response.context["adminform"].form.errors["rule"])


def test_the_list_shows_how_segments_do(staff, workspace, buyers):
    Segment.objects.filter(pk=a_segment(workspace, did("x"), "Slow").pk).update(
        parked_at=clock.now(), error="Too slow by far"
    )
    create_segment(workspace.id, name="New", raw=did("y"))
    page = text_of(staff.get(reverse(LIST)))
    assert "parked" in page
    assert "Too slow by far" in page
    assert "never published, 0% built (0 of 1)" in page
    assert re.search(r"Buyers .* serves 1 ", page)
    assert [row.name for row in staff.get(reverse(LIST), {"parked": "yes"}).context["cl"].result_list] == [
        "Slow"
    ]
    assert [row.name for row in staff.get(reverse(LIST), {"q": "buy"}).context["cl"].result_list] == [
        "Buyers"
    ]
    found = staff.get(reverse(LIST), {"build__exact": "running"}).context["cl"].result_list
    assert [row.name for row in found] == ["New"]


def test_actions_rebuild_and_publish(staff, workspace, jane, buyers):
    press = create_segment(workspace.id, name="Press", evaluation="STATIC")
    page = text_of(act(staff, "rebuild", buyers, press))
    assert "1 segment is built anew" in page
    assert "Press: A static segment has no rule" in page
    build_occupied_lanes(buyers)

    update_segment(workspace.id, buyers, raw=did("look"), publish=False)
    assert "Buyers: The draft is not built yet" in text_of(act(staff, "publish", buyers))
    build_occupied_lanes(buyers)
    assert "a draft waits to be published" in text_of(staff.get(change_page(buyers)))
    assert "1 segment is published" in text_of(act(staff, "publish", buyers))
    assert who_is_in(buyers) == set()


def test_a_segment_is_deleted_unless_others_build_on_it(staff, workspace, buyers):
    other = a_segment(workspace, in_segment(buyers), "Other")
    delete_page = reverse("admin:segments_segment_delete", args=[buyers.pk])
    response = staff.post(delete_page, {"post": "yes"}, follow=True)
    assert "This segment is used by: Other" in text_of(response)
    response = staff.post(
        reverse(LIST),
        {"action": "delete_selected", "_selected_action": [str(buyers.pk)], "post": "yes"},
        follow=True,
    )
    assert "This segment is used by: Other" in text_of(response)
    assert Segment.objects.count() == 2
    both = [str(buyers.pk), str(other.pk)]
    staff.post(reverse(LIST), {"action": "delete_selected", "_selected_action": both, "post": "yes"})
    assert not Segment.objects.exists()


def test_members_are_found_by_segment_and_by_contact(staff, workspace, jane, buyers):
    john = a_contact(workspace, "john@example.test")
    press = create_segment(workspace.id, name="Press", evaluation="STATIC")
    add_members(workspace.id, press, contact_ids=[john.id])
    # A draft's memberships are nobody's business yet.
    build_occupied_lanes(update_segment(workspace.id, buyers, raw=none_of(did("x")), publish=False))
    for page in ("admin:segments_membership_changelist", "admin:segments_membershipperiod_changelist"):

        def found(page=page, **parameters):
            rows = staff.get(reverse(page), parameters).context["cl"].result_list
            return {(row.segment.name, row.contact_id) for row in rows}

        assert found() == {("Buyers", jane.id), ("Press", john.id)}
        assert found(segment=str(press.pk)) == {("Press", john.id)}
        assert found(q="jane@") == {("Buyers", jane.id)}
        assert found(q=str(john.pk)) == {("Press", john.id)}
        assert found(segment=str(uuid4())) == set()
        assert explanation_page(buyers, jane) in staff.get(reverse(page)).content.decode()
        assert staff.post(reverse(page.replace("changelist", "add")), {}).status_code == 403
    row = Membership.objects.get(contact=jane, version=buyers.version)
    page = reverse("admin:segments_membership_change", args=[row.pk])
    assert "jane@example.test" in text_of(staff.get(page))
    assert staff.post(page, {}).status_code == 403


def test_an_explanation_is_a_tree_in_words(staff, workspace, jane, buyers):
    john = a_contact(workspace, "john@example.test")
    response = staff.get(explanation_page(buyers, jane))
    page = text_of(response)
    assert re.search(r"is in Buyers since \d{4}-\d\d-\d\d", page)
    assert "All of these hold" in page
    assert "true number of “buy”, in the last 7d, is at least 1 — saw 1" in page
    assert "email is there — saw “jane@example.test”" in page
    assert re.search(r"time alone may change that at \d{4}", page)
    assert len(re.findall(r"/admin/events/event/[0-9a-f-]{36}/", response.content.decode())) == 1
    page = text_of(staff.get(explanation_page(buyers, john)))
    assert "is not in Buyers" in page
    assert "false number of “buy”" in page


def test_an_explanation_tells_of_segments_by_name_and_of_groups(staff, workspace, jane, buyers):
    others = a_segment(workspace, none_of(in_segment(buyers), {"type": "tag", "value": "<b>"}), "Others")
    response = staff.get(explanation_page(others, jane))
    page = text_of(response)
    assert "None of these holds" in page
    assert "is in the segment “Buyers” — saw true" in page
    assert "<b>”" not in response.content.decode()
    Segment.objects.filter(pk=others.pk).update(parked_at=clock.now(), rule=none_of(did("x")))
    assert "The segment is parked" in text_of(staff.get(explanation_page(others, jane)))


def test_an_explanation_is_for_staff_and_of_what_there_is(staff, workspace, jane, buyers):
    press = create_segment(workspace.id, name="Press", evaluation="STATIC")
    assert "It is filled by hand." in text_of(staff.get(explanation_page(press, jane)))
    new = create_segment(workspace.id, name="New", raw=did("x"))
    assert "It was never published." in text_of(staff.get(explanation_page(new, jane)))
    theirs = a_contact(WorkspaceFactory())
    assert staff.get(explanation_page(buyers, theirs)).status_code == 404
    for one, other in (("x", jane.pk), (buyers.pk, "x"), (uuid4(), jane.pk), (buyers.pk, "%00")):
        url = reverse("admin:segments_segment_explanation", args=[one, other])
        assert staff.get(url).status_code == 404
    assert Client().get(explanation_page(buyers, jane)).status_code == 302
    weak = Client()
    weak.force_login(User.objects.create(username="weak", is_staff=True))
    assert weak.get(explanation_page(buyers, jane)).status_code == 404


def test_a_contacts_page_leads_to_its_reasons(staff, workspace, jane, buyers):
    other = a_segment(workspace, did("look"), "Lookers")
    url = reverse("admin:contacts_contact_change", args=[jane.pk])
    page = staff.get(url).content.decode()
    assert change_page(buyers) in page
    assert explanation_page(buyers, jane) in page
    assert "Why not in:" in page
    assert explanation_page(other, jane) in page

    def statements():
        with CaptureQueriesContext(connection) as captured:
            staff.get(url)
        return len(captured)

    few = statements()
    for number in range(5):
        a_segment(workspace, attribute("email", "exists"), f"More {number}")
    assert statements() <= few
