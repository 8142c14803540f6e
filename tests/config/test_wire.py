"""How much JSON one request may hold."""

import time

import pytest
from rest_framework.exceptions import ParseError

from config.wire import MAX_CONTAINERS, MAX_DEPTH, MAX_VALUES, parse_json


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
