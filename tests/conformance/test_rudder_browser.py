"""RudderStack's JavaScript client, unmodified, in Chromium on another site's page, against a running server."""

import json

import pytest

from contacts.models import Contact, Identifier
from events.models import Event
from tests.browser.chromium import Chromium, needs_chromium
from tests.browser.test_forms import until
from workspaces.services import issue_api_key, set_allowed_origins

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow, needs_chromium]
PAGE = "<!DOCTYPE html><title>Shop</title><script src='/rudder.js'></script>"
LOAD = """
window.analytics = new rudderanalytics.RudderAnalytics();
const [key, url, options] = %s;
analytics.load(key, url, {logLevel: "WARN", ...options});
analytics.ready(() => { window.isReady = true; });
"""
CALLS = """
analytics.page("Docs", "Pricing");
analytics.identify("user-1", {email: "ada@example.com", plan: "pro"});
analytics.track("Order Completed", {order_id: "o-1"});
analytics.group("acct-1", {name: "Acme"});
analytics.alias("user-1", "anon-0");
"""
BATCHING = {"queueOptions": {"batch": {"enabled": True, "flushInterval": 500}}}
BEACON = {"useBeacon": True, "beaconQueueOptions": {"flushQueueInterval": 500}}
NAMES = ["Order Completed", "Viewed Pricing Page", "alias", "group", "identify"]


@pytest.fixture
def site(httpserver, clients_home):
    """Serve a page with the client's own bundle, its plugins included; return its origin."""
    bundle = clients_home / "node_modules/@rudderstack/analytics-js/dist/npm/modern/bundled/umd/index.js"
    httpserver.expect_request("/").respond_with_data(PAGE, content_type="text/html")
    httpserver.expect_request("/favicon.ico").respond_with_data("")
    httpserver.expect_request("/rudder.js").respond_with_data(
        bundle.read_bytes(), content_type="text/javascript"
    )
    return httpserver.url_for("").rstrip("/")


@pytest.fixture
def page_key(server, site):
    set_allowed_origins(server.workspace, [site])
    return issue_api_key(server.workspace.id, "page", scopes=["events:write"]).secret


def load(browser, site, key, url, **options):
    browser.open(f"{site}/")
    browser.complaints()
    browser.run(LOAD % json.dumps([key, url, {"configUrl": url, **options}]))


def sent(workspace):
    return sorted(Event.objects.filter(workspace=workspace, source="api").values_list("name", flat=True))


@pytest.mark.parametrize("path", ["", "/segment"])
@pytest.mark.parametrize("options", [{}, BATCHING, BEACON], ids=["one by one", "batch", "beacon"])
def test_calls(server, site, page_key, path, options):
    with Chromium() as browser:
        load(browser, site, page_key, server.url + path, **options)
        until(lambda: browser.run("return window.isReady"))
        browser.run(CALLS)
        until(lambda: sent(server.workspace) == NAMES)
        assert browser.complaints() == []
    person = Contact.objects.get(workspace=server.workspace, merged_into=None)
    assert person.attributes == {"plan": "pro"}
    known = Identifier.objects.filter(contact=person).values_list("kind", "value")
    assert {("external_id", "user-1"), ("email", "ada@example.com")} <= set(known)
    assert {event.contact for event in Event.objects.filter(name__in=NAMES)} == {person}
    assert Event.objects.get(name="Order Completed").properties["order_id"] == "o-1"


def test_a_wrong_key_and_a_servers_key_load_nothing(server, site, page_key):
    for key in ("wrong", server.key):
        with Chromium() as browser:
            load(browser, site, key, server.url)
            until(browser.complaints)
            assert not browser.run("return window.isReady")
