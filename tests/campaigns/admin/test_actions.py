"""What staff do from the page of a campaign or of a template; all of it is the services'."""

import re
from html import unescape
from uuid import uuid4

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from campaigns.api.serializers.campaigns import WELCOME
from campaigns.models import Broadcast, Campaign, Enrollment, Message
from config import clock
from events.models import Event
from tests.admin.confirming import post_and_confirm
from tests.campaigns.rows import a_template_row
from tests.contacts.factories import a_contact
from tests.segments.factories import a_segment, attribute, tell
from tests.workspaces.factories import WorkspaceFactory
from workspaces.models import Membership, User

pytestmark = pytest.mark.django_db

DRAFT = {
    "triggers": WELCOME["triggers"],
    "reentry": {"mode": "once"},
    "workflow": {"nodes": [{"id": "a-day", "type": "wait", "data": {"duration": "1d"}}], "edges": []},
}


@pytest.fixture
def staff(db):
    client = Client()
    client.force_login(User.objects.create(username="staff", is_staff=True, is_superuser=True))
    return client


@pytest.fixture
def reader(staff, workspace):
    """Return somebody who may look at everything here, and change nothing."""
    user = User.objects.create(username="reader", is_staff=True)
    Membership.objects.create(workspace=workspace, user=user, role="viewer")
    names = ["view_campaign", "view_template", "view_contact"]
    user.user_permissions.set(Permission.objects.filter(codename__in=names))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def campaign(workspace):
    return Campaign.objects.create(workspace=workspace, name="Welcome", draft=DRAFT)


@pytest.fixture
def template(workspace):
    body = "<p>Hello {{ contact.attributes.nick }}</p>"
    return a_template_row(workspace, subject="For {{ contact.email }}", body=body, text="Plain")


def url(model, kind, row):
    return reverse(f"admin:campaigns_{model}_{kind}", args=[row.pk])


def text_of(response):
    assert response.status_code == 200
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode())))


def change_status(client, campaign, name):
    return post_and_confirm(
        client, url("campaign", "change_status", campaign), {"status_change": name}, follow=True
    )


def start(client, campaign, how, **values):
    address = url("campaign", "start", campaign)
    return post_and_confirm(client, address, {"start": how, **values}, follow=True)


def preview(client, template, button="show", **values):
    return client.post(url("template", "preview", template), {button: "yes", **values})


def status_of(campaign):
    return Campaign.objects.get(pk=campaign.pk).status


def offered(client, campaign):
    page = client.get(url("campaign", "change", campaign)).content.decode()
    return re.findall(r'name="status_change"\s+value="(\w+)"', page)


def test_a_campaigns_page_offers_what_its_status_allows_and_does_it(staff, campaign):
    assert offered(staff, campaign) == ["activate", "archive"]
    for name, word, status, next_ones in (
        ("activate", "activated", "ACTIVE", ["pause", "finish", "archive"]),
        ("pause", "paused", "PAUSED", ["resume", "finish", "archive"]),
        ("resume", "resumed", "ACTIVE", ["pause", "finish", "archive"]),
        ("finish", "finished", "COMPLETED", ["activate", "archive"]),
        ("archive", "archived", "ARCHIVED", []),
    ):
        assert f"The campaign is {word}." in text_of(change_status(staff, campaign, name))
        assert status_of(campaign) == status
        assert offered(staff, campaign) == next_ones
    assert Campaign.objects.get().active_version.actor == "staff"


def test_a_draft_newer_than_what_serves_can_be_activated(staff, campaign):
    change_status(staff, campaign, "activate")
    Campaign.objects.update(draft={**DRAFT, "reentry": {"mode": "always"}})
    assert offered(staff, campaign) == ["activate", "pause", "finish", "archive"]


def test_a_refused_status_change_shows_the_error(staff, campaign):
    assert "The campaign is draft; it is not active." in text_of(change_status(staff, campaign, "pause"))
    Campaign.objects.update(draft={})
    assert "triggers" in text_of(change_status(staff, campaign, "activate"))
    assert status_of(campaign) == "DRAFT"


def test_a_status_is_changed_by_post_only(staff, campaign):
    assert (
        staff.get(url("campaign", "change_status", campaign), {"status_change": "activate"}).status_code
        == 405
    )
    assert change_status(staff, campaign, "explode").status_code == 404
    careful = Client(enforce_csrf_checks=True)
    careful.force_login(User.objects.get())
    assert change_status(careful, campaign, "activate").status_code == 403
    assert status_of(campaign) == "DRAFT"


def test_who_may_only_look_changes_nothing(reader, workspace, campaign, template, jane):
    assert offered(reader, campaign) == []
    assert change_status(reader, campaign, "activate").status_code == 403
    assert start(reader, campaign, "try", contact="jane@example.test").status_code == 403
    template.body = "Hello"
    template.save()
    assert "Send a test" not in text_of(preview(reader, template, contact="jane@example.test"))
    assert preview(reader, template, "send", contact="jane@example.test").status_code == 403
    assert (status_of(campaign), Enrollment.objects.count(), Message.objects.count()) == ("DRAFT", 0, 0)


def test_a_preview_shows_contacts_to_those_alone_who_may_see_them(reader, template, jane):
    User.objects.get(username="reader").user_permissions.remove(
        Permission.objects.get(codename="view_contact")
    )
    assert preview(reader, template, contact="jane@example.test").status_code == 403
    assert "Preview and test" not in text_of(reader.get(url("template", "change", template)))


def test_a_template_is_shown_for_a_contact(staff, workspace, template):
    jane = a_contact(workspace, "jane@example.test", attributes={"nick": "<Jay>"})
    assert "Preview and test" in text_of(staff.get(url("template", "change", template)))
    assert "Preview" in text_of(staff.get(url("template", "preview", template)))
    for named in ("Jane@Example.test", str(jane.pk)):
        response = preview(staff, template, contact=named)
        page = response.content.decode()
        assert "For jane@example.test" in text_of(response)
        assert "<iframe sandbox " in page
        assert "&lt;p&gt;Hello &amp;lt;Jay&amp;gt;&lt;/p&gt;" in page
        assert "Plain" in page
    assert not Message.objects.exists()


def test_what_a_template_misses_is_told(staff, template, jane):
    response = preview(staff, template, contact="jane@example.test")
    assert "contact.attributes.nick" in text_of(response)
    assert "<iframe" not in response.content.decode()


def test_a_preview_has_the_event_that_is_the_cause(staff, workspace, template, jane):
    template.body = "{{ event.type }}"
    template.save()
    tell(workspace, jane, "signup")
    event = Event.objects.filter(workspace_id=workspace.pk, name="signup").get()
    shown = preview(staff, template, contact="jane@example.test", event=str(event.pk))
    assert 'srcdoc="signup"' in shown.content.decode()
    other = preview(staff, template, contact="jane@example.test", event=str(uuid4()))
    assert "There is no such event" in text_of(other)


def test_a_test_is_sent_to_the_contact_or_elsewhere(staff, workspace, template):
    a_contact(workspace, "jane@example.test", attributes={"nick": "Jay"})
    assert staff.get(url("template", "preview", template), {"send": "yes"}).status_code == 200
    assert not Message.objects.exists()
    sent = text_of(preview(staff, template, "send", contact="jane@example.test"))
    assert "A test to jane@example.test is on its way." in sent
    preview(staff, template, "send", contact="jane@example.test", to="me@example.test")
    rows = Message.objects.order_by("created_at").values_list("address", "is_test", "body")
    assert list(rows) == [
        ("jane@example.test", True, "<p>Hello Jay</p>"),
        ("me@example.test", True, "<p>Hello Jay</p>"),
    ]


def test_a_test_that_is_refused_says_why(staff, template, jane):
    refused = text_of(preview(staff, template, "send", contact="jane@example.test"))
    assert "Not sent: value missing" in refused
    assert not Message.objects.exists()


@pytest.mark.parametrize("named", ["strange@example.test", "no address", "\x00", "9" * 400, ""])
def test_another_workspaces_contact_is_not_found(staff, campaign, template, named):
    stranger = a_contact(WorkspaceFactory(), "strange@example.test")
    for who in (named, str(stranger.pk)):
        for response in (
            preview(staff, template, "send", contact=who),
            start(staff, campaign, "try", contact=who),
        ):
            form = response.context.get("form") or response.context["for_contact"]
            assert "contact" in form.errors
    assert not Message.objects.exists()
    assert not Enrollment.objects.exists()


def test_a_draft_is_tried_out_for_a_contact(staff, campaign, jane):
    page = text_of(start(staff, campaign, "try", contact="jane@example.test", skip_waits="on"))
    assert "The trial has begun" in page
    enrollment = Enrollment.objects.get()
    assert (enrollment.contact_id, enrollment.is_test, enrollment.skips_waits) == (jane.pk, True, True)
    assert enrollment.version.actor == "staff"


def test_a_campaign_is_started_for_a_contact_as_its_reentry_says(staff, campaign, jane):
    refused = text_of(start(staff, campaign, "execute", contact="jane@example.test"))
    assert "only an active one can be executed" in refused
    change_status(staff, campaign, "activate")
    assert "The enrollment has begun" in text_of(start(staff, campaign, "execute", contact=str(jane.pk)))
    again = text_of(start(staff, campaign, "execute", contact=str(jane.pk)))
    assert "The contact did not enter: already" in again
    assert Enrollment.objects.filter(is_test=False).count() == 1


def test_what_only_the_other_way_to_start_knows_is_refused(staff, campaign, jane):
    change_status(staff, campaign, "activate")
    for how, name in (("execute", "skip_waits"), ("try", "key")):
        response = start(staff, campaign, how, contact="jane@example.test", **{name: "on"})
        assert name in response.context["for_contact"].errors
    assert not Enrollment.objects.exists()


def test_a_campaign_is_started_for_a_segment_now_or_at_a_moment(staff, workspace, campaign):
    segment = a_segment(workspace, attribute("email", "exists"), name="All")
    refused = text_of(start(staff, campaign, "broadcast", segment=str(segment.pk)))
    assert "only an active one can be sent" in refused
    change_status(staff, campaign, "activate")
    assert "A broadcast starts at" in text_of(start(staff, campaign, "broadcast", segment=str(segment.pk)))
    start(staff, campaign, "broadcast", segment=str(segment.pk), at="2030-01-02T03:04")
    now, later = Broadcast.objects.order_by("due_at")
    assert now.due_at <= clock.now()
    assert f"{later.due_at:%Y-%m-%d %H:%M %Z}" == "2030-01-02 03:04 UTC"
    assert {now.segment_id, later.segment_id} == {segment.pk}


def test_a_broadcast_is_moved_on_its_page_and_cancelled_in_the_list(staff, workspace, campaign):
    segment = a_segment(workspace, attribute("email", "exists"), name="All")
    change_status(staff, campaign, "activate")
    start(staff, campaign, "broadcast", segment=str(segment.pk), at="2030-01-02T03:04")
    broadcast = Broadcast.objects.get()
    page = url("broadcast", "change", broadcast)
    for day, answer in (("2020-01-01", "It lies in the past"), ("2031-01-01", "changed successfully")):
        assert answer in text_of(staff.post(page, {"due_at_0": day, "due_at_1": "00:00:00"}, follow=True))
    broadcast.refresh_from_db()
    assert broadcast.due_at.year == 2031

    chosen = {"action": "cancel", "_selected_action": [str(broadcast.pk)]}
    listed = reverse("admin:campaigns_broadcast_changelist")
    for answer in ("Cancelled: 1.", "Cancelled: 0. 1 were finished already."):
        assert answer in text_of(staff.post(listed, chosen, follow=True))
    broadcast.refresh_from_db()
    assert [(change["kind"], change["by"]) for change in broadcast.changes] == [
        (kind, "staff") for kind in ("planned", "moved", "cancelled")
    ]
    assert "cancelled by staff" in text_of(staff.get(page))


def test_another_workspaces_segment_is_no_choice(staff, campaign):
    theirs = a_segment(WorkspaceFactory(), attribute("email", "exists"), name="Theirs")
    change_status(staff, campaign, "activate")
    response = start(staff, campaign, "broadcast", segment=str(theirs.pk))
    assert "Theirs" not in text_of(response)
    assert "segment" in response.context["for_segment"].errors
    assert not Broadcast.objects.exists()


def test_what_is_not_there_is_not_found(staff, campaign):
    for name in ("campaigns_campaign_start", "campaigns_template_preview"):
        for identifier in (uuid4(), "x"):
            assert staff.get(reverse(f"admin:{name}", args=[identifier])).status_code == 404
    assert staff.get(url("campaign", "start", campaign)).status_code == 200
