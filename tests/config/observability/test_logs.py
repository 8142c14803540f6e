"""What the log shows of requests that are broken, and of faults of ours."""

import io
import json
import logging
import time
from datetime import datetime

import pytest
from django.core.exceptions import BadRequest, SuspiciousFileOperation, SuspiciousOperation
from django.db import OperationalError
from django.http import HttpRequest, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from django.test import Client
from django.urls import include, path

from config.errors import Overloaded, TryAgain
from config.observability import logs
from config.observability.request_ids import request_id
from events.api import ingest
from tests.workspaces.factories import WorkspaceFactory, a_key, bearer
from workspaces.api import fallback

WORKSPACE = "00000000-0000-7000-8000-000000000000"
FORM = "application/x-www-form-urlencoded"


class Broken(Exception):
    pass


RAISED = [
    SuspiciousOperation("a\nb\r\nc"),
    SuspiciousFileOperation("../\n"),
    BadRequest("no"),
    MultiPartParserError("no boundary"),
    UnreadablePostError("gone"),
    Broken("ours"),
]


def broken(request: HttpRequest, number: int):
    raise RAISED[number]


urlpatterns = [path("broken/<int:number>", broken), path("", include("config.urls"))]
handler400, handler404, handler500 = fallback.bad_request, fallback.page_not_found, fallback.server_error


@pytest.fixture
def log(monkeypatch):
    """Take what the processes would write."""
    (handler,) = [one for one in logging.getLogger().handlers if type(one) is logging.StreamHandler]
    stream = io.StringIO()
    monkeypatch.setattr(handler, "stream", stream)
    return stream


def client() -> Client:
    return Client(raise_request_exception=False)


@pytest.mark.parametrize("host", ["", "bad_host!<x>", "a:b:c", "elsewhere.example", "a\tb", "[::1"])
@pytest.mark.parametrize(
    ("route", "status", "key"),
    [
        (f"/api/workspaces/{WORKSPACE}/events", 400, "error"),
        ("/v1/events/send", 400, "success"),
        ("/v4/track", 400, "title"),
        ("/api/partner/events", 422, "error"),
        (f"/v1/workspaces/{WORKSPACE}/contacts", 400, "message"),
        ("/oauth2/token", 400, "error"),
        ("/api/openapi", 400, "error"),
        ("/nothing", 400, "error"),
    ],
)
def test_a_request_without_a_good_host_is_a_line_and_a_refusal_in_its_format(
    log, settings, route, status, key, host
):
    settings.ALLOWED_HOSTS = ["headrace.example"]
    answer = client().post(route, b"{}", content_type="application/json", headers={"host": host})
    assert (answer.status_code, key in answer.json()) == (status, True)
    (line,) = log.getvalue().splitlines()
    assert "Invalid HTTP_HOST header" in line
    assert line.endswith(f"(POST {logs.redacted_path(route)})")


def test_a_page_says_no_more_than_that_the_request_was_bad(log, settings):
    settings.ALLOWED_HOSTS = ["headrace.example"]
    answer = client().get("/admin/login/", headers={"host": "elsewhere.example"})
    assert (answer.status_code, len(log.getvalue().splitlines())) == (400, 1)
    assert b"elsewhere" not in answer.content


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("route", "kind", "body"),
    [
        ("/admin/login/", FORM, b"a=b&" * 2000),
        ("/oauth2/token", FORM, b"a=b&" * 2000),
        ("/admin/login/?" + "a=1&" * 1500, FORM, b""),
        ("/admin/login/", "multipart/form-data", b"x"),
        ("/admin/login/", "multipart/form-data; boundary=\xff", b"x"),
        ("/admin/login/", f"{FORM}; charset=utf-16", b"a=\xff"),
        ("/unsubscribe/%ff%00", FORM, b"\xff"),
        ("/v4/%ff", "application/json", b"\xff"),
        ("/api/webhooks/email/postmark/tracking/", "application/json", b"\xff"),
    ],
)
def test_a_broken_body_path_or_query_is_a_line_at_most(log, route, kind, body):
    answer = client().generic("POST", route, body, content_type=kind)
    assert 400 <= answer.status_code < 500
    assert len(log.getvalue().splitlines()) <= 1
    assert "Traceback" not in log.getvalue()


@pytest.mark.django_db
def test_a_body_that_is_not_what_its_encoding_says_is_a_line_and_no_fault(log):
    answer = client().post("/admin/login/", b"a=b", content_type=FORM, headers={"content-encoding": "gzip"})
    assert answer.status_code == 400
    assert len(log.getvalue().splitlines()) == 1


@pytest.mark.urls(__name__)
@pytest.mark.parametrize("number", range(len(RAISED) - 1))
def test_what_django_refuses_is_a_line_at_most(log, number):
    answer = client().get(f"/broken/{number}")
    assert answer.status_code == 400
    assert len(log.getvalue().splitlines()) <= 1


@pytest.mark.urls(__name__)
def test_what_the_client_wrote_breaks_no_line(log):
    client().get("/broken/0")
    (line,) = log.getvalue().splitlines()
    assert r"a\nb\r\nc (GET /broken/0)" in line


@pytest.mark.urls(__name__)
def test_a_fault_of_ours_has_its_traceback(log):
    assert client().get(f"/broken/{len(RAISED) - 1}").status_code == 500
    assert "Traceback" in log.getvalue()
    assert "test_logs.Broken: ours" in log.getvalue()


@pytest.mark.parametrize("refusal", [Overloaded(), TryAgain()])
@pytest.mark.django_db
def test_who_is_told_to_try_again_is_a_line(log, monkeypatch, refusal):
    def refuse(submission):
        raise refusal

    monkeypatch.setattr(ingest, "submit", refuse)
    workspace = WorkspaceFactory()
    path = f"/api/workspaces/{workspace.id}/events"
    answer = client().post(
        path, {"type": "x"}, content_type="application/json", **bearer(a_key(workspace).secret)
    )

    assert answer.status_code == 503
    (line,) = log.getvalue().splitlines()
    assert line.endswith(f"Service Unavailable: {path}")


@pytest.mark.django_db
def test_a_database_that_is_away_is_a_line_that_says_so(log, monkeypatch):
    def fail(submission):
        raise OperationalError(
            "connection failed:\nFATAL:  the database system is starting up\nDETAIL:  of 'Ada'"
        )

    monkeypatch.setattr(ingest, "submit", fail)
    workspace = WorkspaceFactory()
    path = f"/api/workspaces/{workspace.id}/events"
    answer = client().post(
        path, {"type": "x"}, content_type="application/json", **bearer(a_key(workspace).secret)
    )

    assert answer.status_code == 503
    (line,) = log.getvalue().splitlines()
    why = "OperationalError: connection failed: FATAL: the database system is starting up"
    assert line.endswith(f"Service Unavailable: {path}: {why}")


@pytest.fixture
def json_log(log, monkeypatch):
    """Take it as JSON."""
    (handler,) = [one for one in logging.getLogger().handlers if type(one) is logging.StreamHandler]
    monkeypatch.setattr(handler, "formatter", logs.JSONFormatter())
    return log


@pytest.mark.urls(__name__)
def test_as_json_each_record_is_one_object(json_log):
    token = request_id.set("r-1")
    try:
        assert client().get(f"/broken/{len(RAISED) - 1}").status_code == 500
        client().get("/broken/0")
    finally:
        request_id.reset(token)
    fault, refusal = map(json.loads, json_log.getvalue().splitlines())
    assert (fault["level"], fault["logger"], fault["status"]) == ("ERROR", "django.request", 500)
    assert (fault["request_id"], fault["program"]) == ("r-1", "command")
    assert fault["exception"].splitlines()[-1] == f"{__name__}.Broken: ours"
    assert datetime.fromisoformat(fault["time"]).tzinfo is not None
    assert "exception" not in refusal
    assert refusal["message"] == "a\nb\r\nc (GET /broken/0)"


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


class Unique(Exception):
    def __str__(self) -> str:
        return (
            'duplicate key value violates unique constraint "name_unique"\n'
            'DETAIL:  Key (email)=(marker) already exists.\nCONTEXT:  SQL statement "marker"'
        )


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        (Unique(), 'duplicate key value violates unique constraint "name_unique"'),
        (ValueError("invalid literal for int() with base 10: 'marker'"), "base 10: …"),
        (ValueError('invalid input syntax for type uuid: "marker \\" marker"'), "type uuid: …"),
        (KeyError("marker"), "KeyError: …"),
        (ValueError("“marker” is not a valid UUID."), "… is not a valid UUID."),
        (ValueError("550 marker@example.com: no such user"), "550 …@…: no such user"),
        (
            OSError("https://u:marker@host.example:8/botmarker/send?token=marker failed"),
            "https://host.example:8/… failed",
        ),
        (OSError("redis://:marker@cache:6379/0"), "redis://cache:6379/…"),
        (OSError("Max retries exceeded with url: /marker?marker (refused)"), "url: … (refused)"),
        (ValueError({"marker": (550, b"marker")}), "{…: (550, …)}"),
        (
            AttributeError("module 'config' has no attribute 'absent'"),
            "module 'config' has no attribute 'absent'",
        ),
    ],
)
@pytest.mark.parametrize("way", ["traceback", "cause", "argument", "repr", "celery"])
@pytest.mark.parametrize("form", ["line", "json"])
def test_what_an_error_was_given_is_not_in_the_log(request, log, error, kept, way, form):
    if form == "json":
        request.getfixturevalue("json_log")
    logger = logging.getLogger("events.somewhere")
    marker = "marker"  # a variable of the frame that is shown
    try:
        if way == "cause":
            raise RuntimeError("ours") from raised(error)
        raise error
    except Exception as caught:
        if way in {"traceback", "cause"}:
            logger.exception("It failed")
        elif way == "celery":
            logger.error("Task %(name)s: %(exc)s", {"name": "a.task", "exc": repr(caught)}, exc_info=True)
        else:
            logger.error("It failed: %s" if way == "argument" else "It failed: %r", caught)
    told = log.getvalue()
    assert marker not in told.replace('marker = "marker"', "").replace("raise error", "")
    if way in {"traceback", "argument"} and form == "line":
        assert kept.removeprefix("KeyError: ") in told
    if form == "json":
        assert json.loads(told)


@pytest.mark.parametrize("pattern", ["a", "a.", "a ", " ", "'\\", '"\\', "'a", "=?", "b'", "a@", "“"])
def test_what_a_client_wrote_takes_no_time_to_be_left_out(log, settings, pattern):
    settings.ALLOWED_HOSTS = ["ours.example"]
    began = time.process_time()
    host = pattern * (300_000 // len(pattern)) + "x"
    assert client().get("/admin/", HTTP_HOST=host).status_code == 400
    logging.getLogger("events.somewhere").error("It failed: %s, %s", ValueError(host), host)
    assert time.process_time() - began < 5


def test_a_value_that_is_cut_is_left_out(log):
    for value in ("marker " * 2000, 'it\'s a "marker" ' * 2000):
        logging.getLogger("events.somewhere").error("It failed: %s", ValueError(f"no such thing: {value!r}"))
    assert log.getvalue().count("It failed: no such thing: …") == 2
    assert "marker" not in log.getvalue()


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        (f"/api/workspaces/{WORKSPACE}/events", f"/api/workspaces/{WORKSPACE}/events"),
        (
            f"/v1/workspaces/{WORKSPACE}/contacts/marker@x.example/events",
            f"/v1/workspaces/{WORKSPACE}/contacts/…/events",
        ),
        ("/unsubscribe/marker-token", "/unsubscribe/…"),
        ("/v4/marker", "/v4/…"),
        ("/marker", "/…"),
        ("/admin/contacts/contact/", "/admin/contacts/contact/"),
        ("/admin/contacts/contact/17/change/", "/admin/contacts/contact/17/change/"),
    ],
)
def test_of_a_path_the_route_is_shown(path, shown):
    assert logs.redacted_path(path) == shown
