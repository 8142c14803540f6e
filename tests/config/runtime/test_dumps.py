"""A dump has all of the database, and goes into an empty one only, wholly or not at all."""

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from contacts.models import Contact
from events.models import Event
from tests.config.runtime.test_schema import parameters, scratch  # noqa: F401  # a fixture
from tests.contacts.factories import a_contact
from tests.segments.factories import tell

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def dump(tmp_path):
    """Dump a database in which somebody did something."""
    ada = a_contact(email="ada@example.test", first_name="Ada")
    tell(ada.workspace, ada, "go")
    call_command("dump_database", str(tmp_path / "dump"))
    return tmp_path / "dump"


def test_what_was_dumped_is_restored(dump, request, capsys):
    counts = Contact.objects.count(), Event.objects.count()
    assert counts == (1, 2)
    assert dump.stat().st_mode & 0o077 == 0
    request.getfixturevalue("scratch")

    call_command("restore_database", str(dump))

    assert (Contact.objects.count(), Event.objects.count()) == counts
    assert Contact.objects.get().first_name == "Ada"
    a_contact(email="bob@example.test")
    with pytest.raises(CommandError, match="not empty"):
        call_command("restore_database", str(dump))


def test_of_a_file_that_ends_early_nothing_is_restored(dump, request):
    dump.write_bytes(dump.read_bytes()[: dump.stat().st_size * 3 // 4])
    request.getfixturevalue("scratch")
    with pytest.raises(CommandError, match="pg_restore: error"):
        call_command("restore_database", str(dump))
    with psycopg.connect(**parameters(connection.settings_dict["NAME"])) as own:
        found = own.execute("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace")
        assert found.fetchone() == (0,)


def test_a_dump_that_fails_leaves_the_former_one(dump, monkeypatch):
    before = dump.read_bytes()
    given = {**connection.get_connection_params(), "dbname": "nowhere"}
    monkeypatch.setattr(connection, "get_connection_params", lambda: given)
    with pytest.raises(CommandError, match="nowhere"):
        call_command("dump_database", str(dump))
    assert dump.read_bytes() == before
