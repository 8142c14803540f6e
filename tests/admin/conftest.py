import pytest
from django.test import Client

from tests.admin.rows import fill
from workspaces.models import Membership, User, Workspace


@pytest.fixture(autouse=True)
def no_static_files(settings):
    """Leave out what looks for static files whenever a client is made."""
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "whitenoise" not in name]


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
