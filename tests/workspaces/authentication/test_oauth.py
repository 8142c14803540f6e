import base64
import hashlib
import re
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client
from django.utils import timezone
from oauth2_provider.models import AccessToken
from oauth2_provider.oauth2_validators import OAuth2Validator

from config import clock
from tests.workspaces.factories import (
    PASSWORD,
    MembershipFactory,
    UserFactory,
    WorkspaceFactory,
    an_application,
    bearer,
)
from workspaces.errors import UnknownScopes

pytestmark = pytest.mark.django_db

REDIRECT = "https://client.example.test/callback"
VERIFIER = "v" * 64
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()


def token_for(client, created, **body):
    body = {
        "grant_type": "client_credentials",
        "client_id": created.application.client_id,
        "client_secret": created.client_secret,
        **body,
    }
    return client.post("/oauth2/token", body)


def test_client_credentials_open_the_applications_workspace(client):
    created = an_application()
    answer = token_for(client, created, scope="events.write events.read")
    assert answer.status_code == 200
    assert answer.json()["expires_in"] == 7200
    assert answer.json()["scope"] == "events.write events.read"
    secret = answer.json()["access_token"]
    seen = client.get("/probe", **bearer(secret)).json()
    assert seen == {"workspace": str(created.application.workspace_id), "kind": "oauth"}
    assert client.get(f"/probe/{WorkspaceFactory.create().id}", **bearer(secret)).status_code == 403


def test_a_client_without_any_cookie_gets_and_revokes_a_token():
    created, client = an_application(), Client(enforce_csrf_checks=True)
    token = token_for(client, created).json()["access_token"]
    credentials = {"client_id": created.application.client_id, "client_secret": created.client_secret}
    assert client.post("/oauth2/revoke", {"token": token, **credentials}).status_code == 200


def test_client_credentials_come_in_the_header_too(client):
    created = an_application()
    pair = f"{created.application.client_id}:{created.client_secret}"
    header = "Basic " + base64.b64encode(pair.encode()).decode()
    answer = client.post("/oauth2/token", {"grant_type": "client_credentials"}, HTTP_AUTHORIZATION=header)
    assert answer.status_code == 200


def test_a_token_may_do_what_its_scopes_say(client):
    secret = token_for(client, an_application(), scope="events.read").json()["access_token"]
    assert client.get("/probe", **bearer(secret)).status_code == 200
    assert client.post("/probe", {}, content_type="application/json", **bearer(secret)).status_code == 403


def test_the_applications_scopes_limit_what_is_granted(client):
    created = an_application(scopes=["events:read"])
    assert token_for(client, created, scope="events.write").json()["error"] == "invalid_scope"
    assert token_for(client, created).json()["scope"] == "events.read"


def test_narrowing_an_application_narrows_its_tokens_at_once(client):
    created = an_application()
    secret = token_for(client, created).json()["access_token"]
    created.application.scopes = ["contacts:read"]
    created.application.save()
    assert client.get("/probe", **bearer(secret)).status_code == 403


def test_a_wrong_secret_gets_no_token(client):
    created = an_application()
    answer = token_for(client, created, client_secret="wrong")
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


def test_tokens_are_stored_as_hashes(client):
    created = an_application()
    secret = token_for(client, created).json()["access_token"]
    assert secret not in str(AccessToken.objects.values())
    created.application.refresh_from_db()
    assert created.client_secret not in created.application.client_secret


def test_an_expired_token_is_refused(client):
    secret = token_for(client, an_application()).json()["access_token"]
    AccessToken.objects.update(expires=timezone.now() - timedelta(seconds=1))
    assert client.get("/probe", **bearer(secret)).status_code == 401


def test_a_token_issues_no_key_that_outlives_it(client):
    created = an_application()
    secret = token_for(client, created).json()["access_token"]
    path = f"/api/workspaces/{created.application.workspace_id}/keys"

    def issue(**end):
        body = {"name": "x", "scopes": ["events:read"], **end}
        return client.post(path, body, content_type="application/json", **bearer(secret)).status_code

    now = clock.now()
    assert issue() == issue(expiresAt=(now + timedelta(days=1)).isoformat()) == 403
    assert issue(expiresAt=(now + timedelta(minutes=30)).isoformat()) == 201


def test_revocation_holds_at_once(client):
    created = an_application()
    secret = token_for(client, created).json()["access_token"]
    body = {
        "token": secret,
        "client_id": created.application.client_id,
        "client_secret": created.client_secret,
    }
    assert client.post("/oauth2/revoke", body).status_code == 200
    assert client.get("/probe", **bearer(secret)).status_code == 401


def authorize_url(created, **changes):
    parameters = {
        "client_id": created.application.client_id,
        "redirect_uri": REDIRECT,
        "response_type": "code",
        "state": "abc",
        "scope": "events.write events.read",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
        **changes,
    }
    return "/oauth2/authorize", {name: value for name, value in parameters.items() if value is not None}


def consent(client, created, **changes):
    path, parameters = authorize_url(created, **changes)
    page = client.get(path, parameters)
    assert page.status_code == 200, page.content
    fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page.content.decode()))
    return client.post(path, {**fields, "allow": "1"})


def code_for(client, created):
    answer = consent(client, created)
    assert answer.status_code == 302
    query = parse_qs(urlsplit(answer.headers["Location"]).query)
    assert query["state"] == ["abc"]
    return query["code"][0]


def exchange(client, created, code, **changes):
    body = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": REDIRECT,
        "code_verifier": VERIFIER,
    }
    return token_for(client, created, **{**body, **changes})


@pytest.fixture
def web_application():
    return an_application(redirect_uris=[REDIRECT])


@pytest.fixture
def member(web_application):
    return MembershipFactory.create(workspace=web_application.application.workspace)


def test_a_code_is_exchanged_by_its_verifier_for_a_token_that_lives_on(client, web_application, member):
    client.force_login(member.user)
    code = code_for(client, web_application)
    client.logout()
    assert exchange(client, web_application, code, code_verifier="w" * 64).status_code == 400
    answer = exchange(client, web_application, code)
    assert answer.status_code == 200
    assert client.get("/probe", **bearer(answer.json()["access_token"])).json()["kind"] == "oauth"
    renewal = {"grant_type": "refresh_token", "refresh_token": answer.json()["refresh_token"]}
    renewed = token_for(client, web_application, **renewal).json()
    assert client.get("/probe", **bearer(renewed["access_token"])).status_code == 200


def test_a_code_serves_once(client, web_application, member):
    client.force_login(member.user)
    code = code_for(client, web_application)
    assert exchange(client, web_application, code).status_code == 200
    assert exchange(client, web_application, code).status_code == 400


def test_a_token_that_is_revoked_while_it_is_issued_is_a_refusal(client, monkeypatch):
    """Of a refresh token that several show at once, each may revoke what another has just got."""
    created, save = an_application(), OAuth2Validator.save_bearer_token

    def save_and_revoke(*args, **kwargs):
        save(*args, **kwargs)
        AccessToken.objects.all().delete()

    monkeypatch.setattr(OAuth2Validator, "save_bearer_token", save_and_revoke)
    answer = token_for(client, created)
    assert (answer.status_code, answer.json()) == (400, {"error": "invalid_grant"})


def test_pkce_is_required(client, web_application, member):
    client.force_login(member.user)
    path, parameters = authorize_url(web_application, code_challenge=None)
    answer = client.get(path, parameters)
    assert answer.status_code == 302
    assert parse_qs(urlsplit(answer.headers["Location"]).query)["error"] == ["invalid_request"]


def test_a_plain_challenge_is_no_pkce(client, web_application, member):
    client.force_login(member.user)
    answer = consent(client, web_application, code_challenge=VERIFIER, code_challenge_method="plain")
    assert parse_qs(urlsplit(answer.headers["Location"]).query)["error"] == ["invalid_request"]


def test_a_token_dies_with_the_membership_of_who_authorized_it(client, web_application, member):
    client.force_login(member.user)
    secret = exchange(client, web_application, code_for(client, web_application)).json()["access_token"]
    client.logout()
    assert client.get("/probe", **bearer(secret)).status_code == 200
    MembershipFactory.create(workspace=member.workspace)
    member.delete()
    assert client.get("/probe", **bearer(secret)).status_code == 401


def test_a_token_may_do_no_more_than_its_user(client, web_application, member):
    member.role = "viewer"
    member.save()
    client.force_login(member.user)
    secret = exchange(client, web_application, code_for(client, web_application)).json()["access_token"]
    client.logout()
    assert client.get("/probe", **bearer(secret)).status_code == 200
    assert client.post("/probe", {}, content_type="application/json", **bearer(secret)).status_code == 403


def test_only_members_authorize(client, web_application):
    client.force_login(UserFactory.create())
    path, parameters = authorize_url(web_application)
    assert client.get(path, parameters).status_code == 403


def test_a_member_signs_in_on_the_way(client, web_application, member):
    path, parameters = authorize_url(web_application)
    there = client.get(path, parameters)
    assert there.status_code == 302
    login_page = there.headers["Location"]
    assert login_page.startswith("/oauth2/login?next=")
    assert client.get(login_page).status_code == 200
    query = parse_qs(urlsplit(login_page).query)
    body = {"username": member.user.username, "password": PASSWORD, "next": query["next"][0]}
    back = client.post("/oauth2/login", body)
    assert back.status_code == 302
    assert back.headers["Location"].startswith("/oauth2/authorize?")
    assert member.workspace.name in client.get(back.headers["Location"]).content.decode()


def test_a_foreign_redirect_address_is_not_redirected_to(client, web_application, member):
    client.force_login(member.user)
    path, parameters = authorize_url(web_application, redirect_uri="https://evil.example.test/")
    answer = client.get(path, parameters)
    assert answer.status_code == 400


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"grant_type": "\x00"},
        {"grant_type": "client_credentials", "client_id": "\x00", "client_secret": "x"},
        {"grant_type": "client_credentials", "client_id": "x" * 5000, "client_secret": "x"},
        {"grant_type": "client_credentials", "client_id": "x"},
        {"grant_type": "authorization_code", "code": "\x00"},
        {"grant_type": "authorization_code", "code": "x", "client_id": "x"},
        {"grant_type": "password", "username": "x", "password": "x", "client_id": "x"},
        {"grant_type": "refresh_token", "refresh_token": "\x00"},
        {"grant_type": "urn:ietf:params:oauth:grant-type:device_code"},
        {"grant_type": "ключ", "scope": "💥"},
    ],
)
def test_no_token_request_fails_inside(client, body):
    assert client.post("/oauth2/token", body).status_code in (400, 401)
    assert client.post("/oauth2/revoke", body).status_code in (400, 401)


@pytest.mark.parametrize(
    "grant_type", ["password", "authorization_code", "refresh_token", "implicit", "client_credentials"]
)
def test_no_grant_beyond_the_applications_own(client, grant_type):
    created = an_application(redirect_uris=[REDIRECT] if grant_type == "client_credentials" else [])
    body = {"grant_type": grant_type, "username": "x", "password": "x", "code": "x", "refresh_token": "x"}
    answer = token_for(client, created, **body, redirect_uri=REDIRECT)
    assert answer.status_code in (400, 401)


@pytest.mark.parametrize(
    "header", ["Basic", "Basic x", "Basic AAAA", "Basic AHg6eA==", "Basic /////w==", "Bearer x", "Basic ключ"]
)
def test_no_client_header_fails_inside(client, header):
    answer = client.post("/oauth2/token", {"grant_type": "client_credentials"}, HTTP_AUTHORIZATION=header)
    assert answer.status_code in (400, 401)


@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": "\x00"},
        {"client_id": "unknown"},
        {"client_id": None},
        {"state": "\x00"},
        {"code_challenge": "x" * 129},
        {"nonce": "x" * 300},
        {"scope": "moon.walk"},
        {"response_type": "token"},
        {"redirect_uri": "ключ"},
        {"prompt": "create"},
        {"prompt": "none login"},
        {"resource": "nonsense"},
        {"claims": "nonsense"},
    ],
)
def test_no_authorization_request_fails_inside(client, web_application, member, changes):
    path, parameters = authorize_url(web_application, **changes)
    assert client.get(path, parameters).status_code in (302, 400)
    client.force_login(member.user)
    assert client.get(path, parameters).status_code in (200, 302, 400, 403)
    assert client.post(path, {**parameters, "allow": "1"}).status_code in (200, 302, 400, 403)


def test_an_application_has_scopes_that_exist():
    with pytest.raises(UnknownScopes):
        an_application(scopes=["moon:walk"])
