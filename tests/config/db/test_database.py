"""What is in the test database when a test begins."""

import pytest
from django.db import connection

from tests import database
from tests.admin.rows import fill
from tests.workspaces.factories import WorkspaceFactory

pytestmark = pytest.mark.django_db(transaction=True)


def filled() -> set[str]:
    with connection.cursor() as cursor:
        found = set()
        for name in connection.introspection.table_names(cursor):
            cursor.execute(f"SELECT EXISTS (SELECT FROM {name})")
            if cursor.fetchone() == (True,):
                found.add(name)
    return found


@pytest.mark.parametrize("large_bytes", [1_000_000, 0])
def test_what_a_test_commits_is_taken_away(large_bytes):
    kept = set(database.KEPT)
    assert filled() == kept
    fill(WorkspaceFactory(), 3)
    assert len(filled() - kept) > 30
    database.empty(large_bytes=large_bytes)
    assert filled() == kept
