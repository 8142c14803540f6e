"""Events are recorded in the admin by the way that all events take, and never changed."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from config import clock
from contacts.models import Contact, Identifier
from contacts.references import ContactReference
from events.models import Event, EventBatch, EventDefinition, ParkedEffect
from events.stream.recording import record_events
from events.stream.types import IncomingEvent, SchemaPolicy
from tests.admin.rows import fill
from workspaces.models import Workspace

ADD = "admin:events_event_add"


@pytest.fixture
def ada(workspace):
    contact = Contact.objects.create(workspace=workspace, first_name="Ada")
    Identifier.objects.create(
        workspace=workspace, contact=contact, kind="email", value="ada@example.com", is_primary=True
    )
    return contact


def form(workspace, **values):
    return {"workspace": str(workspace.pk), "name": "paid", "properties": '{"amount": 50}', **values}


def test_an_event_is_recorded_with_its_batch(staff, workspace, ada):
    response = staff.post(reverse(ADD), form(workspace, contact=str(ada.pk)))
    assert response.status_code == 302
    event = Event.objects.get(workspace=workspace, name="paid")
    assert (event.source, event.contact_id, event.properties) == ("admin", ada.pk, {"amount": 50})
    assert EventBatch.objects.filter(event_ids__contains=[event.pk]).exists()
    assert staff.get(reverse("admin:events_event_change", args=[event.pk])).status_code == 200


def test_an_event_creates_the_contact_of_its_address(staff, workspace):
    assert staff.post(reverse(ADD), form(workspace, email="New@example.com")).status_code == 302
    event = Event.objects.get(workspace=workspace, name="paid")
    assert Identifier.objects.get(contact=event.contact_id).value == "new@example.com"


def test_what_the_service_refuses_is_shown_in_the_form(staff, workspace, ada):
    response = staff.post(
        reverse(ADD),
        form(workspace, contact=str(ada.pk), occurred_at_0="2999-01-01", occurred_at_1="00:00:00"),
    )
    assert response.status_code == 200
    assert response.context["adminform"].form.non_field_errors()
    assert not Event.objects.filter(name="paid").exists()


def test_a_contact_of_another_workspace_is_refused(staff, ada):
    other = Workspace.objects.create(name="Other")
    response = staff.post(reverse(ADD), form(other, contact=str(ada.pk)))
    assert response.status_code == 200
    assert not Event.objects.filter(name="paid").exists()


def test_an_event_is_never_changed_or_deleted(staff, rows):
    event = rows.events[0]
    assert staff.post(reverse("admin:events_event_change", args=[event.pk]), {"name": "x"}).status_code == 403
    assert (
        staff.post(reverse("admin:events_event_delete", args=[event.pk]), {"post": "yes"}).status_code == 403
    )


def test_the_stream_is_read_newest_first_by_its_primary_key(staff, workspace, rows):
    with CaptureQueriesContext(connection) as queries:
        response = staff.get(reverse("admin:events_event_changelist"))
    listed = [event.pk for event in response.context["cl"].result_list]
    assert listed == sorted((event.pk for event in rows.events), reverse=True)
    reads = [query["sql"] for query in queries if 'FROM "events_event"' in query["sql"]]
    assert reads
    for sql in reads:
        assert f'"events_event"."workspace_id" = \'{workspace.pk.hex}\'' in sql
        assert "LIMIT" in sql
    assert "contacts_identifier" not in reads[0]


@pytest.mark.parametrize(
    ("query", "found"),
    [({"q": "e1"}, 1), ({"q": "a2@example.com"}, 2), ({"name": "e0"}, 0), ({"q": "L1"}, 1)],
)
def test_events_are_found(staff, rows, query, found):
    response = staff.get(reverse("admin:events_event_changelist"), query)
    assert [event.pk for event in response.context["cl"].result_list] == [rows.events[found].pk]


def test_counts_stop_at_a_limit(staff, workspace, monkeypatch):
    monkeypatch.setattr("workspaces.staff.pagination.COUNT_LIMIT", 5)
    fill(workspace, 7)
    response = staff.get(reverse("admin:events_event_changelist"))
    assert response.context["cl"].result_count == 5


def test_a_definition_is_deleted_softly(staff, rows):
    definition = EventDefinition.objects.get(name="e1")
    page = reverse("admin:events_eventdefinition_delete", args=[definition.pk])
    assert staff.get(page).status_code == 200
    assert staff.post(page, {"post": "yes"}).status_code == 302
    definition.refresh_from_db()
    assert definition.deleted_at is not None


def test_parked_effects_are_retried(staff, rows):
    chosen = [str(parked.pk) for parked in ParkedEffect.objects.all()[:2]]
    response = staff.post(
        reverse("admin:events_parkedeffect_changelist"),
        {"action": "retry", "_selected_action": chosen},
        follow=True,
    )
    assert b"2 parked effects will be applied again." in response.content
    assert ParkedEffect.objects.count() == 1


def test_the_stream_is_in_the_order_of_the_time_that_is_shown(staff, workspace, ada):
    now = clock.now()
    for place, ahead in enumerate([200, 0, 100, None, 50, 0]):
        at = None if ahead is None else now + timedelta(seconds=ahead)
        sent = IncomingEvent(
            "paid",
            ContactReference(id=str(ada.pk)),
            {"n": place},
            occurred_at=at,
            message_id="" if at is None else str(place),
        )
        record_events(workspace.id, [sent], schema_policy=SchemaPolicy.OPEN)
    page = f"{reverse('admin:events_event_changelist')}?q=paid"

    listed = staff.get(page).context["cl"].result_list

    shown = [event.occurred_at.replace(microsecond=0) for event in listed]
    assert len(shown) == 6
    assert shown == sorted(shown, reverse=True)
    whole = [event.pk for event in listed]
    section = staff.get(reverse("admin:contacts_contact_change", args=[ada.pk])).content.decode()
    found = sorted(whole, key=lambda pk: section.index(str(pk)))
    assert found == whole
