"""Requests of the API pass by what serves pages alone, and nobody can tell by the answers."""

import gc
import io
import json
import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.db import connections
from django.http import HttpResponse
from django.middleware.csrf import CsrfViewMiddleware
from django.test import Client
from django.urls import URLResolver, get_resolver

from config import wsgi
from config.db.connection_slots import ConnectionPool
from events.api import ingest
from tests.contacts.factories import a_contact
from tests.workspaces.factories import MembershipFactory, WorkspaceFactory, a_key, bearer
from workspaces.api.base import ApiRequest
from workspaces.api.middleware import ApiMiddleware
from workspaces.models import Role
from workspaces.services import set_allowed_origins

pytestmark = pytest.mark.django_db

API = "workspaces.api.middleware.ApiMiddleware"
FOR_PAGES = (SessionMiddleware, CsrfViewMiddleware, AuthenticationMiddleware, MessageMiddleware)
SENDS = [
    "/api/workspaces/{workspace}/events",
    "/v1/workspaces/{workspace}/contacts/jane@example.test/events",
    "/v1/events/send",
    "/api/partner/events",
    "/v4/track",
]
SHOP = "https://shop.example"
MOST_CALLS = 535
"""Of Python, the interpreter's own functions included: half of what Django's and DRF's usual way takes."""


@pytest.fixture
def workspace():
    return set_allowed_origins(WorkspaceFactory.create(), [SHOP])


@pytest.fixture
def passed(monkeypatch):
    """Gather which of the middleware for pages requests pass."""
    passed: list[str] = []

    def spied(kind, name):
        method = getattr(kind, name)

        def spy(self, *arguments):
            passed.append(kind.__name__)
            return method(self, *arguments)

        monkeypatch.setattr(kind, name, spy)

    for kind in FOR_PAGES:
        for name in ("process_request", "process_view", "process_response"):
            if hasattr(kind, name):
                spied(kind, name)
    return passed


@pytest.mark.parametrize("path", SENDS)
def test_a_send_passes_no_middleware_of_pages(path, workspace, passed):
    path = path.format(workspace=workspace.id)
    headers = bearer(a_key(workspace).secret)
    assert Client().post(path, {}, content_type="application/json", **headers).status_code < 500
    assert Client().options(path, HTTP_ORIGIN=SHOP).status_code == 204
    assert passed == []


def test_a_pages_own_send_and_a_list_pass_none_either(workspace, passed):
    path = f"/api/workspaces/{workspace.id}/events"
    key = a_key(workspace, scopes=["events:write"]).secret
    answer = Client().post(
        f"{path}?key={key}", {"type": "x"}, content_type="application/json", HTTP_ORIGIN=SHOP
    )
    assert answer.status_code == 201
    assert Client().get(path, **bearer(a_key(workspace).secret)).status_code == 200
    assert passed == []


def test_a_page_passes_all_of_it(passed):
    assert Client().get("/admin/login/").status_code == 200
    assert {kind.__name__ for kind in FOR_PAGES} <= set(passed)


def routes() -> list[str]:
    def walk(patterns, prefix):
        for pattern in patterns:
            route = prefix + str(pattern.pattern)
            if isinstance(pattern, URLResolver):
                yield from walk(pattern.url_patterns, route)
            elif not route.startswith(("admin/", "oauth2/", "docs")):
                yield route

    return sorted(set(walk(get_resolver().url_patterns, "")))


def filled(route: str, workspace: Any) -> str:
    def value(match: re.Match[str]) -> str:
        name = match[1].rpartition(":")[2]
        return str(workspace.id) if name in ("workspace", "workspace_id") else "jane@example.test"

    route = re.sub(r"\(\?P(<\w+>)\.\*\[\^/\]\)", r"\1", route)
    return "/" + re.sub(r"<([^>]+)>", value, re.sub(r"\(\?:.*?\)|[\\^$]", "", route))


def heads(client: Client, path: str, headers: dict[str, Any]) -> list[Any]:
    """Return status and headers of answers with and without a credential, to a page and under another host."""
    answers = [client.get(path), client.get(path, **headers)]
    answers += [client.get(path, **{**headers, "HTTP_HOST": "no.example"})]
    answers += [client.post(path, b"[", content_type="application/json", HTTP_ORIGIN=SHOP, **headers)]
    answers += [client.options(path, HTTP_ORIGIN=SHOP)]
    return [head(answer) for answer in answers]


def head(answer: Any) -> tuple[int, list[tuple[str, str]]]:
    headers = dict(answer.headers.items())
    # An answer that tells of a moment may be a digit longer than the one before.
    if "Content-Length" in headers:
        headers["Content-Length"] = str(int(headers["Content-Length"]) - len(answer.content))
    # Each page has a nonce of its own.
    policy = headers.get("Content-Security-Policy", "")
    headers["Content-Security-Policy"] = re.sub("'nonce-[^']+'", "a nonce", policy)
    return answer.status_code, sorted(headers.items())


@pytest.mark.parametrize("is_secure", [False, True])
def test_answers_have_the_headers_that_the_whole_of_the_middleware_gives_them(
    workspace, settings, is_secure, monkeypatch
):
    monkeypatch.setattr("django.utils.cache.time.time", lambda: 0.0)  # what "Expires" is counted from
    settings.ALLOWED_HOSTS = ["testserver"]
    settings.SECURE_SSL_REDIRECT, settings.SECURE_HSTS_SECONDS = is_secure, 3600 * is_secure
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    a_contact(workspace, "jane@example.test")
    editor = MembershipFactory.create(workspace=workspace, role=Role.EDITOR).user
    headers = {**bearer(a_key(workspace).secret), "HTTP_X_FORWARDED_PROTO": "https"}
    middleware = {True: django_settings.MIDDLEWARE}
    middleware[False] = [name for name in middleware[True] if name != API]

    def clients(is_lean):
        settings.MIDDLEWARE = middleware[is_lean]
        signed_in = Client(enforce_csrf_checks=True)
        signed_in.force_login(editor)
        both = (Client(), signed_in)
        for client in both:
            client.get("/none")  # what loads the middleware
        return both

    ways = clients(True), clients(False)
    paths = [filled(route, workspace) for route in routes() if "logout" not in route]
    assert len(paths) > 80
    for path in [*paths[:: 5 if is_secure else 1], "/api/none", "/none"]:
        # One after the other, so that what a route changes is the same for both.
        lean, whole = ([heads(client, path, headers) for client in way] for way in ways)
        assert lean == whole, path


def test_answers_are_no_pages_and_kept_by_nobody(workspace):
    path = f"/api/workspaces/{workspace.id}/contacts"
    for answer in (Client().get(path), Client().get(path, **bearer(a_key(workspace).secret))):
        assert answer.headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "Permissions-Policy" not in answer.headers
    assert Client().get("/api/openapi").headers["Cache-Control"] == "no-cache"


def test_a_session_is_opened_checked_and_stored_where_a_view_wants_it(workspace, passed):
    member = MembershipFactory.create(workspace=workspace, role=Role.EDITOR)
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(member.user)
    path = f"/api/workspaces/{workspace.id}/events"
    refused = browser.post(path, {"type": "x"}, content_type="application/json")
    assert (refused.status_code, list(refused.json())) == (403, ["error"])
    assert refused.headers["Vary"] == "Origin, Cookie"
    token = browser.get("/api/auth/session").json()["csrfToken"]
    answer = browser.post(path, {"type": "x"}, content_type="application/json", HTTP_X_CSRFTOKEN=token)
    assert answer.status_code == 201
    assert set(passed) == {"SessionMiddleware", "CsrfViewMiddleware", "AuthenticationMiddleware"}


def test_no_more_is_kept_of_names_of_ours_than_their_number_allows(settings, rf):
    settings.ALLOWED_HOSTS = [".headrace.example"]
    middleware = ApiMiddleware(lambda request: HttpResponse(status=421))
    for host in (
        "headrace.example:" + "0" * 100_000,
        "a" * 100_000 + ".headrace.example",
        "headrace.example:80",
    ):
        for _ in range(2):
            assert middleware(rf.get("/api/auth/session", HTTP_HOST=host)).status_code == 401
    assert middleware._hosts == {"headrace.example:80"}
    assert middleware(rf.get("/api/auth/session", HTTP_HOST="no.example")).status_code == 421


def environ(path: str, body: bytes, secret: str) -> dict[str, Any]:
    """Return a request as granian hands it over."""
    return {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "testserver",
        "HTTP_ACCEPT": "*/*",
        "HTTP_USER_AGENT": "test",
        "HTTP_AUTHORIZATION": f"Bearer {secret}",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
    }


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Leave what refers to itself alive."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def requests_alive() -> int:
    return sum(type(each) is ApiRequest for each in gc.get_objects())


@pytest.fixture
def pool(monkeypatch):
    monkeypatch.setattr(connections, "create_connection", connections.create_connection)
    pool = ConnectionPool(1)
    monkeypatch.setattr(wsgi, "_pool", pool)
    yield pool
    pool.close()


@pytest.mark.django_db(transaction=True)
def test_the_way_in_is_lean(workspace, settings, monkeypatch, pool, no_collector):
    settings.CREDENTIAL_CACHE_SECONDS = 60
    secret, path = a_key(workspace).secret, f"/api/workspaces/{workspace.id}/events"
    contact = a_contact(workspace, "jane@example.test")
    body = json.dumps({"type": "purchase", "contactId": str(contact.id), "metadata": {"a": 1}}).encode()
    statuses: list[str] = []
    recorded: list[Any] = []
    calls = 0

    def send() -> None:
        wsgi.application(environ(path, body, secret), lambda status, headers: statuses.append(status))

    def submit(submission):
        """Record an event of the first request; answer the others with it."""
        if not recorded:
            answer = submission.answer
            object.__setattr__(submission, "answer", lambda *told: recorded.append(told) or answer(*told))
            return record(submission)
        return submission.answer(*recorded[0])

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    record, alive = ingest.submit, requests_alive()
    monkeypatch.setattr("events.api.ingest.submit", submit)
    for _ in range(3):
        send()
    # As in the server, this thread has none of its own.
    connections["default"].close()
    del connections["default"]
    before = sys.getprofile()
    sys.setprofile(count)
    try:
        send()
    finally:
        sys.setprofile(before)
    assert statuses == ["201 Created"] * 4
    assert calls <= MOST_CALLS, calls
    assert requests_alive() == alive, (
        "a request waits for the collector, which takes a fifth as long as the way in"
    )
