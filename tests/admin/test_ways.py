"""From page to page: what staff need is one click away."""

from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse

from config import clock
from config.ids import uuid7
from events.models import Timer
from workspaces.models import User

pytestmark = pytest.mark.django_db


def test_signing_in_leads_to_the_admin():
    User.objects.create_user(username="staff", password="a good one", is_staff=True)
    answer = Client().post(reverse("admin:login"), {"username": "staff", "password": "a good one"})
    assert (answer.status_code, answer["Location"]) == (302, reverse("admin:index"))


@pytest.mark.parametrize(
    "page", ["contacts_merge", "events_timer", "segments_segment", "scoring_scoringrule"]
)
def test_the_sidebar_has_it(staff, page):
    assert f'href="{reverse(f"admin:{page}_changelist")}"' in staff.get(reverse("admin:password_change")).text


def test_a_timer_leads_to_the_contact(staff, rows):
    contact = rows.contacts[0]
    due = Timer.objects.create(
        workspace=contact.workspace,
        contact_id=contact.pk,
        timer_key=uuid7(),
        lane=1,
        due_at=clock.now() + timedelta(days=1),
    )
    link = f'href="{reverse("admin:contacts_contact_change", args=[contact.pk])}"'
    assert link in staff.get(reverse("admin:events_timer_changelist")).text
    assert link in staff.get(reverse("admin:events_timer_change", args=[due.pk])).text


def test_the_list_of_timers_tells_how_far_the_workers_are_behind(staff, rows):
    contact = rows.contacts[0]
    at = {"workspace": contact.workspace, "contact_id": contact.pk, "lane": 1}
    for minutes in (-2, -1, 1):
        Timer.objects.create(**at, timer_key=uuid7(), due_at=clock.now() + timedelta(minutes=minutes))
    page = staff.get(reverse("admin:events_timer_changelist"), {"workspace": str(contact.workspace_id)}).text
    assert "2 overdue, everything done but the last 12" in page


def test_the_form_of_a_segment_shows_how_a_rule_is_written(staff, rows):
    assert "timeWindow" in staff.get(reverse("admin:segments_segment_add")).text
