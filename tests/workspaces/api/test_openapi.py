"""The OpenAPI document: built once, packed, known by its tag, and what drf-spectacular makes of the routes."""

import gzip
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from io import StringIO

import pytest
from django.core.management import call_command
from django.test import Client

from workspaces.api import openapi_views
from workspaces.api.openapi_views import _Shelf, build_document


@pytest.fixture
def builds(monkeypatch) -> list[str]:
    """Begin with an empty shelf; gather the threads that build."""
    threads = []

    def build():
        threads.append(threading.current_thread().name)
        return build_document()

    monkeypatch.setattr(openapi_views, "build_document", build)
    monkeypatch.setattr(openapi_views, "_shelf", _Shelf())
    return threads


def test_it_is_what_the_generator_makes():
    out = StringIO()
    call_command("spectacular", "--format", "openapi-json", stdout=out)
    answer = Client().get("/api/openapi")
    assert json.loads(answer.content) == json.loads(out.getvalue())
    assert answer.headers["Content-Type"] == "application/vnd.oai.openapi+json"


def test_it_is_built_once_however_many_ask_at_once(builds):
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: Client().get("/api/openapi"), range(24)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert builds == ["documentation"]


def test_who_would_wait_too_long_is_told_to_come_back(monkeypatch):
    may_go_on = threading.Event()
    monkeypatch.setattr(openapi_views, "_shelf", _Shelf())
    monkeypatch.setattr(openapi_views, "BUILD_SECONDS", 0.01)
    built = build_document()
    monkeypatch.setattr(openapi_views, "build_document", lambda: may_go_on.wait(30) and built)
    answer = Client().get("/api/openapi")
    assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)
    may_go_on.set()
    monkeypatch.setattr(openapi_views, "BUILD_SECONDS", 30.0)
    assert Client().get("/api/openapi").status_code == 200


def test_a_failed_build_is_tried_again(monkeypatch):
    monkeypatch.setattr(openapi_views, "_shelf", _Shelf())
    with monkeypatch.context() as context:
        context.setattr(openapi_views, "build_document", lambda: 1 / 0)
        assert Client(raise_request_exception=False).get("/api/openapi").status_code == 500
    assert Client().get("/api/openapi").status_code == 200


@pytest.mark.parametrize(
    ("accepted", "is_packed"),
    [
        ("gzip", True),
        ("gzip, deflate, br", True),
        ("br;q=1.0, GZIP;q=0.8, *;q=0.1", True),
        ("*", True),
        ("", False),
        ("identity", False),
        ("gzip;q=0, *", False),
        ("gzip;q=0.0", False),
        ("gzip;q=x", False),
        ("x-gzip-not", False),
    ],
)
def test_it_is_packed_for_those_who_take_it(accepted, is_packed):
    plain = Client().get("/api/openapi")
    answer = Client().get("/api/openapi", headers={"accept-encoding": accepted})
    assert "Accept-Encoding" in answer.headers["Vary"]
    assert (answer.headers.get("Content-Encoding") == "gzip") == is_packed
    if is_packed:
        assert gzip.decompress(answer.content) == plain.content
        assert len(answer.content) < len(plain.content) / 8
        assert answer.headers["ETag"] != plain.headers["ETag"]
    else:
        assert answer.content == plain.content


@pytest.mark.parametrize("encoding", ["", "gzip"])
def test_who_has_it_gets_it_not_again(encoding):
    first = Client().get("/api/openapi", headers={"accept-encoding": encoding})
    tag = first.headers["ETag"]
    for sent in (tag, f'"other", W/{tag}', "*"):
        again = Client().get("/api/openapi", headers={"if-none-match": sent, "accept-encoding": encoding})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["ETag"] == tag
    other = Client().get("/api/openapi", headers={"if-none-match": '"other"', "accept-encoding": encoding})
    assert other.status_code == 200


def test_any_accept_header_gets_it_and_no_write_does():
    assert Client().get("/api/openapi", headers={"accept": "application/json"}).status_code == 200
    assert Client().head("/api/openapi").content == b""
    refused = Client().post("/api/openapi", {}, content_type="application/json")
    assert (refused.status_code, refused.json()) == (405, {"error": "Method not allowed"})
