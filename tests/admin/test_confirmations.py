"""Nothing starts for many, is merged, erased or sent by one click: staff see whom it concerns, and say yes once."""

import threading
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse

from campaigns.api.serializers.campaigns import WELCOME
from campaigns.journeys.lifecycle import activate_campaign, execute_campaign, pause_campaign
from campaigns.models import Broadcast, Campaign, Enrollment, Message
from config import clock
from contacts.merging.merges import merge_contacts
from contacts.models import Contact, Merge
from segments.definitions import create_segment
from segments.models import Segment
from segments.static_members import add_members
from tests.admin.confirming import confirm, is_asking, yes_to
from tests.campaigns.rows import a_message, a_template_row
from tests.contacts.factories import a_contact
from workspaces.models import Confirmation, User
from workspaces.staff.confirmation import LIFETIME

pytestmark = pytest.mark.usefixtures("empty_sidebar")

CONTACTS = reverse("admin:contacts_contact_changelist")
CAMPAIGNS = reverse("admin:campaigns_campaign_changelist")


@pytest.fixture
def people(workspace):
    return [a_contact(workspace, f"p{n}@example.com", first_name=f"Person {n}") for n in range(12)]


@pytest.fixture
def segment(workspace, people):
    segment = create_segment(workspace.id, name="Press", evaluation="STATIC")
    add_members(workspace.id, segment, contact_ids=[contact.id for contact in people])
    return segment


@pytest.fixture
def campaign(workspace):
    template = a_template_row(workspace, name="Hello all", subject="Hello", body="<p>Hello</p>")
    nodes = [
        {"id": "a-day", "type": "wait", "data": {"duration": "1d"}},
        {"id": "hello", "type": "send", "data": {"channel": "email", "templateId": str(template.pk)}},
    ]
    workflow = {"nodes": nodes, "edges": [{"source": "a-day", "target": "hello"}]}
    draft = {"triggers": WELCOME["triggers"], "reentry": {"mode": "once"}, "workflow": workflow}
    return Campaign.objects.create(workspace=workspace, name="News", draft=draft)


@pytest.fixture
def active(workspace, campaign):
    return activate_campaign(workspace.id, campaign)


def page(kind, row):
    return reverse(f"admin:campaigns_campaign_{kind}", args=[row.pk])


def chosen(action, *rows, **more):
    return {"action": action, "_selected_action": [str(row.pk) for row in rows], **more}


def asked(client, address, body, *texts):
    """Return the page that asks, which says all of `texts`."""
    response = client.post(address, body)
    assert is_asking(response)
    for text in texts:
        assert text in response.text, text
    return response


def test_a_broadcast_shows_how_many_it_reaches_and_the_first_of_them(staff, active, segment):
    body = {"start": "broadcast", "segment": str(segment.pk), "at": "2030-01-02T03:04"}
    response = asked(
        *(staff, page("start", active), body),
        *("12 contacts in Press now", "Person 0", "p0@example.com", "and 2 more", "2030-01-02 03:04:00 UTC"),
        "sends email “Hello all”",
    )
    assert not Broadcast.objects.exists()
    confirm(staff, response)
    assert Broadcast.objects.get().segment_id == segment.pk


def test_a_yes_counts_once(staff, active, segment):
    response = staff.post(page("start", active), {"start": "broadcast", "segment": str(segment.pk)})
    confirm(staff, response)
    again = confirm(staff, response, follow=True)
    assert "That was done already" in again.text
    assert Broadcast.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_of_two_yeses_at_once_one_counts(staff, active, segment):
    response = staff.post(page("start", active), {"start": "broadcast", "segment": str(segment.pk)})
    address, body = yes_to(response)
    clients, together = [Client() for _ in range(4)], threading.Barrier(4)
    for client in clients:
        client.force_login(User.objects.get(username="staff"))

    def say_yes(client):
        together.wait(30)
        try:
            client.post(address, body, content_type="application/x-www-form-urlencoded")
        finally:
            connection.close()

    threads = [threading.Thread(target=say_yes, args=[client]) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Broadcast.objects.count() == 1


def test_a_yes_is_for_what_was_asked_by_who_was_asked_and_not_for_long(staff, active, segment):
    body = {"start": "broadcast", "segment": str(segment.pk)}
    other = Client()
    other.force_login(User.objects.create(username="other", is_staff=True, is_superuser=True))
    address, yes = yes_to(staff.post(page("start", active), body))
    urlencoded = "application/x-www-form-urlencoded"
    everybody = Segment.objects.create(workspace=active.workspace, name="All", evaluation="STATIC")
    staff.post(address, yes.replace(str(segment.pk), str(everybody.pk)), content_type=urlencoded)
    other.post(address, yes, content_type=urlencoded)
    staff.post(address, {**body, "confirmed": "yes"})
    staff.get(f"{address}?{yes}")
    Confirmation.objects.update(created_at=clock.now() - LIFETIME - timedelta(seconds=1))
    staff.post(address, yes, content_type=urlencoded)
    assert not Broadcast.objects.exists()


def test_a_start_for_one_contact_names_it(staff, active, people):
    body = {"start": "execute", "contact": "P3@example.com", "event": "", "key": ""}
    response = asked(staff, page("start", active), body, "Person 3", "p3@example.com", "Hello all")
    assert not Enrollment.objects.exists()
    confirm(staff, response)
    assert Enrollment.objects.get().contact_id == people[3].id


def test_a_trial_says_that_it_sends_for_real(staff, campaign, people):
    body = {"start": "try", "contact": "p3@example.com", "event": "", "key": ""}
    response = asked(staff, page("start", campaign), body, "p3@example.com", "what it sends", "Hello all")
    assert not Enrollment.objects.exists()
    confirm(staff, response)
    assert Enrollment.objects.get().is_test


@pytest.mark.parametrize("way", ["button", "list"])
def test_an_activation_says_what_starts_and_for_whom(staff, workspace, campaign, segment, way):
    campaign.draft["triggers"] = [{"type": "SCHEDULE", "segmentId": str(segment.pk)}]
    campaign.save()
    address = page("change_status", campaign) if way == "button" else CAMPAIGNS
    body = {"status_change": "activate"} if way == "button" else chosen("activate", campaign)
    response = asked(
        staff, address, body, "at once for everybody in Press", "12 contacts in Press now", "Hello all"
    )
    assert Campaign.objects.get().status == "DRAFT"
    confirm(staff, response)
    assert Campaign.objects.get().status == "ACTIVE"


@pytest.mark.parametrize("way", ["button", "list"])
@pytest.mark.parametrize(("change", "status"), [("resume", "ACTIVE"), ("archive", "ARCHIVED")])
def test_what_goes_on_or_ends_for_whom_is_asked(staff, workspace, active, people, way, change, status):
    execute_campaign(workspace.id, active, people[5])
    pause_campaign(workspace.id, active)
    address = page("change_status", active) if way == "button" else CAMPAIGNS
    body = {"status_change": change} if way == "button" else chosen(change, active)
    response = asked(staff, address, body, "1 contact with an open enrollment", "p5@example.com")
    assert Campaign.objects.get().status == "PAUSED"
    confirm(staff, response)
    assert Campaign.objects.get().status == status


def test_a_pause_is_one_click(staff, active):
    staff.post(page("change_status", active), {"status_change": "pause"})
    assert Campaign.objects.get().status == "PAUSED"


def test_what_cannot_be_done_is_told_rather_than_asked(staff, campaign):
    Campaign.objects.update(draft={})
    response = staff.post(page("change_status", campaign), {"status_change": "activate"}, follow=True)
    assert not is_asking(response)
    assert "triggers" in response.text


def test_all_pages_of_a_list_are_erased_only_once_their_number_was_shown(staff, people):
    body = chosen("erase_chosen", people[0], select_across="1", index="0")
    response = asked(staff, CONTACTS, body, "12 persons", "p0@example.com", "It cannot be undone")
    assert Contact.objects.count() == 12
    confirm(staff, response)
    assert not Contact.objects.exists()


def test_a_merge_names_both_and_an_undo_too(staff, workspace, people):
    response = asked(
        *(staff, CONTACTS, chosen("merge_chosen", *people[:2])),
        *("Person 1 becomes part of Person 0", "p0@example.com", "p1@example.com"),
    )
    assert not Merge.objects.exists()
    confirm(staff, response)
    merge = Merge.objects.get()
    merges = reverse("admin:contacts_merge_changelist")
    response = asked(staff, merges, chosen("undo", merge), "p0@example.com", "p1@example.com")
    confirm(staff, response)
    assert Merge.objects.get().undone_at


def test_a_merged_persons_address_is_shown_wherever_it_hangs(staff, workspace, people):
    nameless = Contact.objects.create(workspace=workspace, first_name="Nameless")
    merge_contacts(workspace.id, nameless, people[0])
    asked(staff, CONTACTS, chosen("erase_chosen", nameless), "Nameless", "p0@example.com")


def test_what_is_sent_again_is_shown(staff, workspace, people):
    message = a_message(people[0], status="UNKNOWN", claimed_at=clock.now())
    messages = reverse("admin:campaigns_message_changelist")
    response = asked(staff, messages, chosen("send_again", message), "1 message", message.address)
    confirm(staff, response)
    assert Message.objects.get().status == "QUEUED"


def test_a_deletion_shows_members_and_addresses(staff, segment, people):
    page = staff.get(reverse("admin:segments_segment_delete", args=[segment.pk]))
    assert "Press: 12 members" in page.text
    page = staff.post(CONTACTS, chosen("delete_selected", *people[:2]))
    assert "Person 1 (p1@example.com)" in page.text
    assert Contact.objects.count() == 12
