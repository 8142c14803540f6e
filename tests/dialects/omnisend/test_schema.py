import json

import pytest

from contacts.models import Contact
from events.models import Event, EventDefinition, EventProperty
from workspaces.services import create_workspace, issue_api_key

TYPES = {
    "flag": (True, "boolean"),
    "other_flag": (False, "boolean"),
    "count": (1, "integer"),
    "total": (1.23, "number"),
    "text": ("lorem ipsum", "string"),
    "day": ("2021-09-01", "date"),
    "moment": ("2021-09-01T12:41:52Z", "datetime"),
    "zoned": ("2021-09-01T12:41:52+03:00", "datetime"),
    "mail": ("jane@example.com", "email"),
    "link": ("https://example.com/", "url"),
}


def types_of(workspace, name="order_completed"):
    rows = EventProperty.objects.filter(workspace=workspace, definition__name=name)
    return dict(rows.values_list("name", "type"))


def stored(workspace):
    return [
        event.properties for event in Event.objects.filter(workspace=workspace, source="api").order_by("id")
    ]


def test_the_documented_examples_have_the_documented_types(track, workspace):
    sent = {name: value for name, (value, _) in TYPES.items()}
    assert track(sent).status_code == 202
    assert types_of(workspace) == {name: type_ for name, (_, type_) in TYPES.items()}
    assert stored(workspace) == [sent]


def test_looks_are_not_types(track, workspace):
    track(
        {
            "a": "1",
            "b": "true",
            "c": "2021-02-30",
            "d": "2021-09-01T12:41:52",
            "e": "ftp://x.example",
            "f": "a@b",
            "g": "",
        }
    )
    assert set(types_of(workspace).values()) == {"string"}


def test_new_properties_are_added_and_old_types_stay(track, workspace, problems):
    track({"total": 12.5})
    assert track({"total": 13.0, "colour": "red"}).status_code == 202
    assert problems(track({"total": "12.5", "size": 1})) == [("properties.total", "type_mismatch")]
    assert types_of(workspace) == {"total": "number", "colour": "string"}
    assert len(stored(workspace)) == 2


@pytest.mark.parametrize(
    ("first", "good", "bad"),
    [
        (True, [False], [1, 0, "true", 1.0]),
        (1, [2, 1.0, -(2**63)], [1.5, True, "1"]),
        (1.5, [1, 1.25, 1e300], [True, "1.5"]),
        ("text", ["2021-09-01", "jane@example.com", ""], [1, True, 1.5]),
        ("2021-09-01", ["2024-02-29"], ["2021-02-29", "2021-09-01T12:41:52Z", "x", 20210901]),
        ("2021-09-01T12:41:52Z", ["2021-09-01T12:41:52.5+03:00"], ["2021-09-01", "2021-09-01T25:00:00Z", 1]),
        ("jane@example.com", ["o'brien+x@mail.example.com"], ["jane", "https://example.com/", ""]),
        ("https://example.com/", ["http://example.com?a=b"], ["example.com", "mailto:a@b.example"]),
    ],
)
def test_a_locked_type_admits_only_what_loses_nothing(track, problems, first, good, bad):
    assert track({"p": first}).status_code == 202
    assert [track({"p": value}).status_code for value in good] == [202] * len(good)
    for value in bad:
        assert problems(track({"p": value})) == [("properties.p", "type_mismatch")]


def test_null_is_no_property_and_defines_no_type(track, workspace):
    assert track({"p": None}).status_code == 202
    assert types_of(workspace) == {}
    assert track({"p": 1}).status_code == 202
    assert track({"p": None}).status_code == 202
    assert stored(workspace) == [{}, {"p": 1}, {}]


def test_floats_are_rounded_half_up_on_their_decimal_text(track, workspace):
    track({"a": 0.1234565, "b": 2.0000005, "c": -0.1234565, "d": 1.1})
    assert stored(workspace) == [{"a": 0.123457, "b": 2.000001, "c": -0.123457, "d": 1.1}]


def test_names_of_properties_are_case_sensitive(track, workspace):
    track({"Total": 1, "total": "x"})
    assert types_of(workspace) == {"Total": "integer", "total": "string"}


def test_a_schema_belongs_to_one_name_of_events(track, workspace):
    track({"p": 1})
    assert track({"p": "x"}, name="Order_completed").status_code == 202
    assert EventDefinition.objects.filter(workspace=workspace, name__iexact="order_completed").count() == 2


def test_a_hundred_properties_pass_and_one_more_does_not(track, workspace, problems):
    assert track({f"p{n}": n for n in range(100)}).status_code == 202
    assert problems(track({f"q{n}": n for n in range(101)})) == [("properties", "too_many")]
    # The schema may grow past it: the limit is per event.
    assert track({f"q{n}": n for n in range(100)}).status_code == 202
    assert len(types_of(workspace)) == 200


@pytest.mark.parametrize("name", ["a b", "a-b", "é", "", "a.b", "$x", "日本", "a\n"])
def test_a_bad_name_is_refused(track, problems, name):
    assert problems(track({name: 1})) == [(f"properties.{name}", "invalid_name")]


def test_limits_of_length(track, problems):
    assert track({"x" * 128: 1}).status_code == 202
    assert problems(track({"x" * 129: 1})) == [("properties." + "x" * 129, "too_long")]
    assert track({"p": "x" * 2048}).status_code == 202
    assert problems(track({"p": "x" * 2049})) == [("properties.p", "too_long")]


@pytest.mark.parametrize("value", [[], {}, [1], {"a": 1}, [[]]])
def test_objects_and_arrays_are_not_supported(track, problems, value):
    assert problems(track({"p": value})) == [("properties.p", "unsupported_type")]


def test_integers_have_64_bits(send, track, workspace):
    assert track({"p": 2**63 - 1, "q": -(2**63)}).status_code == 202
    assert stored(workspace) == [{"p": 2**63 - 1, "q": -(2**63)}]
    body = json.dumps({"eventName": "x", "contact": {"email": "j@example.com"}, "properties": {"p": 2**63}})
    assert send(body).status_code == 400


def test_every_problem_is_in_one_answer(send, track, problems, workspace):
    track({"total": 1.5, "day": "2021-09-01"})
    body = {
        "eventName": "order_completed",
        "contact": {"email": "nobody", "firstName": "x" * 51, "shoeSize": 43},
        "properties": {"total": "x", "bad name": [], "day": "x", "long": "x" * 2049},
        "colour": "red",
    }
    assert sorted(problems(send(body))) == [
        ("contact.email", "invalid_format"),
        ("contact.firstName", "too_long"),
        ("properties.bad name", "invalid_name"),
        ("properties.bad name", "unsupported_type"),
        ("properties.day", "type_mismatch"),
        ("properties.long", "too_long"),
        ("properties.total", "type_mismatch"),
    ]


def test_every_mismatch_is_in_one_answer(track, problems):
    track({"a": 1, "b": True})
    assert problems(track({"a": "x", "b": "y", "c": 1})) == [
        ("properties.a", "type_mismatch"),
        ("properties.b", "type_mismatch"),
    ]


def test_it_is_all_or_nothing(send, track, workspace):
    track({"p": 1})
    contacts, events = Contact.objects.count(), Event.objects.count()
    body = {"eventName": "order_completed", "contact": {"email": "new@example.com", "firstName": "New"}}
    assert send({**body, "properties": {"p": "x", "q": 1}}).status_code == 400
    assert (Contact.objects.count(), Event.objects.count()) == (contacts, events)
    assert types_of(workspace) == {"p": "integer"}


def test_each_workspace_has_schemas_of_its_own(track, send, workspace):
    track({"p": 1})
    other = issue_api_key(create_workspace("Other").id, "shop").secret
    body = {
        "eventName": "order_completed",
        "contact": {"email": "jane@example.com"},
        "properties": {"p": "x"},
    }
    assert send(body, secret=other).status_code == 202
