import re
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from tests.contacts.factories import a_contact
from tests.workspaces.factories import (
    MembershipFactory,
    UserFactory,
    WorkspaceFactory,
    a_key,
    an_application,
    bearer,
)
from workspaces.models import ApiKey, Application, Role

pytestmark = pytest.mark.django_db

MODELS = ["user", "workspace", "apikey", "application"]


@pytest.fixture
def staff():
    browser = Client()
    browser.force_login(UserFactory.create(is_staff=True, is_superuser=True))
    return browser


def text_of(answer):
    return re.sub(r"\s+", " ", answer.content.decode())


@pytest.mark.parametrize("model", MODELS)
def test_lists_and_forms_open(staff, model):
    a_key()
    an_application()
    for url in (f"admin:workspaces_{model}_changelist", f"admin:workspaces_{model}_add"):
        assert staff.get(reverse(url)).status_code == 200
    assert staff.get(reverse(f"admin:workspaces_{model}_changelist"), {"q": "x\x00"}).status_code == 200


def test_each_row_opens(staff):
    membership = MembershipFactory.create()
    rows: dict[str, Any] = {
        "user": membership.user,
        "workspace": membership.workspace,
        "apikey": a_key(membership.workspace).api_key,
        "application": an_application(membership.workspace).application,
    }
    for model, row in rows.items():
        assert staff.get(reverse(f"admin:workspaces_{model}_change", args=[row.pk])).status_code == 200


def test_only_staff_come_in(client):
    client.force_login(MembershipFactory.create().user)
    for model in MODELS:
        assert client.get(reverse(f"admin:workspaces_{model}_changelist")).status_code == 302


def test_a_list_takes_the_same_number_of_statements_whatever_its_length(staff, django_assert_max_num_queries):
    workspace = WorkspaceFactory.create()
    for _ in range(12):
        MembershipFactory.create(workspace=workspace)
        a_key(workspace)
        an_application(workspace)
    for model in MODELS:
        with django_assert_max_num_queries(12):
            staff.get(reverse(f"admin:workspaces_{model}_changelist"), {"workspace": str(workspace.id)})


def test_a_key_is_issued_and_shown_once(staff, client):
    workspace = WorkspaceFactory.create()
    form = {
        "workspace": str(workspace.id),
        "name": "Server",
        "scopes": ["events:read"],
        "rate_limit": "",
        "expires_at_0": "",
        "expires_at_1": "",
        "beginning": "AS_",
    }
    page = staff.post(reverse("admin:workspaces_apikey_add"), form, follow=True)
    found = re.search(r"AS_[\w-]{43}", page.content.decode())
    assert found, text_of(page)[:2000]
    assert client.get("/probe", **bearer(found[0])).json()["workspace"] == str(workspace.id)
    api_key = ApiKey.objects.get()
    change = staff.get(reverse("admin:workspaces_apikey_change", args=[api_key.pk]))
    assert found[0] not in change.content.decode()
    assert bytes(api_key.key_hash).hex() not in change.content.decode()


@pytest.mark.parametrize(
    "changes",
    [
        {"scopes": ["moon:walk"]},
        {"scopes": []},
        {"rate_limit": "often"},
        {"beginning": "ключ"},
        {"beginning": "a b"},
        {"name": "a\x00b"},
        {"workspace": "00000000-0000-7000-8000-000000000000"},
        {"expires_at_0": "2020-01-01", "expires_at_1": "00:00"},
    ],
)
def test_a_key_that_makes_no_sense_is_not_issued(staff, changes):
    form = {"workspace": str(WorkspaceFactory.create().id), "name": "x", "scopes": ["events:read"], **changes}
    assert staff.post(reverse("admin:workspaces_apikey_add"), form).status_code == 200
    assert not ApiKey.objects.exists()


def test_keys_are_revoked_from_the_list(staff, client):
    issued = a_key()
    body = {"action": "revoke", "_selected_action": [str(issued.api_key.pk)]}
    workspace_id = str(issued.api_key.workspace_id)
    url = reverse("admin:workspaces_apikey_changelist") + f"?workspace={workspace_id}"
    assert staff.post(url, body, follow=True).status_code == 200
    assert client.get("/probe", **bearer(issued.secret)).status_code == 401


def test_a_client_is_created_and_its_secret_shown_once(staff, client):
    workspace = WorkspaceFactory.create()
    form = {
        "workspace": str(workspace.id),
        "name": "Shop",
        "scopes": ["events:read"],
        "client_type": "confidential",
        "authorization_grant_type": "client-credentials",
        "redirect_uris": "",
        "rate_limit": "",
    }
    page = staff.post(reverse("admin:workspaces_application_add"), form, follow=True)
    found = re.search(r"shown only this once: (\w{128})", page.content.decode())
    assert found, text_of(page)[:2000]
    body = {
        "grant_type": "client_credentials",
        "client_id": Application.objects.get().client_id,
        "client_secret": found[1],
    }
    assert client.post("/oauth2/token", body).json()["scope"] == "events.read"
    change = staff.get(reverse("admin:workspaces_application_change", args=[Application.objects.get().pk]))
    assert Application.objects.get().client_secret not in change.content.decode()


@pytest.mark.parametrize("uris", ["", "javascript:alert(1)", "nonsense"])
def test_a_client_needs_a_redirect_address_that_is_one(staff, uris):
    form = {
        "workspace": str(WorkspaceFactory.create().id),
        "name": "Shop",
        "scopes": ["events:read"],
        "client_type": "confidential",
        "authorization_grant_type": "authorization-code",
        "redirect_uris": uris,
        "rate_limit": "",
    }
    assert staff.post(reverse("admin:workspaces_application_add"), form).status_code == 200
    assert not Application.objects.exists()


def test_a_user_is_made_a_member(staff):
    workspace, user = WorkspaceFactory.create(), UserFactory.create()
    form = {
        "name": workspace.name,
        "identity_field": "email",
        "quarantine": "batches",
        "memberships-TOTAL_FORMS": "1",
        "memberships-INITIAL_FORMS": "0",
        "memberships-0-user": str(user.pk),
        "memberships-0-role": "editor",
    }
    staff.post(reverse("admin:workspaces_workspace_change", args=[workspace.pk]), form)
    assert workspace.memberships.get().role == Role.EDITOR


def test_tokens_are_listed_without_their_secrets(staff, client):
    created = an_application()
    body = {
        "grant_type": "client_credentials",
        "client_id": created.application.client_id,
        "client_secret": created.client_secret,
    }
    secret = client.post("/oauth2/token", body).json()["access_token"]
    page = staff.get(reverse("admin:oauth2_provider_accesstoken_changelist"))
    assert page.status_code == 200
    assert secret not in page.content.decode()


def test_origins_are_said_one_a_line(staff):
    workspace = WorkspaceFactory.create()
    url = reverse("admin:workspaces_workspace_change", args=[workspace.pk])
    data = {
        "name": "Shop",
        "identity_field": "email",
        "quarantine": "batches",
        **{f"memberships-{name}_FORMS": "0" for name in ("TOTAL", "INITIAL")},
    }
    refused = staff.post(url, {**data, "allowed_origins": "https://shop.example/path"})
    assert (refused.status_code, "is no origin" in text_of(refused)) == (200, True)
    saved = staff.post(url, {**data, "allowed_origins": "https://Shop.example/\nhttp://localhost:3000"})
    assert saved.status_code == 302
    workspace.refresh_from_db()
    assert workspace.allowed_origins == ["https://shop.example", "http://localhost:3000"]
    assert "https://shop.example http://localhost:3000" in text_of(staff.get(url))


def test_what_names_contacts_is_a_field_that_can_and_fixed_once_there_are_contacts(staff):
    workspace = WorkspaceFactory.create()
    url = reverse("admin:workspaces_workspace_change", args=[workspace.pk])

    def change(identity_field):
        data = {
            "name": "Shop",
            "identity_field": identity_field,
            "quarantine": "batches",
            "allowed_origins": "",
            **{f"memberships-{name}_FORMS": "0" for name in ("TOTAL", "INITIAL")},
        }
        return staff.post(url, data)

    assert "cannot be the identity field" in text_of(change("nothing"))
    assert change("phone").status_code == 302
    a_contact(workspace)
    assert "while the workspace has contacts" in text_of(change("email"))
    assert change("phone").status_code == 302
