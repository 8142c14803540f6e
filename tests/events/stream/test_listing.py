"""Pages of events: complete when times are equal and while events come, and read from an index."""

import itertools
from datetime import timedelta

import pytest
from django.db import connection

from config import clock
from config.ids import uuid7
from events.models import Event
from events.stream.queries import bounded_count, events_of
from tests.contacts.factories import ContactFactory
from tests.native import NativeClient
from tests.plans import rows_read
from tests.workspaces.factories import WorkspaceFactory

pytestmark = pytest.mark.django_db

MANY = 3_000
READ_AT_MOST = 40
"""Rows that a statement may read for a page of five."""


@pytest.fixture
def workspace():
    return WorkspaceFactory()


@pytest.fixture
def api(workspace):
    return NativeClient(workspace)


def fill(workspace, count, *, contact=None, name="seen", apart=timedelta(0)):
    moments = [clock.now() - timedelta(hours=1) + n * apart for n in range(count)]
    return Event.objects.bulk_create(
        Event(id=uuid7(at), workspace=workspace, contact=contact, name=name, occurred_at=at) for at in moments
    )


def pages(api, **parameters):
    before = {}
    while page := [row["id"] for row in api.get("events", **parameters, **before).json()]:
        yield page
        before = {"before": page[-1]}


@pytest.mark.parametrize("limit", [1, 3, 10])
def test_events_of_one_moment_are_each_on_one_page(api, workspace, limit):
    ids = {str(event.id) for event in fill(workspace, 10)}

    found = list(itertools.chain(*pages(api, limit=limit)))

    assert len(found) == 10
    assert set(found) == ids
    assert found == sorted(ids, reverse=True)


def test_events_that_come_while_pages_are_turned_shift_none(api, workspace):
    ids = {str(event.id) for event in fill(workspace, 12, apart=timedelta(seconds=1))}
    seen = []
    for page in pages(api, limit=5):
        seen += page
        api.post("events", {"type": "newer"})

    assert set(seen) == ids
    assert len(seen) == 12


def test_every_filter_is_read_from_an_index(api, workspace):
    contact = ContactFactory(workspace=workspace)
    fill(workspace, MANY, apart=timedelta(seconds=1))
    fill(workspace, MANY, contact=contact, name="bought", apart=timedelta(seconds=1))
    rare = fill(workspace, 3, name="rare")
    _analyze()
    middle = str(Event.objects.filter(workspace=workspace).order_by("id")[MANY].id)
    for asked in (
        {},
        {"type": "seen"},
        {"type": "rare"},
        {"type": "never"},
        {"contactId": str(contact.id)},
        {"contactId": str(contact.id), "type": "bought"},
        {"contactId": str(contact.id), "type": "rare"},
        {"contactId": str(ContactFactory(workspace=workspace).id)},
    ):
        for before in ({}, {"before": middle}, {"before": str(rare[0].id)}):
            for sql, rows in rows_read(lambda: api.get("events", limit=5, **asked, **before)).items():  # noqa: B023
                assert rows <= READ_AT_MOST, f"{asked} {before}: {rows} rows by {sql}"


def test_a_list_is_planned_for_whom_it_is_of(api, workspace):
    """A plan for all contacts alike would sort a busy one's events; so no such statement is ever prepared."""
    contact = ContactFactory(workspace=workspace)
    for _ in range(8):
        api.get("events", contactId=str(contact.id))
        api.get("contacts", search="a")
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT statement FROM pg_prepared_statements WHERE statement LIKE '%%LIMIT%%'"
            " AND (statement LIKE '%%FROM \"events_event\"%%' OR statement LIKE '%%FROM \"contacts_contact\"%%')"
        )
        assert cursor.fetchall() == []
        cursor.execute("SELECT count(*) FROM pg_prepared_statements")
        assert cursor.fetchone()[0] > 0


def test_a_count_above_the_bound_is_kept(workspace, monkeypatch, django_assert_num_queries):
    monkeypatch.setattr("events.stream.queries.EXACT_UP_TO", 4)
    fill(workspace, 6)
    events = events_of(workspace.id)

    assert bounded_count(events, f"test {workspace.id}") >= 5
    with django_assert_num_queries(0):
        assert bounded_count(events, f"test {workspace.id}") >= 5


def _analyze():
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
