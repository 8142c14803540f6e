"""Events from a page of another site, in a real browser: fetch, kept alive, and sendBeacon."""

import json

import pytest

from events.models import Event
from tests.browser.chromium import Chromium, needs_chromium
from tests.browser.test_forms import until
from tests.workspaces.factories import WorkspaceFactory, a_key
from workspaces.services import set_allowed_origins

pytestmark = [pytest.mark.slow, needs_chromium]
SEND = """
const {url, key, beacon} = %s;
const post = (more) => fetch(url, {
  method: "POST",
  headers: {"Content-Type": "application/json", "Idempotency-Key": more.type, Authorization: "Bearer " + key},
  body: JSON.stringify(more), keepalive: true,
}).then(
  (answer) => answer.json().then((body) => [answer.status, body.type || body.error]),
  (error) => [String(error)],
);
window.told = null;
(async () => {
  const answers = [await post({type: "fetched"}), await post({}), await post({type: "again", contactId: "nobody"})];
  answers.push(navigator.sendBeacon(beacon, JSON.stringify({type: "beacon"})));
  answers.push(navigator.sendBeacon(beacon, new Blob([JSON.stringify({type: "blob"})], {type: "text/plain"})));
  answers.push(navigator.sendBeacon(beacon, new Blob([JSON.stringify({type: "nameless"})])));
  window.told = answers;
})();
"""


@pytest.mark.django_db(transaction=True)
def test_a_page_of_an_allowed_origin_sends_and_reads_and_another_does_not(live_server, httpserver):
    httpserver.expect_request("/").respond_with_data(
        "<!DOCTYPE html><title>Shop</title>", content_type="text/html"
    )
    httpserver.expect_request("/favicon.ico").respond_with_data("")
    site = httpserver.url_for("").rstrip("/")
    workspace = set_allowed_origins(WorkspaceFactory.create(), [site])
    stranger = WorkspaceFactory.create()

    def settings_for(one):
        url = f"{live_server.url}/api/workspaces/{one.id}/events"
        key = a_key(one, scopes=["events:write"]).secret
        return json.dumps({"url": url, "key": key, "beacon": f"{url}?key={key}"})

    with Chromium() as browser:
        browser.open(f"{site}/")
        browser.run(SEND % settings_for(workspace))
        told = until(lambda: browser.run("return window.told"))
        assert told == [
            [201, "fetched"],
            [400, "Validation failed"],
            [404, "Contact not found"],
            True,
            True,
            True,
        ]
        sent = {"fetched", "beacon", "blob", "nameless"}
        until(lambda: {event.name for event in Event.objects.filter(workspace=workspace)} == sent)
        browser.run(SEND % settings_for(stranger))
        told = until(lambda: browser.run("return window.told"))
        assert told[:3] == [["TypeError: Failed to fetch"]] * 3
    assert not Event.objects.filter(workspace=stranger).exists()
