"""What is asked of a web process from outside: whether it lives, whether it is ready."""

import json
import threading

import psycopg
import pytest
from django.conf import settings as django_settings
from django.db import connection
from django.test import Client

from config.http import readiness
from config.runtime import broker
from config.runtime.postgres.schema import migrations_on_disk


@pytest.fixture(autouse=True)
def _nothing_looked_at(monkeypatch):
    """TimedProbe anew in each test."""
    monkeypatch.setattr(readiness, "FRESH_SECONDS", 0.0)


def ready(**headers: str):
    answer = Client().get("/readyz", headers=headers)
    return answer.status_code, answer.json()


@pytest.mark.parametrize("path", ["/livez", "/api/health"])
@pytest.mark.parametrize("host", ["10.0.0.7:8000", "nobody.example", "bad_host!", ""])
def test_a_sign_of_life_needs_no_database_and_no_known_host(settings, path, host):
    settings.ALLOWED_HOSTS = ["headrace.example"]
    settings.SECURE_SSL_REDIRECT = True
    answer = Client().get(path, headers={"host": host})
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")


@pytest.mark.django_db(transaction=True)
def test_it_is_ready_when_all_parts_are(settings):
    settings.ALLOWED_HOSTS = ["headrace.example"]
    settings.SECURE_SSL_REDIRECT = True
    assert ready(host="10.0.0.7") == (
        200,
        {"status": "ready", "checks": {"database": "ok", "migrations": "ok", "broker": "ok"}},
    )


@pytest.mark.django_db(transaction=True)
def test_a_migration_that_was_not_applied_is_told():
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'sessions' RETURNING app, name, applied")
        row = cursor.fetchone()
    try:
        status, body = ready()
    finally:
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO django_migrations (app, name, applied) VALUES (%s, %s, %s)", row)
    assert status == 503
    assert body == {
        "error": "Not ready: migrations",
        "status": "not ready",
        "checks": {"database": "ok", "migrations": "1 unapplied", "broker": "ok"},
    }


def test_what_cannot_be_reached_is_told_without_its_address(monkeypatch, caplog):
    monkeypatch.setattr(broker, "django_conninfo", lambda: "host=/nowhere user=secret connect_timeout=1")
    answer = Client().get("/readyz")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert answer.json() == {
        "error": "Not ready: database, migrations, broker",
        "status": "not ready",
        "checks": {"database": "unreachable", "migrations": "unknown", "broker": "unreachable"},
    }
    assert [record.exc_info for record in caplog.records] == [None, None]
    assert all("\n" not in record.getMessage() for record in caplog.records)


def test_a_database_that_does_not_answer_holds_neither_the_request_nor_a_second_thread(monkeypatch):
    may_go_on = threading.Event()
    connects = []

    def hang():
        connects.append(1)
        may_go_on.wait(30)
        raise psycopg.OperationalError

    monkeypatch.setattr(broker, "django_conninfo", hang)
    monkeypatch.setattr(readiness, "WAIT_SECONDS", 0.05)
    try:
        answers = [ready() for _ in range(5)]
        assert len(connects) == 2  # the database's and the broker's
    finally:
        may_go_on.set()
        readiness.WAIT_SECONDS = 30.0
        readiness.state()
    for status, body in answers:
        assert status == 503
        assert body["checks"]["database"].startswith("no answer")
        assert body["checks"]["broker"].startswith("no answer")


@pytest.mark.django_db(transaction=True)
def test_migrations_are_named_without_loading_them(monkeypatch):
    migrations_on_disk.cache_clear()
    monkeypatch.setattr("django.db.migrations.loader.MigrationLoader.load_disk", lambda self: 1 / 0)
    assert ready()[0] == 200
    assert {"admin", "workspaces", "events", "campaigns"} <= {app for app, _ in migrations_on_disk()}


def test_the_document_knows_them():
    document = json.loads(Client().get("/api/openapi").content)
    for path in ("/livez", "/readyz", "/api/health"):
        assert not document["paths"][path]["get"].get("security")
    assert set(document["paths"]["/readyz"]["get"]["responses"]) == {"200", "503"}
    assert django_settings.MIDDLEWARE[0] == "workspaces.api.probes.serve_probes_first"
