import json
import re
from urllib.parse import urlencode

import pytest

from contacts.references import ContactReference
from events.stream.recording import record_events
from events.stream.types import IncomingEvent, SchemaPolicy

NAMES = [f"order.placed.{n}" for n in range(12)]


@pytest.fixture
def events(workspace, contact):
    reference = ContactReference(id=str(contact.id))
    incoming = [
        IncomingEvent(name=name, contact=reference, properties={"n": n}) for n, name in enumerate(NAMES)
    ]
    return record_events(workspace.id, incoming, schema_policy=SchemaPolicy.OPEN)


def listed(caller, contact, **query):
    answer = caller.get(f"contacts/{contact}/events?{urlencode(query, doseq=True)}")
    assert answer.status_code == 200, answer.content
    return answer.json()


def test_the_first_page_has_the_ten_oldest(either, contact, events):
    answer = listed(either, contact.id)
    assert [event["event_name"] for event in answer["data"]] == NAMES[:10]
    assert answer["meta"] == {
        "current_page": 1,
        "per_page": 10,
        "total": 12,
        "last_page": 2,
        "has_next": True,
    }


def test_an_event_has_the_documented_members(either, contact, events):
    event = listed(either, "Person@Example.com")["data"][3]
    assert set(event) == {"uuid", "event_name", "attributes", "created_at"}
    assert event["uuid"] == str(events[3].event.id)
    assert event["attributes"] == {"n": 3}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", event["created_at"])


def test_pages_follow_each_other(either, contact, events):
    last = listed(either, contact.id, page=3, per_page=5)
    assert [event["event_name"] for event in last["data"]] == NAMES[10:]
    assert last["meta"] == {"current_page": 3, "per_page": 5, "total": 12, "last_page": 3, "has_next": False}
    assert listed(either, contact.id, page=2, per_page=6)["meta"]["has_next"] is False


@pytest.mark.parametrize("page", [99, 10**9, 10**17])
def test_a_page_past_the_end_is_empty(newer, contact, events, page):
    answer = listed(newer, contact.id, page=page, per_page=100)
    assert answer["data"] == []
    assert answer["meta"]["total"] == 12
    assert answer["meta"]["has_next"] is False


@pytest.mark.parametrize(("asked", "given"), [(1000, 100), (0, 1), (-5, 1), ("", 10), (100, 100)])
def test_per_page_is_cut_to_1_to_100(newer, contact, asked, given):
    assert listed(newer, contact.id, per_page=asked)["meta"]["per_page"] == given


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("page", "0"),
        ("page", "-1"),
        ("page", "x"),
        ("page", "1.5"),
        ("page", "9" * 5000),
        ("per_page", "x"),
        ("per_page", "\x00"),
        ("search", "\x00"),
        ("sorting[]", "x"),
        ("sorting[]", "[]"),
        ("sorting[]", '{"id":"event_name"}'),
        ("sorting[]", '{"id":["created_at"]}'),
        ("sorting[]", '{"id":"created_at","desc":"yes"}'),
        ("sorting[]", "[" * 5000),
    ],
)
def test_a_bad_query_is_422(newer, contact, name, value):
    answer = newer.get(f"contacts/{contact.id}/events?{urlencode({name: value})}")
    assert answer.status_code == 422
    assert set(answer.json()) == {"message", "errors"}


@pytest.mark.parametrize(("desc", "names"), [(True, NAMES[::-1]), (False, NAMES)])
def test_events_are_sorted_as_asked(either, contact, events, desc, names):
    answer = listed(
        either, contact.id, per_page=50, **{"sorting[]": json.dumps({"id": "created_at", "desc": desc})}
    )
    assert [event["event_name"] for event in answer["data"]] == names


@pytest.mark.parametrize(
    ("search", "count"), [("PLACED.1", 3), ("order", 12), ("%", 0), ("_", 0), ("  ", 12)]
)
def test_search_is_a_part_of_the_name_in_any_case(newer, contact, events, search, count):
    answer = listed(newer, contact.id, search=search)
    assert answer["meta"]["total"] == count


def test_the_systems_own_events_are_not_listed(newer, contact):
    assert listed(newer, contact.id)["meta"] == {
        "current_page": 1,
        "per_page": 10,
        "total": 0,
        "last_page": 1,
        "has_next": False,
    }


def test_an_unknown_or_foreign_contact_is_404(either, foreign_contact):
    for path in ("nobody@example.com", foreign_contact.id, "theirs@example.com"):
        answer = either.get(f"contacts/{path}/events")
        assert (answer.status_code, answer.json()) == (404, {"message": "Not found."})


def test_a_list_takes_a_fixed_number_of_statements(newer, contact, events, django_assert_max_num_queries):
    with django_assert_max_num_queries(12):
        listed(newer, contact.id, per_page=50)
