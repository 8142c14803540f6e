import pytest
from django.contrib import admin
from django.db import transaction
from django.test import Client

from tests.admin.rows import fill
from tests.admin.tenants import somebody, two_tenants
from workspaces.models import Membership, User, Workspace


@pytest.fixture
def empty_sidebar(monkeypatch):
    """Leave out the sidebar and the list of all models, half of what a page takes and the same on each.

    `test_every_page`, `test_tenancy`, `test_wording` and `test_ways` have them.
    """
    monkeypatch.setattr(admin.site, "get_sidebar_list", lambda request: [{"items": []}])
    monkeypatch.setattr(admin.site, "get_app_list", lambda request, app_label=None: [])


@pytest.fixture
def workspace(db):
    return Workspace.objects.create(name="Mill")


@pytest.fixture
def staff(db):
    user = User.objects.create(username="staff", is_staff=True, is_superuser=True)
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def member(workspace):
    user = User.objects.create(username="member")
    Membership.objects.create(workspace=workspace, user=user, role="owner")
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def rows(workspace):
    return fill(workspace, 3)


@pytest.fixture(scope="module")
def filled(django_db_setup, django_db_blocker):
    """Rows of every model, made once: what a test does to them is undone."""
    with django_db_blocker.unblock(), transaction.atomic():
        workspace = Workspace.objects.create(name="Mill")
        yield workspace, fill(workspace, 3)
        transaction.set_rollback(True)


@pytest.fixture(scope="module")
def world(django_db_setup, django_db_blocker):
    """Two tenants, made once: what a test does to them is undone."""
    with django_db_blocker.unblock(), transaction.atomic():
        world = two_tenants()
        world.clients = {
            "viewer": somebody(world.own, "viewer", permissions=True),
            "owner": somebody(world.own, "owner"),
            "nobody": somebody(None, "", permissions=True),
            "mixed": somebody(world.own, "owner"),
        }
        # Who owns one tenant and looks on in the other.
        mixed = User.objects.get(pk=world.clients["mixed"].session["_auth_user_id"])
        Membership.objects.create(workspace=world.other, user=mixed, role="viewer")
        root = Client()
        root.force_login(User.objects.create(username="own-root", is_staff=True, is_superuser=True))
        world.clients["superuser"] = root
        yield world
        transaction.set_rollback(True)
