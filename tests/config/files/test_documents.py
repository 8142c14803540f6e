"""What is written as YAML is read back as it was, and what JSON cannot say is refused."""

import random

import pytest
import yaml

from config.files.documents import InvalidDocument, dump_document, load_document

ALPHABET = "ab \n\t:#-'\"|>%@`!&*{}[],?\\~\r\x85\xa0\u2028\u2029\ufeffä客\U0001f600\x07"
TEXTS = [
    "", " ", "\n", "\n\n", "a\n", "a\n\n", "\n a", "  a\nb", "a \nb\t\n", "\ta\n b", "a\r\nb", "a\x85b\nc", "yes",
    "no", "on", "null", "~", "1e3", "1.", ".5", "0x1F", "017", "1_000", "10:30", "2026-01-31", "2026-01-31T10:00:00Z",
    "=", "<<", "- a", "a: b", "a #b", "{{ contact.name }}", "{% if a %}\n  b\n{% endif %}", "---\na", "...\na", "?",
    "%a", "\ufeffa", "a\nb: c\n  - d", "x" * 500, "\x7f", "\x07\n", "'", '"', "\\", "#",
]  # fmt: skip


def back(value):
    text = dump_document(value).encode()
    assert yaml.safe_load(text) == value
    return load_document(text)


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_a_text_comes_back_as_it_was(text):
    value = {"a": text, "b": {"c": [text, {text: text}]}}
    assert back(value) == value


def test_any_text_comes_back_as_it_was():
    drawn = random.Random(7)
    for _ in range(1500):
        text = "".join(drawn.choices(ALPHABET, k=drawn.randint(1, 12)))
        assert back({"a": text}) == {"a": text}, repr(text)


@pytest.mark.parametrize(
    "value", [0, -7, 2**63 - 1, 1.0, 0.1, 1e30, -2.5e-7, True, False, None, [], {}, [[]], [{}]], ids=repr
)
def test_a_value_comes_back_as_it_was(value):
    found = back({"a": value, "b": [value]})
    assert repr(found) == repr({"a": value, "b": [value]})


def test_a_text_of_several_lines_is_a_block():
    assert dump_document({"body": "<p>\n\tHi \n</p>\n"}) == "body: |\n  <p>\n  \tHi \n  </p>\n"


def test_keys_inside_are_put_in_order_and_those_of_the_object_stay():
    value = {"z": 1, "a": {"value": 2, "zero": 0, "operator": "eq", "about": 1, "type": "x"}}
    assert dump_document(value) == (
        "z: 1\na:\n  type: x\n  operator: eq\n  value: 2\n  about: 1\n  zero: 0\n"
    )


def test_what_other_versions_of_yaml_take_for_something_else_is_a_text():
    text = b"a: on\nb: 10:30\nc: 2026-01-31\nd: 017\ne: yes\n"
    assert load_document(text) == {"a": "on", "b": "10:30", "c": "2026-01-31", "d": "017", "e": "yes"}


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        (b"a: [1", "", "line 1, column 6"),
        (b"a: 1\na: 2", "", "line 2, column 1: this key is there twice"),
        (b"a: &x 1\nb: *x", "", "line 2, column 4: aliases are not allowed"),
        (b"1: a", "", "a key must be a text"),
        (b"- a", "", "Must be an object"),
        (b"", "", "Must be an object"),
        (b"\xff", "", "Cannot be read as YAML in UTF-8"),
        (b"a: 1\n---\nb: 1", "", "line 2"),
        (b'a:\n  - b: "\\0"', "a[0].b", "cannot be stored"),
        (b'a: "\\ud800"', "a", "cannot be stored"),
        (b"a: {b: !!float .inf}", "a.b", "finite"),
        (b"a: [9223372036854775808]", "a[0]", "beyond 64 bits"),
        (b"a: !!timestamp 2026-01-31", "a", "Must be a text, a number"),
        (b"a: !!python/name:os.system x", "", "line 1"),
        (b"a: " + b"[" * 5000, "", "deeply"),
    ],
    ids=range(15),
)
def test_what_json_cannot_say_is_refused_with_its_place(text, path, message):
    with pytest.raises(InvalidDocument) as refused:
        load_document(text)
    assert refused.value.path == path
    assert message in refused.value.message
