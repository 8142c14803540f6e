import json

import pytest
from django.test import Client

from tests.workspaces.factories import PASSWORD, MembershipFactory, UserFactory, WorkspaceFactory
from workspaces.models import Role

pytestmark = pytest.mark.django_db
LOGIN = "/api/auth/login"


@pytest.fixture
def browser():
    return Client(enforce_csrf_checks=True)


def sign_in(browser, user, **body):
    body = body or {"username": user.username, "password": PASSWORD}
    return browser.post(LOGIN, body, content_type="application/json")


def test_a_member_who_is_not_staff_signs_in_and_works(browser):
    membership = MembershipFactory.create(role=Role.EDITOR)
    answer = sign_in(browser, membership.user)
    assert answer.status_code == 200
    session = answer.json()
    assert session["user"]["username"] == membership.user.username
    expected = {"id": str(membership.workspace_id), "name": membership.workspace.name, "role": "editor"}
    assert session["workspaces"] == [expected]
    assert browser.cookies["sessionid"]["httponly"]
    url = f"/probe/{membership.workspace_id}"
    assert browser.get(url).json()["kind"] == "session"
    headers = {"HTTP_X_CSRFTOKEN": session["csrfToken"]}
    assert browser.post(url, {}, content_type="application/json", **headers).status_code == 201


def test_a_write_without_the_csrf_token_is_refused(browser):
    membership = MembershipFactory.create()
    sign_in(browser, membership.user)
    answer = browser.post(f"/probe/{membership.workspace_id}", {}, content_type="application/json")
    assert (answer.status_code, answer.json()) == (403, {"error": "Forbidden"})


def test_another_sites_form_cannot_sign_anyone_in(browser):
    user = UserFactory.create()
    body = json.dumps({"username": user.username, "password": PASSWORD, "x": "="})
    for content_type in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
    ):
        answer = browser.generic("POST", LOGIN, body, content_type=content_type)
        assert (answer.status_code, answer.json()) == (415, {"error": "Unsupported media type"})
    assert "sessionid" not in browser.cookies


def test_an_address_signs_in_as_well_as_a_user_name(browser):
    user = UserFactory.create()
    assert sign_in(browser, user, email=user.email.upper(), password=PASSWORD).status_code == 200
    assert sign_in(browser, user, username=user.email, password=PASSWORD).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {"username": "somebody", "password": "wrong"},
        {"username": "nobody", "password": PASSWORD},
        {"email": "nobody@example.test", "password": PASSWORD},
    ],
)
def test_wrong_credentials_are_a_401(browser, body):
    UserFactory.create(username="somebody")
    answer = sign_in(browser, None, **body)
    assert (answer.status_code, answer.json()) == (401, {"error": "Wrong user name or password"})


def test_an_inactive_user_stays_out(browser):
    assert sign_in(browser, UserFactory.create(is_active=False)).status_code == 401


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "password"),
        ({"password": "x"}, "username"),
        ({"username": "x"}, "password"),
        ({"username": 5, "password": "x"}, "username"),
        ({"username": "x", "password": ["x"]}, "password"),
        ({"username": "x" * 255, "password": "x"}, "username"),
        ({"email": {}, "password": "x"}, "email"),
    ],
)
def test_signing_in_says_what_is_wrong(browser, body, field):
    answer = browser.post(LOGIN, body, content_type="application/json")
    assert answer.status_code == 400
    assert field in answer.json()["details"]


@pytest.mark.parametrize(
    "body", [b"[]", b"null", b'"x"', b"{", b'{"a": NaN}', b'{"username": "\\u0000"}', b"\xff"]
)
def test_signing_in_refuses_malformed_bodies(browser, body):
    answer = browser.generic("POST", LOGIN, body, content_type="application/json")
    assert answer.status_code == 400
    assert set(answer.json()) == {"error"}


def test_signing_out_needs_the_csrf_token_and_ends_the_session(browser):
    membership = MembershipFactory.create()
    token = sign_in(browser, membership.user).json()["csrfToken"]
    assert browser.generic("POST", "/api/auth/logout").status_code == 403
    assert browser.generic("POST", "/api/auth/logout", HTTP_X_CSRFTOKEN=token).status_code == 204
    assert browser.get("/api/auth/session").status_code == 401
    assert browser.get(f"/probe/{membership.workspace_id}").status_code == 401


def test_the_session_tells_who_is_signed_in(browser):
    membership = MembershipFactory.create()
    assert browser.get("/api/auth/session").json() == {"error": "Unauthorized"}
    sign_in(browser, membership.user)
    session = browser.get("/api/auth/session").json()
    assert session["user"]["id"] == str(membership.user_id)
    headers = {"HTTP_X_CSRFTOKEN": session["csrfToken"]}
    assert browser.generic("POST", "/api/auth/logout", **headers).status_code == 204


def test_a_member_removed_is_out_at_once(client):
    membership = MembershipFactory.create()
    client.force_login(membership.user)
    url = f"/probe/{membership.workspace_id}"
    assert client.get(url).status_code == 200
    MembershipFactory.create(workspace=membership.workspace)
    membership.delete()
    assert client.get(url).status_code == 403


@pytest.mark.parametrize("workspace_id", ["nonsense", "00000000-0000-7000-8000-000000000000"])
def test_no_member_learns_which_workspaces_exist(client, workspace_id):
    client.force_login(MembershipFactory.create().user)
    unknown = client.get(f"/probe/{workspace_id}")
    foreign = client.get(f"/probe/{WorkspaceFactory.create().id}")
    assert (
        (unknown.status_code, unknown.content)
        == (foreign.status_code, foreign.content)
        == (403, foreign.content)
    )


def test_a_route_without_a_workspace_means_the_only_one(client):
    membership = MembershipFactory.create()
    client.force_login(membership.user)
    assert client.get("/probe").json()["workspace"] == str(membership.workspace_id)
    MembershipFactory.create(user=membership.user)
    assert client.get("/probe").status_code == 403


@pytest.mark.parametrize(
    ("role", "reads", "writes"), [("viewer", 200, 403), ("editor", 200, 201), ("owner", 200, 201)]
)
def test_a_role_decides_what_a_session_may_do(client, role, reads, writes):
    membership = MembershipFactory.create(role=role)
    client.force_login(membership.user)
    url = f"/probe/{membership.workspace_id}"
    assert client.get(url).status_code == reads
    assert client.post(url, {}, content_type="application/json").status_code == writes


def test_too_many_attempts_are_slowed_down(browser, settings):
    settings.LOGIN_RATE_LIMIT = "3/minute"
    user = UserFactory.create()
    for _ in range(3):
        assert sign_in(browser, user, username=user.username, password="wrong").status_code == 401
    answer = sign_in(browser, user)
    assert (answer.status_code, answer.json()) == (429, {"error": "Too many requests"})
    assert 1 <= int(answer.headers["Retry-After"]) <= 60


def test_health_needs_nobody(client):
    health = client.get("/api/health").json()
    assert (health["status"], health["version"]) == ("ok", "0.1.0")
    assert health["timestamp"].endswith("Z")


def test_a_cookie_that_spells_a_nul_is_nobodys(browser):
    browser.cookies["sessionid"] = "\0aaaaaaaaaaaaaaaa"
    answer = browser.get("/api/auth/session")
    assert (answer.status_code, answer.json()) == (401, {"error": "Unauthorized"})
