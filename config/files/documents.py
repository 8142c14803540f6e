"""YAML of one object: JSON values in a stable order and spelling, so that the same object is the same bytes.

Files are read by the core schema of YAML 1.2: `on`, `10:30` and `2026-01-31` are texts without quotes.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import yaml

from config.db.errors import storable_text

# What is read first comes first; other keys follow by the alphabet. The database keeps no order of keys.
_FIRST: Final = (
    "id", "handle", "name", "type", "channel", "eventType", "tag", "aggregate", "property", "field",
    "segment", "operator", "value", "conditions", "nodes", "edges", "source", "sourceHandle", "target",
    "start", "end",
)  # fmt: skip
_RANK: Final = {name: place for place, name in enumerate(_FIRST)}
_WIDE: Final = 1_000_000_000
"""Characters of a line: a text is folded nowhere."""
_IN_BLOCKS: Final = re.compile(
    "[\n\t\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010fffe]*"
)
"""Texts of these characters only are read from a block as they were written."""
_INT64: Final = range(-(2**63), 2**63)


class InvalidDocument(ValueError):
    """A file that is not YAML, or not what JSON can say; `path` is a place in the document, or blank."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(message)
        self.path, self.message = path, message


def dump_document(value: Mapping[str, Any]) -> str:
    """Return an object as YAML. The order of its own keys is kept, those inside are put in order."""
    ordered = {key: _ordered(item) for key, item in value.items()}
    text = yaml.dump(ordered, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=_WIDE, indent=2)
    return str(text)


def load_document(text: bytes) -> dict[str, Any]:
    """Return the object that a file spells. Raises InvalidDocument."""
    try:
        value = yaml.load(text.decode(), Loader=_Loader)  # noqa: S506  # a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
        raise InvalidDocument("", f"{place}{error.problem or error.context}.") from error
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        raise InvalidDocument("", f"Cannot be read as YAML in UTF-8: {error}.") from error
    except RecursionError as error:
        raise InvalidDocument("", "It is nested too deeply.") from error
    if not isinstance(value, dict):
        raise InvalidDocument("", "Must be an object: keys and their values.")
    for path, fault in _faults(value, ""):
        raise InvalidDocument(path, fault)
    return value


def spelling(value: object) -> str:
    """Return a JSON value as text: the same for values whose YAML is the same, and much sooner."""
    return json.dumps(value, sort_keys=True)


def is_same(value: object, other: object) -> bool:
    """Return whether two JSON values are spelled alike; in Python, 1 == True."""
    return spelling(value) == spelling(other)


def _ordered(value: Any) -> Any:
    if isinstance(value, Mapping):
        keys = sorted(value, key=lambda key: (_RANK.get(key, len(_RANK)), key))
        return {key: _ordered(value[key]) for key in keys}
    if isinstance(value, list | tuple):
        return [_ordered(item) for item in value]
    return value


def _faults(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yield what JSON or the database cannot store, each with its path."""
    match value:
        case dict():
            for key, item in value.items():
                if storable_text(key) != key:
                    yield path, "A key has characters that cannot be stored."
                yield from _faults(item, f"{path}.{key}" if path else key)
        case list():
            for place, item in enumerate(value):
                yield from _faults(item, f"{path}[{place}]")
        case str():
            if storable_text(value) != value:
                yield path, "It has characters that cannot be stored."
        case float():
            if not math.isfinite(value):
                yield path, "Must be a finite number."
        case None | bool():
            return
        case int():
            if value not in _INT64:
                yield path, "It is an integer beyond 64 bits."
        case _:
            yield path, "Must be a text, a number, true, false, null, a list or an object."


class _Loader(yaml.SafeLoader):
    """Reads what JSON can say: no aliases, no key twice, keys that are texts."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Refuse aliases, by which a small file can mean a huge one."""
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]  # the stubs have none for it
            raise yaml.composer.ComposerError(None, None, "aliases are not allowed", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Return the mapping. Raises ConstructorError for a key that is no text, or is there twice."""
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            fault = "a key must be a text" if not isinstance(key, str) else "this key is there twice"
            if not isinstance(key, str) or key in seen:
                raise yaml.constructor.ConstructorError(None, None, fault, key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Writes lists indented, texts of several lines as blocks, and nothing as an alias."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write everything out."""
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        """Indent lists, too."""
        return super().increase_indent(flow, False)

    def analyze_scalar(self, scalar: str) -> Any:
        """Allow a block also for tabs and for spaces at the end of a line, which it keeps."""
        analysis = super().analyze_scalar(scalar)
        if "\n" in scalar and _IN_BLOCKS.fullmatch(scalar):
            analysis.allow_block = True
        return analysis


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = '"' if not _IN_BLOCKS.fullmatch(text) else "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)
for _tag, _spelling, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", list("-+0123456789")),
    (
        "float",
        r"[-+]?(?:[0-9]+\.[0-9]*(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)",
        list("-+0123456789"),
    ),
):
    # The dumper quotes what either version of YAML takes for something else than a text.
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_spelling})$"), _first)
