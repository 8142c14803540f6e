"""What JSON one request may hold, and how much of it."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rest_framework.exceptions import ParseError

from config.http import json as wire
from config.http.json import MAX_CONTAINERS, MAX_DEPTH, MAX_VALUES, parse_json

# Pieces of which bodies are made: sound ones, and what one reader or the other may take for something else.
NUMBERS = [
    *("0", "-0", "1", "-1", "0.0", "-0.0", "1.50", "1e5", "1E+5", "1e16", "-1e-7", "1e400"),
    *("01", "1.", ".5", "+1", "-", "9007199254740993", "9223372036854775807", "9223372036854775808"),
    *(
        "-9223372036854775808",
        "18446744073709551615",
        "123456789012345678901234567890",
        "12345678901234567890.5",
        "NaN",
        "Infinity",
    ),
    *("-Infinity", "null", "true", "false", "nul"),
]
TEXTS = [
    *(
        '"a"',
        '"b"',
        '"A"',
        '"a:b"',
        '":"',
        '""',
        '"\\u003a"',
        '"\\u003A"',
        '"\\u0061"',
        '"\\u0000"',
        '"\\\\u0000"',
    ),
    *(
        '"é"',
        '"e\u0301"',
        '"\\u00e9"',
        '"e\\u0301"',
        '"\\ud83d\\ude00"',
        '"\\ud800"',
        '"😀"',
        '"\u2126"',
        '"\u0301"',
    ),
    *('"\\n"', '"\n"', '"\\/"', '"\\x"', '"\\""', '"\x7f"', "'a'", "a", '"a'),
]
GLUE = ["", " ", "\n", "\t", "\x0c", "\xa0", "\ufeff", ","]


def _around(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    members = st.lists(st.tuples(st.sampled_from(TEXTS), inner).map(":".join), max_size=4)
    return st.one_of(
        st.lists(inner, max_size=4).map(lambda items: f"[{','.join(items)}]"),
        members.map(lambda pairs: f"{{{', '.join(pairs)}}}"),
        st.tuples(st.sampled_from(GLUE), inner, st.sampled_from(GLUE)).map("".join),
    )


BODIES = st.recursive(st.sampled_from(NUMBERS + TEXTS), _around, max_leaves=12)


def outcome(body: str) -> str:
    """Return what a body is read as, told apart as far as Python can, or its refusal."""
    try:
        return repr(parse_json(body))
    except ParseError as error:
        return f"refused: {error.detail}"


@given(BODIES)
def test_the_quick_reader_reads_as_the_strict_one(body):
    read = outcome(body)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire, "_read_quickly", lambda raw: wire.msgspec.json.decode(b""))
        assert outcome(body) == read


@pytest.mark.parametrize(
    "body", ['{"a": 1, "b": {"é": [1.5, "x:y", null]}}', '{"a":"\\u00e9","b":{"a":1}}', '"-1e-7"']
)
def test_an_ordinary_body_is_read_quickly(body, monkeypatch):
    monkeypatch.delattr(wire, "_read_strictly")
    parse_json(body)


@pytest.mark.parametrize(
    "pairs", ['"a":1,"a":2', '"a":1,"a":"\\u003a"', '"é":1,"e\u0301":2', '"a":{"b":1},"a":2']
)
def test_a_repeated_key_is_refused(pairs):
    with pytest.raises(ParseError, match="repeats a key"):
        parse_json(f"{{{pairs}}}")


def array(item: bytes, times: int) -> bytes:
    return b"[" + b",".join([item] * times) + b"]"


@pytest.mark.parametrize("item", [b"[]", b"{}", b"[ ]", b'"[]"', b"[[]]"])
def test_containers_are_limited(item):
    own = 0 if item.startswith(b'"') else item.count(b"[") + item.count(b"{")
    most = (MAX_CONTAINERS - 1) // own if own else MAX_CONTAINERS
    assert len(parse_json(array(item, most))) == most
    if own:
        with pytest.raises(ParseError, match=f"more than {MAX_CONTAINERS} arrays and objects"):
            parse_json(array(item, most + 1))


@pytest.mark.parametrize("item", [b"1", b'""', b"null", b'","'])
def test_values_are_limited(item):
    most = MAX_VALUES
    assert len(parse_json(array(item, most))) == most
    with pytest.raises(ParseError, match=f"more than {MAX_VALUES} values"):
        parse_json(array(item, most + 1))


def test_members_of_objects_are_values():
    members = b",".join(b'"%d":1' % number for number in range(MAX_VALUES + 1))
    with pytest.raises(ParseError, match="values"):
        parse_json(b"{" + members + b"}")


@pytest.mark.parametrize("text", ["[" * 200_000, "," * 600_000, '"[{' * 100_000, "\\" * 500_000 + '"['])
def test_what_a_text_holds_is_no_container_and_no_value(text):
    body = f'["{text.encode("unicode_escape").decode().replace(chr(34), chr(92) + chr(34))}"]'
    assert parse_json(body) == [text]


def test_a_body_may_be_one_text():
    assert parse_json(b'"' + b"," * (MAX_VALUES + 1) + b'"') == "," * (MAX_VALUES + 1)


@pytest.mark.parametrize("tail", [b"", b"\\", b"\\\\", b'\\"', b"["])
def test_a_text_that_is_never_closed_takes_no_time(tail):
    began = time.process_time()
    with pytest.raises(ParseError):
        parse_json(b"[" * (MAX_DEPTH + 1) + b'"' + b'\\"' * 1_000_000 + tail)
    assert time.process_time() - began < 5


@pytest.mark.parametrize("marks", ["\u0300\u0316", "\u0f73", "\u0f81\u0300", "\u0344\u0316"])
def test_a_key_of_very_many_marks_takes_no_time(marks):
    """Unicode's normal form sorts the marks on a letter, in a time that grows with the square of their number."""
    began = time.process_time()
    key = "e" + marks * 500_000
    assert parse_json(f'{{"{key}": 1}}') == {key: 1}
    assert time.process_time() - began < 5
    assert parse_json('{"e\u0301": 1}') == {"é": 1}


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}"), (b'[{"a":', b"}]")])
def test_levels_are_limited(opening, closing):
    levels = opening.count(b"[") + opening.count(b"{")
    times = MAX_DEPTH // levels
    parse_json(opening * times + b"1" + closing * times)
    for filler in (b"", b'"]]]]}}}}",' if opening == b"[" else b""):
        with pytest.raises(ParseError, match=f"more than {MAX_DEPTH} levels"):
            parse_json(filler.join([opening] * (times + 1)) + b"1" + closing * (times + 1))


def test_a_wide_body_may_be_as_deep_as_a_narrow_one():
    deep = b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1)
    assert len(parse_json(array(deep, 500))) == 500
    with pytest.raises(ParseError, match="levels"):
        parse_json(array(b"[" + deep + b"]", 500))


@pytest.mark.parametrize(
    "body", [b"]" * 300, b"[" * 300, b'"' * 301, b'{"a' + b"[" * 300, b'["\\"' + b"[" * 300]
)
def test_what_is_no_json_is_refused_all_the_same(body):
    with pytest.raises(ParseError):
        parse_json(body)
