"""A form on somebody else's page, in a real browser: another origin, our script, a visitor who types."""

import time

import pytest

from campaigns.forms.forms import FormValues, create_form
from campaigns.models import FormSubmission
from campaigns.public.forms import snippet
from tests.browser.chromium import Chromium, needs_chromium
from tests.workspaces.factories import WorkspaceFactory
from workspaces.throttles import reset_limits

pytestmark = [pytest.mark.slow, needs_chromium]
FIELDS = [
    {"name": "mail", "type": "email", "required": True, "label": "E-mail <b>"},
    {"name": "plan", "type": "select", "options": ["free", "pro"], "mapsTo": "attributes.plan"},
    {"name": "terms", "type": "checkbox"},
]
FILL = """
const form = document.querySelector(".headrace-form");
form.elements.mail.value = "ada@example.test";
form.elements.plan.value = "pro";
form.elements.terms.checked = true;
form.querySelector("button").click();
"""
# What stands in the form's place once it is gone.
TOLD = """
const place = document.querySelector("#place");
return place.querySelector("button") ? "" : place.textContent;
"""


@pytest.mark.django_db(transaction=True)
def test_a_visitor_of_another_site_sends_it(live_server, httpserver, settings):
    reset_limits()
    settings.PUBLIC_URL = live_server.url
    site = httpserver.url_for("").rstrip("/")
    values = FormValues(name="Sign-up", fields=FIELDS, allowed_origins=[site])
    form = create_form(WorkspaceFactory.create().id, values)
    page = f"<!DOCTYPE html><title>Shop</title><main id='place'>{snippet(form)}</main>"
    httpserver.expect_request("/").respond_with_data(page, content_type="text/html")
    httpserver.expect_request("/favicon.ico").respond_with_data("")

    with Chromium() as browser:
        browser.open(f"{site}/")
        shown = until(lambda: browser.run("return document.querySelector('#place label')?.textContent"))
        assert shown.startswith("E-mail <b>")
        browser.run(FILL)
        told = until(lambda: browser.run(TOLD))
        assert "Thank you." in told
        assert browser.complaints() == []

    submission = FormSubmission.objects.latest("id")
    assert submission.answers == {"mail": "ada@example.test", "plan": "pro", "terms": True}


def until(look):
    """Return what there is to see, once it is there."""
    deadline = time.monotonic() + 60
    while not (seen := look()):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return seen
