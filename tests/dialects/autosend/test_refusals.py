"""Every refusal comes in the vendor's envelope."""

import pytest
from django.test import Client

from tests.workspaces.factories import a_key

ROUTES = [
    ("POST", "/v1/events/send"),
    ("POST", "/events/send"),
    ("GET", "/events"),
    ("POST", "/events"),
    ("GET", "/events/eventName/a"),
    ("PATCH", "/events/eventName/a"),
    ("DELETE", "/events/eventName/a"),
    ("POST", "/contacts"),
    ("POST", "/contacts/email"),
    ("GET", "/contacts/a"),
    ("DELETE", "/contacts/a"),
    ("DELETE", "/contacts/email/userId/a"),
    ("POST", "/contacts/remove"),
    ("POST", "/contacts/search/emails"),
    ("POST", "/contacts/bulk-update"),
    ("GET", "/contacts/a/unsubscribe-groups"),
    ("POST", "/mails/send"),
    ("POST", "/mails/bulk"),
    ("GET", "/contact-lists"),
    ("POST", "/contact-lists"),
    ("GET", "/contact-lists/a"),
    ("PATCH", "/contact-lists/a"),
    ("DELETE", "/contact-lists/a"),
    ("POST", "/contact-lists/contacts/search"),
    ("POST", "/contact-lists/contacts/bulk-add"),
    ("GET", "/custom-fields"),
    ("POST", "/custom-fields"),
    ("DELETE", "/custom-fields/fieldName/a"),
    ("GET", "/account/projects"),
    ("GET", "/account/projects/a"),
]
WRITES = [route for route in ROUTES if route[0] in ("POST", "PATCH")]


def refusal(response):
    body = response.json()
    assert body["success"] is False
    assert body["error"].keys() <= {"message", "code", "details"}
    assert response.headers["Content-Type"] == "application/json"
    return response.status_code, body["error"]["code"], body["error"]["message"]


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Bearer AS_wrong"}, {"Authorization": "Basic YTpi"}]
)
def test_without_a_key(db, method, path, headers):
    path = path if path.startswith("/v1") else f"/autosend/v1{path}"
    response = Client().generic(method, path, b"no json", content_type="application/json", headers=headers)
    assert refusal(response) == (401, "UNAUTHORIZED", "Unauthorized")


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_without_the_scope(project, method, path):
    weak = type(project)(project.workspace, a_key(project.workspace, scopes=["scoring:read"]).secret)
    assert refusal(weak.call(method, path)) == (403, "FORBIDDEN", "Forbidden")


@pytest.mark.parametrize(("method", "path"), WRITES)
@pytest.mark.parametrize(
    "body",
    ["{", "[1", "5", '"a"', "null", "true", '{"a":NaN}', '{"a":"\\u0000"}', '{"a":1,"a":2}', "[" * 10_000],
)
def test_a_malformed_body(project, order, method, path, body):
    path = path.replace("/eventName/a", "/eventName/order_completed")
    assert refusal(project.call(method, path, body))[:2] == (400, "VALIDATION_FAILED")


@pytest.mark.parametrize(("method", "path"), WRITES)
def test_a_body_of_another_type(project, method, path):
    path = path if path.startswith("/v1") else f"/autosend/v1{path}"
    headers = {"Authorization": f"Bearer {project.secret}"}
    response = Client().generic(method, path, b"a=b", content_type="text/plain", headers=headers)
    assert refusal(response)[:2] == (415, "UNSUPPORTED_MEDIA_TYPE")


def test_a_body_that_is_too_large(project, settings):
    settings.MAX_BODY_BYTES = 100
    assert refusal(project.send(email="a" * 200))[:2] == (413, "PAYLOAD_TOO_LARGE")


@pytest.mark.parametrize(("method", "path"), [("PUT", path) for _, path in ROUTES])
def test_another_method(project, method, path):
    assert refusal(project.call(method, path, {}))[:2] == (405, "METHOD_NOT_ALLOWED")


@pytest.mark.parametrize(
    "path", ["/", "/mails", "/events/", "/events/send/", "/events/eventName/", "/nothing"]
)
def test_another_route(project, path):
    assert refusal(project.post(path, {}))[:2] == (404, "NOT_FOUND")


@pytest.mark.parametrize("path", ["/events", "/contacts/a"])
def test_json_without_a_body_is_normal_for_get(project, path):
    assert project.get(path).status_code in (200, 404)


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_a_name_that_cannot_be_stored(project, method):
    assert refusal(project.call(method, "/events/eventName/a%00b", {}))[:2] == (404, "NOT_FOUND")
