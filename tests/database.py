"""The test databases: copies of a template, emptied by hand.

A template is made once for each state of the migrations and stays in the server, so that later runs copy it
at once. After a test that commits only what it filled is emptied: Django's own flush truncates every table
with all partitions and makes permissions and content types anew, which takes a hundred times as long.
"""

import hashlib
from pathlib import Path

from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.test import TransactionTestCase

from config import clock
from config.management.commands.prepare import load_initial_schema
from config.runtime.postgres.schema import migrations_on_disk

PREFIX = "headrace_template_"
KEPT = ("django_migrations", "django_content_type", "auth_permission")
"""Tables that stay as the migrations made them."""


def create_from_template() -> None:
    """Create this process's test database as a copy of the template."""
    name = f"{PREFIX}{digest_of_schema()}"
    creation = connection.creation
    with creation._nodb_cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(hashtext(%s))", [PREFIX])
        if not creation._database_exists(cursor, name):
            cursor.execute("SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [PREFIX])
            for (former,) in cursor.fetchall():
                cursor.execute(f"DROP DATABASE {former} WITH (FORCE)")
            draft = f"{PREFIX}draft"
            cursor.execute(f"CREATE DATABASE {draft}")
            _migrate(draft)
            cursor.execute(f"ALTER DATABASE {draft} RENAME TO {name}")
    connection.settings_dict["TEST"]["TEMPLATE"] = name
    creation._destroy_test_db = _drop_with_sessions


def _drop_with_sessions(name: str, verbosity: int) -> None:
    """Drop the test database, even if a thread that a test has left behind is still connected."""
    with connection.creation._nodb_cursor() as cursor:
        cursor.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def wait_for_no_disk() -> None:
    """Turn synchronous_commit off in this process's test database."""
    with connection.cursor() as cursor:
        cursor.execute(f'ALTER DATABASE "{connection.settings_dict["NAME"]}" SET synchronous_commit = off')
    connection.close()


def empty(_: TransactionTestCase | None = None, large_bytes: int = 1_000_000) -> None:
    """Remove what a test committed: small tables by DELETE, which keeps their files and indexes.

    Whoever still writes is waited for. The tables are asked, for the server's own counts come late. The
    constraints are all deferred until nothing remains that could break one.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            DO $$
            DECLARE
                tables text[] := ARRAY(
                    SELECT oid::regclass::text FROM pg_class
                    WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname NOT IN {KEPT}
                );
                filled text[];
                name text;
            BEGIN
                EXECUTE format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', array_to_string(tables, ', '));
                EXECUTE format('SELECT ARRAY(%s)', (
                    SELECT string_agg(format('(SELECT %L FROM %s LIMIT 1)', one, one), ' UNION ALL ')
                    FROM unnest(tables) one
                )) INTO filled;
                FOREACH name IN ARRAY filled
                LOOP
                    IF pg_relation_size(name::regclass) > {large_bytes} THEN
                        EXECUTE format('TRUNCATE %s CASCADE', name);
                    ELSE
                        EXECUTE format('DELETE FROM %s', name);
                    END IF;
                END LOOP;
            END $$
            """
        )


def digest_of_schema(*files: Path) -> str:
    """Return a hash of migrations, these files and the month, on which partitions depend."""
    digest = hashlib.sha256(f"{clock.now():%Y-%m}".encode())
    for migration, path in sorted(migrations_on_disk().items()):
        digest.update(repr(migration).encode() + path.read_bytes())
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _migrate(database: str) -> None:
    usual = connection.settings_dict["NAME"]
    connection.close()
    connection.settings_dict["NAME"] = database
    if settings.DATABASES["default"]["ENGINE"] == "config.runtime.postgres.backend":
        load_initial_schema()
    call_command("migrate", interactive=False, verbosity=0)
    connection.close()
    connection.settings_dict["NAME"] = usual
