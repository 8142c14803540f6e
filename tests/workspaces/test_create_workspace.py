import json

import pytest
from django.core.management import CommandError, call_command

from tests.workspaces.factories import UserFactory, bearer
from workspaces.models import Membership, User, Workspace

pytestmark = pytest.mark.django_db


def created(capsys, *arguments):
    call_command("create_workspace", *arguments)
    return capsys.readouterr().out


def test_one_json_object_with_credentials_that_work(client, capsys):
    made = json.loads(created(capsys, "Demo", "--json"))
    assert set(made) == {"workspace", "api_key", "oauth", "user"}
    url = f"/probe/{made['workspace']}"
    assert client.get(url, **bearer(made["api_key"])).status_code == 200
    token = client.post("/oauth2/token", {"grant_type": "client_credentials", **made["oauth"]}).json()
    assert client.get(url, **bearer(token["access_token"])).status_code == 200
    assert client.post("/api/auth/login", made["user"], content_type="application/json").status_code == 200
    assert client.get(url).status_code == 200
    assert Membership.objects.get().role == "owner"
    assert not User.objects.get().is_staff


def test_the_owner_may_be_staff_and_has_an_address(capsys):
    made = json.loads(created(capsys, "Demo", "--json", "--staff", "--owner-email", "ann@example.test"))
    user = User.objects.get()
    assert made["user"]["username"] == user.username == user.email == "ann@example.test"
    assert user.is_staff
    assert user.is_superuser


def test_an_owner_has_one_address_however_it_is_spelled(client, capsys):
    made = json.loads(created(capsys, "Demo", "--json", "--owner-email", "Ann@Straße.test"))
    assert made["user"]["username"] == User.objects.get().email == "ann@xn--strae-oqa.test"
    signing_in = {"email": "ann@straße.test.", "password": made["user"]["password"]}
    assert client.post("/api/auth/login", signing_in, content_type="application/json").status_code == 200
    with pytest.raises(CommandError, match="already"):
        created(capsys, "Demo", "--owner-email", '"ann"@xn--strae-oqa.test')
    with pytest.raises(CommandError, match="no e-mail address"):
        created(capsys, "Demo", "--owner-email", "Ann <ann@example.test>")


def test_text_for_people(capsys):
    text = created(capsys, "Demo")
    assert str(Workspace.objects.get().id) in text
    assert "API key" in text


def test_all_or_nothing():
    UserFactory.create(username="ann@example.test")
    with pytest.raises(CommandError, match="already"):
        call_command("create_workspace", "Demo", "--owner-email", "ann@example.test")
    assert not Workspace.objects.exists()
