"""Every page of the admin opens, for staff alone, in a number of queries that its rows don't set."""

import pytest
from django.apps import apps
from django.contrib import admin
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from tests.admin.rows import fill
from tests.scale import Samples
from workspaces.models import Workspace
from workspaces.staff.model_admin import WorkspaceModelAdmin

OURS = ("contacts", "events", "scoring", "segments", "campaigns")
MODELS = [model for model in apps.get_models() if model._meta.app_label in OURS]
REGISTERED = [model for model in admin.site._registry if not model._meta.auto_created]
TENANT_MODELS = [
    model for model in REGISTERED if isinstance(admin.site._registry[model], WorkspaceModelAdmin)
]
TEXTS = Samples(["ada", "a1@example.com", "+15551234", "\x00", "' OR 1"])


def url_of(model, page, *args):
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=args)


def label(model):
    return model._meta.label_lower


@pytest.fixture
def workspace(filled, db):
    return filled[0]


@pytest.fixture
def rows(filled, db):
    return filled[1]


@pytest.mark.parametrize("model", MODELS, ids=label)
def test_every_model_is_registered(model):
    assert model in admin.site._registry


@pytest.mark.parametrize("model", REGISTERED, ids=label)
def test_lists_and_searches_open(staff, rows, model):
    first = model._default_manager.first()
    for text in ["", str(first.pk) if first else "-", *TEXTS]:
        assert staff.get(url_of(model, "changelist"), {"q": text}).status_code == 200


@pytest.mark.parametrize("model", REGISTERED, ids=label)
def test_a_form_or_a_refusal_to_add(staff, rows, model):
    response = staff.get(url_of(model, "add"))
    request = response.wsgi_request
    allowed = admin.site._registry[model].has_add_permission(request)
    assert response.status_code == (200 if allowed else 403)


@pytest.mark.parametrize("model", REGISTERED, ids=label)
def test_each_row_has_a_page(staff, rows, model):
    for row in model._default_manager.all()[:2]:
        response = staff.get(url_of(model, "change", row.pk))
        assert response.status_code == 200


@pytest.mark.parametrize("model", REGISTERED, ids=label)
def test_a_page_of_what_does_not_exist_leads_home(staff, rows, model):
    for unknown in ("00000000-0000-7000-8000-000000000000", "no-id", "1", "%00"):
        response = staff.get(url_of(model, "change", unknown))
        assert response.status_code in (302, 404)


@pytest.mark.parametrize("model", REGISTERED, ids=label)
def test_members_who_are_not_staff_see_nothing(member, rows, model):
    row = model._default_manager.first()
    pages = [url_of(model, "changelist"), url_of(model, "add")]
    if row is not None:
        pages += [url_of(model, "change", row.pk), url_of(model, "delete", row.pk)]
    for page in pages:
        for response in (member.get(page), member.post(page)):
            assert response.status_code == 302
            assert response.url.startswith(reverse("admin:login"))


@pytest.mark.django_db
def test_a_list_takes_no_query_per_row(staff):
    few, many = Workspace.objects.create(name="few"), Workspace.objects.create(name="many")
    fill(few, 1)
    fill(many, 20)
    for model in TENANT_MODELS:
        counts = [_queries(staff, model, workspace) for workspace in (few, many)]
        assert counts[1] <= counts[0] <= 12, (model, counts)


def _queries(staff, model, workspace):
    with CaptureQueriesContext(connection) as queries:
        response = staff.get(url_of(model, "changelist"), {"workspace": workspace.pk})
    assert response.status_code == 200
    return len(queries)
