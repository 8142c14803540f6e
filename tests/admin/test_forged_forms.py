"""Whatever staff send in place of a form's own values, the form comes back with its errors."""

import pytest
from django.contrib import admin

from tests.admin.test_every_page import REGISTERED, label, url_of
from tests.scale import Samples

pytestmark = pytest.mark.usefixtures("empty_sidebar")

JUNK = Samples(
    ["x", "\x00", "-1", "9" * 400, "[]", "\u0661", "00000000-0000-7000-8000-000000000000", "{" * 200]
)


@pytest.fixture
def rows(filled, db):
    return filled[1]


def forged(response, junk):
    """Return every field of a form and of its inlines, one new row each, set to `junk`."""
    form = response.context["adminform"].form
    body = dict.fromkeys(map(form.add_prefix, form.fields), junk)
    for inline in response.context["inline_admin_formsets"]:
        prefix = inline.formset.prefix
        body |= {f"{prefix}-TOTAL_FORMS": "1", f"{prefix}-INITIAL_FORMS": "0"}
        body |= {f"{prefix}-0-{name}": junk for name in inline.formset.empty_form.fields}
    return body


@pytest.mark.parametrize("model", REGISTERED, ids=label)
def test_a_forged_form_is_refused(staff, rows, model):
    pages = [url_of(model, "add")]
    if (row := model._default_manager.first()) is not None:
        pages.append(url_of(model, "change", row.pk))
    for page in pages:
        response = staff.get(page)
        if response.context is None or "adminform" not in response.context:
            assert response.status_code == 403
            continue
        for junk in JUNK:
            assert staff.post(page, forged(response, junk)).status_code in (200, 302, 403)


@pytest.mark.parametrize("model", REGISTERED, ids=label)
def test_an_address_that_fills_a_form_with_junk_opens_it(staff, rows, model):
    request = staff.get("/admin/").wsgi_request
    if not admin.site._registry[model].has_add_permission(request):
        return
    page = url_of(model, "add")
    fields = staff.get(page).context["adminform"].form.fields
    for junk in JUNK:
        assert staff.get(page, dict.fromkeys(fields, junk)).status_code == 200


def test_choices_are_asked_for_with_junk(staff, rows):
    for parameters in (
        {},
        {"app_label": "x", "model_name": "y", "field_name": "z", "term": "a"},
        {"app_label": "contacts", "model_name": "contacttag", "field_name": "tag", "term": "\x00"},
        {"app_label": "contacts", "model_name": "contacttag", "field_name": "tag", "term": "a", "page": "x"},
        {"app_label": "contacts", "model_name": "contacttag", "field_name": "\x00", "term": "a"},
    ):
        assert staff.get("/admin/autocomplete/", parameters).status_code in (200, 400, 403, 404)
