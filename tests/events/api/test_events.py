import sys
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from config import clock
from events.models import Event
from tests.contacts.factories import a_contact
from tests.native import NativeClient
from tests.workspaces.factories import WorkspaceFactory, a_key

pytestmark = pytest.mark.django_db

BRACKETS = {"BEGIN", "COMMIT", "SAVEPOINT", "RELEASE"}
SEED = {
    "type": "purchase",
    "metadata": {"productId": "prod_1", "amount": 99.99, "currency": "USD"},
    "sessionId": "sess_abc",
    "pageUrl": "https://shop.example.com/checkout",
    "referrer": "https://shop.example.com/cart",
    "utmSource": "email",
    "utmMedium": "campaign",
    "utmCampaign": "summer-sale",
}


@pytest.fixture
def workspace():
    return WorkspaceFactory()


@pytest.fixture
def api(workspace):
    return NativeClient(workspace)


@pytest.fixture
def jane(workspace):
    return a_contact(workspace, "jane@example.com", first_name="Jane", last_name="Smith")


def sent(workspace):
    """The events that clients sent; the system records contact changes beside them."""
    return Event.objects.filter(workspace=workspace).exclude(source="system")


def test_the_seeds_request_is_answered_with_the_event(api, workspace, jane):
    answer = api.post("events", {**SEED, "contactId": str(jane.id)})

    assert answer.status_code == 201
    body = answer.json()
    stored = sent(workspace).get()
    assert body == {
        "id": str(stored.id),
        "workspaceId": str(workspace.id),
        "contactId": str(jane.id),
        **SEED,
        "timestamp": body["timestamp"],
        "contact": {
            "id": str(jane.id),
            "email": "jane@example.com",
            "firstName": "Jane",
            "lastName": "Smith",
        },
    }
    assert datetime.fromisoformat(body["timestamp"]).tzinfo
    assert len(body["timestamp"]) == 24
    assert api.get(f"events/{stored.id}").json() == body


def test_an_event_needs_no_contact(api):
    body = api.post("events", {"type": "page_view"}).json()

    assert body["contact"] is None
    assert body["contactId"] is None
    assert body["metadata"] == {}
    assert body["utmCampaign"] is None


def test_a_single_event_takes_no_time_of_the_senders(api):
    body = api.post("events", {"type": "x", "timestamp": "2001-01-01T00:00:00Z"}).json()

    assert body["timestamp"] > "2020"


@pytest.mark.parametrize("contact_id", ["nobody", "", "ct_1", "01234567-89ab-7def-8123-456789abcdef"])
def test_an_unknown_contact_is_a_404_and_records_nothing(api, workspace, contact_id):
    answer = api.post("events", {"type": "x", "contactId": contact_id})

    assert (answer.status_code, answer.json()) == (404, {"error": "Contact not found"})
    assert not sent(workspace).exists()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "type"),
        ({"type": 5}, "type"),
        ({"type": ""}, "type"),
        ({"type": None}, "type"),
        ({"type": "x", "metadata": []}, "metadata"),
        ({"type": "x", "metadata": "text"}, "metadata"),
        ({"type": "x", "contactId": 7}, "contactId"),
        ({"type": "x", "pageUrl": {}}, "pageUrl"),
        ({"type": "x" * 256}, "type"),
    ],
)
def test_a_wrong_type_is_refused_by_name(api, workspace, body, field):
    answer = api.post("events", body)

    assert answer.status_code == 400
    assert answer.json()["error"] == "Validation failed"
    assert list(answer.json()["details"]) == [field]
    assert not sent(workspace).exists()


def test_the_list_is_a_bare_array_newest_first(api, jane):
    for name in ("one", "two", "three"):
        api.post("events", {"type": name, "contactId": str(jane.id), "metadata": {"n": name}})

    found = api.get("events", contactId=str(jane.id)).json()

    names = [event["type"] for event in found]
    assert names[:3] == ["three", "two", "one"]
    assert set(found[0]) == {"id", "type", "metadata", "timestamp", "contact"}
    assert found[0]["metadata"] == {"n": "three"}
    assert found[0]["contact"]["email"] == "jane@example.com"
    assert [event["type"] for event in api.get("events", type="two").json()] == ["two"]
    assert api.get("events", contactId="nobody").json() == []


def test_the_list_pages_by_key(api):
    api.post("events/batch", {"events": [{"type": f"e{n}"} for n in range(5)]})

    first = api.get("events", limit=2).json()
    second = api.get("events", limit=2, before=first[-1]["id"]).json()

    assert [event["type"] for event in first + second] == ["e4", "e3", "e2", "e1"]
    assert api.get("events", before="x").status_code == 400


@pytest.mark.parametrize("of", ["all", "contact", "type", "contact and type"])
def test_the_list_is_in_the_order_of_the_time_that_it_shows(api, jane, monkeypatch, of):
    """Whatever the clocks of the senders said: each page goes on where the one before has ended."""
    chosen = {
        **({"contactId": str(jane.id)} if "contact" in of else {}),
        **({"type": "x"} if "type" in of else {}),
    }
    moment = datetime(2026, 5, 31, 23, 59, 58, 700, tzinfo=UTC)
    for place, ahead in enumerate([300, 0, 0.2, 0, 299, 1, 0, 60, None, 300, 0.001, 0, -60, 0, 5, None]):
        now = moment + timedelta(seconds=0.25 * place)
        monkeypatch.setattr(clock, "now", lambda now=now: now)
        at = {} if ahead is None else {"timestamp": (now + timedelta(seconds=ahead)).isoformat()}
        item = {"type": "x", "contactId": str(jane.id), "metadata": {"n": place}}
        keyed = {**item, "messageId": str(place), **at}
        assert api.post("events/batch", {"events": [keyed, {**item, **at}]}).json()["results"]

    whole = api.get("events", limit=200, **chosen).json()

    assert len(whole) >= 32
    shown = [event["timestamp"] for event in whole]
    assert shown == sorted(shown, reverse=True)
    for limit in (1, 2, 5):
        paged, before = [], {}
        while page := api.get("events", limit=limit, **chosen, **before).json():
            paged += page
            before = {"before": page[-1]["id"]}
        assert paged == whole


@pytest.mark.parametrize(
    ("limit", "length"), [("0", 1), ("-5", 1), ("2", 2), ("9" * 50, 200), ("250", 200), ("", 50)]
)
def test_a_limit_is_clamped(api, limit, length):
    api.post("events/batch", {"events": [{"type": "x"}] * 201})

    assert len(api.get("events", limit=limit).json()) == length


@pytest.mark.parametrize("limit", ["ten", "1.5", "1e2", "٣", "0x10"])
def test_a_limit_that_is_no_number_is_refused(api, limit):
    assert api.get("events", limit=limit).status_code == 400


def test_the_list_takes_the_same_statements_for_any_number(api, jane, django_assert_max_num_queries):
    api.post("events/batch", {"events": [{"type": "x", "contactId": str(jane.id)}] * 50})

    with django_assert_max_num_queries(4):
        assert len(api.get("events").json()) == 50


@pytest.mark.django_db(transaction=True)  # what is known is known once it is committed
def test_a_send_takes_at_most_five_statements(api, jane):
    body = {**SEED, "contactId": str(jane.id)}
    api.post("events", body)  # the definition is known, and the key's use was noted, from now on

    with CaptureQueriesContext(connection) as captured:
        assert api.post("events", body).status_code == 201

    statements = [query["sql"] for query in captured if query["sql"].split()[0] not in BRACKETS]
    assert len(statements) <= 5, "\n\n".join(statements)


def test_a_batch_gives_a_result_per_item(api, workspace, jane):
    answer = api.post(
        "events/batch",
        {
            "events": [
                {"type": "a", "contactId": str(jane.id), "timestamp": "2026-01-15T10:00:00+02:00"},
                {"type": "b", "contactId": "nobody"},
                "text",
                {"type": 5},
                {"type": "c", "timestamp": "2026-02-30T00:00:00Z"},
                {"type": "d", "messageId": "m1"},
                {"type": "d", "messageId": "m1"},
                {"type": "e", "timestamp": (clock.now() + timedelta(days=1)).isoformat()},
            ]
        },
    )

    assert answer.status_code == 200
    results = answer.json()["results"]
    assert [result["status"] for result in results] == [
        "recorded",
        "refused",
        "refused",
        "refused",
        "refused",
        "recorded",
        "duplicate",
        "refused",
    ]
    assert results[1]["error"] == {"code": "contact_not_found", "message": "Contact not found"}
    assert results[3]["error"]["details"] == {"type": ["Expected str, got int"]}
    assert results[5]["id"] == results[6]["id"]
    assert sent(workspace).get(name="a").occurred_at == datetime(2026, 1, 15, 8, tzinfo=UTC)
    assert sent(workspace).count() == 2


def test_a_key_removes_duplicates_across_requests(api, workspace):
    item = {"type": "x", "messageId": "m1", "timestamp": "2026-01-15T10:00:00Z"}
    first = api.post("events/batch", {"events": [item]}).json()["results"][0]
    again = api.post("events/batch", {"events": [item]}).json()["results"][0]

    assert (first["status"], again["status"]) == ("recorded", "duplicate")
    assert first["id"] == again["id"]
    assert sent(workspace).count() == 1


@pytest.mark.parametrize(
    "body", [{}, {"events": None}, {"events": {}}, {"events": "x"}, [], [{"type": "x"}], "x"]
)
def test_a_body_that_is_no_batch_is_refused(api, workspace, body):
    answer = api.post("events/batch", body)

    assert answer.status_code == 400
    assert "error" in answer.json()
    assert not sent(workspace).exists()


def test_a_batch_has_at_most_a_thousand_items(api, workspace):
    assert api.post("events/batch", {"events": [{"type": "x"}] * 1001}).status_code == 400
    assert not sent(workspace).exists()
    results = api.post("events/batch", {"events": [{"type": "x"}] * 1000}).json()["results"]
    assert len(results) == 1000
    assert api.post("events/batch", {"events": []}).json() == {"results": []}


def test_a_batch_takes_the_same_statements_for_any_number(api, jane, django_assert_max_num_queries):
    items = [{"type": f"t{n % 3}", "contactId": str(jane.id), "messageId": f"m{n}"} for n in range(300)]

    with django_assert_max_num_queries(17):
        api.post("events/batch", {"events": items})


def test_an_event_of_a_batch_takes_few_calls_of_python(api, jane):
    item = {
        "type": "x",
        "contactId": str(jane.id),
        "metadata": {"amount": 1},
        "pageUrl": "https://example.com",
    }
    api.post("events/batch", {"events": [item]})
    calls = 0

    def count(frame, event, argument):
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    api.post("events/batch", {"events": [item] * 1000})
    sys.setprofile(None)
    # Some seven write its row for a copy, which costs PostgreSQL half of what an insert does.
    assert calls / 1000 < 100


@pytest.mark.parametrize("path", ["events", "events/batch"])
def test_an_idempotency_key_gets_the_first_answer_again(api, workspace, path):
    body = {"type": "x", "events": [{"type": "x"}]}
    first = api.post(path, body, HTTP_IDEMPOTENCY_KEY="k1")
    again = api.post(path, body, HTTP_IDEMPOTENCY_KEY="k1")
    other = api.post(path, {**body, "type": "y"}, HTTP_IDEMPOTENCY_KEY="k1")

    assert (again.status_code, again.json()) == (first.status_code, first.json())
    assert other.status_code == 409
    assert "error" in other.json()
    assert sent(workspace).count() == 1


def test_an_event_that_is_not_there_is_a_404(api):
    for event_id in ("x", str(uuid.uuid4()), "evt_abc123"):
        answer = api.get(f"events/{event_id}")
        assert (answer.status_code, answer.json()) == (404, {"error": "Not found"})


def test_scopes_are_asked_for(workspace):
    reader = NativeClient(workspace, secret=a_key(workspace, scopes=["events:read"]).secret)
    writer = NativeClient(workspace, secret=a_key(workspace, scopes=["events:write"]).secret)

    assert reader.get("events").status_code == 200
    assert reader.post("events", {"type": "x"}).status_code == 403
    assert writer.get("events").status_code == 403
    assert writer.post("events", {"type": "x"}).status_code == 201


def test_a_key_in_the_address_reads_only(api, workspace):
    secret = a_key(workspace).secret
    client = api.client

    assert client.get(f"{api.base}/events?key={secret}").status_code == 200
    answer = client.post(f"{api.base}/events?key={secret}", {"type": "x"}, content_type="application/json")
    assert answer.status_code == 401


@pytest.mark.parametrize(
    ("timestamp", "told"),
    [
        ("yesterday", "ISO 8601"),
        ("2026-02-30T00:00:00Z", "ISO 8601 that exists"),
        ("1768471200", "ISO 8601"),
        (1768471200, "ISO 8601"),
        (1768471200000, "ISO 8601"),
        (True, "ISO 8601"),
        ("1969-12-31T23:59:59Z", "before 1970"),
        ("2999-01-01T00:00:00Z", "more than 5 minutes ahead"),
    ],
)
def test_a_wrong_time_in_a_batch_says_what_is_wrong_with_it(api, timestamp, told):
    (result,) = api.post("events/batch", {"events": [{"type": "x", "timestamp": timestamp}]}).json()[
        "results"
    ]
    error = result["error"]
    assert result["status"] == "refused"
    assert told in " ".join([error["message"], *error.get("details", {}).get("timestamp", [])])


@pytest.mark.parametrize(
    "timestamp",
    [
        "2026-01-15t10:00:00z",
        "2026-01-15 10:00:00 +0000",
        "2026-01-15T10:00:00.000000000Z",
        "2026-01-15T09:59:60Z",
    ],
)
def test_a_time_of_any_spelling_is_the_same_event(api, timestamp):
    item = {"type": "x", "messageId": "m", "timestamp": "2026-01-15T10:00:00Z"}
    sent = {"events": [item, {**item, "timestamp": timestamp}]}
    first, second = api.post("events/batch", sent).json()["results"]
    assert (second["status"], second["id"]) == ("duplicate", first["id"])
