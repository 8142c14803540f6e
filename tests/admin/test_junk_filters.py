"""Whatever an address filters a list by, the list opens or the address is refused."""

import pytest
from django.test import Client

from tests import database
from tests.admin.rows import fill
from tests.admin.test_every_page import REGISTERED, label, url_of
from tests.scale import Samples
from workspaces.models import User, Workspace

pytestmark = pytest.mark.usefixtures("empty_sidebar")

LOOK_UPS = Samples(["", "__id__exact", "__in"])
# No multiple of the number of look-ups, so that each has its turn with each.
JUNK = Samples(["x", "\x00", "-1", "9" * 400, "[]", "\u0661", "{}", "{" * 200])


@pytest.fixture(scope="module")
def staff(django_db_setup, django_db_blocker):
    """Return a browser of a site with rows, made once: nothing here changes them.

    They are committed, for the transaction of a test would end with the first statement that fails.
    """
    with django_db_blocker.unblock():
        fill(Workspace.objects.create(name="Mill"), 3)
        client = Client()
        client.force_login(User.objects.create(username="staff", is_staff=True, is_superuser=True))
        yield client
        database.empty()


@pytest.mark.parametrize("model", REGISTERED, ids=label)
def test_a_list_filtered_by_junk_opens(staff, model):
    for field in model._meta.fields:
        for ending in LOOK_UPS:
            for junk in JUNK:
                look_up = f"{field.name}{ending}"
                response = staff.get(url_of(model, "changelist"), {look_up: junk})
                assert response.status_code in (200, 302, 400), (look_up, junk)


def test_more_brackets_than_a_list_can_have_show_the_list_unfiltered(staff):
    response = staff.get("/admin/workspaces/application/", {"scopes": "{" * 200})
    assert (response.status_code, response["Location"]) == (302, "/admin/workspaces/application/?e=1")
