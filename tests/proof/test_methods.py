"""No method on any route is a fault of ours."""

import re

import pytest
from django.apps import apps
from django.contrib.contenttypes.models import ContentType
from django.test import Client
from django.urls import URLResolver, get_resolver

from config import ids
from tests.scale import IS_WHOLE
from tests.workspaces.factories import UserFactory, WorkspaceFactory, a_key, an_application, bearer

pytestmark = pytest.mark.django_db

METHODS = ("OPTIONS", "HEAD", "TRACE", "PROPFIND", "get")
PAGES = ("/admin", "/docs", "/oauth2")


def paths(workspace_id, patterns=None, prefix="/"):
    """Yield an address of every route, each parameter of it something that is not there."""
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from paths(workspace_id, pattern.url_patterns, route)
            continue
        route = re.sub(r"<[^>]*workspace_?id>", str(workspace_id), route, flags=re.IGNORECASE)
        route = re.sub(r"<[^>]+>", "x", re.sub(r"<int:[^>]+>", "1", route))
        yield re.sub(r"\(\?P|\\Z|[\^$]", "", route)


def test_odd_methods_are_refused_or_answered_on_every_route():
    workspace = WorkspaceFactory.create()
    staff = Client(raise_request_exception=False)
    staff.force_login(UserFactory.create(is_staff=True, is_superuser=True))
    stranger = Client(raise_request_exception=False)
    key = bearer(a_key(workspace).secret)
    statuses = {}
    for path in dict.fromkeys(paths(workspace.pk)):
        is_page = path.startswith(PAGES)
        asking = [(staff, {})] if is_page else [(stranger, key)]
        # The admin draws its pages for any method; tests/admin/test_every_page.py has them drawn.
        methods = METHODS if IS_WHOLE or not is_page else METHODS[:1]
        for client, headers in asking + [(stranger, {})] * IS_WHOLE:
            for method in methods:
                answer = client.generic(method, path, b"", content_type="application/json", **headers)
                statuses[path, method, client is staff, bool(headers)] = answer.status_code
    assert len(statuses) > 500
    assert not {asked: status for asked, status in statuses.items() if status >= 500}


def test_what_staff_view_on_the_site_is_there_or_not():
    """The admin's `/r/`, for a row of every kind that has such an address, and for one of every kind that is none."""
    staff = Client()
    staff.force_login(UserFactory.create(is_staff=True, is_superuser=True))
    application = an_application().application
    seen = [model for model in apps.get_models() if hasattr(model, "get_absolute_url")]
    assert seen == [type(application)]
    for model in apps.get_models():
        kind = ContentType.objects.get_for_model(model).pk
        row = application.pk if model in seen else ids.uuid7()
        answer = staff.get(f"/admin/r/{kind}/{row}/", follow=True)
        assert answer.status_code == (200 if model in seen else 404), model
    page = staff.get(f"/admin/workspaces/application/{application.pk}/change/")
    assert "/admin/r/" not in page.content.decode()
