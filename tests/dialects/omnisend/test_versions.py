"""Events, batches and keys of v3, v5 and `/api`."""

import json

import pytest
from django.test import Client

from contacts.models import Contact, Import
from events.models import Event, EventDefinition, RefusedEvent
from workspaces.services import create_workspace, issue_api_key
from workspaces.throttles import reset_limits

EVENT = {"eventName": "placed order", "contact": {"email": "ada@example.com"}, "properties": {"total": 1}}
OLD_EVENT = {"systemName": "placed_order", "email": "ada@example.com", "fields": {"total": 1}}


@pytest.fixture
def post(key):
    def post(path, body, *, method="post", **headers):
        return getattr(Client(), method)(
            path, json.dumps(body), content_type="application/json", headers=headers or {"X-API-KEY": key}
        )

    return post


@pytest.fixture
def get(key):
    return lambda path, secret=key: Client().get(path, headers={"X-API-KEY": secret})


@pytest.mark.parametrize("spelled", ["X-API-KEY", "Omnisend-API-Key", "bearer", "after the brand's id"])
def test_a_key_is_taken_as_the_clients_send_it(post, key, workspace, spelled):
    headers = {
        "X-API-KEY": {"X-API-KEY": key},
        "Omnisend-API-Key": {"Authorization": f"Omnisend-API-Key {key}"},
        "bearer": {"Authorization": f"Bearer {key}"},
        "after the brand's id": {"X-API-KEY": f"{workspace.id}-{key}"},
    }[spelled]
    assert post("/v5/events", EVENT, **headers).status_code == 202
    assert Client().get("/v5/brands/current", headers=headers).json()["brandID"] == str(workspace.id)


@pytest.mark.parametrize(
    "headers", [{}, {"X-API-KEY": "hr_wrong"}, {"Authorization": "Omnisend-API-Key "}], ids=str
)
@pytest.mark.parametrize("path", ["/v5/events", "/v3/events", "/v5/contacts", "/v3/batches", "/api/contacts"])
def test_without_a_key_it_is_a_401_of_the_version(db, path, headers):
    answer = Client().post(path, "{}", content_type="application/json", headers=headers)
    body = answer.json()
    assert answer.status_code == 401
    assert (body["error"] if path.startswith("/v3") else body["detail"]).endswith("missing or invalid.")


def test_a_revoked_key_makes_no_contact_though_it_is_cached(post, key, workspace):
    assert post("/v5/events", EVENT).status_code == 202
    workspace.api_keys.all().delete()
    assert post("/v5/contacts", {"email": "new@example.com"}).status_code == 401
    batch = {"method": "POST", "endpoint": "contacts", "items": [{"email": "new@example.com"}]}
    assert post("/v5/batches", batch).status_code == 401
    assert post("/v5/events", EVENT).status_code == 401
    assert Contact.objects.count() == 1


@pytest.mark.parametrize("base", ["/v5", "/api", "/omnisend/v5", "/omnisend/api"])
def test_properties_of_v5_are_kept_as_sent(post, base):
    properties = {"total": 1, "lineItems": [{"productID": "p1", "price": 9.9}], "a name": "x"}
    answer = post(f"{base}/events", EVENT | {"properties": properties})
    assert (answer.status_code, answer.content) == (202, b"")
    assert post(f"{base}/events", EVENT | {"properties": {"total": "many"}}).status_code == 202
    first, second = Event.objects.filter(source="api").order_by("id")
    assert (first.properties, second.properties) == (properties, {"total": "many"})


def test_fields_of_v3_are_learned_and_lock(post):
    assert post("/v3/events", OLD_EVENT).status_code == 204
    answer = post("/v3/events", OLD_EVENT | {"fields": {"total": "many"}})
    assert (answer.status_code, [*answer.json()["fields"]]) == (400, ["fields.total"])
    assert Event.objects.filter(source="api").count() == 1


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"email": "ada@example.com"}, "systemName"),
        ({"systemName": "x"}, "email"),
        ({"systemName": "x", "email": "no address"}, "email"),
        (OLD_EVENT | {"fields": {"a": []}}, "fields.a"),
        (OLD_EVENT | {"fields": 1}, "fields"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_what_is_wrong_in_v3_is_named(post, body, field):
    answer = post("/v3/events", body)
    assert (answer.status_code, [*answer.json()["fields"]]) == (400, [field])


def test_custom_events_are_listed_and_sent_by_their_id(post, get):
    post("/v3/events", OLD_EVENT)
    (listed,) = [each for each in get("/v3/events").json() if each["systemName"] == "placed_order"]
    assert listed["fields"] == [{"name": "total", "systemName": "total", "type": "int", "required": False}]
    path = f"/v3/events/{listed['eventID']}"
    assert get(path).json() == listed
    assert post(path, {"email": "ada@example.com", "fields": {"total": 2}}).status_code == 204
    assert [event.properties for event in Event.objects.filter(name="placed_order").order_by("id")] == [
        {"total": 1},
        {"total": 2},
    ]
    other = issue_api_key(create_workspace("Other").id, "other").secret
    assert get(path, other).status_code == 404
    assert get("/v3/events", other).json() == []


@pytest.mark.parametrize(
    ("path", "items"),
    [
        ("/v5/batches", [EVENT, {"eventName": "x"}, EVENT | {"contact": {"id": "0" * 32}}, 7]),
        (
            "/v3/batches",
            [OLD_EVENT, {"systemName": "x"}, {"systemName": "y", "contactID": "0" * 32}, 7],
        ),
    ],
)
def test_each_event_of_a_batch_is_recorded_by_itself(post, get, path, items):
    created = post(path, {"method": "POST", "endpoint": "events", "items": items})
    made = 200 if path.startswith("/v3") else 201
    assert (created.status_code, created.json()["totalCount"]) == (made, 4)
    batch = f"{path}/{created.json()['batchID']}"
    status = get(batch).json()
    assert (status["status"], status["endpoint"], status["method"]) == ("finished", "events", "POST")
    assert (status["totalCount"], status["finishedCount"], status["errorsCount"]) == (4, 4, 3)
    told = get(f"{batch}/items").json()
    assert [each["itemID"] for each in told["responses"]] == ["0"]
    assert [(each["itemID"], each["responseCode"]) for each in told["errors"]] == [
        ("1", 400),
        ("2", 400),
        ("3", 400),
    ]
    assert get(f"{batch}/items/3").json()["response"] == {"error": "must be an object"}
    assert get(f"{batch}/items/4").status_code == 404
    assert Event.objects.filter(source="api").count() == 1
    assert RefusedEvent.objects.count() == 3
    assert [each["batchID"] for each in get(f"{path}?endpoint=events").json()["batches"]] == [
        status["batchID"]
    ]
    assert get(f"{path}?endpoint=contacts").json()["batches"] == []


def test_a_batch_of_v3_may_name_its_event_once(post):
    post("/v3/events", OLD_EVENT)
    known = EventDefinition.objects.get(name="placed_order")
    batch = {"method": "POST", "endpoint": "events", "eventID": str(known.id)}
    items = [{"email": "ada@example.com"}, {"email": "bob@example.com"}]
    assert post("/v3/batches", {**batch, "items": items}).status_code == 200
    assert Event.objects.filter(name="placed_order").count() == 3
    assert post("/v3/batches", {**batch, "eventID": "x", "items": items}).status_code == 404


def test_each_contact_of_a_batch_is_saved_by_itself(post, get):
    items = [{"email": "ada@example.com", "firstName": "Ada"}, {"email": "no"}, {"email": "bob@example.com"}]
    created = post("/v5/batches", {"method": "POST", "endpoint": "contacts", "items": items}).json()
    assert {contact.email for contact in Contact.objects.all()} == {"ada@example.com", "bob@example.com"}
    status = get(f"/v5/batches/{created['batchID']}").json()
    assert (status["totalCount"], status["errorsCount"]) == (3, 1)
    row = Import.objects.get(id=created["batchID"])
    assert (row.recorded, row.known, row.refused) == (2, 0, 1)


def test_a_batch_is_recorded_once_under_a_key(post, key):
    for endpoint, item in (("contacts", {"email": "ada@example.com"}), ("events", EVENT)):
        batch = {"method": "POST", "endpoint": endpoint, "items": [item]}
        headers = {"X-API-KEY": key, "Idempotency-Key": endpoint}
        first, second = (post("/v5/batches", batch, **headers) for _ in range(2))
        assert first.json() == second.json()
        assert second.headers["Idempotent-Replayed"] == "true"
    assert Import.objects.count() == 2
    assert Event.objects.filter(source="api").count() == 1


@pytest.mark.parametrize(
    ("batch", "status"),
    [
        ({"method": "POST", "endpoint": "orders", "items": []}, 404),
        ({"method": "POST", "endpoint": "x", "items": [{}]}, 400),
        ({"method": "GET", "endpoint": "events", "items": [{}]}, 400),
        ({"method": "POST", "endpoint": "events", "items": []}, 400),
        ({"method": "POST", "endpoint": "events", "items": [{}] * 1001}, 400),
        ({"method": "POST", "endpoint": "events"}, 400),
    ],
    ids=["orders", "unknown", "method", "empty", "too many", "no items"],
)
def test_a_batch_that_is_none_is_refused(post, batch, status):
    for path in ("/v5/batches", "/v3/batches"):
        assert post(path, batch).status_code == status
    assert not Import.objects.exists()


@pytest.mark.parametrize(("endpoint", "other"), [("contacts", "events"), ("events", "contacts")])
def test_a_batch_needs_the_scope_of_what_is_in_it(post, get, workspace, endpoint, other):
    item = {"contacts": {"email": "ada@example.com"}, "events": EVENT}[endpoint]
    batch = {"method": "POST", "endpoint": endpoint, "items": [item]}
    wrong = issue_api_key(workspace.id, "wrong", scopes=[f"{other}:write", f"{other}:read"]).secret
    right = issue_api_key(workspace.id, "right", scopes=[f"{endpoint}:write", f"{endpoint}:read"]).secret
    assert post("/v5/batches", batch, **{"X-API-KEY": wrong}).status_code == 403
    created = post("/v5/batches", batch, **{"X-API-KEY": right})
    assert created.status_code == 201
    path = f"/v5/batches/{created.json()['batchID']}"
    assert [get(path, each).status_code for each in (right, wrong)] == [200, 403]
    assert [len(get("/v5/batches", each).json()["batches"]) for each in (right, wrong)] == [1, 0]
    stranger = issue_api_key(create_workspace("Other").id, "other").secret
    assert get(path, stranger).status_code == 404
    assert get("/v5/batches", stranger).json()["batches"] == []


def test_a_plugin_connects_its_site(post, get, workspace):
    account = get("/v3/accounts").json()
    assert (account["brandID"], account["platform"], account["verified"]) == (str(workspace.id), "", True)
    site = {"website": "https://shop.example.com", "platform": "wordpress", "version": "1.0"}
    for path in ("/v3/accounts", f"/v3/accounts/{workspace.id}", "/v5/brands/current", "/api/brands/current"):
        assert post(path, site).json()["platform"] == "wordpress"
    assert post("/v3/accounts/other", site).status_code == 404


def test_an_event_without_a_key_is_told_where_to_go(db):
    answer = Client().post("/woocommerce/events/track", "{}", content_type="application/json")
    assert (answer.status_code, "/v5/events" in answer.json()["detail"]) == (404, True)


def test_a_429_says_when_to_come_again(get, workspace):
    reset_limits()
    slow = issue_api_key(workspace.id, "slow", rate_limit="1/minute").secret
    for path in ("/v5/contacts", "/v3/contacts"):
        get(path, slow)
        answer = get(path, slow)
        assert answer.status_code == 429
        assert int(answer.headers["Retry-After"]) > 0
    reset_limits()


def test_routes_of_others_stay_theirs(db):
    assert (
        Client().post("/v1/track", "{}", content_type="application/json").json()["code"] == "unauthenticated"
    )
    assert Client().get("/api/nothing").json() == {"error": "Not found"}
