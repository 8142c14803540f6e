from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from tests.workspaces.factories import PASSWORD, MembershipFactory, UserFactory, WorkspaceFactory, bearer
from workspaces.services import remove_member
from workspaces.tokens import WorkspaceAccessToken

pytestmark = pytest.mark.django_db


def sign_in(client, user, **body):
    body = {"username": user.username, "password": PASSWORD, **body}
    return client.post("/api/auth/token", body, content_type="application/json")


def refresh(client, token):
    return client.post("/api/auth/token/refresh", {"refresh": token}, content_type="application/json")


def test_a_token_opens_the_users_only_workspace(client):
    membership = MembershipFactory.create()
    answer = sign_in(client, membership.user).json()
    assert answer["workspace"] == str(membership.workspace_id)
    seen = client.get("/probe", **bearer(answer["access"])).json()
    assert seen == {"workspace": str(membership.workspace_id), "kind": "jwt"}


def test_a_user_of_several_workspaces_names_one(client):
    first = MembershipFactory.create()
    second = MembershipFactory.create(user=first.user)
    answer = sign_in(client, first.user)
    assert answer.status_code == 400
    assert "several" in answer.json()["error"]
    token = sign_in(client, first.user, workspace=str(second.workspace_id)).json()["access"]
    assert client.get(f"/probe/{second.workspace_id}", **bearer(token)).status_code == 200
    assert client.get(f"/probe/{first.workspace_id}", **bearer(token)).status_code == 403


@pytest.mark.parametrize("workspace", ["nonsense", "00000000-0000-7000-8000-000000000000", None])
def test_no_token_for_what_one_is_not_a_member_of(client, workspace):
    membership = MembershipFactory.create()
    workspace = workspace or str(WorkspaceFactory.create().id)
    assert sign_in(client, membership.user, workspace=workspace).status_code == 403


def test_a_user_without_a_workspace_gets_no_token(client):
    assert sign_in(client, UserFactory.create()).status_code == 400


def test_the_end_of_a_membership_ends_its_tokens_at_once(client):
    membership = MembershipFactory.create()
    pair = sign_in(client, membership.user).json()
    assert client.get("/probe", **bearer(pair["access"])).status_code == 200
    MembershipFactory.create(workspace=membership.workspace)
    remove_member(membership.workspace, membership.user)
    assert client.get("/probe", **bearer(pair["access"])).status_code == 401
    assert refresh(client, pair["refresh"]).status_code == 401


def test_a_change_of_role_holds_at_once(client):
    membership = MembershipFactory.create()
    token = sign_in(client, membership.user).json()["access"]
    membership.role = "viewer"
    membership.save()
    assert client.post("/probe", {}, content_type="application/json", **bearer(token)).status_code == 403


def test_a_new_password_ends_the_tokens(client):
    membership = MembershipFactory.create()
    pair = sign_in(client, membership.user).json()
    membership.user.set_password("another one")
    membership.user.save()
    assert client.get("/probe", **bearer(pair["access"])).status_code == 401
    assert refresh(client, pair["refresh"]).status_code == 401


def test_an_inactive_user_has_no_token(client):
    membership = MembershipFactory.create()
    token = sign_in(client, membership.user).json()["access"]
    membership.user.is_active = False
    membership.user.save()
    assert client.get("/probe", **bearer(token)).status_code == 401


def test_an_access_token_expires_and_is_renewed(client):
    membership = MembershipFactory.create()
    start = datetime(2026, 5, 1, tzinfo=UTC)
    with time_machine.travel(start, tick=False):
        pair = sign_in(client, membership.user).json()
    with time_machine.travel(start + timedelta(minutes=16), tick=False):
        assert client.get("/probe", **bearer(pair["access"])).status_code == 401
        renewed = refresh(client, pair["refresh"])
        assert renewed.status_code == 200
        assert client.get("/probe", **bearer(renewed.json()["access"])).status_code == 200


def test_tokens_do_not_stand_in_for_each_other(client):
    pair = sign_in(client, MembershipFactory.create().user).json()
    assert client.get("/probe", **bearer(pair["refresh"])).status_code == 401
    assert refresh(client, pair["access"]).status_code == 401


def test_a_token_without_a_workspace_opens_nothing(client):
    token = WorkspaceAccessToken.for_user(MembershipFactory.create().user)
    assert client.get("/probe", **bearer(str(token))).status_code == 401


@pytest.mark.parametrize("token", ["x", "a.b.c", "eyJ.eyJ.x", ""])
def test_a_refresh_of_nonsense_is_refused(client, token):
    assert refresh(client, token).status_code in (400, 401)
