import pytest
from django.test import Client

from workspaces.services import create_workspace, issue_api_key
from workspaces.throttles import reset_limits

ROUTES = [
    ("POST", "contacts/{contact}/events"),
    ("GET", "contacts/{contact}/events"),
    ("GET", "contacts"),
    ("POST", "contacts"),
    ("POST", "contacts/upsert"),
    ("GET", "contacts/{contact}"),
    ("POST", "contacts/{contact}"),
    ("DELETE", "contacts/{contact}"),
    ("POST", "contacts/{contact}/subscribe"),
    ("POST", "contacts/{contact}/unsubscribe"),
    ("GET", "fields"),
    ("POST", "fields"),
    ("GET", "fields/{contact}"),
    ("POST", "fields/{contact}"),
    ("POST", "emails"),
    ("GET", "suppressions"),
    ("POST", "suppressions"),
    ("GET", "suppressions/{contact}"),
]


@pytest.fixture(params=ROUTES, ids=lambda route: " ".join(route))
def route(request, contact):
    method, path = request.param
    return method, path.format(contact=contact.id)


def test_every_route_demands_a_key(either, route):
    answer = Client().generic(route[0], f"{either.base}/{route[1]}")
    assert (answer.status_code, answer.json()) == (401, {"message": "Unauthenticated."})
    assert "WWW-Authenticate" in answer.headers


def test_every_route_of_another_workspace_is_403(older, route):
    foreign = issue_api_key(create_workspace("Others").id, "key").secret
    answer = older.request(*route, key=foreign)
    assert (answer.status_code, answer.json()) == (403, {"message": "This action is unauthorized."})


def test_every_route_needs_its_scope(either, route):
    powerless = issue_api_key(either.workspace.id, "key", ["scoring:read"]).secret
    answer = either.request(*route, key=powerless)
    assert (answer.status_code, answer.json()) == (403, {"message": "This action is unauthorized."})


@pytest.mark.parametrize("method", ["PUT", "PATCH", "OPTIONS"])
def test_another_method_is_405(either, route, method):
    answer = either.request(method, route[1])
    assert (answer.status_code, list(answer.json())) == (405, ["message"])
    assert "Allow" in answer.headers


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
)
def test_another_content_type_is_415(either, contact, content_type):
    answer = Client().generic(
        "POST",
        f"{either.base}/contacts/{contact.id}/events",
        "event_name=x",
        content_type=content_type,
        headers={"Authorization": f"Bearer {either.key}"},
    )
    assert (answer.status_code, list(answer.json())) == (415, ["message"])


@pytest.mark.parametrize("path", ["", "nothing", "domains", "emails/", "fields/", "contacts/"])
def test_an_unknown_route_is_404(either, path):
    answer = either.get(path)
    assert (answer.status_code, answer.json()) == (404, {"message": "Not found."})


@pytest.mark.parametrize("path", ["/v1/workspaces", "/v1/workspaces/", "/v1/workspaces/x", "/leadpush/v1/"])
def test_what_lies_above_the_routes_is_404(db, path):
    answer = Client().get(path)
    assert (answer.status_code, answer.json()) == (404, {"message": "Not found."})


def test_a_request_too_many_is_429(either, contact):
    reset_limits()
    key = issue_api_key(either.workspace.id, "key", rate_limit="2/minute").secret
    answers = [either.send(contact.id, {"event_name": "x"}, key=key) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [204, 204, 429]
    assert answers[2].json() == {"message": "Too Many Attempts."}
    assert int(answers[2].headers["Retry-After"]) > 0
    assert answers[0].headers["X-RateLimit-Limit"] == "2"
    reset_limits()


def test_the_vendors_unknown_rate_is_none(newer, contact):
    key = issue_api_key(newer.workspace.id, "key", rate_limit="vendor").secret
    assert newer.send(contact.id, {"event_name": "x"}, key=key).status_code == 204


def test_the_older_generation_stands_below_the_prefix_too(older, route):
    below = type(older)(older.workspace, older.key, f"/leadpush{older.base}")
    assert below.request("PUT", route[1]).status_code == 405
    assert below.request(*route, key="wrong").status_code == 401


def test_an_event_is_sent_below_the_prefix(older, contact):
    below = type(older)(older.workspace, older.key, f"/leadpush{older.base}")
    assert below.send(contact.id, {"event_name": "x"}).status_code == 204
    assert below.get(f"contacts/{contact.id}").json()["uuid"] == str(contact.id)
