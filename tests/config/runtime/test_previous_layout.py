"""A database that other migrations made is refused by all that would work on it, and is as it was afterwards."""

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

from config.http import readiness
from config.runtime import broker
from config.runtime.layouts import SHORT, layout_problem, require_layout
from config.runtime.postgres.schema import migrations_on_disk
from workspaces.models import Workspace

ROOT = Path(__file__).resolve().parents[3]
FORMER = ("campaigns", "0002_decisions_of_a_former_layout")
LATEST = max(one for one in migrations_on_disk() if one[0] == "campaigns")
TOLD = rf"^The database is of another layout: .* \(campaigns\.{FORMER[1]}\)\. Nothing was changed\. Dump it .*\.$"
pytestmark = pytest.mark.django_db(transaction=True)


def rows():
    with connection.cursor() as cursor:
        cursor.execute("SELECT id, app, name, applied FROM django_migrations ORDER BY id")
        return cursor.fetchall()


@pytest.fixture
def former():
    """Have the database be one that a migration of before made, and lack one of now."""
    before = rows()
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE django_migrations SET name = %s WHERE app = %s AND name = %s", [FORMER[1], *LATEST]
        )
    yield rows()
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations")
        cursor.executemany(
            "INSERT INTO django_migrations (id, app, name, applied) VALUES (%s, %s, %s, %s)", before
        )


@pytest.mark.parametrize("arguments", [[], ["campaigns"], ["--fake"], ["--plan"]], ids=str)
def test_migrate_refuses_it_and_changes_nothing(former, arguments):
    with pytest.raises(CommandError, match=TOLD) as caught:
        call_command("migrate", *arguments, interactive=False, verbosity=0)
    assert caught.value.returncode == 1
    assert rows() == former


def test_prepare_refuses_it_and_changes_nothing(former):
    with pytest.raises(CommandError, match=TOLD):
        call_command("prepare")
    assert rows() == former
    assert not Workspace.objects.exists()


def test_it_is_not_ready(former, monkeypatch):
    monkeypatch.setattr(readiness, "FRESH_SECONDS", 0.0)
    assert readiness.state() == {"database": "ok", "migrations": SHORT, "broker": "ok"}


@pytest.mark.parametrize(
    "program",
    [
        ["-m", "config.runtime.granian", "--port", "0"],
        ["-m", "celery", "-A", "config", "worker", "--pool", "solo"],
    ],
    ids=["web", "worker"],
)
def test_neither_web_nor_worker_starts_on_it(former, program):
    given = psycopg.conninfo.conninfo_to_dict(broker.django_conninfo())
    address = f"postgres://{given['user']}:{given.get('password', '')}@/{given['dbname']}"
    url = f"{address}?host={given['host']}&port={given['port']}"
    done = subprocess.run(
        [sys.executable, *program],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert [line for line in done.stderr.splitlines() if SHORT in line] == done.stderr.splitlines()
    assert FORMER[1] in done.stderr


def test_a_database_that_does_not_answer_ends_no_process(monkeypatch):
    monkeypatch.setattr(broker, "django_conninfo", lambda: "host=/nowhere user=nobody connect_timeout=1")
    require_layout()


def test_a_newer_an_older_and_an_empty_database_are_no_trouble():
    all_of_ours = set(migrations_on_disk())
    assert layout_problem(all_of_ours) == ""
    assert layout_problem({*all_of_ours, ("events", "9999_newer")}) == ""
    assert layout_problem(all_of_ours - {LATEST}) == ""
    assert layout_problem(set()) == ""
    # What is not ours may have come and gone.
    assert layout_problem({*all_of_ours - {LATEST}, ("gone", "0001_initial")}) == ""
    assert layout_problem({*all_of_ours - {("sessions", "0001_initial")}, ("events", "9999_newer")}) == ""


def test_how_many_are_unknown_is_told():
    told = layout_problem({FORMER, ("campaigns", "0003_of_then"), ("events", "0002_of_then")})
    assert f"(campaigns.{FORMER[1]} and 2 more)" in told
    assert "\n" not in told


def test_a_further_migration_is_applied_as_ever():
    before = rows()
    MigrationRecorder(connection).record_unapplied("sessions", "0001_initial")
    call_command("migrate", "sessions", fake=True, interactive=False, verbosity=0)
    assert {row[1:3] for row in rows()} == {row[1:3] for row in before}
