"""Which requests whose connection broke are answered once more, through the application that the server calls."""

import io
import sys
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.db import connection, connections, transaction

from campaigns.messaging.tracking_links import click_url
from campaigns.models import Message
from config import clock, wsgi
from config.db.backend.connection import BoundedConnection
from config.db.connection_slots import ConnectionPool
from events.api import filters
from events.models import Event
from tests.config.db.test_connection_slots import in_thread
from tests.contacts.factories import a_contact
from tests.workspaces.factories import WorkspaceFactory, a_key
from workspaces.models import Workspace

pytestmark = pytest.mark.django_db(transaction=True)

LONG_SECONDS, SHORT_SECONDS = 60, 2
BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


@pytest.fixture(autouse=True)
def pool(monkeypatch):
    monkeypatch.setattr(connections, "create_connection", connections.create_connection)
    pool = ConnectionPool(2, request_seconds=LONG_SECONDS)
    monkeypatch.setattr(wsgi, "_pool", pool)
    yield pool
    pool.close()


def get(path: str, secret: str = "") -> int:
    """Have a request answered in a thread of its own, and return its status."""
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "testserver",
        "HTTP_USER_AGENT": BROWSER,
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
    }
    if secret:
        environ["HTTP_AUTHORIZATION"] = f"Bearer {secret}"
    statuses: list[str] = []

    def answer() -> int:
        wsgi.application(environ, lambda status, headers, *_: statuses.append(status))
        return int(statuses[-1][:3])

    status: int = in_thread(answer)
    return status


@pytest.fixture
def asked(monkeypatch):
    """Have the list of events do what a test says, and count how often."""
    asked: list[Any] = []

    def act_by(act):
        def list_events(*_, **__):
            asked.append(act)
            act(len(asked))
            return []

        monkeypatch.setattr(filters, "list_events", list_events)
        return asked

    return act_by


@pytest.fixture
def events():
    workspace = WorkspaceFactory.create()
    return f"/api/workspaces/{workspace.id}/events", a_key(workspace).secret


def cut() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")


def test_who_only_reads_is_answered_by_another_connection(events, asked):
    times = asked(lambda number: cut() if number == 1 else None)
    assert get(*events) == 200
    assert len(times) == 2


def test_whose_time_is_over_is_not_answered_again(events, asked, pool):
    pool._request_seconds = SHORT_SECONDS

    def sleep(_):
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(20)")

    times = asked(sleep)
    assert get(*events) == 503
    assert len(times) == 1


def test_a_transaction_that_is_cut_short_by_the_time_leaves_nothing_behind(events, asked, pool):
    @transaction.atomic
    def write_and_sleep(number):
        with connection.cursor() as cursor:
            cursor.execute("UPDATE workspaces_workspace SET name = 'changed'")
            if number == 1:
                cursor.execute("SELECT pg_sleep(20)")

    asked(write_and_sleep)
    pool._request_seconds = SHORT_SECONDS
    assert get(*events) == 503
    pool._request_seconds = LONG_SECONDS
    assert not Workspace.objects.filter(name="changed").exists()
    # Whoever has the connection next waits for no lock.
    assert get(*events) == 200
    assert Workspace.objects.filter(name="changed").exists()
    assert len(pool._free) == 2


def test_the_second_time_ends_when_the_first_would_have(events, asked):
    deadlines: list[float] = []

    def act(number):
        connection.ensure_connection()
        deadlines.append(connections["default"].deadline)
        if number == 1:
            cut()

    asked(act)
    assert get(*events) == 200
    assert len(deadlines) == 2
    assert deadlines[0] == deadlines[1]


def test_a_click_whose_commit_got_through_is_noted_once(monkeypatch):
    workspace = WorkspaceFactory.create()
    message = Message.objects.create(
        workspace=workspace,
        contact=a_contact(workspace, "jane@example.test"),
        key="1",
        channel="email",
        address="jane@example.test",
        status=Message.Status.SENT,
        sent_at=clock.now() - timedelta(minutes=5),
    )
    path = click_url(message.pk, "https://shop.test/").removeprefix("http://localhost:8000")
    commit = BoundedConnection.commit
    cuts: list[int] = []

    def lose_the_answer(self):
        commit(self)
        if not cuts:
            cuts.append(self.info.backend_pid)
            self.close()
            raise psycopg.OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(BoundedConnection, "commit", lose_the_answer)
    assert get(path) == 503
    assert cuts
    assert Event.objects.filter(workspace_id=workspace.id, name="message.click").count() == 1
