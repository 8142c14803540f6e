"""The partitions of the stream: made as they are needed, whatever the order of the catalogue's rows."""

from datetime import UTC, datetime

import pytest
from django.db import connection

from events.stream.partitions import ensure_partitions
from tests.contacts.factories import a_contact

pytestmark = pytest.mark.django_db


def partitions() -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'events_event'::regclass"
        )
        return {name for (name,) in cursor.fetchall()}


def test_the_horizon_is_that_of_the_table_and_not_of_its_indexes():
    a_contact()
    (oldest,) = [name for name in partitions() if "before" in name]
    with connection.cursor() as cursor:
        # A change of the table's row puts it behind those of its indexes.
        for fillfactor in range(50, 90):
            cursor.execute(f"ALTER TABLE {oldest} SET (fillfactor = {fillfactor})")
    before = partitions()

    ensure_partitions([datetime(2097, 3, 1, tzinfo=UTC), datetime(1997, 3, 1, tzinfo=UTC)])

    assert partitions() - before == {"events_event_y2097m03"}
