"""Whatever fails, inside a view or before it, the answer is in the format of its API."""

import logging

import pytest
from django.core.signals import got_request_exception
from django.db import InterfaceError, OperationalError, connection
from django.test import Client, override_settings

from config.errors import TryAgain
from contacts.models import Contact
from events.models import Event
from tests.proof.test_bad_input import ENDPOINTS
from tests.workspaces.factories import WorkspaceFactory, a_key, bearer

pytestmark = pytest.mark.django_db

FAULT_BODIES = {
    "autosend": {"success": False, "error": {"message": "Internal server error", "code": "SERVER_ERROR"}},
    "leadpush": {"message": "Server Error"},
    "suresend": {"error": "Internal server error"},
    "omnisend": {
        "type": "https://problems.omnisend.com/internal-error",
        "title": "Internal error",
        "status": 500,
        "detail": "Internal server error",
    },
    "omnisend, v5": {
        "type": "https://problems.omnisend.com/internal-error",
        "title": "Internal error",
        "status": 500,
        "detail": "Internal server error",
    },
    "omnisend, v3": {"error": "Internal server error"},
    "segment": {"success": False, "code": "fault", "message": "Internal server error"},
    "native": {"error": "Internal server error"},
    "batch": {"error": "Internal server error"},
}
OAUTH = ["/oauth2/token", "/oauth2/revoke"]


@pytest.fixture(params=ENDPOINTS, ids=str)
def endpoint(request):
    return request.param


@pytest.fixture
def send(endpoint):
    workspace = WorkspaceFactory()
    headers = bearer(a_key(workspace).secret)

    def send_something(**extra):
        url = endpoint.url.replace("{workspace}", str(workspace.id)).replace("{contact}", "x@example.test")
        client = Client(raise_request_exception=False)
        return client.post(url, b"{}", content_type="application/json", **headers, **extra)

    return send_something


def fail(monkeypatch, error):
    def raise_it(*_, **__):
        raise error

    monkeypatch.setattr("workspaces.api.base.WorkspaceAccess.check_rate", raise_it)


def assert_own_format(endpoint, answer):
    assert answer.headers["Content-Type"].endswith("json")
    assert endpoint.is_error(answer.json())


def test_a_fault_in_a_view_is_a_500_with_its_traceback_in_the_log(endpoint, send, monkeypatch, caplog):
    told = []
    got_request_exception.connect(lambda **_: told.append(1), weak=False, dispatch_uid="test")
    fail(monkeypatch, KeyError("a fault of ours"))
    with caplog.at_level(logging.ERROR, "django.request"):
        answer = send()
    got_request_exception.disconnect(dispatch_uid="test")
    assert answer.status_code == 500
    body = answer.json()
    body.pop("instance", None)
    assert body == FAULT_BODIES[endpoint.name]
    assert_own_format(endpoint, answer)
    assert "KeyError: 'a fault of ours'" in caplog.text
    assert len(caplog.records) == len(told) == 1


def test_a_fault_behind_a_view_is_a_500_too(endpoint, send, monkeypatch):
    monkeypatch.setattr("config.http.json.LeanJSONRenderer.render", lambda *_: 1 / 0)
    answer = send()
    assert answer.status_code == 500
    assert_own_format(endpoint, answer)


def test_a_test_still_sees_the_fault_itself(monkeypatch):
    fail(monkeypatch, KeyError("a fault of ours"))
    with pytest.raises(KeyError):
        Client().post("/v4/track", b"{}", content_type="application/json", **bearer(a_key().secret))


@pytest.mark.parametrize(
    "error", [OperationalError("gone"), InterfaceError("gone"), TryAgain()], ids=["away", "closed", "busy"]
)
def test_what_may_succeed_later_is_a_503(endpoint, send, monkeypatch, error):
    fail(monkeypatch, error)
    answer = send()
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert_own_format(endpoint, answer)


@pytest.mark.django_db(transaction=True)
def test_without_a_database_the_answer_is_a_503(endpoint, send, monkeypatch):
    def refuse(*_):
        raise OperationalError("connection refused")

    connection.close()
    monkeypatch.setattr(connection, "connect", refuse)
    answer = send()
    assert answer.status_code == 503
    assert_own_format(endpoint, answer)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/partner/events", {"type": "x", "person": {"emails": ["a@example.test", "b@example.test"]}}),
        ("/v4/track", {"eventName": "x", "contact": {"email": "a@example.test", "phoneNumber": "+15551234"}}),
        ("/autosend/v1/contacts/email", {"email": "a@example.test", "userId": "7"}),
        ("/v1/track", {"event": "x", "userId": "7", "anonymousId": "8"}),
    ],
)
def test_a_race_that_is_lost_again_and_again_is_a_503_and_changes_nothing(path, body, monkeypatch):
    def lose(workspace_id, drafts):
        return {draft.id for draft in drafts}

    monkeypatch.setattr("contacts.identity.resolution.create", lose)
    answer = Client().post(path, body, content_type="application/json", **bearer(a_key().secret))
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert not Contact.objects.exists()
    assert not Event.objects.exists()


@override_settings(ALLOWED_HOSTS=["headrace.example"])
@pytest.mark.parametrize("host", ["evil.example", "a b", "x:y:z"])
def test_a_host_that_is_not_ours_is_refused_in_the_format_of_the_path(endpoint, send, host):
    answer = send(HTTP_HOST=host)
    assert answer.status_code in (400, 422)
    assert_own_format(endpoint, answer)


@override_settings(ALLOWED_HOSTS=["headrace.example"])
def test_a_page_for_another_host_is_a_page():
    answer = Client().get("/admin/login/", HTTP_HOST="evil.example")
    assert answer.status_code == 400
    assert answer.headers["Content-Type"].startswith("text/html")


def test_nobodys_path_is_a_page_for_those_who_read_pages_only():
    assert Client().get("/nothing").json() == {"error": "Not found"}
    page = Client().get("/nothing", HTTP_ACCEPT="text/html,application/xhtml+xml")
    assert page.headers["Content-Type"].startswith("text/html")
    assert page.status_code == 404


@pytest.mark.parametrize("path", OAUTH)
@pytest.mark.parametrize(
    ("method", "body", "content_type", "status"),
    [
        ("GET", b"", "", 405),
        ("PUT", b"{}", "application/json", 405),
        ("OPTIONS", b"", "", 405),
        ("NONSENSE", b"", "", 405),
        ("POST", b"{}", "application/json", 415),
        ("POST", b"x", "text/plain", 415),
        ("POST", b"", "", 415),
        ("POST", b"--x", "multipart/form-data; boundary=x", 400),
        ("POST", b"a", "multipart/form-data", 400),
        ("POST", b"a=%00", "application/x-www-form-urlencoded", 400),
        ("POST", b"a=\xff", "application/x-www-form-urlencoded", 400),
        ("POST", b"&".join([b"a=1"] * 2000), "application/x-www-form-urlencoded", 400),
        ("POST", b"a=" + b"x" * 6_000_000, "application/x-www-form-urlencoded", 413),
    ],
)
def test_what_no_oauth_client_sends_is_refused_as_oauth_refuses(path, method, body, content_type, status):
    answer = Client().generic(method, path, body, content_type=content_type)
    assert answer.status_code == status
    assert answer.json()["error"] in ("invalid_request", "unsupported_grant_type")


@pytest.mark.parametrize("path", OAUTH)
@pytest.mark.parametrize(
    ("error", "status", "code"),
    [(KeyError("x"), 500, "server_error"), (OperationalError("x"), 503, "temporarily_unavailable")],
)
def test_oauth_fails_as_oauth_fails(path, error, status, code, monkeypatch):
    def raise_it(*_, **__):
        raise error

    for name in ("create_token_response", "create_revocation_response"):
        monkeypatch.setattr(f"oauth2_provider.views.mixins.OAuthLibMixin.{name}", raise_it)
    client = Client(raise_request_exception=False)
    answer = client.post(path, "token=x", content_type="application/x-www-form-urlencoded")
    assert (answer.status_code, answer.json()["error"]) == (status, code)


@override_settings(ALLOWED_HOSTS=["headrace.example"])
@pytest.mark.parametrize("path", OAUTH)
def test_oauth_refuses_a_host_that_is_not_ours(path):
    answer = Client().post(path, {"token": "x"}, HTTP_HOST="evil.example")
    assert (answer.status_code, answer.json()) == (400, {"error": "invalid_request"})
