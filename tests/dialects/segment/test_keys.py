"""Write keys, by all the ways in which the clients send them, and who may use them where."""

import json

import pytest
from django.test import Client

from events.models import Event
from tests.dialects.segment.conftest import SITE, basic
from workspaces.services import issue_api_key, revoke_api_key

CALL = {"userId": "u1", "event": "Paid"}
HEADERS = {
    "basic": lambda key: {"Authorization": basic(key)},
    "basic in small letters": lambda key: {"Authorization": basic(key).replace("Basic", "basic")},
    "bearer": lambda key: {"Authorization": f"Bearer {key}"},
}


@pytest.mark.parametrize("way", HEADERS)
def test_in_a_header(post, key, way):
    assert post("track", CALL, secret=None, headers=HEADERS[way](key)).status_code == 200
    assert post("track", CALL, secret=None, headers=HEADERS[way]("wrong")).status_code == 401


@pytest.mark.parametrize("path", ["track", "batch"])
def test_in_the_body(post, key, path):
    body = CALL if path == "track" else {"batch": [{**CALL, "type": "track"}]}
    assert post(path, {**body, "writeKey": key}, secret=None).status_code == 200
    for wrong in ("wrong", "", None, 5, "é" * 5):
        refused = post(path, {**body, "writeKey": wrong}, secret=None)
        assert refused.status_code == 401
        assert refused.json()["code"] == "unauthenticated"
    assert Event.objects.filter(source="api").count() == 1


@pytest.mark.parametrize("header", ["Basic", "Basic !", "Basic w6", "Basic " + "x" * 9_000, "Digest x"])
def test_a_header_that_is_none(post, header):
    assert post("track", CALL, secret=None, headers={"Authorization": header}).status_code == 401


def test_a_key_needs_the_scope(post, workspace):
    reader = issue_api_key(workspace.id, "reader", scopes=["events:read"]).secret
    refused = post("track", CALL, secret=reader)
    assert (refused.status_code, refused.json()["code"]) == (403, "access_denied")


def test_a_revoked_key_is_refused_at_once(post, workspace):
    issued = issue_api_key(workspace.id, "server")
    assert post("track", CALL, secret=issued.secret).status_code == 200
    revoke_api_key(workspace.id, issued.api_key.id)
    assert post("track", CALL, secret=issued.secret).status_code == 401


def test_a_key_in_the_body_is_for_pages_of_our_sites_only(post, page_key):
    body = {**CALL, "writeKey": page_key}
    plain = {"secret": None, "content_type": "text/plain"}
    assert post("track", body, **plain, headers={"Origin": SITE}).status_code == 200
    assert post("track", body, **plain, headers={"Origin": "https://evil.example"}).status_code == 401
    assert post("track", body, **plain).status_code == 200


def test_a_key_in_the_address_is_a_pages_and_for_our_sites_only(page_key, key):
    batch = {"batch": [{"type": "track", **CALL}]}

    def beacon(secret, origin):
        return Client().post(
            "/beacon/v1/batch",
            json.dumps(batch),
            query_params={"writeKey": secret},
            content_type="text/plain",
            headers={"Origin": origin} if origin else {},
        )

    assert beacon(page_key, SITE).status_code == 200
    for secret, origin in ((page_key, "https://evil.example"), (page_key, ""), (key, SITE), ("wrong", SITE)):
        assert beacon(secret, origin).status_code == 401


def test_a_limited_key_is_told_when_to_come_again(post, workspace):
    slow = issue_api_key(workspace.id, "slow", rate_limit="1/minute").secret
    assert post("track", CALL, secret=slow).status_code == 200
    refused = post("track", CALL, secret=slow)
    assert (refused.status_code, refused.json()["code"]) == (429, "throttled")
    assert int(refused.headers["Retry-After"]) >= 1


class TestBrowser:
    """What analytics.js asks for."""

    def test_settings(self, page_key):
        for base in ("/v1", "/segment/v1"):
            answer = Client().get(f"{base}/projects/{page_key}/settings", headers={"Origin": SITE})
            assert answer.status_code == 200
            assert answer.headers["Access-Control-Allow-Origin"] == SITE
            own = answer.json()["integrations"]["Segment.io"]
            assert (own["apiKey"], own["protocol"], own["apiHost"]) == (page_key, "http", f"testserver{base}")
            assert answer.json()["metrics"] == {"sampleRate": 0}

    def test_settings_for_another_site(self, page_key):
        answer = Client().get(f"/v1/projects/{page_key}/settings", headers={"Origin": "https://evil.example"})
        assert "Access-Control-Allow-Origin" not in answer.headers

    def test_no_settings_for_a_key_that_may_do_more(self, key):
        answer = Client().get(f"/v1/projects/{key}/settings")
        assert (answer.status_code, answer.json()["code"]) == (403, "not_a_page_key")
        assert Client().get("/v1/projects/wrong/settings").status_code == 404

    @pytest.mark.parametrize("base", ["", "/segment"])
    def test_the_source_of_a_control_plane(self, page_key, workspace, base):
        path, asked = f"{base}/sourceConfig/", {"writeKey": page_key, "v": "3.34.1", "p": "npm"}
        headers = {"Origin": SITE, "Access-Control-Request-Headers": "authorization"}
        allowed = Client().options(path, query_params=asked, headers=headers)
        assert (allowed.status_code, allowed.headers["Access-Control-Allow-Origin"]) == (204, SITE)
        assert "authorization" in allowed.headers["Access-Control-Allow-Headers"].lower()
        answer = Client().get(path, query_params=asked, headers={"Origin": SITE})
        assert answer.headers["Access-Control-Allow-Origin"] == SITE
        source = answer.json()["source"]
        assert (source["id"], source["enabled"], source["destinations"]) == (str(workspace.id), True, [])

    @pytest.mark.parametrize("method", ["get", "options"])
    def test_no_source_for_another_site_or_key(self, page_key, key, method):
        def ask(secret, origin=SITE):
            return getattr(Client(), method)(
                "/sourceConfig/", query_params={"writeKey": secret}, headers={"Origin": origin}
            )

        assert "Access-Control-Allow-Origin" not in ask(page_key, "https://evil.example").headers
        assert [ask(secret).status_code for secret in (key, "wrong", "")] == [403, 404, 404]
        assert "Access-Control-Allow-Origin" not in ask(key).headers

    def test_metrics_are_dropped(self, db):
        body = json.dumps({"series": []})
        answer = Client().post("/v1/m", body, content_type="text/plain", headers={"Origin": SITE})
        assert (answer.status_code, answer.json()) == (200, {"success": True})
        assert answer.headers["Access-Control-Allow-Origin"] == "*"

    @pytest.mark.parametrize("path", ["t", "batch", "b"])
    def test_preflight(self, workspace, path):
        asked = {
            "Origin": SITE,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,x-retry-count",
        }
        answer = Client().options(f"/v1/{path}", headers=asked)
        assert answer.status_code == 204
        assert answer.headers["Access-Control-Allow-Origin"] == SITE
        allowed = answer.headers["Access-Control-Allow-Headers"].lower().split(", ")
        assert {"authorization", "x-retry-count", "content-type"} <= set(allowed)
        # RudderStack's client sends these, the second when it comes again.
        assert {"anonymousid", "sentat", "rsa-retry-attempt"} <= set(allowed)

    def test_a_page_may_read_refusals(self, post):
        answer = post("t", {}, secret="wrong", headers={"Origin": SITE})
        assert answer.status_code == 401
        assert answer.headers["Access-Control-Allow-Origin"] == SITE
