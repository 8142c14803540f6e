"""analytics.js (analytics-next), unmodified, in Chromium on another site's page, against a running server."""

import json

import pytest

from contacts.models import Contact, Identifier
from events.models import Event
from tests.browser.chromium import Chromium, needs_chromium
from tests.browser.test_forms import until
from tests.contacts.factories import a_contact
from workspaces.services import issue_api_key, set_allowed_origins

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow, needs_chromium]
PAGE = "<!DOCTYPE html><title>Shop</title><script src='/analytics/index.js'></script>"
# The one line to change is the address that the settings come from.
LOAD = """
const analytics = AnalyticsNext.AnalyticsBrowser.load(%s);
window.failures = [];
analytics.on("error", (error) => window.failures.push(String(error.reason || error.code)));
window.analytics = analytics;
analytics.ready(() => { window.isReady = true; });
"""
CALLS = """
window.isDone = false;
(async () => {
  await analytics.page("Docs", "Pricing");
  await analytics.identify("user-1", {email: "ada@example.com", plan: "pro"});
  await analytics.track("Order Completed", {order_id: "o-1"});
  await analytics.group("acct-1", {name: "Acme"});
  await analytics.screen("Home");
  await analytics.alias("user-1", "anon-0");
  window.isDone = true;
})();
"""
NAMES = ["Order Completed", "Viewed Home Screen", "Viewed Pricing Page", "alias", "group", "identify"]


@pytest.fixture
def site(httpserver, clients_home):
    """Serve a page with the client's own bundle; return its origin."""
    bundle = clients_home / "node_modules/@segment/analytics-next/dist/umd"
    httpserver.expect_request("/").respond_with_data(PAGE, content_type="text/html")
    httpserver.expect_request("/favicon.ico").respond_with_data("")
    for file in bundle.glob("*.js"):
        httpserver.expect_request(f"/analytics/{file.name}").respond_with_data(
            file.read_bytes(), content_type="text/javascript"
        )
    return httpserver.url_for("").rstrip("/")


@pytest.fixture
def page_key(server, site):
    set_allowed_origins(server.workspace, [site])
    return issue_api_key(server.workspace.id, "page", scopes=["events:write"]).secret


def load(browser, site, key, cdn):
    browser.open(f"{site}/")
    browser.complaints()
    browser.run(LOAD % json.dumps({"writeKey": key, "cdnURL": cdn}))


def sent(workspace):
    return sorted(Event.objects.filter(workspace=workspace, source="api").values_list("name", flat=True))


@pytest.mark.parametrize("path", ["", "/segment"])
def test_calls(server, site, page_key, path):
    with Chromium() as browser:
        load(browser, site, page_key, server.url + path)
        until(lambda: browser.run("return window.isReady"))
        browser.run(CALLS)
        until(lambda: browser.run("return window.isDone"))
        until(lambda: sent(server.workspace) == NAMES)
        assert browser.complaints() == []
        assert browser.run("return window.failures") == []
    person = Contact.objects.get(workspace=server.workspace)
    assert person.attributes == {"plan": "pro"}
    known = Identifier.objects.filter(contact=person).values_list("kind", "value")
    assert {("external_id", "user-1"), ("email", "ada@example.com")} <= set(known)
    view = Event.objects.get(name="Viewed Pricing Page")
    assert view.contact == person
    assert view.context["pageUrl"] == f"{site}/"
    assert Event.objects.get(name="group").company_id is None


def test_a_batching_client(server, site, page_key):
    options = {
        "integrations": {
            "Segment.io": {"deliveryStrategy": {"strategy": "batching", "config": {"timeout": 300}}}
        }
    }
    with Chromium(lists_requests=True) as browser:
        browser.open(f"{site}/")
        told = [json.dumps({"writeKey": page_key, "cdnURL": server.url}), json.dumps(options)]
        browser.run(LOAD % ", ".join(told))
        until(lambda: browser.run("return window.isReady"))
        browser.run(CALLS)
        until(lambda: sent(server.workspace) == NAMES)
        assert any(url.endswith("/v1/b") for url in browser.requested())


def test_a_visitor_becomes_a_user_who_is_known(server, site, page_key):
    known = a_contact(server.workspace, "ada@example.com", identifiers=(("external_id", "user-1"),))
    with Chromium() as browser:
        load(browser, site, page_key, server.url)
        until(lambda: browser.run("return window.isReady"))
        browser.run("analytics.track('Visited')")
        until(lambda: sent(server.workspace) == ["Visited"])
        browser.run("analytics.identify('user-1', {email: 'eve@example.com'})")
        until(lambda: sent(server.workspace) == ["Visited", "identify"])
        until(lambda: Contact.objects.filter(merged_into=known).count() == 1)
    assert not Identifier.objects.filter(value="eve@example.com").exists()


def test_a_wrong_key_and_a_servers_key_load_nothing(server, site, page_key):
    for key in ("wrong", server.key):
        with Chromium() as browser:
            load(browser, site, key, server.url)
            until(browser.complaints)
            assert not browser.run("return window.isReady")
