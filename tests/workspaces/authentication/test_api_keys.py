import hashlib
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.db import connection, transaction

from config import clock
from tests.workspaces.factories import MembershipFactory, UserFactory, WorkspaceFactory, a_key, bearer
from workspaces.errors import ExpiryInPast, UnknownScopes
from workspaces.models import ApiKey, Role
from workspaces.services import revoke_api_key

pytestmark = pytest.mark.django_db


def test_a_key_opens_its_workspace(client):
    issued = a_key()
    answer = client.get("/probe", **bearer(issued.secret))
    assert answer.json() == {"workspace": str(issued.api_key.workspace_id), "kind": "api_key"}


def test_only_a_hash_of_the_secret_is_stored():
    issued = a_key()
    row = ApiKey.objects.get(id=issued.api_key.id)
    assert bytes(row.key_hash) == hashlib.sha256(issued.secret.encode()).digest()
    assert issued.secret not in str(ApiKey.objects.values())
    assert row.masked == f"{issued.secret[:11]}...{issued.secret[-4:]}"


@pytest.mark.parametrize("prefix", ["AS_", "cos_", "hr_", ""])
def test_a_key_may_begin_as_its_client_expects(client, prefix):
    issued = a_key(prefix=prefix)
    assert issued.secret.startswith(prefix)
    assert client.get("/probe", **bearer(issued.secret)).status_code == 200


def test_a_key_is_refused_in_another_workspace_as_in_one_that_is_not(client):
    issued = a_key()
    others = [str(WorkspaceFactory.create().id), "00000000-0000-7000-8000-000000000000", "nonsense", "%00"]
    answers = [client.get(f"/probe/{other}", **bearer(issued.secret)) for other in others]
    assert [answer.status_code for answer in answers] == [403] * 4
    assert {answer.content for answer in answers} == {b'{"error":"You do not have access to this."}'}


def test_a_revoked_key_is_refused_at_once(client):
    issued = a_key()
    assert client.get("/probe", **bearer(issued.secret)).status_code == 200
    revoke_api_key(issued.api_key.workspace.id, issued.api_key.id)
    answer = client.get("/probe", **bearer(issued.secret))
    assert (answer.status_code, answer.json()) == (401, {"error": "Unauthorized"})
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_an_expired_key_is_refused(client):
    now = datetime(2026, 5, 1, tzinfo=UTC)
    with time_machine.travel(now, tick=False):
        issued = a_key(expires_at=now + timedelta(hours=1))
        assert client.get("/probe", **bearer(issued.secret)).status_code == 200
    with time_machine.travel(now + timedelta(hours=1), tick=False):
        assert client.get("/probe", **bearer(issued.secret)).status_code == 401


def test_a_key_needs_the_scope(client):
    issued = a_key(scopes=["events:read"])
    assert client.get("/probe", **bearer(issued.secret)).status_code == 200
    answer = client.post("/probe", {}, content_type="application/json", **bearer(issued.secret))
    assert answer.status_code == 403


def test_the_service_refuses_unknown_scopes_and_a_past_expiry():
    with pytest.raises(UnknownScopes) as refused:
        a_key(scopes=["events:read", "moon:walk"])
    assert refused.value.scopes == ["moon:walk"]
    with pytest.raises(ExpiryInPast):
        a_key(expires_at=datetime(2020, 1, 1, tzinfo=UTC))


def test_last_use_is_noted_once_a_minute(client):
    issued = a_key()
    start = datetime(2026, 5, 1, tzinfo=UTC)
    seen = []
    for seconds in (0, 30, 59, 61):
        with time_machine.travel(start + timedelta(seconds=seconds), tick=False):
            client.get("/probe", **bearer(issued.secret))
        seen.append(ApiKey.objects.get(id=issued.api_key.id).last_used_at)
    assert seen == [start, start, start, start + timedelta(seconds=61)]


def test_authentication_is_one_statement(client, django_assert_num_queries):
    issued = a_key()
    client.get("/probe", **bearer(issued.secret))
    with django_assert_num_queries(1):
        client.get(f"/probe/{issued.api_key.workspace_id}", **bearer(issued.secret))


@pytest.mark.django_db(transaction=True)
def test_noting_the_use_waits_for_no_lock(client):
    issued = a_key()
    other = connection.copy()
    other.set_autocommit(False)
    try:
        with other.cursor() as cursor:
            cursor.execute("SELECT 1 FROM workspaces_apikey WHERE id = %s FOR UPDATE", [issued.api_key.id])
        with transaction.atomic():
            connection.cursor().execute("SET LOCAL lock_timeout = '500ms'")
            assert client.get("/probe", **bearer(issued.secret)).status_code == 200
    finally:
        other.rollback()
        other.close()


@pytest.mark.parametrize(
    "header",
    [
        "Bearer",
        "Bearer ",
        "Bearer nonsense",
        "Bearer \x00",
        "Bearer café",
        "Bearer ключ",
        "Bearer " + "x" * 100_000,
        "Bearer eyJ.a.b",
        "Bearer eyJhbGciOiJub25lIn0.eyJ1c2VyX2lkIjoxfQ.",
        "Bearer eyJhbGciOiJIUzI1NiJ9.W10.x",
        "Bearer eyJ" + "." * 2 + "\x00",
        "Bearer eyJ..\ud800",
        "Basic abc",
        "\x00",
        "",
    ],
)
def test_a_malformed_header_is_unauthenticated(client, header):
    answer = client.get("/probe", HTTP_AUTHORIZATION=header)
    assert (answer.status_code, answer.json()) == (401, {"error": "Unauthorized"})


def test_a_key_in_the_address_serves_get_only(client):
    issued = a_key()
    assert client.get(f"/probe?key={issued.secret}").status_code == 200
    assert client.get("/probe?key=nonsense").status_code == 401
    answer = client.post(f"/probe?key={issued.secret}", {}, content_type="application/json")
    assert answer.status_code == 401


# The keys API


def keys_url(workspace):
    return f"/api/workspaces/{workspace.id}/keys"


def test_the_keys_api_shows_the_key_once_and_lists_it_masked(client):
    admin = a_key()
    workspace = admin.api_key.workspace
    body = {"name": "Server", "scopes": ["events:write"], "expiresAt": "2030-01-01T00:00:00Z"}
    created = client.post(keys_url(workspace), body, content_type="application/json", **bearer(admin.secret))
    assert created.status_code == 201
    issued = created.json()
    assert issued["expiresAt"] == "2030-01-01T00:00:00.000Z"
    assert (
        client.post("/probe", {}, content_type="application/json", **bearer(issued["key"])).status_code == 201
    )
    listed = client.get(keys_url(workspace), **bearer(admin.secret)).json()
    assert [row["name"] for row in listed] == ["Server", "key"]
    assert listed[0]["key"] == f"{issued['key'][:11]}...{issued['key'][-4:]}"
    assert listed[0]["lastUsedAt"] is not None
    assert issued["key"] not in str(listed)


def test_the_keys_api_revokes_by_the_body(client):
    admin, other = a_key(), None
    workspace = admin.api_key.workspace
    other = a_key(workspace)
    body = {"keyId": str(other.api_key.id)}
    answer = client.delete(keys_url(workspace), body, content_type="application/json", **bearer(admin.secret))
    assert (answer.status_code, answer.json()) == (200, {"success": True})
    assert client.get("/probe", **bearer(other.secret)).status_code == 401
    assert len(client.get(keys_url(workspace), **bearer(admin.secret)).json()) == 1


@pytest.mark.parametrize("key_id", ["nonsense", "00000000-0000-7000-8000-000000000000"])
def test_the_keys_api_does_not_find_what_is_not_there(client, key_id):
    admin = a_key()
    url = keys_url(admin.api_key.workspace)
    answer = client.delete(url, {"keyId": key_id}, content_type="application/json", **bearer(admin.secret))
    assert (answer.status_code, answer.json()) == (404, {"error": "API key not found"})


def test_the_keys_api_does_not_reach_into_another_workspace(client):
    admin, foreign = a_key(), a_key()
    body = {"keyId": str(foreign.api_key.id)}
    url = keys_url(admin.api_key.workspace)
    assert (
        client.delete(url, body, content_type="application/json", **bearer(admin.secret)).status_code == 404
    )
    assert client.get(keys_url(foreign.api_key.workspace), **bearer(admin.secret)).status_code == 403
    assert client.get("/probe", **bearer(foreign.secret)).status_code == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": 5, "scopes": ["events:read"]}, "name"),
        ({"name": "", "scopes": ["events:read"]}, "name"),
        ({"name": "x" * 201, "scopes": ["events:read"]}, "name"),
        ({"name": "x"}, "scopes"),
        ({"name": "x", "scopes": []}, "scopes"),
        ({"name": "x", "scopes": "events:read"}, "scopes"),
        ({"name": "x", "scopes": ["moon:walk"]}, "scopes"),
        ({"name": "x", "scopes": [["events:read"]]}, "scopes.0"),
        ({"name": "x", "scopes": [None]}, "scopes.0"),
        ({"name": "x", "scopes": ["events:read"], "expiresAt": "2026-02-30T00:00:00Z"}, "expiresAt"),
        ({"name": "x", "scopes": ["events:read"], "expiresAt": 12}, "expiresAt"),
        ({"name": "x", "scopes": ["events:read"], "expiresAt": []}, "expiresAt"),
        ({"name": "x", "scopes": ["events:read"], "rateLimit": "often"}, "rateLimit"),
        ({"name": "x", "scopes": ["events:read"], "rateLimit": "0/minute"}, "rateLimit"),
    ],
)
def test_the_keys_api_says_what_is_wrong(client, body, field):
    admin = a_key()
    url = keys_url(admin.api_key.workspace)
    answer = client.post(url, body, content_type="application/json", **bearer(admin.secret))
    assert answer.status_code == 400
    assert answer.json()["error"] == "Validation failed"
    assert field in answer.json()["details"]
    assert ApiKey.objects.count() == 1


@pytest.mark.parametrize(
    "expires_at", ["2020-01-01T00:00:00Z", "9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+14:00"]
)
def test_the_keys_api_refuses_a_useless_expiry(client, expires_at):
    admin = a_key()
    url = keys_url(admin.api_key.workspace)
    body = {"name": "x", "scopes": ["events:read"], "expiresAt": expires_at}
    answer = client.post(url, body, content_type="application/json", **bearer(admin.secret))
    assert answer.status_code == 400


def test_nobody_grants_what_they_may_not_do(client):
    admin = a_key(scopes=["keys:write", "keys:read"])
    url = keys_url(admin.api_key.workspace)
    body = {"name": "x", "scopes": ["events:write"]}
    answer = client.post(url, body, content_type="application/json", **bearer(admin.secret))
    assert answer.status_code == 403
    assert "events:write" in answer.json()["error"]


@pytest.mark.parametrize(
    ("role", "status"), [("owner", 200), ("admin", 200), ("editor", 403), ("viewer", 403)]
)
def test_keys_are_for_owners_and_admins(client, role, status):
    membership = MembershipFactory.create(role=Role(role))
    client.force_login(membership.user)
    assert client.get(keys_url(membership.workspace)).status_code == status


def test_a_superuser_is_told_that_a_workspace_is_not_there(client):
    client.force_login(UserFactory.create(is_superuser=True, is_staff=True))
    unknown = client.get("/api/workspaces/00000000-0000-7000-8000-000000000000/keys")
    assert (unknown.status_code, unknown.json()) == (404, {"error": "Workspace not found"})
    assert client.get("/api/workspaces/nonsense/keys").status_code == 404
    assert client.get(keys_url(WorkspaceFactory.create())).status_code == 200


def act(client, secret, workspace, method, **body):
    return getattr(client, method)(
        keys_url(workspace), body, content_type="application/json", **bearer(secret)
    )


def test_a_key_revokes_none_that_may_do_more(client):
    admin = a_key(scopes=["keys:write", "events:read"])
    workspace = admin.api_key.workspace
    more, less = a_key(workspace, scopes=["events:write"]), a_key(workspace, scopes=["events:read"])

    refused = act(client, admin.secret, workspace, "delete", keyId=str(more.api_key.id))
    assert refused.status_code == 403
    assert "events:write" in refused.json()["error"]
    assert ApiKey.objects.get(id=more.api_key.id).revoked_at is None
    assert act(client, admin.secret, workspace, "delete", keyId=str(less.api_key.id)).status_code == 200
    # Itself too, which ends it.
    assert act(client, admin.secret, workspace, "delete", keyId=str(admin.api_key.id)).status_code == 200
    assert act(client, admin.secret, workspace, "delete", keyId=str(less.api_key.id)).status_code == 401


def test_a_key_issues_none_that_lasts_longer(client):
    admin = a_key(expires_at=clock.now() + timedelta(hours=1))
    workspace = admin.api_key.workspace
    body = {"name": "x", "scopes": ["events:read"]}
    later = (clock.now() + timedelta(hours=2)).isoformat()
    for end in ({}, {"expiresAt": later}):
        assert act(client, admin.secret, workspace, "post", **body, **end).status_code == 403
    soon = (clock.now() + timedelta(minutes=30)).isoformat()
    assert act(client, admin.secret, workspace, "post", **body, expiresAt=soon).status_code == 201


def test_a_limited_key_issues_none_without_its_limit(client):
    admin = a_key(rate_limit="50/minute")
    workspace = admin.api_key.workspace
    body = {"name": "x", "scopes": ["events:read"]}
    for limit in ({}, {"rateLimit": "500/minute"}):
        assert act(client, admin.secret, workspace, "post", **body, **limit).status_code == 403
    assert act(client, admin.secret, workspace, "post", **body, rateLimit="50/minute").status_code == 201


def test_a_key_does_nothing_to_another_workspace_s(client):
    admin, other = a_key(), a_key()
    workspace = other.api_key.workspace
    assert act(client, admin.secret, workspace, "post", name="x", scopes=["events:read"]).status_code == 403
    assert act(client, admin.secret, workspace, "delete", keyId=str(other.api_key.id)).status_code == 403
    mine = admin.api_key.workspace
    assert act(client, admin.secret, mine, "delete", keyId=str(other.api_key.id)).status_code == 404
    assert ApiKey.objects.get(id=other.api_key.id).revoked_at is None
