"""Maps: columns to fields, with constants, paths and formats; what is ambiguous is refused."""

import time
from datetime import UTC, datetime

import pytest

from config.files.errors import InvalidMapping, RowRefused
from config.files.lines import Line
from config.files.mapping import ColumnMapping, load_mapping
from config.files.tables import Header
from events.imports.fields import EVENT_FIELDS

NOON = datetime(2024, 2, 1, 12, tzinfo=UTC)


def read(values, **definition):
    """Return the fields of a row under a map."""
    return ColumnMapping(EVENT_FIELDS, definition).read(values)


@pytest.mark.parametrize(
    ("value", "options"),
    [
        ("2024-02-01T12:00:00Z", {}),
        ("2024-02-01 12:00", {}),
        ("2024-02-01T13:00:00+01:00", {}),
        ("1706788800", {}),
        (1706788800, {}),
        ("1706788800000", {}),
        ("1706788800.0", {}),
        (1706788800000000.0, {}),
        ("1706788800." + "0" * 5000, {}),
        ("1706788800." + "0" * 5000, {"format": "unix"}),
        ("1706788800000", {"format": "unix-ms"}),
        ("01/02/2024 12:00", {"format": "%d/%m/%Y %H:%M"}),
        ("01.02.2024 13:00", {"format": "%d.%m.%Y %H:%M", "timezone": "Europe/Berlin"}),
        ("2024-02-01T13:00:00", {"timezone": "Europe/Berlin"}),
        ("2024-02-01T12:00:00Z", {"timezone": "Europe/Berlin"}),
    ],
)
def test_times(value, options):
    assert read({"at": value}, timestamp={"column": "at", **options})["timestamp"] == NOON


@pytest.mark.parametrize(
    ("value", "cause"),
    [
        ("01/02/2024", "day or the month first"),
        ("1.2.24 12:00", "day or the month first"),
        ("yesterday", "no time of ISO 8601"),
        ("2024-02-30", "no time of ISO 8601"),
        ("17067", "no time of ISO 8601"),
        (True, "must be a time"),
    ],
)
def test_what_is_no_time_is_refused_with_its_cause(value, cause):
    with pytest.raises(RowRefused, match=cause):
        read({"at": value}, timestamp="at")


@pytest.mark.parametrize(
    ("value", "format"),
    [
        ("1_0", "unix"),
        ("٣", "unix"),
        ("9" * 20, "unix"),
        ("1e5", "unix-ms"),
        ("nan", "unix-us"),
        ("1", "%d%d"),
        ("1", "%"),
    ],
)
def test_what_is_not_of_the_format_is_refused(value, format):
    with pytest.raises(RowRefused, match="no time of the format"):
        read({"at": value}, timestamp={"column": "at", "format": format})


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("9,50", 9.5),
        ("-1.234,5", -1234.5),
        ("+1 234 567", 1234567),
        ("1\u202f234,5", 1234.5),
        ("1'000,25", 1000.25),
        ("007,5", 7.5),
        ("0", 0),
        (3.5, 3.5),
        ("9.50", None),
        ("1.23,4", None),
        ("1,2,3", None),
        (",5", None),
        ("1e5", None),
        ("", "nothing"),
        ("9" * 20, None),
    ],
)
def test_a_number_may_have_a_decimal_comma(text, number):
    definition = {"properties.n": {"column": "n", "type": "number", "decimal": ","}}
    if number is None:
        with pytest.raises(RowRefused, match="is no number"):
            read({"n": text}, **definition)
    else:
        assert read({"n": text}, **definition) == ({} if text == "" else {"properties": {"n": number}})


@pytest.mark.parametrize("value", ["1e30", 1e300, -1e19, "9223372036854775808", 1.5, "1.5", True, "x", "NaN"])
def test_what_is_no_whole_number_is_refused(value):
    with pytest.raises(RowRefused, match="is no"):
        read({"n": value}, **{"properties.n": {"column": "n", "type": "integer"}})


@pytest.mark.parametrize(("value", "number"), [("7", 7), (7.0, 7), ("1e3", 1000), (-(2**63), -(2**63))])
def test_a_whole_number_is_one_however_it_is_spelled(value, number):
    read_number = read({"n": value}, **{"properties.n": {"column": "n", "type": "integer"}})["properties"][
        "n"
    ]
    assert (read_number, type(read_number)) == (number, int)


def test_a_number_of_seconds_may_be_negative_and_is_cut_to_microseconds():
    definition = {"properties.at": {"column": "at", "type": "time-text", "format": "unix"}}
    assert read({"at": "-1.5"}, **definition)["properties"] == {"at": "1969-12-31T23:59:58.500Z"}


def test_constants_paths_types_and_the_rest():
    fields = read(
        {"who": {"mail": "a@x.test"}, "amount": "12.5", "paid": "yes", "a": "1", "empty": "", "n": None},
        name={"value": "purchase"},
        email="who.mail",
        **{
            "properties.amount": {"column": "amount", "type": "number"},
            "properties.paid": {"column": "paid", "type": "boolean"},
            "properties": "*",
        },
    )
    assert fields == {
        "name": "purchase",
        "email": "a@x.test",
        "properties": {"amount": 12.5, "paid": True, "a": "1"},
    }


def test_very_many_columns_take_time_by_their_number():
    row = {f"c{place}": "x" for place in range(50_000)}
    began = time.process_time()
    assert ColumnMapping(EVENT_FIELDS).read(row) == {"properties": row}
    assert read(row, properties="*") == {"properties": row}
    text = ",".join(row).encode()
    assert len(Header([Line(1, len(text), text)]).columns) == len(row)
    assert time.process_time() - began < 10


def test_rows_of_ever_other_columns_keep_little():
    mapping = ColumnMapping(EVENT_FIELDS)
    for row in range(30):
        columns = {f"r{row}c{place}": "x" for place in range(10_000)}
        assert mapping.read(columns) == {"properties": columns}
    assert sum(map(len, mapping._plans)) <= 200_000


def test_by_the_header_what_is_not_known_is_a_property():
    fields = ColumnMapping(EVENT_FIELDS).read(
        {
            "Event": "x",
            "Message ID": "m",
            "E-Mail": "a@x",
            "name": "n",
            "session_id": "s",
            "properties.b": 1,
            "": "?",
        }
    )
    assert fields == {
        "name": "x",
        "message_id": "m",
        "email": "a@x",
        "context": {"sessionId": "s"},
        "properties": {"name": "n", "b": 1},
    }


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        ({"nmae": "x"}, "no field nmae"),
        ({"name": {"column": "x", "colour": 1}}, "colour is not known"),
        ({"name": {}}, "either a column or a value"),
        ({"name": {"column": "x", "value": "y"}}, "either a column or a value"),
        ({"name": {"column": "x", "type": "money"}}, "no type money"),
        ({"name": {"column": "x", "format": "%d"}}, "only a time has a format"),
        ({"timestamp": {"column": "x", "timezone": "Mars"}}, "no time zone Mars"),
        ({"name": "*"}, "take all columns"),
        ({"timestamp": {"value": "01/02/2024"}}, "day or the month"),
        ({"name": {"column": "x", "type": ["text"]}}, "no type"),
        ({"properties.a": {"column": "x", "type": "list", "separator": ""}}, "not empty"),
        ({"properties.": "x"}, "no field properties"),
        ({"name": {"column": "x", "type": "list"}}, "of the type text"),
        ({"email": {"column": "x", "type": "any"}}, "of the type text"),
        ({"timestamp": {"column": "x", "type": "text"}}, "of the type time"),
        ({"identifier.crm": {"column": "x", "type": "number"}}, "of the type text"),
        ({"properties.a": {"column": "x", "type": "number", "decimal": ";"}}, "point or a comma"),
        ({"properties.a": {"column": "x", "decimal": ","}}, "only numbers"),
    ],
)
def test_a_wrong_map_is_refused_before_anything_is_read(definition, message):
    with pytest.raises(InvalidMapping, match=message):
        ColumnMapping(EVENT_FIELDS, definition)


@pytest.mark.parametrize(
    ("columns", "properties"),
    [
        (["a.b", "properties.c"], {"a.b": 0, "c": 1}),
        (["properties.color", "color"], {"color": 1, "properties.color": 0}),
        (["color", "properties.color"], {"color": 0, "properties.color": 1}),
        (["*", "properties.*"], {"*": 0, "properties.*": 1}),
        (["properties.", "consents.x"], {"properties.": 0, "consents.x": 1}),
        (["context.", "identifier."], {"context.": 0, "identifier.": 1}),
        (["", "__proto__"], {"__proto__": 1}),
    ],
    ids=str,
)
def test_whatever_a_column_is_called_its_value_is_kept(columns, properties):
    row = {column: place for place, column in enumerate(columns)}
    assert ColumnMapping(EVENT_FIELDS).read(row) == {"properties": properties}


@pytest.mark.parametrize(
    "value",
    [
        ".nan",
        "!!float .inf",
        "9223372036854775808",
        '"\\0"',
        "!!set {a}",
        "{1: 2}",
        "&x [*x]",
        "!!timestamp 2024-01-01",
    ],
)
def test_a_constant_is_something_that_can_be_stored(tmp_path, value):
    path = tmp_path / "map.yaml"
    path.write_text(f"events: {{properties.a: {{value: {value}}}}}")
    if value == ".nan":  # in YAML 1.2's spelling it is a text
        assert load_mapping(EVENT_FIELDS, path, "events").read({}) == {"properties": {"a": ".nan"}}
        return
    with pytest.raises(InvalidMapping, match=r"map\.yaml"):
        load_mapping(EVENT_FIELDS, path, "events")


def test_a_day_without_quotes_is_a_constant(tmp_path):
    path = tmp_path / "map.yaml"
    path.write_text("events: {timestamp: {value: 2024-02-01}}")
    assert load_mapping(EVENT_FIELDS, path, "events").read({}) == {
        "timestamp": datetime(2024, 2, 1, tzinfo=UTC)
    }


@pytest.mark.parametrize(
    "text", ["", "events: 1", "contacts: {email: e}", "events: [", "\x00", "events: {name: x, name: y}"]
)
def test_a_map_needs_its_section(tmp_path, text):
    path = tmp_path / "map.yaml"
    path.write_text(text)
    with pytest.raises(InvalidMapping, match=r"map\.yaml"):
        load_mapping(EVENT_FIELDS, path, "events")


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ({"event_text": "a", "event": "b"}, {"name": "a"}),
        ({"event_text": "", "event": "b"}, {"name": "b"}),
        ({"event": "b"}, {"name": "b"}),
        ({"deep": {"event": "c"}}, {"name": "c"}),
        ({"deep": {}, "event": None}, {}),
        ({"event": 7}, {"name": "7"}),
    ],
    ids=str,
)
def test_of_several_columns_the_first_that_says_something_counts(row, found):
    mapping = ColumnMapping(EVENT_FIELDS, {"name": ["event_text", "event", "deep.event"]})
    assert mapping.read(row) == found


def test_all_columns_count_where_the_row_has_no_object():
    mapping = ColumnMapping(
        EVENT_FIELDS, {"name": "n", "properties": {"column": ["props", "*"], "without": ["secret", "x_*"]}}
    )
    assert mapping.read({"n": "a", "props": {"b": 1, "secret": 2, "x_y": 3}, "c": 4}) == {
        "name": "a",
        "properties": {"b": 1},
    }
    assert mapping.read({"n": "a", "b": 1, "secret": 2, "x_y": 3}) == {"name": "a", "properties": {"b": 1}}
    assert mapping.read({"n": "a", "props": {"secret": 2}}) == {"name": "a"}


@pytest.mark.parametrize(
    ("row", "is_left_out"),
    [
        ({"type": "track"}, False),
        ({"type": "page", "n": 1}, False),
        ({"type": "identify"}, True),
        ({"type": ["track"]}, True),
        ({"type": None}, False),
        ({}, False),
        ({"type": "track", "n": 2}, True),
    ],
    ids=str,
)
def test_a_map_is_only_for_some_rows(row, is_left_out):
    mapping = ColumnMapping(EVENT_FIELDS, {"only": {"type": ["track", "page"], "n": 1}, "name": "event"})
    assert mapping.leaves_out(row) is is_left_out
    assert not ColumnMapping(EVENT_FIELDS, {"name": "event"}).leaves_out(row)


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        ({"name": []}, "named by a text"),
        ({"name": ["a", 1]}, "named by a text"),
        ({"name": ["a", ""]}, "named by a text"),
        ({"name": ["a", "*"]}, "take all columns"),
        ({"properties": ["*", "a"]}, "come last"),
        ({"only": ["type"]}, "names columns"),
        ({"only": {"type": [["a"]]}}, "names columns"),
        ({"name": {"column": "a", "without": ["b"]}}, "left out of all"),
    ],
    ids=str,
)
def test_what_is_wrong_with_columns_is_said(definition, message):
    with pytest.raises(InvalidMapping, match=message):
        ColumnMapping(EVENT_FIELDS, definition)
