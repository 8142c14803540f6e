"""A new embedded database begins with a script; it is what the migrations make."""

import json
import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from psycopg import sql

from config.management.commands.prepare import load_initial_schema, unapplied_migrations
from config.runtime.postgres import schema
from config.runtime.postgres.schema import SCHEMA, dump_schema, load_schema, migrations_on_disk

SCRATCH = "test_headrace_schema"
ROOT = Path(__file__).resolve().parents[3]
pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(
        settings.DATABASES["default"]["ENGINE"] != "config.runtime.postgres.backend",
        reason="for the embedded server only",
    ),
]


def parameters(database: str) -> dict[str, object]:
    given = connection.get_connection_params()
    return {name: given[name] for name in ("host", "port", "user", "password")} | {"dbname": database}


@pytest.fixture
def scratch():
    """Make an empty database and have Django use it."""
    migrated = connection.settings_dict["NAME"]
    with psycopg.connect(**parameters("postgres"), autocommit=True) as admin:
        name = sql.Identifier(SCRATCH)
        admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
        admin.execute(sql.SQL("CREATE DATABASE {}").format(name))
        connection.close()
        connection.settings_dict["NAME"] = SCRATCH
        yield migrated
        connection.close()
        connection.settings_dict["NAME"] = migrated
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


def test_it_is_what_the_migrations_make(scratch):
    assert connection.settings_dict["NAME"] == SCRATCH
    call_command("migrate", interactive=False, verbosity=0)
    made = dump_schema(parameters(SCRATCH))
    assert made == SCHEMA.read_text()
    # The test database has begun with the script.
    assert made == dump_schema(parameters(scratch))


def test_what_was_not_applied_is_found(scratch):
    assert unapplied_migrations() == set(migrations_on_disk())
    load_initial_schema()
    call_command("migrate", interactive=False, verbosity=0)
    assert unapplied_migrations() == set()
    MigrationRecorder(connection).record_unapplied("sessions", "0001_initial")
    assert unapplied_migrations() == {("sessions", "0001_initial")}
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_inherits WHERE inhparent = 'events_event'::regclass")
        assert cursor.fetchone()[0] == 15


def test_it_is_used(scratch):
    with psycopg.connect(**parameters(SCRATCH)) as own:
        assert load_schema(own, SCHEMA.read_text())
        assert not load_schema(own, SCHEMA.read_text())


@pytest.mark.parametrize("change", ["edited", "gone"])
def test_it_is_left_alone_when_a_migration_is_not_what_it_was(scratch, change, tmp_path, monkeypatch):
    on_disk = dict(migrations_on_disk())
    if change == "gone":
        del on_disk["events", "0001_initial"]
    else:
        path = tmp_path / "0001_initial.py"
        path.write_bytes(on_disk["events", "0001_initial"].read_bytes() + b"\n")
        on_disk["events", "0001_initial"] = path
    monkeypatch.setattr(schema, "migrations_on_disk", lambda: on_disk)
    with psycopg.connect(**parameters(SCRATCH)) as own:
        assert not load_schema(own, SCHEMA.read_text())
        assert own.execute("SELECT to_regclass('django_migrations')").fetchone() == (None,)


@pytest.mark.slow
def test_prepare_may_be_run_again_and_tells_the_same(tmp_path):
    environment = {**os.environ, "HEADRACE_HOME": str(tmp_path)}
    environment.pop("DATABASE_URL", None)
    told = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "manage.py", "prepare"],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stderr == ""
        told.append(json.loads(done.stdout)["prepared"])
    assert told[0]["demo"]["user"].pop("password")
    assert told[0] == told[1]
    assert told[0]["demo"] == json.loads((tmp_path / "demo.json").read_text())
