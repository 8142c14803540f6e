from collections import Counter

import pytest
from django.test import RequestFactory
from rest_framework.exceptions import NotFound, ValidationError

from config.errors import DomainError, ErrorKind
from tests.workspaces.factories import MembershipFactory, a_key, bearer
from tests.workspaces.urls import probe
from workspaces.api.errors import NATIVE_ERRORS, ErrorTable, flatten
from workspaces.errors import ApiKeyNotFound, InvalidOrigins, InvalidToken, WorkspaceNotFound

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.workspaces.urls")]


def post(client, url, body, content_type="application/json", **extra):
    return client.generic("POST", url, body, content_type=content_type, **extra)


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b"null", "application/json", 400),
        (b"5", "application/json", 400),
        (b'{"a": 1, "a": 2}', "application/json", 400),
        (b"[" * 10_000 + b"]" * 10_000, "application/json", 400),
        (b'{"a": "\\ud800"}', "application/json", 400),
        (b'{"a": 99999999999999999999}', "application/json", 400),
        (b"{}", "text/plain", 415),
        (b"{}", "application/xml", 415),
        (b"a=b", "application/x-www-form-urlencoded", 415),
        (b"x" * 6_000_000, "application/json", 413),
        (b"", "application/json", 201),
        (b"{}", "application/json; charset=utf-8", 201),
        (b"{}", "APPLICATION/JSON", 201),
    ],
)
def test_the_native_shape_of_refused_bodies(client, body, content_type, status):
    answer = post(client, "/probe", body, content_type, **bearer(a_key().secret))
    assert answer.status_code == status
    if status != 201:
        assert set(answer.json()) == {"error"}


def test_a_wire_format_has_its_own_statuses_and_bodies(client):
    issued = a_key(rate_limit="2/minute", scopes=["events:write"])
    assert post(client, "/vendor", b"{}").json() == {"message": "Unauthenticated.", "status": 401}
    assert post(client, "/vendor", b"[]", **bearer(issued.secret)).json()["status"] == 422
    assert post(client, "/vendor", b"{", **bearer(issued.secret)).status_code == 422
    throttled = post(client, "/vendor", b"{}", **bearer(issued.secret))
    assert throttled.json() == {"retryAfter": int(throttled.headers["Retry-After"])}


def test_methods_that_a_view_has_not_are_405_in_its_shape(client):
    secret = a_key().secret
    for method in ("PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "NONSENSE"):
        answer = client.generic(method, "/probe", **bearer(secret))
        assert (answer.status_code, answer.json()) == (405, {"error": "Method not allowed"})
        assert "GET" in answer.headers["Allow"]


def test_any_accept_header_gets_the_one_format(client):
    secret = a_key().secret
    for accept in ("text/html", "application/xml", "nonsense", "", "*/*;q=0"):
        answer = client.get("/probe", HTTP_ACCEPT=accept, **bearer(secret))
        assert answer.status_code == 200
        assert answer.headers["Content-Type"] == "application/json"


def test_a_huge_form_under_a_session_is_refused_not_failed(client):
    membership = MembershipFactory.create()
    client.force_login(membership.user)
    client.handler.enforce_csrf_checks = True
    url = f"/probe/{membership.workspace_id}"
    body = b"a=" + b"x" * 6_000_000
    for cookie in (None, "x" * 32):
        if cookie:
            client.cookies["csrftoken"] = cookie
        assert post(client, url, body, "application/x-www-form-urlencoded").status_code in (403, 415)
        assert post(client, url, b"--x", "multipart/form-data; boundary=x").status_code in (403, 415)
        assert post(client, url, b"a", "multipart/form-data").status_code in (403, 415)


def _domain_errors(base=DomainError):
    for error in base.__subclasses__():
        yield error
        yield from _domain_errors(error)


def test_a_domain_error_has_its_own_message_and_the_status_of_its_kind():
    for error, status in ((ApiKeyNotFound(), 404), (InvalidOrigins("Too many."), 400), (InvalidToken(), 401)):
        refusal = NATIVE_ERRORS.refusal(error)
        assert refusal is not None
        assert (refusal.status, refusal.code, refusal.message) == (status, error.code, error.message)


def test_a_table_gives_a_kind_another_status_and_a_code_one_of_its_own():
    table = ErrorTable(lambda refusal: {}, statuses={ErrorKind.NOT_FOUND: 410, "workspace_not_found": 404})
    statuses = [table.refusal(error).status for error in (ApiKeyNotFound(), WorkspaceNotFound(), NotFound())]
    assert statuses == [410, 404, 410]


def test_every_kind_of_error_has_a_status():
    for kind in ErrorKind:
        error = DomainError("")
        error.error_kind = kind
        assert 400 <= NATIVE_ERRORS.refusal(error).status < 600


def test_every_domain_error_has_a_code_of_its_own():
    codes = Counter(
        error.code
        for error in set(_domain_errors())
        if "code" in vars(error) and not error.__module__.startswith(("dialects.", "tests."))
    )
    assert len(codes) > 80
    assert [code for code, count in codes.items() if count > 1] == []
    assert {
        error.__name__ for error in _domain_errors() if error.code == "error" and not error.__subclasses__()
    } == set()


def test_a_fault_of_ours_is_not_dressed_up_as_a_refusal():
    assert NATIVE_ERRORS.refusal(KeyError("x")) is None


def test_nested_messages_are_flattened_to_dotted_paths():
    detail = ValidationError({"a": {"b": ["x"]}, "c": [{}, {"d": ["y"]}], "non_field_errors": ["z"]}).detail
    assert flatten(detail) == {"a.b": ["x"], "c.1.d": ["y"], "body": ["z"]}


def test_the_view_bound_to_no_route_still_answers_401():
    answer = probe(RequestFactory().get("/"))
    assert answer.status_code == 401
