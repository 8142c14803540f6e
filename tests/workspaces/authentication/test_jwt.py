import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.db import connection
from django.test import Client

from tests.workspaces.factories import PASSWORD, MembershipFactory, UserFactory, WorkspaceFactory, bearer
from workspaces.authentication.jwt import WorkspaceAccessToken
from workspaces.models import TokenFamily
from workspaces.tasks import purge_expired_tokens

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
    membership.delete()
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


def works(client, pair):
    return client.get("/probe", **bearer(pair["access"])).status_code == 200


def test_a_refresh_token_is_good_once(client):
    pair = sign_in(client, MembershipFactory.create().user).json()
    renewed = refresh(client, pair["refresh"]).json()
    assert renewed["refresh"] != pair["refresh"]
    again = refresh(client, renewed["refresh"])
    assert again.status_code == 200
    assert works(client, again.json())


def test_one_that_is_used_again_revokes_its_whole_family_and_no_other(client, caplog):
    user = MembershipFactory.create().user
    stolen, other = sign_in(client, user).json(), sign_in(client, user).json()
    renewed = refresh(client, stolen["refresh"]).json()
    latest = refresh(client, renewed["refresh"]).json()
    assert works(client, latest)
    assert refresh(client, stolen["refresh"]).status_code == 401
    assert str(user.pk) in caplog.text
    assert not [pair for pair in (stolen, renewed, latest) if works(client, pair)]
    assert refresh(client, latest["refresh"]).status_code == 401
    assert works(client, other)
    assert refresh(client, other["refresh"]).status_code == 200


def test_signing_out_by_a_jwt_ends_its_family_and_no_other(client):
    user = MembershipFactory.create().user
    pair, other = sign_in(client, user).json(), sign_in(client, user).json()
    assert client.post("/api/auth/logout", **bearer(pair["access"])).status_code == 204
    assert not works(client, pair)
    assert refresh(client, pair["refresh"]).status_code == 401
    assert client.post("/api/auth/logout", **bearer(pair["access"])).status_code == 401
    assert works(client, other)


def test_who_is_active_again_signs_in_again(client):
    user = MembershipFactory.create().user
    pair = sign_in(client, user).json()
    for is_active in (False, True):
        user.is_active = is_active
        user.save()
        assert not works(client, pair)
        assert refresh(client, pair["refresh"]).status_code == 401


@pytest.mark.django_db(transaction=True)
def test_of_two_that_use_one_at_once_one_is_a_thief(client):
    pair = sign_in(client, MembershipFactory.create().user).json()
    barrier = threading.Barrier(2)

    def use(_):
        barrier.wait(10)
        try:
            return refresh(Client(), pair["refresh"])
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(use, range(2)))
    assert sorted(answer.status_code for answer in answers) == [200, 401]
    renewed = next(answer.json() for answer in answers if answer.status_code == 200)
    assert not works(client, renewed)


def test_what_is_over_is_forgotten(client):
    start = datetime(2026, 5, 1, tzinfo=UTC)
    with time_machine.travel(start, tick=False):
        pair = sign_in(client, MembershipFactory.create().user).json()
    with time_machine.travel(start + timedelta(days=10), tick=False):
        assert purge_expired_tokens() == "nothing"
        renewed = refresh(client, pair["refresh"]).json()
    with time_machine.travel(start + timedelta(days=20), tick=False):
        assert purge_expired_tokens() == "nothing"
        assert refresh(client, renewed["refresh"]).status_code == 200
    with time_machine.travel(start + timedelta(days=40), tick=False):
        assert purge_expired_tokens() == "done"
        assert not TokenFamily.objects.exists()
