"""Lists show first what people look for, sort and narrow, open their rows, and name what one may open."""

import re
from datetime import timedelta
from html.parser import HTMLParser

import pytest
from django.conf import settings
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from campaigns.models import Broadcast, Campaign, Decision, Enrollment, FormSubmission, Message
from config import clock
from config.ids import uuid7
from contacts.models import Consent, Contact, ContactScore, Erasure
from events.models import Event
from scoring.models import ScoreEntry
from segments.models import Membership, MembershipPeriod, Segment
from tests.admin.test_every_page import REGISTERED, label, url_of
from tests.contacts.factories import a_contact
from tests.segments.factories import tell
from workspaces.models import Membership as WorkspaceMembership
from workspaces.models import User

CONTACTS = reverse("admin:contacts_contact_changelist")
EVENTS = reverse("admin:events_event_changelist")


def listed(client, url, **parameters):
    return [row.pk for row in client.get(url, parameters).context["cl"].result_list]


# Newest first ------------------------------------------------------------------------------------------------

TIMES = {
    Decision: "decided_at",
    Enrollment: "started_at",
    Message: "created_at",
    Broadcast: "due_at",
    FormSubmission: "created_at",
    ScoreEntry: "occurred_at",
    MembershipPeriod: "entered_at",
    Event: "occurred_at",
    Erasure: "erased_at",
    LogEntry: "action_time",
}


@pytest.mark.parametrize("model", TIMES, ids=label)
def test_the_newest_comes_first(staff, workspace, rows, model):
    if model is Erasure:
        for days in (1, 3, 2):
            Erasure.objects.create(
                workspace=workspace, contact_ids=[], erased_at=clock.now() - timedelta(days=days)
            )
    if model is LogEntry:
        for days in (1, 3, 2):
            LogEntry.objects.create(
                user=User.objects.get(username="staff"),
                action_flag=1,
                action_time=clock.now() - timedelta(days=days),
            )
    made = list(model.objects.order_by("pk"))
    if model in (Broadcast, ScoreEntry, MembershipPeriod):
        # The order of the rows is not that of their moments.
        for row, days in zip(made, (2, 1, 3), strict=True):
            model.objects.filter(pk=row.pk).update(**{TIMES[model]: clock.now() - timedelta(days=days)})
    elif group := {
        Enrollment: "campaign",
        Decision: "campaign",
        Message: "campaign",
        FormSubmission: "form",
    }.get(model):
        # The newest row is of the oldest campaign.
        of = model._meta.get_field(group).related_model.objects.order_by("-pk")
        for row, one in zip(made, of, strict=True):
            model.objects.filter(pk=row.pk).update(**{group: one})
    page = staff.get(url_of(model, "changelist")).context["cl"].result_list
    # Ids are by time, to the millisecond.
    times = [getattr(row, TIMES[model]).replace(microsecond=0) for row in page]
    assert len(times) == 3
    assert times == sorted(times, reverse=True)
    if model in (Enrollment, Decision, Message, FormSubmission, Event):
        assert [row.pk for row in page] == [row.pk for row in reversed(made)]


def test_campaigns_do_not_part_what_is_sorted_by_time(staff, workspace, rows):
    older, newer = Campaign.objects.order_by("id")[:2]
    of = {"workspace": workspace, "contact": rows.contacts[0], "kind": Decision.Kind.NOT_ENTERED}
    first = Decision.objects.create(campaign=newer, **of)
    last = Decision.objects.create(campaign=older, **of)
    assert listed(staff, url_of(Decision, "changelist"))[:2] == [last.pk, first.pk]


def test_a_rows_history_begins_with_what_was_last(staff, workspace):
    ada = a_contact(workspace, first_name="Ada")
    user = User.objects.get(username="staff")
    for days in (2, 1, 3):
        LogEntry.objects.create(
            user=user,
            action_flag=2,
            object_id=str(ada.pk),
            content_type_id=_content_type(Contact),
            change_message=f"days {days}",
            action_time=clock.now() - timedelta(days=days),
        )
    page = staff.get(reverse("admin:contacts_contact_history", args=[ada.pk])).text
    assert re.findall(r"days (\d)", page) == ["1", "2", "3"]


def _content_type(model):
    return ContentType.objects.get_for_model(model).pk


# Contacts ----------------------------------------------------------------------------------------------------


@pytest.fixture
def scored(workspace):
    contacts = [a_contact(workspace, f"{n}@example.com") for n in range(4)]
    for contact, points in zip(contacts, (5, -3, 40), strict=False):
        ContactScore.objects.create(workspace=workspace, contact=contact, points=points)
    return [one.id for one in contacts]


def column_of(client, name):
    return admin.site._registry[Contact].list_display.index(name) + 1


def test_contacts_are_sorted_by_score_and_by_creation(staff, scored):
    five, minus, forty, none = scored
    score, created = column_of(staff, "score"), column_of(staff, "created")
    assert listed(staff, CONTACTS, o=f"-{score}") == [forty, five, none, minus]
    assert listed(staff, CONTACTS, o=str(score)) == [minus, none, five, forty]
    assert listed(staff, CONTACTS, o=str(created)) == scored
    assert listed(staff, CONTACTS) == scored[::-1]
    assert "o=" in staff.get(CONTACTS).text


@pytest.mark.parametrize(
    ("bounds", "found"),
    [
        ({"score_from": "1"}, [0, 2]),
        ({"score_from": "5", "score_to": "5"}, [0]),
        ({"score_to": "10"}, [0, 1, 3]),
        ({"score_from": "-1"}, [0, 2, 3]),
        ({"score_to": "-1"}, [1]),
        ({"score_from": "0", "score_to": "0"}, [3]),
        ({"score_from": "NaN"}, [0, 1, 2, 3]),
        ({"score_from": "x", "score_to": "1e999999"}, [0, 1, 2, 3]),
    ],
)
def test_contacts_are_found_by_score(staff, scored, bounds, found):
    assert set(listed(staff, CONTACTS, **bounds)) == {scored[one] for one in found}


def test_contacts_are_found_by_consent(staff, workspace, scored):
    for contact_id, status in zip(scored, ("opted_in", "opted_out"), strict=False):
        Consent.objects.create(workspace=workspace, contact_id=contact_id, channel="email", status=status)
    assert listed(staff, CONTACTS, consent="email:opted_in") == scored[:1]
    assert listed(staff, CONTACTS, consent="email:opted_out") == scored[1:2]
    assert set(listed(staff, CONTACTS, consent="email:never")) == set(scored[2:])
    assert set(listed(staff, CONTACTS, consent="sms:never")) == set(scored)
    assert set(listed(staff, CONTACTS, consent="moon:never")) == set(scored)


def test_contacts_are_found_by_segment(staff, workspace, scored):
    segment = Segment.objects.create(workspace=workspace, name="Press", evaluation="STATIC")
    at = {"workspace": workspace, "segment": segment, "since": clock.now()}
    Membership.objects.create(**at, contact_id=scored[1], version=segment.version)
    Membership.objects.create(**at, contact_id=scored[2], version=uuid7())
    assert listed(staff, CONTACTS, segment=str(segment.pk)) == [scored[1]]
    assert "Press" in staff.get(CONTACTS).text
    assert listed(staff, CONTACTS, segment=str(uuid7())) == []
    assert set(listed(staff, CONTACTS, segment="x")) == set(scored)


def test_sorting_by_score_looks_nobodys_score_up_by_itself(staff, scored, monkeypatch):
    monkeypatch.setattr(admin.site._registry[Contact], "list_per_page", 2)
    with CaptureQueriesContext(connection) as queries:
        staff.get(CONTACTS, {"o": f"-{column_of(staff, 'score')}"})
    keys, *_ = [query["sql"] for query in queries if "ORDER BY COALESCE" in query["sql"]]
    assert keys.count("SELECT") == 1


# Events ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["Order Placed", "order placed", "ORDER PLACED"])
def test_events_are_found_by_name_whatever_its_case(staff, workspace, text):
    ada = a_contact(workspace, "ada@example.com")
    tell(workspace, ada, "Order Placed")
    tell(workspace, ada, "Order Placed Again")
    page = staff.get(EVENTS, {"q": text})
    assert [row.name for row in page.context["cl"].result_list] == ["Order Placed"]


@pytest.mark.parametrize("text", ["contact.created", "Contact.Created", " CONTACT.CREATED "])
def test_what_the_system_tells_is_found_by_name(staff, workspace, text):
    Event.objects.create(
        workspace=workspace, contact=a_contact(workspace), name="contact.created", source="system"
    )
    names = {row.name for row in staff.get(EVENTS, {"q": text}).context["cl"].result_list}
    assert names == {"contact.created"}


# Rows and menus ----------------------------------------------------------------------------------------------


class Anchors(HTMLParser):
    """The addresses that a page links to, and whether a link stands in a link."""

    def __init__(self):
        super().__init__()
        self.addresses, self.open, self.is_nested = [], 0, False

    def handle_starttag(self, tag, attributes):
        if tag == "a":
            self.is_nested |= self.open > 0
            self.open += 1
            self.addresses.append(dict(attributes).get("href") or "")

    def handle_endtag(self, tag):
        if tag == "a":
            self.open -= 1


@pytest.mark.usefixtures("empty_sidebar")
@pytest.mark.parametrize("model", REGISTERED, ids=label)
def test_each_row_of_a_list_opens(staff, rows, model):
    page = staff.get(url_of(model, "changelist"))
    anchors = Anchors()
    anchors.feed(page.text)
    assert not anchors.is_nested
    for row in page.context["cl"].result_list:
        assert any(one.split("?")[0] == url_of(model, "change", row.pk) for one in anchors.addresses)


def entries(client):
    page = client.get(reverse("admin:password_change")).text
    return set(re.findall(r'href="(/admin/[a-z_]+/[a-z_]+/)"', page))


def test_the_menu_names_what_one_may_open(staff, workspace):
    user = User.objects.create(username="reader", is_staff=True)
    WorkspaceMembership.objects.create(workspace=workspace, user=user, role="editor")
    user.user_permissions.set(
        Permission.objects.filter(codename__in=["view_contact", "change_template", "add_company"])
    )
    reader = Client()
    reader.force_login(user)
    assert entries(reader) == {CONTACTS, reverse("admin:campaigns_template_changelist")}
    for address in entries(staff) - entries(reader):
        assert reader.get(address).status_code == 403
    for address in entries(reader):
        assert reader.get(address).status_code == 200


def test_the_menu_has_all_for_who_may_all(staff):
    groups = settings.UNFOLD["SIDEBAR"]["navigation"]
    assert entries(staff) == {str(item["link"]) for group in groups for item in group["items"]}


def test_who_may_only_look_is_offered_no_action(staff, workspace, rows):
    user = User.objects.create(username="reader", is_staff=True)
    WorkspaceMembership.objects.create(workspace=workspace, user=user, role="viewer")
    reader = Client()
    reader.force_login(user)
    opened = 0
    for model in REGISTERED:
        page = reader.get(url_of(model, "changelist"))
        if page.status_code == 200:
            opened += 1
            assert not admin.site._registry[model].get_actions(page.wsgi_request), model
    assert opened > 40
