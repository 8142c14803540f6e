"""What is answered whether a database connection is free or not."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.test import RequestFactory

from config import wsgi
from config.http import readiness
from workspaces.api import openapi_views

SECONDS = 30
EVENTS = "/api/workspaces/00000000-0000-7000-8000-000000000000/events"


@pytest.fixture
def free():
    """Yield the connections that requests are lent; close those that the test made."""
    yield wsgi._pool._free
    assert len(wsgi._pool._free) == wsgi.settings.WEB_THREADS
    for connection, _ in wsgi._pool._free:
        connection.close()


def get(path: str, **headers: str) -> int:
    """Have a request answered as granian has it; return the status."""
    environ: dict[str, Any] = RequestFactory().get(path, headers=headers).environ
    statuses: list[str] = []
    wsgi.application(environ, lambda status, headers, *_: statuses.append(status))
    return int(statuses[0][:3])


def get_in_time(path: str) -> int:
    answers: list[int] = []
    thread = threading.Thread(target=lambda: answers.append(get(path)), daemon=True)
    thread.start()
    thread.join(SECONDS)
    return answers[0] if answers else 0


@pytest.mark.parametrize(
    "path",
    ["/livez", "/readyz", "/api/health", "/api/openapi", "/docs", "/static/headrace/icon.svg", "/static/no"],
)
@pytest.mark.django_db(transaction=True)
def test_what_needs_no_database_is_answered_while_all_connections_are_held(free, path, monkeypatch):
    # Not what a test before was told, and in time on a busy machine too.
    monkeypatch.setattr(readiness, "FRESH_SECONDS", 0.0)
    monkeypatch.setattr(readiness, "WAIT_SECONDS", SECONDS / 2)
    held, free[:] = free[:], []
    try:
        status = get_in_time(path)
    finally:
        free[:] = held
    assert status == (404 if path == "/static/no" else 200)


@pytest.mark.django_db(transaction=True)
def test_many_who_wait_for_the_document_keep_nobody_from_the_database(free, monkeypatch):
    may_go_on = threading.Event()
    document = openapi_views.build_document()
    monkeypatch.setattr(openapi_views, "_shelf", openapi_views._Shelf())
    monkeypatch.setattr(openapi_views, "build_document", lambda: may_go_on.wait(SECONDS) and document)
    with ThreadPoolExecutor(4 * wsgi.settings.WEB_THREADS + 1) as pool:
        waiting = [pool.submit(get, "/api/openapi") for _ in range(4 * wsgi.settings.WEB_THREADS)]
        try:
            assert pool.submit(get, EVENTS, authorization="Bearer hr_nobody").result(SECONDS) == 401
            assert not any(one.done() for one in waiting)
        finally:
            may_go_on.set()
        assert {one.result() for one in waiting} == {200}
