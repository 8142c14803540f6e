"""A JSON value knows its path, and its readers say where the fault is."""

import pytest

from config.values.json_values import JsonValue


class Fault(Exception):
    def __init__(self, path, message):
        super().__init__(path, message)
        self.path = path


def value(raw):
    return JsonValue(raw, "", Fault)


@pytest.mark.parametrize(
    ("path", "read"),
    [
        ("list", lambda document: list(document.get("list").items(1))),
        ("list[1]", lambda document: list(document.get("list").items(2))[1].text(1)),
        ("object.extra", lambda document: document.get("object").as_object({"known"})),
        ("object.missing", lambda document: document.get("object").get("missing").uuid()),
        ("flag", lambda document: document.get("flag").flag()),
    ],
)
def test_a_fault_has_the_path_of_its_value(path, read):
    document = value({"list": ["a", 2], "object": {"known": 1, "extra": 2}, "flag": "no"})
    with pytest.raises(Fault) as caught:
        read(document)
    assert caught.value.path == path


def test_a_default_is_for_what_is_missing_and_not_for_null():
    document = value({"null": None})
    assert document.get("missing", False).flag() is False
    with pytest.raises(Fault):
        document.get("null", False).flag()
    assert list(document.get("null").items(1)) == []
