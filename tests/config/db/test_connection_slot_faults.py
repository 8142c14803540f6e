"""Whatever happens to requests, what they had of the process is all there again afterwards."""

import gc
import io
import random
import sys
import threading
from collections import deque
from typing import Any

import pytest
from django.db import OperationalError, connection, connections
from django.db.backends.utils import CursorWrapper

from config import wsgi
from config.db.connection_slots import ConnectionPool
from config.errors import Overloaded
from config.http import spooled_responses
from config.http.spooled_responses import SpooledResponse
from events.stream import group_commit
from events.stream.group_commit import GroupCommit
from tests.contacts.factories import a_contact
from tests.scale import scaled
from tests.workspaces.factories import WorkspaceFactory, a_key

CONNECTIONS, RESERVED, PLACES, THREADS = 3, 1, 10, 12
REQUESTS = scaled(240, 500)
"""Of all threads together."""
SECONDS = 120


class Gone(BaseException):
    """What nobody catches."""


@pytest.fixture
def pool(monkeypatch):
    monkeypatch.setattr(connections, "create_connection", connections.create_connection)
    pool = ConnectionPool(
        CONNECTIONS,
        ingest=RESERVED,
        share=2,
        wait_seconds=0.1,
        most_waiting=3,
        most_of_workspace=4,
        request_seconds=1.0,
    )
    writers = GroupCommit(
        writers=1, linger_seconds=0, most_events=100, most_bytes=10**6, most_waiting=5, wait_seconds=5
    )
    monkeypatch.setattr(wsgi, "_pool", pool)
    monkeypatch.setattr(wsgi, "_places", deque(range(PLACES)))
    monkeypatch.setattr(group_commit, "_process", writers)
    monkeypatch.setattr(spooled_responses, "WHOLE_BYTES", 10)
    monkeypatch.setattr(spooled_responses, "_slots", threading.BoundedSemaphore(2))
    yield pool
    writers.close()
    pool.close()


class Faults:
    """Befall one statement in so many."""

    def __init__(self, monkeypatch: Any) -> None:
        self.one_in = 6
        self.seen: set[str] = set()
        execute = CursorWrapper.execute

        def faulty(cursor: Any, statement: Any, parameters: Any = None) -> Any:
            if self.one_in and random.random() < 1 / self.one_in:
                fault = random.choice(("lost", "cut", "slow", "ours", "gone", "full", "state"))
                self.seen.add(fault)
                getattr(self, fault)(lambda text: execute(cursor, text))
            return execute(cursor, statement, parameters)

        monkeypatch.setattr(CursorWrapper, "execute", faulty)

    def lost(self, _: Any) -> None:
        raise OperationalError("lost")

    def cut(self, execute: Any) -> None:
        execute("SELECT pg_terminate_backend(pg_backend_pid())")

    def slow(self, execute: Any) -> None:
        execute("SELECT pg_sleep(0.05)")

    def ours(self, _: Any) -> None:
        raise ZeroDivisionError

    def gone(self, _: Any) -> None:
        raise Gone

    def full(self, _: Any) -> None:
        raise Overloaded

    def state(self, execute: Any) -> None:
        execute("SELECT 1 / 0")


class BrokenBody(io.RawIOBase):
    """A client that is gone in the middle."""

    def read(self, size: int = -1) -> bytes:
        raise OSError("gone")


def environ(method: str, path: str, secret: str, body: bytes | None) -> dict[str, Any]:
    path, _, query = path.partition("?")
    return {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "testserver",
        "HTTP_AUTHORIZATION": f"Bearer {secret}",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": "9" if body is None else str(len(body)),
        "wsgi.url_scheme": "http",
        "wsgi.input": BrokenBody() if body is None else io.BytesIO(body),
        "wsgi.errors": sys.stderr,
    }


def ask_at_random(requests: list[Any], answers: set[int]) -> None:
    """Have one request answered, and do with the answer what clients do."""
    statuses: list[str] = []
    try:
        answer = wsgi.application(
            environ(*random.choice(requests)),
            lambda status, headers, *_: statuses.append(status),
        )
    except Gone:
        answers.add(0)
        return
    except OSError:
        return
    answers.add(int(statuses[-1][:3]))
    if isinstance(answer, SpooledResponse) and random.random() < 0.7:
        if random.random() < 0.5:
            b"".join(answer)
        answer.close()


# Of Django's, which closes a cursor for what it expects only.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.django_db(transaction=True)
def test_nothing_is_lost_by_any_fault(pool, monkeypatch):
    requests: list[Any] = []
    for name in ("ada", "bob"):
        workspace = WorkspaceFactory.create()
        key = a_key(workspace).secret
        contact = a_contact(workspace, f"{name}@example.test")
        root = f"/api/workspaces/{workspace.id}"
        event = b'{"type": "x", "contactId": "%s"}' % str(contact.id).encode()
        requests += [
            ("GET", f"{root}/contacts", key, b""),
            ("GET", f"{root}/events", key, b""),
            ("GET", f"{root}/contacts/{contact.id}/export", key, b""),
            ("POST", f"{root}/contacts", key, b'{"email": "%s-2@example.test"}' % name.encode()),
            ("POST", f"{root}/events", key, event),
            ("POST", f"{root}/events", key, b"{"),
            ("POST", f"{root}/events", key, None),
            ("POST", "/v4/track", key, b'{"eventName": "x", "contact": {"email": "c@example.test"}}'),
            ("GET", f"{root}/events", "hr_nobody", b""),
        ]
    requests += [
        ("GET", path, "", b"")
        for path in ("/livez", "/admin/login/", "/admin/", "/none", "/api/none", "/oauth2/authorize/", "/c/x")
    ]
    requests += [
        ("POST", "/api/auth/token", "", b'{"username": "nobody", "password": "nothing"}'),
        ("POST", "/oauth2/token/", "", b"{}"),
    ]
    faults = Faults(monkeypatch)
    answers: set[int] = set()

    def ask_often() -> None:
        for _ in range(REQUESTS // THREADS):
            ask_at_random(requests, answers)

    threads = [threading.Thread(target=ask_often, daemon=True) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
        assert not thread.is_alive()
    faults.one_in = 0
    gc.collect()

    assert len(faults.seen) == 7
    assert {0, 200, 201, 404, 500, 503} <= answers
    assert (pool._held, pool._present, pool.waiting) == ({}, {}, 0)
    assert (len(pool._free), len(pool._reserved)) == (CONNECTIONS, RESERVED)
    assert sorted(wsgi._places) == list(range(PLACES))
    assert [spooled_responses._slots.acquire(blocking=False) for _ in range(3)] == [True, True, False]
    for one, _ in [*pool._free, *pool._reserved]:
        assert (one.in_atomic_block, one.checkout, one.line is None or one.line.deadline is None) == (
            False,
            None,
            True,
        )
    usual = settings_of(connection)
    for one, _ in [*pool._free, *pool._reserved]:
        one.close_if_unusable_or_obsolete()
        assert settings_of(one) == usual


def settings_of(one: Any) -> list[Any]:
    """Return what a session may have left behind: settings, advisory locks, temporary tables, open cursors."""
    with one.cursor() as cursor:
        cursor.execute(
            "SELECT array(SELECT name || '=' || setting FROM pg_settings WHERE source = 'session' ORDER BY 1),"
            " (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()),"
            " (SELECT count(*) FROM pg_class WHERE relnamespace = pg_my_temp_schema()),"
            " (SELECT count(*) FROM pg_cursors WHERE is_holdable)"
        )
        return list(cursor.fetchone())
