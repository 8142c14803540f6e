"""Events from pages of other sites: preflights, who may read the answers, and bodies that browsers name otherwise."""

import json

import pytest
from django.test import Client

from events.models import Event
from tests.contacts.factories import a_contact
from tests.workspaces.factories import WorkspaceFactory, a_key
from workspaces.models import Role, Workspace
from workspaces.services import add_member, create_user, set_allowed_origins

SHOP, OTHER = "https://shop.example", "https://other.example"
ROUTES = [
    ("/api/workspaces/{w}/events", {"type": "x"}),
    ("/api/workspaces/{w}/events/batch", {"events": [{"type": "x"}]}),
    ("/v1/workspaces/{w}/contacts/{c}/events", {"event_name": "x"}),
    ("/leadpush/v1/contacts/{c}/events", {"event_name": "x"}),
    ("/v1/events/send", {"eventName": "x", "contactId": "{c}"}),
    ("/api/partner/events", {"type": "x", "personId": "{c}"}),
    ("/v4/track", {"eventName": "x", "contact": {"id": "{c}"}}),
    ("/v1/track", {"event": "x", "userId": "{c}"}),
    ("/segment/v1/batch", {"batch": [{"type": "track", "event": "x", "userId": "{c}"}]}),
]
# Whose clients send JSON as anything.
TAKES_ANY_TYPE = ROUTES[-2:]
NAMES_WORKSPACE = [route for route in ROUTES if "{w}" in route[0]]


@pytest.fixture
def workspace(db) -> Workspace:
    return set_allowed_origins(WorkspaceFactory.create(), [SHOP])


@pytest.fixture
def contact(workspace):
    return a_contact(workspace)


@pytest.fixture
def call(workspace, contact):
    """Call a route as a page does; `route` is a path with a body."""
    secret = a_key(workspace).secret

    def send(
        method,
        route,
        origin=SHOP,
        *,
        body=None,
        key=secret,
        query="",
        content_type="application/json",
        **more,
    ):
        path, sent = route
        text = json.dumps(sent).replace("{c}", str(contact.id)) if body is None else body
        headers = {
            **({"Origin": origin} if origin else {}),
            **({"Authorization": f"Bearer {key}"} if key else {}),
        }
        return Client().generic(
            method,
            path.format(w=workspace.id, c=contact.id) + query,
            b"" if method == "OPTIONS" else text,
            content_type=content_type,
            headers={**headers, **more},
        )

    return send


def reader(answer):
    """Return the origin that may read an answer."""
    assert "Access-Control-Allow-Credentials" not in answer.headers
    return answer.headers.get("Access-Control-Allow-Origin")


def preflight(call, route, origin):
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    return call("OPTIONS", route, origin, key="", **asked)


@pytest.mark.parametrize("route", ROUTES)
def test_a_preflight_needs_no_credential(call, route):
    answer = preflight(call, route, SHOP)
    assert (answer.status_code, answer.content, reader(answer)) == (204, b"", SHOP)
    assert "Origin" in answer.headers["Vary"]
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
    allowed = answer.headers["Access-Control-Allow-Headers"].lower()
    for header in ("authorization", "content-type", "content-encoding", "idempotency-key"):
        assert header in allowed


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    "origin", [OTHER, "null", "", "http://shop.example", "https://shop.example.evil", "x\x00"]
)
def test_other_origins_are_told_nothing(call, route, origin):
    assert reader(preflight(call, route, origin)) is None
    answer = call("POST", route, origin)
    assert reader(answer) is None
    assert "Origin" in answer.headers["Vary"]


@pytest.mark.parametrize("route", ROUTES)
def test_every_answer_can_be_read_refusals_too(call, route):
    for answer in (
        call("POST", route),
        call("POST", route, body="{"),
        call("POST", route, content_type="application/xml"),
        call("POST", route, key="nonsense"),
        call("POST", route, key=""),
        call("POST", route, **{"Content-Encoding": "br"}),
    ):
        assert reader(answer) == SHOP
        assert "Retry-After" in answer.headers["Access-Control-Expose-Headers"]
        assert "Origin" in answer.headers["Vary"]


@pytest.mark.parametrize("route", ROUTES)
def test_the_answer_goes_by_the_workspace_of_the_credential(call, route, workspace):
    stranger = set_allowed_origins(WorkspaceFactory.create(), [OTHER])
    # Where the path names no workspace, a preflight cannot tell for whom it asks.
    assert reader(preflight(call, route, OTHER)) == (None if route in NAMES_WORKSPACE else OTHER)
    assert reader(call("POST", route, OTHER)) is None
    assert reader(call("POST", route, OTHER, key=a_key(stranger).secret)) == OTHER
    assert reader(call("POST", route, SHOP, key=a_key(stranger).secret)) is None


def test_other_routes_and_methods_stay_closed(call, workspace):
    for path in ("/api/workspaces/{w}/events", "/api/workspaces/{w}/contacts", "/v1/workspaces/{w}/contacts"):
        answer = call("GET", (path, {}))
        assert (answer.status_code, reader(answer)) == (200, None)
    asked = preflight(call, ("/api/workspaces/{w}/contacts", {}), SHOP)
    assert (asked.status_code, reader(asked)) == (401, None)


def test_a_session_is_of_no_use_to_another_site(call, workspace):
    user, password = create_user(username="ada")
    add_member(workspace.id, user, role=Role.OWNER)
    browser = Client(enforce_csrf_checks=True)
    assert browser.login(username="ada", password=password)
    url = f"/api/workspaces/{workspace.id}/events"
    for content_type in ("application/json", "text/plain", ""):
        answer = browser.generic(
            "POST", url, '{"type": "x"}', content_type=content_type, headers={"Origin": SHOP}
        )
        assert answer.status_code == 403
        assert "Access-Control-Allow-Credentials" not in answer.headers
    assert not Event.objects.filter(source="api").exists()


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "text/plain;charset=UTF-8", "", "application/octet-stream", "application/x-www-form-urlencoded",
     "application/vnd.api+json", "application/json; charset=utf-8"],
)  # fmt: skip
def test_json_is_read_whatever_it_is_called(call, route, content_type):
    told = call("POST", route).status_code
    assert call("POST", route, content_type=content_type).status_code == told
    assert told in (200, 201, 202, 204, 404)
    broken = call("POST", route, content_type=content_type, body='{"type":').status_code
    assert broken == call("POST", route, body='{"type":').status_code


@pytest.mark.parametrize("route", [route for route in ROUTES if route not in TAKES_ANY_TYPE])
@pytest.mark.parametrize(
    ("content_type", "body"),
    [("text/plain", "type=x"), ("", "x"), ("application/xml", "{}"), ("multipart/form-data; boundary=x", "{}"),
     ("application/x-www-form-urlencoded", "type=x"), ("image/png", "{}")],
)  # fmt: skip
def test_what_is_no_json_stays_of_another_type(call, route, content_type, body):
    answer = call("POST", route, content_type=content_type, body=body)
    assert answer.status_code == (404 if "send" in route[0] and answer.status_code == 404 else 415)


def test_other_routes_take_json_by_its_name_only(call):
    route = ("/api/workspaces/{w}/contacts", {"email": "a@example.com"})
    assert call("POST", route, content_type="text/plain").status_code == 415


@pytest.mark.parametrize("route", ROUTES)
def test_a_page_that_cannot_set_headers_names_its_key_in_the_address(call, route, workspace):
    page_key = a_key(workspace, scopes=["events:write"]).secret
    told = call("POST", route).status_code
    beacon = {"key": "", "content_type": "text/plain;charset=UTF-8"}
    assert call("POST", route, query=f"?key={page_key}", **beacon).status_code == told
    assert call("POST", route, OTHER, query=f"?key={page_key}", **beacon).status_code == 401
    assert call("POST", route, "", query=f"?key={page_key}", **beacon).status_code == 401
    assert call("POST", route, query="?key=nonsense", **beacon).status_code == 401
    able = a_key(workspace, scopes=["events:write", "events:read"]).secret
    assert call("POST", route, query=f"?key={able}", **beacon).status_code == 401


def test_origins_are_said_by_the_api(workspace):
    url = f"/api/workspaces/{workspace.id}"
    headers = {"Authorization": f"Bearer {a_key(workspace).secret}"}

    def patch(body, **more):
        return Client().patch(url, body, content_type="application/json", headers={**headers, **more})

    told = patch(
        {"allowedOrigins": ["HTTPS://Shop.example:443/", "http://localhost:3000", "https://shop.example"]}
    )
    assert (told.status_code, told.json()["allowedOrigins"]) == (200, [SHOP, "http://localhost:3000"])
    assert Client().get(url, headers=headers).json() == told.json()
    for wrong in ("*", "https://*.example", "shop.example", "https://shop.example/path", "null", "", 5,
                  "ftp://shop.example", "https://a@shop.example", "https://shop.example:0"):  # fmt: skip
        refused = patch({"allowedOrigins": [wrong]})
        assert (refused.status_code, "allowedOrigins" in json.dumps(refused.json()["details"])) == (
            400,
            True,
        ), wrong
    assert patch({"allowedOrigins": []}).json()["allowedOrigins"] == []
    weak = a_key(workspace, scopes=["events:write"]).secret
    assert patch({"allowedOrigins": []}, Authorization=f"Bearer {weak}").status_code == 403
